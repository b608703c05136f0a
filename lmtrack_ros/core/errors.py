"""The one exception that means "the user can mend this"."""

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_USER_ERROR = 2
"""Exit code of a program that ends with a UserError."""


class UserError(ValueError):
    """A mistake in what the user gave; its message is one line that says what to change."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not among the known ones, with the nearest match."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return UserError(f"unknown {kind} '{name}'.{hint} Known: {', '.join(known) or 'none'}")

"""Figures in words; None is one that was not finite."""

from collections.abc import Mapping


def number(value: float | None) -> str:
    """Return a figure to four digits."""
    return "not finite" if value is None else f"{value:.4g}"


def figures(values: Mapping[str, float | None]) -> str:
    """Return figures with their names, in one line."""
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())

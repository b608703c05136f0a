"""From a finished run to weights that come with the package."""

import re
from pathlib import Path

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import BEST, CARD, RUN_FILE, SUFFIX, read_description
from lmtrack_ros.models.files import write_whole
from lmtrack_ros.models.weights import halved, load_weights, save_weights

LARGEST_MB = 10.0


def ship(run: Path, name: str) -> Path:
    """Store the best weights of a run in half precision, with description and card, in the package.

    Args:
        run: folder of a run that is at its end.
        name: of the weights.

    Returns:
        The file of the weights; the other two lie beside it.

    Raises:
        UserError: the run is not at its end, the name is taken or not one, the weights are too large, or
            the package cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"name weights with small letters, digits and underscores, not '{name}'")
    description = read_description(run / RUN_FILE)
    if not description.scores or not (run / CARD).is_file():
        raise UserError(f"the run in {run} is not at its end: it has no scores and no card")
    _, state = load_weights(run / BEST)
    halves = halved(state)
    size_mb = sum(t.numel() * t.element_size() for t in halves.values()) / 1e6
    if size_mb > LARGEST_MB:
        raise UserError(
            f"the weights in {run} take {size_mb:.1f} MB, more than {LARGEST_MB:g} MB: not shipped"
        )
    folder = description.declared.weights_folder
    weights = folder / f"{name}{SUFFIX}"
    if weights.exists():
        raise UserError(f"there are weights named '{name}' already: choose another name, or remove {weights}")
    try:
        folder.mkdir(exist_ok=True)
        write_whole(weights.with_suffix(".md"), (run / CARD).read_bytes())
        description.write(weights.with_suffix(".yaml"))
        save_weights(weights, halves, description)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    return weights

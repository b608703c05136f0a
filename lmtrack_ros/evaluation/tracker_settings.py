"""Which parameters a tracker is scored with."""

from collections.abc import Mapping
from typing import Any

from lmtrack_ros.configuration import CONFIG_OF_MODALITY, find_config, load
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import Modality
from lmtrack_ros.trackers.parameters import read_section


def tracker_parameters(
    tracker: str, modality: Modality | None, config: str | None = None
) -> Mapping[str, Any]:
    """Return a tracker's parameters from a configuration.

    Args:
        tracker: its name.
        modality: of the images; chooses the configuration where none is given.
        config: path or name.

    Raises:
        UserError: there is no such configuration, or its section of the tracker is not valid.
    """
    if config is None:
        if modality not in CONFIG_OF_MODALITY:
            return {}
        config = CONFIG_OF_MODALITY[modality]
    path = find_config(config)
    section = load(path).get("tracker", {})
    try:
        # a tracker is scored by itself
        _, parameters = read_section({**section, "tracker": tracker, "second_opinion": False})
    except UserError as error:
        raise UserError(f"'{path}': {error}") from error
    return parameters

"""What a ``tracker`` section of a configuration selects, ready to take frames."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from lmtrack_ros.core.parameters import build
from lmtrack_ros.trackers import parameters_class, tracker_class
from lmtrack_ros.trackers.follower import Follower
from lmtrack_ros.trackers.pair_follower import PairFollower
from lmtrack_ros.trackers.parameters import TrackerParameters
from lmtrack_ros.trackers.protocol import Tracker


def create_follower(
    settings: TrackerParameters, groups: Mapping[str, Mapping[str, Any]], session: int
) -> Follower | PairFollower:
    """Return the follower that a ``tracker`` section describes.

    Args:
        settings: of the section.
        groups: plain parameters of trackers by their names; one that is left out has its defaults.
        session: of its sets; not 0.

    Raises:
        UserError: an unknown tracker or a bad parameter.
    """
    make_first, *others = (_maker(name, groups.get(name, {})) for name in settings.used_trackers)
    tracker = make_first()

    def follower() -> Follower:
        return Follower(
            tracker,
            frozen_frames=settings.frozen_frames,
            make_second=others[0] if others else None,
            session=session,
        )

    return PairFollower(follower, settings.registration) if settings.registration.names else follower()


def _maker(name: str, values: Mapping[str, Any]) -> Callable[[], Tracker]:
    """Return what makes a tracker; its parameters are checked now."""
    parameters = build(parameters_class(name), values, name)
    cls = cast(Any, tracker_class(name))
    return lambda: cast(Tracker, cls(parameters))

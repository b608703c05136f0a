"""What can be marked on an image."""

from collections.abc import Sequence

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Landmark


def check_landmarks(landmarks: Sequence[Landmark], shape: tuple[int, ...], tracker: str) -> None:
    """See that landmarks can be followed.

    Args:
        landmarks: as marked.
        shape: (H, W) of the image.
        tracker: name of the tracker, for the message.

    Raises:
        UserError: there is none, or one is repeated, has not two coordinates, is defined on no axis or lies
            outside the image.
    """
    if not landmarks:
        raise UserError(f"the {tracker} tracker needs at least one landmark")
    ids = [landmark.id for landmark in landmarks]
    for landmark in landmarks:
        if ids.count(landmark.id) > 1:
            raise UserError(f"landmark '{landmark.id}' is given more than once")
        if len(landmark.uv_px) != 2:
            raise UserError(f"landmark '{landmark.id}' has {len(landmark.uv_px)} coordinates, not 2")
        if not any(landmark.axes):
            raise UserError(f"landmark '{landmark.id}' is defined on no axis: name at least one")
        column, row = landmark.uv_px
        if not (0 <= column <= shape[1] - 1 and 0 <= row <= shape[0] - 1):
            raise UserError(
                f"landmark '{landmark.id}' at ({column:g}, {row:g}) lies outside the image of "
                f"{shape[1]} × {shape[0]} pixels"
            )

"""sensor_msgs/Image to pixels, with cv_bridge for the encodings that only it knows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError


def read_image(msg: Any) -> NDArray[np.generic]:
    """Return the (H, W) grey pixels of a sensor_msgs/Image.

    Raises:
        UserError: neither we nor an installed cv_bridge know the encoding, or the data is too short.
    """
    try:
        return interface.read_image(msg)
    except UserError:
        try:
            from cv_bridge import CvBridge, CvBridgeError
        except ImportError:
            pass
        else:
            try:
                return np.asarray(CvBridge().imgmsg_to_cv2(msg, "mono8"))
            except CvBridgeError:
                pass
        raise

"""What ROS must find in the environment, set where the user has not set it.

Imported for its functions only: nothing here needs ROS.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from lmtrack_ros.configuration import share_directories

FASTDDS_PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
"""What Fast DDS 2.14, that of Jazzy, reads; FASTDDS_DEFAULT_PROFILES_FILE is for version 3."""


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Fill in what ROS needs to run from this Python's prefix with nothing sourced.

    Must run before the first ``rclpy.init`` of the process.
    """
    environment.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    environment.setdefault("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if profile := fastdds_profile():
        # by default the shared memory of Fast DDS is too small for one uncompressed frame
        environment.setdefault(FASTDDS_PROFILE, str(profile))
    if "HOME" not in environment:
        environment.setdefault("ROS_LOG_DIR", str(Path(sys.prefix, "log")))


def fastdds_profile() -> Path | None:
    """Return the Fast DDS profile that comes with the package, or None where it is not installed."""
    candidates = (d / "config" / "fastdds.xml" for d in share_directories())
    return next((c for c in candidates if c.is_file()), None)

"""PLACEHOLDER with the agreed interface until the real couch watch is here. Overwrite this file."""

from lmtrack_ros.core.records import CouchShift, CouchStatus, Reason
from lmtrack_ros.gating.couch_controller import CouchParameters


class CouchWatch:
    """Placeholder."""

    def __init__(self, parameters: CouchParameters) -> None: ...

    def commanded(self, shift: CouchShift, now_ns: int) -> None:
        """Placeholder."""

    def reported(self, status: CouchStatus, now_ns: int) -> Reason:
        """Placeholder."""
        return Reason(0)

    def tick(self, now_ns: int) -> Reason:
        """Placeholder."""
        return Reason(0)

    def acknowledge(self) -> None:
        """Placeholder."""

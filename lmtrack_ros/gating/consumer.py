"""The reference consumer of gate decisions: from a stream of decisions to a beam-enable line.

Integrators copy these few rules in their own language. The beam is enabled only while the newest
decision says BEAM_ON, comes from the session the consumer was armed with, is newer in sequence
than all before, and has not expired, neither by its own ``valid_until`` nor by the consumer's
monotonic clock. A decision of another session, or one that does not grow in sequence, means that
there are two gates or a restarted one: it disables the beam for the validity time. A clock that was
set makes every age doubtful: the line stays off until a new BeamEnable is armed.

Subscribe to ``gate`` reliably and with a depth of some: of a depth of one, the decisions of two gates
hide one another.
"""

from lmtrack_ros.core.records import NS_PER_MS, GateDecision, GateState
from lmtrack_ros.gating.clock import ClockWatch

_MAX_JUMP_MS = 50.0


class BeamEnable:
    """One beam-enable line.

    Args:
        session: the gate's session that was shown to the operator when arming.
        validity_ms: longest time since a decision arrived, on the monotonic clock, ms.
    """

    def __init__(self, session: int, validity_ms: float) -> None:
        self._session = session
        self._validity_ns = int(validity_ms * NS_PER_MS)
        self._newest: GateDecision | None = None
        self._arrived_monotonic_ns = 0
        self._doubted_until_monotonic_ns = 0
        self._clock = ClockWatch(_MAX_JUMP_MS)
        self._clock_was_set = False

    def receive(self, decision: GateDecision, monotonic_ns: int) -> None:
        """Take up a decision at the time it arrives."""
        newest = self._newest
        if decision.session != self._session or (newest and decision.sequence <= newest.sequence):
            self._doubted_until_monotonic_ns = monotonic_ns + self._validity_ns
            return
        self._newest = decision
        self._arrived_monotonic_ns = monotonic_ns

    def beam_on(self, now_ns: int, monotonic_ns: int) -> bool:
        """Whether the beam may be on at this moment of the frames' clock and of the monotonic clock.

        To be asked often, at least once each validity time: a clock that was set is noticed between two
        calls.
        """
        self._clock_was_set |= self._clock.jumped(now_ns, monotonic_ns)
        newest = self._newest
        return (
            newest is not None
            and not self._clock_was_set
            and newest.state is GateState.BEAM_ON
            and newest.stamp_ns <= now_ns < newest.valid_until_ns
            and monotonic_ns >= self._doubted_until_monotonic_ns
            and 0 <= monotonic_ns - self._arrived_monotonic_ns < self._validity_ns
        )

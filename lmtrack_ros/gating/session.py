"""One session of gate and couch controller, assembled alike live and in replay."""

from lmtrack_ros.gating.couch_controller import CouchController
from lmtrack_ros.gating.gate import Gate
from lmtrack_ros.gating.parameters import GatingParameters


def start_session(parameters: GatingParameters, session: int) -> tuple[Gate, CouchController]:
    """Return a disarmed gate and its couch controller, agreed on whether the couch follows the target."""
    gate = Gate(parameters, session)
    controller = CouchController(parameters.couch, session)
    gate.needs_couch = controller.tracking
    return gate, controller

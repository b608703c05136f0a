"""``lmtrack operate ACTION``: the operator's services of a running gate, where there is no ros2 command."""

import argparse
import sys
from collections.abc import Callable

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.ros.operator import Operator

_ACTIONS: dict[str, Callable[[Operator, float], str]] = {
    "arm": lambda operator, timeout_s: operator.arm(timeout_s),
    "disarm": lambda operator, timeout_s: operator.disarm(timeout_s),
    "hold": lambda operator, timeout_s: operator.set_hold(True, timeout_s),
    "release": lambda operator, timeout_s: operator.set_hold(False, timeout_s),
    "acknowledge": lambda operator, timeout_s: operator.acknowledge(timeout_s),
    "track": lambda operator, timeout_s: operator.set_couch_tracking(True, timeout_s),
    "still": lambda operator, timeout_s: operator.set_couch_tracking(False, timeout_s),
    "propose-setup": lambda operator, timeout_s: operator.propose_setup(timeout_s),
    "cancel-setup": lambda operator, timeout_s: operator.cancel_setup(timeout_s),
}
_CONFIRM = "confirm-setup"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action",
        choices=(*_ACTIONS, _CONFIRM),
        help="arm or disarm the gate; hold the beam or release the hold; acknowledge what has latched; let "
        "the couch track or stand still; propose, confirm or cancel a set-up shift",
    )
    parser.add_argument(
        "--shift",
        type=int,
        nargs=2,
        metavar=("SESSION", "SEQUENCE"),
        help="the set-up shift to confirm, as its proposal named it",
    )
    parser.add_argument("--namespace", default="", help="ROS namespace of the gate")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="how long to wait for the gate"
    )


def run(arguments: argparse.Namespace) -> int:
    """Call the service and print what the gate answers."""
    if (arguments.action == _CONFIRM) != (arguments.shift is not None):
        raise UserError(f"--shift SESSION SEQUENCE belongs to {_CONFIRM}, as the proposal named it")
    if arguments.shift and not all(0 <= number < 2**64 for number in arguments.shift):
        raise UserError("session and sequence are whole numbers from 0 to 2^64 - 1")
    with Operator(arguments.namespace) as operator:
        if arguments.shift:
            said = operator.confirm_setup(*arguments.shift, arguments.timeout)
        else:
            said = _ACTIONS[arguments.action](operator, arguments.timeout)
        sys.stdout.write(said + "\n")
    return 0

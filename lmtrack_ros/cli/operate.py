"""``lmtrack operate ACTION``: the operator's services of a running gate, where there is no ros2 command."""

import argparse
import sys

from lmtrack_ros.ros.operator import Operator

_ACTIONS = {
    "arm": lambda operator, timeout_s: operator.arm(timeout_s),
    "disarm": lambda operator, timeout_s: operator.disarm(timeout_s),
    "hold": lambda operator, timeout_s: operator.set_hold(True, timeout_s),
    "release": lambda operator, timeout_s: operator.set_hold(False, timeout_s),
    "acknowledge": lambda operator, timeout_s: operator.acknowledge(timeout_s),
    "track": lambda operator, timeout_s: operator.set_couch_tracking(True, timeout_s),
    "still": lambda operator, timeout_s: operator.set_couch_tracking(False, timeout_s),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "action",
        choices=_ACTIONS,
        help="arm or disarm the gate; hold the beam or release the hold; acknowledge what has latched; let the "
        "couch track or stand still",
    )
    parser.add_argument("--namespace", default="", help="ROS namespace of the gate")
    parser.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="how long to wait for the gate"
    )


def run(arguments: argparse.Namespace) -> int:
    """Call the service and print what the gate answers."""
    with Operator(arguments.namespace) as operator:
        sys.stdout.write(_ACTIONS[arguments.action](operator, arguments.timeout) + "\n")
    return 0

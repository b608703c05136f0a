"""``lmtrack run CONFIG``."""

import argparse
import sys

from lmtrack_ros.configuration import find_config
from lmtrack_ros.graph import describe
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

_CALL_TIMEOUT_S = 20.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", help="name of a configuration that comes with the package, or a YAML file")
    parser.add_argument("--namespace", default="", help="ROS namespace of all nodes")
    parser.add_argument(
        "--arm",
        action="store_true",
        help="arm the gate as soon as it answers; otherwise call its service 'arm'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Start the nodes and keep them running until Ctrl-C."""
    nodes = describe(find_config(arguments.config))
    sys.stderr.write(f"starting {', '.join(n.name for n in nodes)}; Ctrl-C stops them\n")
    with Processes(nodes, arguments.namespace) as processes, Operator(arguments.namespace) as operator:
        try:
            if arguments.arm:
                sys.stderr.write(operator.arm(_CALL_TIMEOUT_S) + "\n")
            while True:
                processes.check()
                operator.spin_once()
        except KeyboardInterrupt:
            return 0

"""``lmtrack run CONFIG``."""

import argparse
import sys

from lmtrack_ros import graph
from lmtrack_ros.configuration import find_config
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.ros.operator import Operator
from lmtrack_ros.ros.processes import Processes

_CALL_TIMEOUT_S = 20.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", help="name of a configuration that comes with the package, or a YAML file")
    parser.add_argument("--uri", default="", help="image source in place of the configuration's")
    parser.add_argument("--replay", default="", metavar="BAG", help="play a recording on its own time")
    parser.add_argument("--rate", type=float, default=1.0, help="of --replay, in multiples of real time")
    parser.add_argument("--record", default="", metavar="PATH", help="record all topics")
    parser.add_argument("--namespace", default="", help="ROS namespace of all nodes")
    parser.add_argument(
        "--arm", action="store_true", help="arm the gate as soon as it answers, as 'lmtrack operate arm' does"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start the nodes and keep them running until Ctrl-C."""
    config = find_config(arguments.config)
    if arguments.replay and arguments.uri:
        raise UserError("give --uri or --replay, not both")
    if arguments.replay:
        nodes = graph.replay(config, arguments.replay, arguments.rate, arguments.record)
    else:
        nodes = graph.live(config, arguments.uri, arguments.record)
    sys.stderr.write(f"starting {', '.join(n.name for n in nodes)}; Ctrl-C stops them\n")
    with Processes(nodes, arguments.namespace) as processes, Operator(arguments.namespace) as operator:
        try:
            if arguments.arm:
                operator.arm(_CALL_TIMEOUT_S)
            while True:
                processes.check()
                operator.spin_once()
        except KeyboardInterrupt:
            return 0

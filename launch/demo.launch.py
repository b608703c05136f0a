"""A breathing ultrasound phantom, tracked and gated, whose couch moves it back."""

from launch import LaunchDescription

from lmtrack_ros import graph
from lmtrack_ros.configuration import find_config
from lmtrack_ros.ros.launch_description import RECORD, launch_graph


def generate_launch_description() -> LaunchDescription:
    """Start the demo's graph, arm the gate and let the couch follow."""
    return launch_graph(
        [RECORD],
        lambda value: graph.live(find_config("demo"), record=value("record")),
        operator_actions=("arm", "track"),
    )

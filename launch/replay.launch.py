"""A recording, tracked and gated again on its own time: /clock comes from the recording."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from lmtrack_ros import graph
from lmtrack_ros.configuration import find_config
from lmtrack_ros.ros.launch_description import CONFIG, RECORD, launch_graph


def generate_launch_description() -> LaunchDescription:
    """Start the graph of a configuration on a recording, armed."""
    bag = DeclareLaunchArgument("bag", description="the recording, or any other source that ends")
    rate = DeclareLaunchArgument("rate", default_value="1.0", description="in multiples of real time")
    return launch_graph(
        [bag, rate, CONFIG, RECORD],
        lambda value: graph.replay(
            find_config(value("config")), value("bag"), float(value("rate")), value("record")
        ),
        operator_actions=("arm",),
    )

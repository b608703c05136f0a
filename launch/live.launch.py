"""A live image source, tracked and gated; the gate waits for an operator to arm it."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from lmtrack_ros import graph
from lmtrack_ros.configuration import find_config
from lmtrack_ros.ros.launch_description import CONFIG, RECORD, launch_graph


def generate_launch_description() -> LaunchDescription:
    """Start the graph of a configuration."""
    uri = DeclareLaunchArgument(
        "uri", default_value="", description="image source in place of the configuration's"
    )
    return launch_graph(
        [CONFIG, uri, RECORD],
        lambda value: graph.live(find_config(value("config")), value("uri"), value("record")),
    )

"""The graph as launch actions, for the launch files: needs launch and launch_ros."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from lmtrack_ros.graph import PACKAGE, NodeDescription
from lmtrack_ros.ros import environment

Arguments = Callable[[str], str]
"""Returns the value of a launch argument by its name."""

NAMESPACE = DeclareLaunchArgument("namespace", default_value="", description="ROS namespace of all nodes")
CONFIG = DeclareLaunchArgument(
    "config", default_value="liver_ultrasound", description="name of a configuration, or a YAML file"
)
RECORD = DeclareLaunchArgument(
    "record", default_value="", description="record all topics to this path; empty: as the configuration says"
)


def launch_graph(
    arguments: Sequence[DeclareLaunchArgument],
    nodes: Callable[[Arguments], Sequence[NodeDescription]],
    operator_actions: Sequence[str] = (),
) -> LaunchDescription:
    """Return the description of one launch file.

    Args:
        arguments: what the file declares; ``namespace`` is added.
        nodes: the graph for the values given.
        operator_actions: what ``lmtrack operate`` does once the gate answers, one after the other.
    """

    def start(context: LaunchContext) -> list[Action]:
        def value(name: str) -> str:
            return str(LaunchConfiguration(name).perform(context))

        return [
            Node(
                package=PACKAGE,
                executable=node.name,
                name=node.name,
                namespace=value("namespace"),
                parameters=[dict(node.parameters)],
                output="screen",
            )
            for node in nodes(value)
        ]

    variables: list[Action] = []
    if profile := environment.fastdds_profile():
        name = environment.FASTDDS_PROFILE
        variables = [SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=str(profile)))]
    operate = [
        ExecuteProcess(
            cmd=["lmtrack", "operate", action, "--namespace", LaunchConfiguration("namespace")],
            output="screen",
        )
        for action in operator_actions
    ]
    one_after_the_other = [
        RegisterEventHandler(OnProcessExit(target_action=first, on_exit=[then]))
        for first, then in pairwise(operate)
    ]
    return LaunchDescription(
        [
            *arguments,
            NAMESPACE,
            *variables,
            OpaqueFunction(function=start),
            *one_after_the_other,
            *operate[:1],
        ]
    )

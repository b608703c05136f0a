"""The description of the graph: which nodes, in which order, with which arguments."""

from pathlib import Path

import pytest
import yaml

from lmtrack_ros import graph
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.graph import NodeDescription


def config(folder: Path, *nodes: str) -> Path:
    file = folder / "some.yaml"
    file.write_text("".join(f"{node}: {{ros__parameters: {{}}}}\n" for node in nodes))
    return file


def test_nodes_start_in_order_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    file = config(tmp_path, "image_source", "tracker", "recorder", "gating", "couch_simulator")
    names = [node.name for node in graph.describe(file)]
    assert names == ["recorder", "couch_simulator", "gating", "tracker", "image_source"]


def test_gate_stops_first_and_the_recorder_last() -> None:
    """The gate's last HOLD must still find beam, couch and recorder listening."""
    assert sorted(graph.STOP_ORDER) == sorted(graph.START_ORDER)
    assert graph.STOP_ORDER[0] == "gating"
    assert graph.STOP_ORDER[-1] == "recorder"
    assert graph.START_ORDER.index("gating") < graph.START_ORDER.index("image_source")


def test_only_nodes_with_a_section_are_started(tmp_path: Path) -> None:
    assert [n.name for n in graph.describe(config(tmp_path, "tracker"))] == ["tracker"]


def test_override_adds_a_node(tmp_path: Path) -> None:
    nodes = graph.describe(config(tmp_path, "tracker"), {"recorder": {"path": "here"}})
    assert [n.name for n in nodes] == ["recorder", "tracker"]
    assert nodes[0].parameters == {"path": "here"}
    assert nodes[1].parameters == {}


def test_unknown_node(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown node 'gatting'\. Did you mean 'gating'"):
        graph.describe(config(tmp_path, "gatting"))


def test_live_run_takes_source_and_recording(tmp_path: Path) -> None:
    file = config(tmp_path, "image_source", "tracker")
    assert {n.name: dict(n.parameters) for n in graph.live(file)} == {"tracker": {}, "image_source": {}}
    described = {n.name: dict(n.parameters) for n in graph.live(file, "camera:0", "out")}
    source = {"uri": "camera:0", "wait_for_subscribers": 2}
    assert described == {"recorder": {"path": "out"}, "tracker": {}, "image_source": source}


@pytest.mark.parametrize("record", ["", "out"])
def test_replay_runs_on_recorded_time_without_a_couch(tmp_path: Path, record: str) -> None:
    """The recorded couch takes the place of the simulated one; all others listen to the source's clock."""
    file = config(tmp_path, "image_source", "tracker", "gating", "couch_simulator", "recorder")
    nodes = {n.name: n.parameters for n in graph.replay(file, "bag", 2, record)}
    listeners = {"tracker", "gating"} | ({"recorder"} if record else set())
    assert set(nodes) == {"image_source"} | listeners
    assert all(nodes[name]["use_sim_time"] is True for name in listeners)
    waits = {"wait_for_subscribers": 2} if record else {}
    assert nodes["image_source"] == {"uri": "bag", "speed": 2.0, "publish_clock": True, **waits}
    assert type(nodes["image_source"]["speed"]) is float


def parsed(arguments: list[str]) -> dict[str, object]:
    given = [arguments[i + 1] for i, a in enumerate(arguments) if a == "-p"]
    return {key: yaml.safe_load(value) for key, _, value in (g.partition(":=") for g in given)}


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        3,
        2.5,
        -1.0,
        "text",
        "12",
        "true",
        "it's",
        "",
        "a: b # c",
        [1.0, 2.0],
        [True, False],
        ["a", "b"],
    ],
    ids=repr,
)
def test_parameter_keeps_its_type_on_the_command_line(value: object) -> None:
    node = NodeDescription("gating", {"name": value})
    back = parsed(node.ros_arguments())["name"]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("namespace", ["room1", "/room1", "/room1/"])
def test_namespace_is_absolute(namespace: str) -> None:
    arguments = NodeDescription("gating", {}).ros_arguments(namespace)
    assert arguments == ["--ros-args", "-r", "__ns:=/room1"]


@pytest.mark.parametrize("namespace", ["a b", "1x", "a//b", "-"])
def test_namespace_that_is_none(namespace: str) -> None:
    with pytest.raises(UserError, match="no ROS namespace"):
        NodeDescription("gating", {}).ros_arguments(namespace)


def test_parameters_are_handed_over_typed_with_dotted_names(tmp_path: Path) -> None:
    """Whole numbers become what the parameter is; what equals its default is left out."""
    file = tmp_path / "c.yaml"
    file.write_text(
        "gating:\n  ros__parameters:\n    max_age_ms: 300\n    resume_frames: 3\n"
        "    window_axes: [false, true, true]\n    couch: {deadband_mm: 1}\n"
        "tracker:\n  ros__parameters:\n    correlation: {patch_half_width_px: 11}\n"
    )
    nodes = {n.name: n.parameters for n in graph.describe(file)}
    assert nodes["gating"] == {
        "max_age_ms": 300.0,
        "window_axes": [False, True, True],
        "couch.deadband_mm": 1.0,
    }
    assert type(nodes["gating"]["max_age_ms"]) is float
    assert nodes["tracker"] == {"correlation.patch_half_width_px": 11}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("gating:\n  ros__parameters: {max_age: 1.0}\n", "Did you mean 'max_age_ms'"),
        ("gating:\n  ros__parameters: {max_age_ms: fast}\n", "must be a number"),
        ("tracker:\n  ros__parameters: {trackr: correlation}\n", "Did you mean 'tracker'"),
        ("tracker:\n  ros__parameters: {correlation: 5}\n", "must be a group"),
        ("tracker:\n  ros__parameters: {correlation: {patch: 5}}\n", "unknown parameter 'patch'"),
        ("image_source:\n  ros__parameters: {phantom: {motion: {period: 1.0}}}\n", "'period_s'"),
    ],
    ids=["key", "type", "tracker-key", "no-group", "tracker-parameter", "nested"],
)
def test_wrong_configuration_is_refused_before_anything_starts(
    tmp_path: Path, section: str, message: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(section)
    with pytest.raises(UserError, match=message):
        graph.describe(file)


def test_remapped_names_reach_the_command_line() -> None:
    node = NodeDescription("tracker", {}, {"landmarks": "other/landmarks", "__node": "second"})
    assert node.ros_arguments("room1") == [
        "--ros-args",
        *("-r", "__ns:=/room1"),
        *("-r", "landmarks:=other/landmarks"),
        *("-r", "__node:=second"),
    ]

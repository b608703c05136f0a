"""Configuration files: found by name or path, read as nested parameters by node."""

from pathlib import Path

import pytest

from lmtrack_ros.configuration import config_names, find_config, load, nested
from lmtrack_ros.core.errors import UserError


def write(folder: Path, text: str) -> Path:
    file = folder / "some.yaml"
    file.write_text(text)
    return file


def test_configurations_of_the_package_are_found_by_name() -> None:
    assert {"demo", "liver_ultrasound", "lung_fluoroscopy", "liver_mr"} <= set(config_names())
    assert find_config("demo").name == "demo.yaml"
    assert "gating" in load(find_config("demo"))


def test_every_configuration_of_the_package_is_readable() -> None:
    for name in config_names():
        assert load(find_config(name)), name


def test_configuration_by_path(tmp_path: Path) -> None:
    file = write(tmp_path, "gating: {ros__parameters: {}}")
    assert find_config(file) == file
    assert find_config(str(file)) == file


def test_installed_configurations_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that another installation adds is found beside our own."""
    folder = tmp_path / "share" / "lmtrack_ros" / "config"
    folder.mkdir(parents=True)
    (folder / "our_hospital.yaml").write_text("gating: {ros__parameters: {}}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert find_config("our_hospital") == folder / "our_hospital.yaml"
    assert "our_hospital" in config_names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("dmo", "unknown configuration 'dmo'. Did you mean 'demo'?", id="misspelt"),
        pytest.param("nowhere/x.yaml", "no configuration file at 'nowhere/x.yaml'", id="path"),
        pytest.param("", "unknown configuration ''", id="empty"),
    ],
)
def test_missing_configuration(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        find_config(name)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}, id="nested-already"),
        pytest.param({"b.c": 2, "b.d.e": 3}, {"b": {"c": 2, "d": {"e": 3}}}, id="dotted"),
        pytest.param({"b": {"c": 2}, "b.d": 3}, {"b": {"c": 2, "d": 3}}, id="both"),
        pytest.param({"b.d": 3, "b": {"c": 2}}, {"b": {"c": 2, "d": 3}}, id="both-the-other-way-round"),
        pytest.param(
            {"b": {"c.d": 2}, "b.c": {"e": 3}}, {"b": {"c": {"d": 2, "e": 3}}}, id="dotted-in-nested"
        ),
        pytest.param(
            {"b.c": {"e": 3}, "b": {"c.d": 2}}, {"b": {"c": {"d": 2, "e": 3}}}, id="nested-after-dotted"
        ),
        pytest.param({}, {}, id="nothing"),
    ],
)
def test_dotted_names_are_nested_mappings(given: dict[str, object], expected: dict[str, object]) -> None:
    assert nested(given) == expected


def test_section_without_parameters(tmp_path: Path) -> None:
    assert load(write(tmp_path, "gating:\n  ros__parameters:\n")) == {"gating": {}}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("- a\n- b\n", id="list"),
        pytest.param("gating: 3", id="section-is-a-value"),
        pytest.param("gating: {tick_ms: 10.0}", id="no-ros-parameters"),
        pytest.param("gating: {ros__parameters: {}, more: 1}", id="something-beside"),
        pytest.param("gating: {ros__parameters: [1, 2]}", id="parameters-are-a-list"),
        pytest.param("gating: {ros__parameters: 3}", id="parameters-are-a-value"),
        pytest.param("gating: {ros__parameters: {couch: 1, couch.axes: 2}}", id="value-and-group"),
        pytest.param("gating: {ros__parameters: {couch.axes: 2, couch: 1}}", id="group-and-value"),
        pytest.param("gating: {ros__parameters: {couch: {axes: 1}, couch.axes: 2}}", id="given-twice"),
        pytest.param("gating: [", id="not-yaml"),
        pytest.param("gating:\n\tros__parameters: {}", id="tab"),
    ],
)
def test_other_files_are_user_errors(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as error:
        load(write(tmp_path, text))
    assert "some.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_file_is_a_user_error(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        load(file)
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path)

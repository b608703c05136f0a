"""What the pages and the package files say agrees with the code."""

import configparser
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import lmtrack_ros
from lmtrack_ros.cli.main import VERBS
from lmtrack_ros.core.records import LATCHING, Reason
from lmtrack_ros.evaluation.faults import FAULTS
from lmtrack_ros.graph import START_ORDER, STOP_ORDER

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parameter_page_is_that_of_the_dataclasses() -> None:
    pytest.importorskip("rclpy")
    tables = tool("parameter_tables")
    assert tables.PAGE.read_text() == tables.page(), "run tools/parameter_tables.py"


def test_version_is_the_same_everywhere() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert setup["metadata"]["version"] == package.findtext("version") == lmtrack_ros.__version__
    assert f"## {lmtrack_ros.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_every_node_is_installed_and_started() -> None:
    modules = {p.stem for p in (ROOT / "lmtrack_ros/nodes").glob("*.py") if "def main()" in p.read_text()}
    installed = re.search(r"foreach\(node ([a-z_ ]+)\)", (ROOT / "CMakeLists.txt").read_text())
    assert installed is not None
    assert modules == set(installed[1].split()) == set(START_ORDER) == set(STOP_ORDER)


def test_every_verb_has_its_file_and_its_line_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for verb in VERBS:
        assert (ROOT / "lmtrack_ros/cli" / f"{verb}.py").is_file()
        assert f"`lmtrack {verb}" in readme, verb


PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md")))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def test_safety_page_has_a_line_for_every_reason_and_fault() -> None:
    """What latches is said to latch, and each fault's expected answer is the one that is tried."""
    lines = (ROOT / "docs/safety.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    clears = {name.strip(): row[1] for row in rows if len(row) == 3 for name in row[0].split(",")}
    for reason in Reason:
        assert clears[str(reason.name)].startswith("latches") is (reason in LATCHING), reason
    expected = {row[0]: row[2] for row in rows if len(row) == 8}
    assert list(expected)[2:] == [fault.name for fault in FAULTS]
    for fault in FAULTS:
        assert expected[fault.name].startswith(fault.reaction.value), fault.name


def test_relocating_keeps_what_is_there(tmp_path: Path) -> None:
    """Include directories that do not exist are dropped, relative and existing ones kept."""
    relocate = tool("relocate_underlay")
    line = f'INTERFACE_INCLUDE_DIRECTORIES "/nowhere/include;{tmp_path};${{_IMPORT_PREFIX}}/include"'
    kept = f'INTERFACE_INCLUDE_DIRECTORIES "{tmp_path};${{_IMPORT_PREFIX}}/include"'
    assert relocate.INCLUDES.sub(relocate.existing_only, line) == kept

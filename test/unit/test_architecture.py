"""The architecture, enforced: dependencies point one way, and ROS stays at the edge."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lmtrack_ros"

# who may import whom: only what stands on the same line or above
LAYERS = (
    ("core",),
    ("interface", "configuration"),
    ("inference",),
    ("gating", "registration", "trackers", "sources", "phantoms", "recording", "message_types"),
    ("models",),
    ("parameters",),
    ("pipeline", "replay", "graph", "evaluation", "training"),
    ("ros",),
    ("nodes", "cli"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ROS_PACKAGES = re.compile(
    r"rclpy|rpyutils|launch|launch_ros|tf2_.*|.*_msgs|.*_srvs|rosidl_.*|ament_.*|cv_bridge"
)
GENERATED = {"msg", "srv", "action"}
CLOCKS_AND_CHANCE = {"time", "datetime", "threading", "asyncio", "concurrent", "random", "secrets"}


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(f): f for f in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str, *, top_level: bool = False) -> Iterator[str]:
    """Yield the full name of everything a module imports, in functions too unless ``top_level``."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where a dependency points"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit(module: str) -> str:
    """Return the part of the package that a module belongs to, empty for the package itself."""
    return [*module.split("."), ""][1]


def own(names: Iterator[str]) -> set[str]:
    """Return the parts of the package among imported names; ``__version__`` and the like are none."""
    parts = {n.split(".")[1] for n in names if n.startswith("lmtrack_ros.")}
    return {p for p in parts if not p.startswith("__")}


@pytest.mark.parametrize("module", [m for m in FILES if unit(m)])
def test_every_module_has_its_layer(module: str) -> None:
    assert unit(module) in RANK, f"say in LAYERS where {unit(module)} stands"


@pytest.mark.parametrize("module", FILES)
def test_dependencies_point_one_way(module: str) -> None:
    rank = RANK.get(unit(module), -1)
    upward = {part for part in own(imported(module)) - GENERATED if RANK[part] > rank}
    assert upward == set()


@pytest.mark.parametrize(
    ("part", "apart_from"),
    [
        ("nodes", "cli"),
        ("cli", "nodes"),
        ("gating", "trackers"),
        ("trackers", "gating"),
        ("gating", "sources"),
    ],
    ids="-without-".join,
)
def test_parts_that_do_not_know_each_other(part: str, apart_from: str) -> None:
    modules = [m for m in FILES if unit(m) == part]
    assert modules
    assert [m for m in modules if apart_from in own(imported(m))] == []


@pytest.mark.parametrize("module", [m for m in FILES if unit(m) not in ("ros", "nodes")])
def test_only_bridge_and_nodes_import_ros(module: str) -> None:
    names = set(imported(module))
    ros = {n for n in names if ROS_PACKAGES.fullmatch(n.split(".")[0])}
    assert ros | {f"lmtrack_ros.{g}" for g in own(iter(names)) & GENERATED} == set()


def test_rule_about_ros_would_notice() -> None:
    """The rule is not empty: bridge and nodes do import what the others must not."""
    for part in ("ros", "nodes"):
        names = {n.split(".")[0] for m in FILES if unit(m) == part for n in imported(m)}
        assert any(ROS_PACKAGES.fullmatch(n) for n in names), part


@pytest.mark.parametrize(
    ("part", "needs"), [("core", {"numpy"}), ("gating", {"numpy", "scipy"})], ids=["core", "gating"]
)
def test_core_and_gating_need_little(part: str, needs: set[str]) -> None:
    names = {n.split(".")[0] for m in FILES if unit(m) == part for n in imported(m)}
    assert names - set(sys.stdlib_module_names) - {"lmtrack_ros"} == needs


@pytest.mark.parametrize(
    "module",
    [
        m
        for m in FILES
        if unit(m) in ("core", "gating", "phantoms", "trackers", "interface", "pipeline", "replay")
    ],
)
def test_what_decides_reads_no_clock_and_no_chance(module: str) -> None:
    assert {n.split(".")[0] for n in imported(module)} & CLOCKS_AND_CHANCE == set()


def test_no_module_is_named_like_generated_code() -> None:
    """The build would overwrite it."""
    assert {unit(m) for m in FILES} & GENERATED == set()
    assert [name for name in GENERATED if (PACKAGE / name).exists()] == []


# imported by name, and only where requirements/tensorrt.txt is installed
OPTIONAL = {"lmtrack_ros.inference.tensorrt"}
WITHOUT_ROS = [
    module
    for module in FILES
    if module not in OPTIONAL
    and unit(module) not in ("ros", "nodes")
    and "ros" not in own(imported(module, top_level=True))
]

BLOCKED = """
import importlib, re, sys
from importlib.abc import MetaPathFinder

blocked = re.compile({pattern!r})

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if blocked.fullmatch(name.split(".")[0]) or name in {generated!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import rclpy
except ImportError:
    pass
else:
    sys.exit("rclpy is not blocked")
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed.append(name + ": " + str(error))
sys.exit("; ".join(failed) or 0)
"""


def test_works_without_ros() -> None:
    """Everything outside bridge and nodes is imported in a process where ROS cannot be."""
    verbs = {
        "lmtrack_ros.cli.main",
        "lmtrack_ros.cli.replay",
        "lmtrack_ros.cli.evaluate",
        "lmtrack_ros.cli.convert",
    }
    assert verbs <= set(WITHOUT_ROS)
    generated = [f"lmtrack_ros.{name}" for name in sorted(GENERATED)]
    code = BLOCKED.format(pattern=ROS_PACKAGES.pattern, generated=generated)
    done = subprocess.run(
        [sys.executable, "-c", code, *WITHOUT_ROS],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr

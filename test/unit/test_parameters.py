"""Parameter dataclasses: what build accepts, and what its one line says about the rest."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build, constraint_of, defaults, parameter


@dataclass(frozen=True)
class Inner:
    """A nested group."""

    depth: int = parameter(3, "levels", minimum=1, maximum=8)


@dataclass(frozen=True)
class Outer:
    """Parameters of every kind."""

    gain: float = parameter(1.0, "of the loop", minimum=0.0, maximum=2.0)
    offset_mm: float = parameter(0.0, "without bounds, mm")
    count: int = parameter(5, "how many", minimum=1)
    name: str = parameter("a", "which one", choices=("a", "beta"))
    enabled: bool = parameter(False, "whether")
    weights: tuple[float, ...] = parameter((), "one each", minimum=0.0)
    flags: tuple[bool, ...] = parameter((), "one each")
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != self.count:
            raise ValueError("weights needs one value for each of count")


def test_nothing_given_is_the_default() -> None:
    assert build(Outer, {}, "here") == Outer()


def test_values_of_every_kind() -> None:
    values = {
        "gain": 0.5,
        "count": 2,
        "name": "beta",
        "enabled": True,
        "weights": [1.0, 2.0],
        "flags": [True],
        "inner": {"depth": 4},
    }
    expected = Outer(0.5, 0.0, 2, "beta", True, (1.0, 2.0), (True,), Inner(4))
    assert build(Outer, values, "here") == expected


def test_whole_number_is_a_float() -> None:
    """An int stands for a float, alone and in a list, and becomes one."""
    built = build(Outer, {"gain": 1, "count": 1, "weights": [2]}, "here")
    assert type(built.gain) is float
    assert [type(w) for w in built.weights] == [float]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"gian": 1.0}, "here: unknown parameter 'gian'. Did you mean 'gain'?", id="unknown-key"),
        pytest.param({"zzz": 1}, "Known: count, enabled, flags, gain", id="unknown-key-lists-the-known"),
        pytest.param({"gain": "1"}, "here: gain must be a number, got '1'", id="text-for-number"),
        pytest.param({"gain": True}, "here: gain must be a number, got True", id="bool-for-number"),
        pytest.param({"count": 1.0}, "here: count must be a whole number", id="float-for-int"),
        pytest.param({"count": True}, "here: count must be a whole number", id="bool-for-int"),
        pytest.param({"enabled": 1}, "here: enabled must be true or false", id="int-for-bool"),
        pytest.param({"enabled": "true"}, "here: enabled must be true or false", id="text-for-bool"),
        pytest.param({"name": 1}, "here: name must be a text", id="int-for-text"),
        pytest.param({"gain": None}, "here: gain must be a number, got None", id="nothing-for-number"),
        pytest.param({"gain": [1.0]}, "here: gain must be a number", id="list-for-number"),
        pytest.param({"weights": 1.0}, "here: weights must be a list", id="number-for-list"),
        pytest.param({"weights": "12345"}, "here: weights must be a list", id="text-for-list"),
        pytest.param({"flags": [True, 0]}, "here: flags must be true or false, got 0", id="wrong-item"),
        pytest.param({"gain": -0.1}, "here: gain must be at least 0, got -0.1", id="too-small"),
        pytest.param({"gain": 2.1}, "here: gain must be at most 2, got 2.1", id="too-large"),
        pytest.param({"gain": np.nan}, "here: gain must be at least 0, got nan", id="nan"),
        pytest.param({"gain": np.inf}, "here: gain must be at most 2, got inf", id="infinite"),
        pytest.param({"weights": [np.nan] * 5}, "here: weights must be at least 0", id="nan-in-list"),
        pytest.param({"name": "bta"}, "unknown value 'bta'. Did you mean 'beta'?", id="not-a-choice"),
        pytest.param({"inner": 3}, "here: 'inner' must be a group of parameters", id="value-for-group"),
        pytest.param({"inner": {"dept": 3}}, "here: inner: unknown parameter 'dept'", id="unknown-in-group"),
        pytest.param({"inner": {"depth": 9}}, "here: inner: depth must be at most 8", id="range-in-group"),
        pytest.param({"weights": [1.0]}, "here: weights needs one value for each", id="cross-field"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        build(Outer, values, "here")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unbounded_number_must_still_be_a_number() -> None:
    """NaN is refused where no bound would catch it."""
    with pytest.raises(UserError, match="offset_mm"):
        build(Outer, {"offset_mm": np.nan}, "here")


@dataclass(frozen=True)
class _Group:
    depth: int = parameter(2, "levels", minimum=1)
    width: int = parameter(5, "of each", minimum=1)


@dataclass(frozen=True)
class _Owner:
    group: _Group = field(default_factory=lambda: _Group(depth=7))


def test_defaults_of_a_group_are_those_of_its_owner() -> None:
    assert build(_Owner, {}, "here").group == _Group(7, 5)
    assert build(_Owner, {"group": {"width": 6}}, "here").group == _Group(7, 6)
    assert build(_Owner, {"group": {"depth": 2}}, "here").group == _Group(2, 5)


def test_constraint_and_defaults_are_readable() -> None:
    """The parameter tables and ROS descriptors read the same fields."""
    assert constraint_of(Outer, "gain").description == "of the loop"
    assert constraint_of(Outer, "gain").maximum == 2.0
    assert defaults(Outer) == {f: getattr(Outer(), f) for f in Outer.__dataclass_fields__}

"""Records: safe by default, and the same numbers as in the message definitions."""

import re
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core.geometry import Modality, Mount
from lmtrack_ros.core.records import (
    CouchMode,
    CouchShift,
    CouchStatus,
    Estimate,
    GateDecision,
    GateState,
    Landmark,
    LandmarkSet,
    Reason,
    Status,
)

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = sorted([*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")])


def constants(message: str) -> dict[str, int]:
    text = (ROOT / "msg" / f"{message}.msg").read_text(encoding="utf-8")
    found = re.findall(r"^uint\d+ ([A-Z][A-Z0-9_]*)=(\d+)", text, re.MULTILINE)
    return {name: int(value) for name, value in found}


def test_default_estimate_is_lost() -> None:
    estimate = Estimate("a")
    assert estimate.status is Status.LOST
    assert estimate.confidence == 0
    assert estimate.radius_mm == np.inf
    assert estimate.observed == (False, False, False)
    assert np.isnan(estimate.position_mm).all()
    assert np.isinf(np.diag(estimate.covariance_mm2)).all()


def test_default_decision_holds() -> None:
    decision = GateDecision(stamp_ns=5)
    assert decision.state is GateState.HOLD
    assert decision.reasons
    assert decision.valid_until_ns <= decision.stamp_ns
    assert decision.margin_mm < 0


def test_default_shift_asks_for_no_motion() -> None:
    shift = CouchShift(stamp_ns=5)
    assert shift.mode is CouchMode.NONE
    assert shift.axes == (False, False, False)
    assert shift.speed_limit_mm_s == 0
    assert shift.valid_until_ns <= shift.stamp_ns


def test_default_couch_has_acknowledged_nothing() -> None:
    assert CouchStatus(stamp_ns=5).acknowledged_session == 0


@pytest.mark.parametrize("enum", [Status, GateState, CouchMode], ids=lambda e: e.__name__)
def test_zero_is_the_safe_value(enum: type[Enum]) -> None:
    assert enum(0).name in {"LOST", "HOLD", "NONE"}


def test_default_arrays_are_not_shared() -> None:
    """Writing into one record's array does not reach another record."""
    CouchShift(stamp_ns=1).target_mm[0] = 7
    Estimate("a").position_mm[0] = 7
    assert CouchShift(stamp_ns=2).target_mm[0] == 0
    assert np.isnan(Estimate("b").position_mm[0])


@pytest.mark.parametrize(
    ("message", "enums"),
    [
        pytest.param("LandmarkEstimate", (Status,), id="Status"),
        pytest.param("GateDecision", (GateState, Reason), id="GateState-Reason"),
        pytest.param("CouchShift", (CouchMode,), id="CouchMode"),
    ],
)
def test_enums_equal_the_constants_of_the_message(message: str, enums: tuple[type[Enum], ...]) -> None:
    ours = {member.name: member.value for enum in enums for member in enum}
    theirs = {k: v for k, v in constants(message).items() if not k.startswith("ROTATION_ORDER")}
    assert ours == theirs


def test_mounts_stand_in_the_order_of_the_message() -> None:
    expected = {f"MOUNT_{mount.name}": index for index, mount in enumerate(Mount)}
    assert constants("ImageGeometry") == expected


def test_message_names_every_modality() -> None:
    text = (ROOT / "msg" / "ImageGeometry.msg").read_text(encoding="utf-8")
    (comment,) = re.findall(r"^string modality\s+# (.*)$", text, re.MULTILINE)
    assert comment.split(", ") == [modality.value for modality in Modality]


def test_reasons_are_one_bit_each() -> None:
    assert sorted(r.value for r in Reason) == [1 << i for i in range(len(Reason))]


def test_there_are_definitions() -> None:
    assert len(DEFINITIONS) >= 8


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda p: p.name)
def test_every_field_has_a_comment(definition: Path) -> None:
    lines = [line for line in definition.read_text(encoding="utf-8").splitlines() if line.strip()]
    bare = [line for line in lines if not line.startswith(("#", "---")) and not re.search(r"# \S", line)]
    # a run of HOLD=0, BEAM_ON=1 explains itself only where the file's head does
    assert [line for line in bare if not re.match(r"uint8 (HOLD=0|BEAM_ON=1)$", line)] == []


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda p: p.name)
def test_every_definition_says_what_it_is(definition: Path) -> None:
    assert definition.read_text(encoding="utf-8").startswith("# ")


def test_landmark_needs_an_axis_for_each_coordinate() -> None:
    with pytest.raises(ValueError, match="3 coordinates but 2 axes"):
        Landmark("a", (1.0, 2.0, 3.0))


def test_empty_landmark_set_is_in_isocenter() -> None:
    assert LandmarkSet(stamp_ns=1).frame_id == "isocenter"
    assert LandmarkSet(stamp_ns=1).estimates == ()

"""The table of faults, what each does to a message, and when it counts as survived."""

import array
import json
from dataclasses import replace

import numpy as np
import pytest

from lmtrack_ros import interface
from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.geometry import ImageGeometry, Modality
from lmtrack_ros.core.records import LATCHING, CouchStatus, Estimate, LandmarkSet, Reason
from lmtrack_ros.evaluation import faults
from lmtrack_ros.evaluation.faults import FAULTS, Fault, Reaction, Run, judge, selected
from lmtrack_ros.interface import Message, make_plain

LIMIT_MS = 300.0
GREY = np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)


def image(stamp_ns: int, pixels: np.ndarray = GREY) -> Message:
    return interface.image(make_plain, pixels, stamp_ns, "imager")


def pixels_of(message: Message) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)


def only(outgoing: object) -> Message:
    (one,) = outgoing  # type: ignore[misc]
    assert one.delay_ms == 0
    return one.message


# the table ---------------------------------------------------------------------------------------


def test_names_are_distinct() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_reasons_fit_the_reaction(fault: Fault) -> None:
    """What must latch is among the reasons that do, or ends only by the operator's own call."""
    lasting = LATCHING | Reason.NOT_ARMED
    if fault.reaction is Reaction.LATCH:
        assert fault.reasons & lasting
    elif fault.reaction is Reaction.HOLD:
        assert fault.reasons
        assert not fault.reasons & lasting
    else:
        assert not fault.reasons


def test_all_are_selected_unless_named() -> None:
    assert selected([]) == FAULTS
    assert [f.name for f in selected(["nan", "drop"])] == ["nan", "drop"]


def test_unknown_fault() -> None:
    with pytest.raises(UserError, match=r"unknown fault 'freze'\. Did you mean 'freeze'"):
        selected(["freze"])


@pytest.mark.parametrize(
    ("rate_hz", "max_age_ms", "expected_ms"), [(30.0, 200.0, 300.0), (5.0, 200.0, 400.0)]
)
def test_budget(rate_hz: float, max_age_ms: float, expected_ms: float) -> None:
    assert faults.budget_ms(rate_hz, max_age_ms) == expected_ms


# messages ----------------------------------------------------------------------------------------


def test_drops_and_repeats() -> None:
    message, good = image(2), image(1)
    assert list(faults.drop_one(message, good, 0)) == []
    assert only(faults.drop_one(message, good, 1)) is message
    assert list(faults.drop_all(message, good, 5)) == []
    assert [o.message for o in faults.duplicate_one(message, good, 0)] == [message, message]
    assert only(faults.duplicate_one(message, good, 1)) is message


def test_one_frame_is_overtaken_by_one_at_30_hz() -> None:
    """The delayed frame comes after the next one, and before the one after that."""
    (late,) = faults.reorder_one(image(2), image(1), 0)
    (next_one,) = faults.reorder_one(image(3), image(1), 1)
    period_ms = 1e3 / 30
    assert period_ms < late.delay_ms < 2 * period_ms
    assert next_one.delay_ms == 0


def test_delay_is_beyond_the_age_limit() -> None:
    (late,) = faults.delay_all(image(2), image(1), 3)
    assert late.delay_ms > 200.0


def test_frozen_picture_has_new_stamps() -> None:
    frozen = only(faults.freeze(image(2, GREY + 1), image(1), 0))
    assert interface.stamp_ns(frozen.header.stamp) == 2
    assert (pixels_of(frozen) == GREY).all()


@pytest.mark.parametrize(("transformation", "value"), [(faults.blacken, 0), (faults.saturate, 255)])
def test_blank_pictures(transformation: faults.Transformation, value: int) -> None:
    message = image(2)
    blank = only(transformation(message, image(1), 0))
    assert (pixels_of(blank) == value).all()
    assert (pixels_of(message) == GREY).all()


def test_other_size_and_encoding_are_well_formed() -> None:
    """A malformed message would be refused by any reader; these are good images, only other ones."""
    smaller = only(faults.crop(image(2), image(1), 0))
    assert pixels_of(smaller).shape == (24, 30)
    wider = only(faults.widen(image(2), image(1), 0))
    assert wider.encoding == "mono16"
    assert len(wider.data) == wider.step * wider.height == 2 * GREY.size
    assert (np.frombuffer(wider.data, "<u2") >> 8 == GREY.ravel()).all()


def test_row_padding_is_no_part_of_the_picture() -> None:
    message = image(2)
    padded = np.pad(GREY, ((0, 0), (0, 2)))
    message.step, message.data = 32, array.array("B", padded.tobytes())
    assert pixels_of(only(faults.crop(message, message, 0))).shape == (24, 30)


def test_geometry() -> None:
    geometry = ImageGeometry(Modality.ULTRASOUND, (0.5, 0.5, 0.0), pose=np.eye(4))
    message = interface.image_geometry(make_plain, geometry, 1, "imager")
    other = interface.read_image_geometry(only(faults.rescale(message, message, 0)))
    assert other.spacing_mm == pytest.approx((0.55, 0.55, 0.0))
    assert interface.read_image_geometry(message).spacing_mm == pytest.approx((0.5, 0.5, 0.0))
    assert not vars(only(faults.replace_by_default(message, message, 0)))


@pytest.mark.parametrize("transformation", [faults.put_nan, faults.put_infinity])
def test_positions_that_are_no_numbers(transformation: faults.Transformation) -> None:
    landmarks = LandmarkSet(1, (Estimate("spot", position_mm=np.zeros(3)),))
    message = interface.landmark_array(make_plain, landmarks)
    broken = interface.read_landmark_array(only(transformation(message, message, 0)))
    assert not np.isfinite(broken.estimates[0].position_mm[1])
    assert np.isfinite(interface.read_landmark_array(message).estimates[0].position_mm).all()


def couch(stamp_ns: int, y_mm: float, sequence: int) -> Message:
    status = CouchStatus(
        stamp_ns,
        np.array([0.0, y_mm, 0.0]),
        moving=True,
        acknowledged_session=7,
        acknowledged_sequence=sequence,
    )
    return interface.couch_status(make_plain, status)


def test_stuck_couch_reports_that_it_took_nothing_up() -> None:
    stuck = interface.read_couch_status(only(faults.stick(couch(2, 5.0, 9), couch(1, 4.0, 8), 0)))
    assert (stuck.stamp_ns, stuck.position_mm[1], stuck.moving) == (2, 4.0, False)
    assert stuck.acknowledged_sequence == 8


def test_couch_beside_its_path_acknowledges() -> None:
    message = couch(2, 5.0, 9)
    astray = interface.read_couch_status(only(faults.displace(message, couch(1, 4.0, 8), 0)))
    assert astray.position_mm[0] == pytest.approx(10.0)
    assert astray.acknowledged_sequence == 9
    assert interface.read_couch_status(message).position_mm[1] == pytest.approx(5.0)


# the verdict -------------------------------------------------------------------------------------

HOLD = next(f for f in FAULTS if f.name == "drop-long")
LATCH = next(f for f in FAULTS if f.name == "freeze")
SKIP = next(f for f in FAULTS if f.name == "drop")
DIAGNOSE = next(f for f in FAULTS if f.name == "disk-full")
CLEARED = Run(120.0, Reason.TRACKER_SILENT, resumed_by_itself=True, recovered=True)
LATCHED = Run(90.0, Reason.FROZEN_IMAGE | Reason.DWELL, resumed_by_itself=False, recovered=True)
UNTOUCHED = Run(None, Reason(0), resumed_by_itself=False, recovered=True)
TOLD = replace(UNTOUCHED, diagnosed=True)


@pytest.mark.parametrize(
    ("fault", "run", "detected_as"),
    [
        (HOLD, CLEARED, "TRACKER_SILENT"),
        (LATCH, LATCHED, "FROZEN_IMAGE"),
        (SKIP, UNTOUCHED, "skipped"),
        (DIAGNOSE, TOLD, "diagnosed"),
    ],
    ids=["hold", "latch", "skip", "diagnose"],
)
def test_pass(fault: Fault, run: Run, detected_as: str) -> None:
    finding = judge(fault, [run, run], LIMIT_MS)
    assert (finding.verdict, finding.why, finding.runs) == ("pass", "", 2)
    assert finding.detected_as == detected_as
    assert finding.worst_ms == run.hold_ms


@pytest.mark.parametrize(
    ("fault", "run", "why"),
    [
        (HOLD, UNTOUCHED, "was not held"),
        (HOLD, replace(CLEARED, hold_ms=301.0), "only after 301 ms"),
        (HOLD, replace(CLEARED, reasons=Reason.STALE_FRAME), "never said TRACKER_SILENT"),
        (HOLD, replace(CLEARED, resumed_by_itself=False), "did not come back by itself"),
        (LATCH, replace(LATCHED, resumed_by_itself=True), "came back by itself"),
        (LATCH, replace(LATCHED, recovered=False), "could not be brought back"),
        (SKIP, CLEARED, "the beam was held (TRACKER_SILENT)"),
        (DIAGNOSE, UNTOUCHED, "nobody was told"),
        (DIAGNOSE, replace(TOLD, hold_ms=5.0), "the beam was held"),
        (HOLD, replace(CLEARED, note="node 'gating' ended"), "node 'gating' ended"),
    ],
)
def test_one_bad_run_fails(fault: Fault, run: Run, why: str) -> None:
    good = {Reaction.HOLD: CLEARED, Reaction.LATCH: LATCHED, Reaction.SKIP: UNTOUCHED}.get(
        fault.reaction, TOLD
    )
    finding = judge(fault, [good, run, good], LIMIT_MS)
    assert finding.verdict == "fail"
    assert why in finding.why


def test_undetected_fault_is_called_nothing() -> None:
    assert judge(HOLD, [UNTOUCHED], LIMIT_MS).detected_as == "nothing"
    assert judge(DIAGNOSE, [TOLD, UNTOUCHED], LIMIT_MS).detected_as == "nothing"
    not_tried = replace(UNTOUCHED, note="not tried: the beam was off")
    assert judge(SKIP, [not_tried], LIMIT_MS).detected_as == "nothing"


def test_worst_is_the_longest_of_all_runs() -> None:
    runs = [replace(CLEARED, hold_ms=ms) for ms in (10.0, 250.04, 100.0)]
    assert judge(HOLD, runs, LIMIT_MS).worst_ms == 250.0


def test_report_and_page() -> None:
    findings = [judge(HOLD, [CLEARED], LIMIT_MS), judge(SKIP, [CLEARED], LIMIT_MS)]
    result = json.loads(json.dumps(faults.report(findings, "a setting"), allow_nan=False))
    assert not result["passed"]
    assert result["faults"][0] == {
        "fault": "drop-long",
        "description": "no frame comes",
        "where": "image",
        "expected": "hold: TRACKER_SILENT",
        "detected_as": "TRACKER_SILENT",
        "worst_ms": 120.0,
        "budget_ms": 300.0,
        "runs": 1,
        "verdict": "pass",
        "why": "",
    }
    page = faults.markdown(findings, "a setting")
    assert "a setting" in page
    assert (
        "| drop-long | no frame comes (`image`) | hold: TRACKER_SILENT | TRACKER_SILENT | 120 | 300 |" in page
    )
    assert "fail: the beam was held" in page

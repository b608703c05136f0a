"""The quality check: windows without hindsight, gates without foresight, figures that are what they say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.evaluation import gating_qa, lock_step_qa, moving_target
from lmtrack_ros.evaluation.couch_qa import run_couch
from lmtrack_ros.evaluation.gating_qa import exhale_window, pool, ratios, run_gate, score, total_latency_s
from lmtrack_ros.evaluation.live_gating import LiveRun, beam_figures, couch_figures, hold_latencies_ms
from lmtrack_ros.evaluation.motion_traces import MotionTrace, generated_traces, read_traces
from lmtrack_ros.evaluation.programme import LEAD_S, make_programme


def breathing(duration_s: float = 75.0, period_s: float = 4.03, rate_hz: float = 10.0) -> MotionTrace:
    """Like a recording, in steps of a tenth of a millimetre; exhale is the low end and lasts longer."""
    time_s = np.arange(0.0, duration_s, 1.0 / rate_hz)
    drawn = 12.0 * np.sin(np.pi * time_s / period_s) ** 4
    position_mm = np.round(np.stack([0.02 * drawn, drawn, 0.2 * drawn], axis=1), 1)
    return MotionTrace("breathing", time_s, position_mm + np.array([-480.0, 3.0, 60.0]))


@pytest.fixture(scope="module")
def trace() -> MotionTrace:
    return breathing()


# windows -----------------------------------------------------------------------------------------


def test_window_lies_about_exhale(trace: MotionTrace) -> None:
    window = exhale_window(trace, 0.3)
    np.testing.assert_allclose(window.planned_mm, (-480.0, 3.0, 60.0), atol=0.3)
    upside_down = MotionTrace("upside down", trace.time_s, -trace.position_mm)
    np.testing.assert_allclose(exhale_window(upside_down, 0.3).planned_mm, -window.planned_mm, atol=1e-6)


def test_window_follows_its_rule(trace: MotionTrace) -> None:
    """A share of the range, 1.5 mm at least; faces lie midway between the steps of the recording."""
    np.testing.assert_allclose(exhale_window(trace, 0.3).half_width_mm, (1.55, 3.65, 1.55), atol=1e-6)


def test_window_knows_nothing_of_later(trace: MotionTrace) -> None:
    moved = trace.position_mm.copy()
    moved[trace.time_s >= gating_qa.LEARN_S] += 40.0
    later = exhale_window(MotionTrace("moved", trace.time_s, moved), 0.3)
    np.testing.assert_array_equal(later.planned_mm, exhale_window(trace, 0.3).planned_mm)
    np.testing.assert_array_equal(later.half_width_mm, exhale_window(trace, 0.3).half_width_mm)


# gates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", gating_qa.KINDS)
def test_decisions_know_nothing_of_later(kind: str) -> None:
    trace = breathing(45.0)
    window = exhale_window(trace, 0.3)
    moved = trace.position_mm.copy()
    moved[400:] += 7.0
    one, two = run_gate(trace, window, kind), run_gate(MotionTrace("", trace.time_s, moved), window, kind)
    np.testing.assert_array_equal(one.beam_on[:400], two.beam_on[:400])
    np.testing.assert_array_equal(one.predicted_mm[:400], two.predicted_mm[:400])
    assert (one.beam_on[400:] != two.beam_on[400:]).any()


def test_unpredicted_gate_is_late_by_the_latency_both_ways(trace: MotionTrace) -> None:
    window = exhale_window(trace, 0.3)
    found = score(trace, window, run_gate(trace, window, "none"))
    for late_ms in (found.on_errors_ms, found.off_errors_ms):
        assert len(late_ms) >= 8
        assert 300 <= np.median(late_ms) <= 400
        # no decision is acted on before 300 ms, nor much later than a frame interval after that
        assert late_ms.min() >= 290
        assert late_ms.max() <= 420
    assert found.beam_on_s == pytest.approx(found.inside_s, rel=0.05)
    # outside for the latency once in each breath
    assert found.outside_s == pytest.approx(0.35 * found.scored_s / 4.03, rel=0.1)


def test_adaptive_predictor_switches_in_time(trace: MotionTrace) -> None:
    window = exhale_window(trace, 0.3)
    run = run_gate(trace, window, "adaptive_linear")
    predicted, still = score(trace, window, run), score(trace, window, run_gate(trace, window, "none"))
    np.testing.assert_allclose(run.horizon_s[50:], total_latency_s(trace), atol=1e-6)
    assert predicted.outside_s < 0.4 * still.outside_s
    assert predicted.beam_on_s > 0.95 * still.beam_on_s


def test_short_excursions_are_no_crossings() -> None:
    time_s = np.arange(0.0, 10.0, 0.01)
    state = (time_s > 2.0) & (time_s < 6.0) & ~((time_s > 4.0) & (time_s < 4.2))
    np.testing.assert_allclose(gating_qa._crossings_s(time_s, state, True, 0.5), [2.01], atol=0.011)
    np.testing.assert_allclose(gating_qa._crossings_s(time_s, state, False, 0.5), [6.0], atol=0.011)


def test_ratios_are_those_of_sums() -> None:
    base = gating_qa.Score(100.0, 50.0, 50.0, 8.0, np.full(9, 2.0), np.zeros(1), np.zeros(1), 0, 0)
    better = replace(base, outside_s=2.0, error_mm=np.full(9, 1.0))
    found = ratios([better, better], [base, base])
    assert found["beam_on_outside"] == {"ratio": 0.25, "low": 0.25, "high": 0.25}
    assert found["prediction_rmse"]["ratio"] == pytest.approx(0.5)
    assert found["duty_cycle"]["ratio"] == 1.0
    assert ratios([base], [replace(base, outside_s=0.0)])["beam_on_outside"] is None
    assert pool([base, better]).outside_s == 10.0


# couch -------------------------------------------------------------------------------------------


def test_couch_follows_a_slow_breath() -> None:
    run = run_couch(breathing(75.0, period_s=6.0), "adaptive_linear")
    still_mm, following_mm = run.residual_mm
    assert run.held == ()
    assert still_mm > 3 * following_mm


# moving target -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("latency_s", "kept_free_mm"), [(0.0, 0.0), (0.18, 0.0), (0.18, 0.4), (-0.02, 0.0)])
def test_moving_target_finds_the_latency(latency_s: float, kept_free_mm: float) -> None:
    """What the gate keeps free inside the window is in the intercept, not in the latency."""
    programme = make_programme(90.0, breathing())
    time_s = np.arange(*programme.sines_s, 0.001)
    along_mm = np.interp(time_s, programme.time_s, programme.position_mm[:, 1])
    inside = np.abs(along_mm) <= 3.0 - kept_free_mm
    changes = np.flatnonzero(np.diff(inside.astype(int))) + 1
    crossings = moving_target.find_crossings(
        time_s, along_mm, (-3.0, 3.0), time_s[changes] + latency_s, inside[changes]
    )
    for entering, sign in ((True, 1), (False, -1)):
        found = moving_target.fit([c for c in crossings if c.entering is entering])
        assert found is not None
        assert found.count >= 15
        assert found.latency_ms == pytest.approx(1e3 * latency_s, abs=6)
        assert found.intercept_mm == pytest.approx(sign * kept_free_mm, abs=0.1)
        low, high = found.latency_interval_ms
        assert low < found.latency_ms < high


def test_moving_target_says_nothing_from_too_little() -> None:
    crossing = moving_target.Crossing(True, 5.0, 1.0, 200.0)
    assert moving_target.fit([crossing] * 3) is None
    assert moving_target.fit([crossing] * 9) is None


def test_programme_is_one_smooth_motion() -> None:
    programme = make_programme(90.0, breathing())
    np.testing.assert_allclose(programme.position_mm[0], 0.0, atol=1e-9)
    speed_mm_s = np.abs(np.diff(programme.position_mm, axis=0)).max(axis=1) * 50.0
    assert speed_mm_s.max() < 30.0
    assert np.abs(programme.position_mm).max() < 25.0
    parts = (*programme.sines_s, *programme.irregular_s, *programme.recorded_s)
    assert list(parts) == sorted(parts)
    assert parts[-1] == LEAD_S + 90.0


# live --------------------------------------------------------------------------------------------


def live_run(line_s: tuple[float, ...], beam_latency_s: float = 0.0) -> LiveRun:
    """A target that goes along y as 10 sin(t) mm, frames at 30 Hz, a perfect prediction 0.1 s ahead."""
    time_s = np.arange(0.0, 12.0, 0.001)
    frame_s = np.arange(0.0, 11.8, 1 / 30)

    def at(t: np.ndarray) -> np.ndarray:
        return np.stack([0 * t, 10 * np.sin(t), 0 * t], axis=1)

    return LiveRun(
        time_s=time_s,
        true_mm=at(time_s),
        couch_mm=np.zeros((len(time_s), 3)),
        window_mm=(-3.0, 3.0),
        line_s=np.array([0.0, *line_s]),
        line_on=np.arange(len(line_s) + 1) % 2 == 1,
        beam_latency_s=beam_latency_s,
        decided=frame_s[:, None] + np.array([0.0, 0.05, 0.06, 0.065]),
        predicted_mm=at(frame_s + 0.1),
        horizon_s=np.full(len(frame_s), 0.1),
        frames=len(frame_s),
        held_by={},
    )


def test_hold_is_timed_from_the_first_frame_outside() -> None:
    left_s = np.pi - np.arcsin(0.3)  # inside again; leaves through the lower edge at pi + arcsin(0.3)
    leaves_s = np.pi + np.arcsin(0.3)
    first_frame_s = np.ceil(leaves_s * 30) / 30
    run = live_run((left_s, first_frame_s + 0.07))
    late_ms = hold_latencies_ms(run, (left_s, left_s + 2.0))
    np.testing.assert_allclose(late_ms, [70.0], atol=0.5)


def test_beam_outside_is_what_the_beam_does_not_the_line() -> None:
    inside_s = (np.pi - np.arcsin(0.3), np.pi + np.arcsin(0.3))
    exact, late = (beam_figures(live_run(inside_s, b), (1.0, 5.0)) for b in (0.0, 0.1))
    assert exact["beam_on_outside_s"] == pytest.approx(0.0, abs=0.003)
    assert late["beam_on_outside_s"] == pytest.approx(0.1, abs=0.003)
    assert exact["prediction_rmse_mm"] == pytest.approx(0.0, abs=1e-3)


def test_residual_motion_without_the_couch_is_that_of_the_target() -> None:
    run = live_run(())
    couched = replace(run, couch_mm=-0.75 * run.true_mm, true_mm=0.25 * run.true_mm)
    found = couch_figures(couched, (0.0, 4.0 + 2 * np.pi))
    assert found["ratio"] == pytest.approx(4.0, rel=0.02)


# traces and page ---------------------------------------------------------------------------------


def test_generated_traces_are_always_the_same() -> None:
    one, two = generated_traces(), generated_traces()
    assert [t.name for t in one] == [t.name for t in two]
    assert len({t.name for t in one}) == len(one) >= 4
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.position_mm, b.position_mm)
        assert a.time_s[-1] > 60.0


def test_folders_without_usable_traces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        read_traces(tmp_path / "gone")
    with pytest.raises(UserError, match="no traces"):
        read_traces(tmp_path)
    (tmp_path / "short.csv").write_text("time_s,x_mm,y_mm,z_mm\n0,1,2,3\n1,1,2,3\n")
    with pytest.raises(UserError, match="too short"):
        read_traces(tmp_path)


def test_page_needs_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmtrack_ros.evaluation.qa_page import write_page

    monkeypatch.setattr(lock_step_qa, "WINDOW_SHARES", (0.3,))
    monkeypatch.setattr("lmtrack_ros.evaluation.qa_pictures.WINDOW_SHARES", (0.3,))
    done = lock_step_qa.run_lock_step([breathing(61.0)], lambda _: None)
    found = lock_step_qa.goals(done)
    assert len(found) == 6
    summary = {
        "version": "1 < 2",
        "machine": "any",
        "motion": "generated",
        "lock_step": lock_step_qa.summary(done),
    }
    write_page(tmp_path / "qa.html", summary, found, done, {}, None)
    page = (tmp_path / "qa.html").read_text()
    assert "1 &lt; 2" in page
    assert page.count("<img") >= 5
    assert set(re.findall(r'(?:src|href)="([^:]*):', page)) == {"data"}
    assert "Simulated" in page

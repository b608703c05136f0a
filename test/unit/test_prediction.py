"""Predictors and their monitor: what they foresee, what they ignore, when they are not relied on."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.parameters import build
from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S
from lmtrack_ros.gating.intake import GAP_S
from lmtrack_ros.gating.prediction import (
    MonitoredPredictor,
    Prediction,
    PredictorParameters,
    make_predictor,
)

T0 = 1_700_000_000 * NS_PER_S
HORIZON_NS = 300 * NS_PER_MS
KINDS = ("none", "constant_velocity", "adaptive_linear")
PREDICTING = KINDS[1:]
BREATHING = Path(__file__).parents[3] / "shared" / "data" / "breathing"

Motion = Callable[[float], np.ndarray]


def sine(time_s: float) -> np.ndarray:
    """Return (1, 3): 12 mm of motion along a slanted line with some hysteresis."""
    phase = 2 * np.pi * time_s / 4.0
    return np.array([[2 * np.sin(phase), 6 * np.cos(phase) + 20, 3 * np.cos(phase + 0.4)]])


def ramp(time_s: float) -> np.ndarray:
    return np.array([[2.0 * time_s, -5.0 * time_s, 1.0]])


def stamps(duration_s: float, rate_hz: float = 10.0) -> list[int]:
    return [T0 + round(i * NS_PER_S / rate_hz) for i in range(int(duration_s * rate_hz))]


def seconds(stamp_ns: int) -> float:
    return (stamp_ns - T0) / NS_PER_S


def run(kind: str, motion: Motion, times_ns: list[int], horizon_ns: int = HORIZON_NS) -> np.ndarray:
    """Return the (frame, N, 3) predictions of a bare predictor."""
    predictor = make_predictor(kind)
    predicted = []
    for stamp_ns in times_ns:
        predictor.add(stamp_ns, motion(seconds(stamp_ns)))
        predicted.append(predictor.predict(horizon_ns))
    return np.array(predicted)


def error_ratio(
    kind: str, motion: Motion, times_ns: list[int], horizon_ns: int = HORIZON_NS, from_s: float = 20.0
) -> float:
    """Return the RMS error as a share of that of standing still."""
    predicted = run(kind, motion, times_ns, horizon_ns)
    late = [i for i, t in enumerate(times_ns) if seconds(t) >= from_s]
    truth = np.array([motion(seconds(times_ns[i] + horizon_ns)) for i in late])
    newest = np.array([motion(seconds(times_ns[i])) for i in late])
    return float(np.sqrt(((predicted[late] - truth) ** 2).mean() / ((newest - truth) ** 2).mean()))


# the predictors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_first_prediction_is_the_newest_position(kind: str) -> None:
    assert run(kind, sine, stamps(0.1)).tolist() == [sine(0.0).tolist()]


def test_no_prediction_stands_still() -> None:
    times_ns = stamps(20)
    expected = np.array([sine(seconds(t)) for t in times_ns])
    np.testing.assert_array_equal(run("none", sine, times_ns), expected)


@pytest.mark.parametrize("rate_hz", [3.0, 5.0, 10.0, 30.0])
@pytest.mark.parametrize(("kind", "limit"), [("constant_velocity", 0.6), ("adaptive_linear", 0.1)])
def test_sine(kind: str, limit: float, rate_hz: float) -> None:
    if (kind, rate_hz) == ("constant_velocity", 3.0):
        limit = 1.0  # a velocity from so few frames comes late
    assert error_ratio(kind, sine, stamps(40, rate_hz)) < limit


@pytest.mark.parametrize("kind", PREDICTING)
def test_ramp_goes_on(kind: str) -> None:
    assert error_ratio(kind, ramp, stamps(30)) < 0.1


@pytest.mark.parametrize("horizon_ms", [1, 40, 100, 333, 500, 1000])
def test_horizons(horizon_ms: int) -> None:
    assert error_ratio("adaptive_linear", sine, stamps(40), horizon_ms * NS_PER_MS) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_horizon_zero_is_the_newest_position(kind: str) -> None:
    times_ns = stamps(20)
    newest = np.array([sine(seconds(t)) for t in times_ns])
    np.testing.assert_allclose(run(kind, sine, times_ns, 0), newest, atol=0.1)


def test_horizon_that_cannot_be_learnt_is_not_predicted() -> None:
    times_ns = stamps(20)
    newest = np.array([sine(seconds(t)) for t in times_ns])
    np.testing.assert_array_equal(run("adaptive_linear", sine, times_ns, 1001 * NS_PER_MS), newest)


@pytest.mark.parametrize(("kind", "limit"), [("constant_velocity", 0.6), ("adaptive_linear", 0.15)])
def test_irregular_frames(kind: str, limit: float) -> None:
    """Jittering intervals, and every so often one to three frames missing."""
    rng = np.random.default_rng(5)
    times_ns = [t + int(rng.integers(-20, 20)) * NS_PER_MS for t in stamps(60)]
    kept = [t for i, t in enumerate(times_ns) if i % 23 != 7 and i % 41 not in (11, 12, 13)]
    assert error_ratio(kind, sine, kept) < limit


def test_jittering_horizon_is_followed() -> None:
    predictor = make_predictor("adaptive_linear")
    errors = []
    for i, stamp_ns in enumerate(stamps(40)):
        horizon_ns = HORIZON_NS + (i % 7 - 3) * 9 * NS_PER_MS
        predictor.add(stamp_ns, sine(seconds(stamp_ns)))
        errors.append(predictor.predict(horizon_ns) - sine(seconds(stamp_ns + horizon_ns)))
    assert np.abs(errors[200:]).max() < 0.3


@pytest.mark.parametrize("kind", PREDICTING)
def test_gap_restarts_the_history(kind: str) -> None:
    """What comes after a gap is predicted as if nothing had been before."""
    before = stamps(20)
    gap_ns = round((20 + GAP_S) * NS_PER_S) + 10 * NS_PER_MS
    after = [gap_ns + t for t in stamps(20)]
    with_past = run(kind, sine, before + after)[len(before) :]
    np.testing.assert_array_equal(with_past, run(kind, sine, after))


@pytest.mark.parametrize("kind", PREDICTING)
def test_shorter_gap_does_not(kind: str) -> None:
    times_ns = [t for t in stamps(40) if not 25.0 < seconds(t) < 25.0 + GAP_S - 0.1]
    predictor = make_predictor(kind)
    for stamp_ns in times_ns:
        predictor.add(stamp_ns, sine(seconds(stamp_ns)))
        assert predictor.ready or seconds(stamp_ns) < 9


@pytest.mark.parametrize("kind", PREDICTING)
def test_unobserved_axis_stays_unknown_and_the_others_do_not_notice(kind: str) -> None:
    def flat(time_s: float) -> np.ndarray:
        return sine(time_s) * [0, 1, 1]

    def unseen(time_s: float) -> np.ndarray:
        return sine(time_s) * [np.nan, 1, 1]

    times_ns = stamps(30)
    predicted = run(kind, unseen, times_ns)
    assert np.isnan(predicted[:, :, 0]).all()
    np.testing.assert_array_equal(predicted[:, :, 1:], run(kind, flat, times_ns)[:, :, 1:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300], ids=["nan", "inf", "minus-inf", "huge"])
@pytest.mark.parametrize("kind", PREDICTING)
def test_bad_frame_leaves_no_trace(kind: str, bad: float) -> None:
    """Its own prediction is its newest positions; the later ones are as if it had been missing."""
    times_ns = stamps(30)
    spoilt = 200

    def motion(time_s: float) -> np.ndarray:
        return (
            np.array([[bad, *sine(time_s)[0, 1:]]]) if time_s == seconds(times_ns[spoilt]) else sine(time_s)
        )

    predicted = run(kind, motion, times_ns)
    missing = run(kind, sine, times_ns[:spoilt] + times_ns[spoilt + 1 :])
    np.testing.assert_array_equal(np.delete(predicted, spoilt, axis=0), missing)
    np.testing.assert_array_equal(predicted[spoilt, 0, 1:], sine(seconds(times_ns[spoilt]))[0, 1:])


@pytest.mark.parametrize("kind", PREDICTING)
def test_old_and_repeated_frames_are_ignored(kind: str) -> None:
    times_ns = stamps(30)
    predictor, undisturbed = make_predictor(kind), make_predictor(kind)
    for stamp_ns in times_ns:
        for each in (predictor, undisturbed):
            each.add(stamp_ns, sine(seconds(stamp_ns)))
    predictor.add(times_ns[-1], np.zeros((1, 3)))
    predictor.add(times_ns[-3], np.zeros((1, 3)))
    for each in (predictor, undisturbed):
        each.add(times_ns[-1] + NS_PER_S // 10, sine(30.0))
    np.testing.assert_array_equal(predictor.predict(HORIZON_NS), undisturbed.predict(HORIZON_NS))


@pytest.mark.parametrize("kind", KINDS)
def test_other_landmarks_after_a_reset(kind: str) -> None:
    predictor = make_predictor(kind)
    for count in (1, 3, 2):
        for stamp_ns in stamps(15):
            predictor.add(stamp_ns, np.repeat(sine(seconds(stamp_ns)), count, axis=0))
            assert predictor.predict(HORIZON_NS).shape == (count, 3)
        predictor.reset()


@pytest.mark.parametrize("kind", PREDICTING)
def test_reset_forgets_everything(kind: str) -> None:
    predictor, new = make_predictor(kind), make_predictor(kind)
    for stamp_ns in stamps(30):
        predictor.add(stamp_ns, ramp(seconds(stamp_ns)))
    predictor.reset()
    for stamp_ns in stamps(15):
        for each in (predictor, new):
            each.add(stamp_ns, sine(seconds(stamp_ns)))
        np.testing.assert_array_equal(predictor.predict(HORIZON_NS), new.predict(HORIZON_NS))


@pytest.mark.parametrize("kind", PREDICTING)
def test_landmarks_do_not_influence_each_other(kind: str) -> None:
    def both(time_s: float) -> np.ndarray:
        return np.concatenate([sine(time_s), ramp(time_s)])

    times_ns = stamps(20)
    together = run(kind, both, times_ns)
    np.testing.assert_allclose(together[:, :1], run(kind, sine, times_ns), atol=1e-6)
    np.testing.assert_allclose(together[:, 1:], run(kind, ramp, times_ns), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_future_does_not_reach_back(kind: str) -> None:
    def turns(time_s: float) -> np.ndarray:
        return sine(time_s) if time_s < 15 else -3 * sine(time_s)

    times_ns = stamps(25)
    known = sum(seconds(t) < 15 for t in times_ns)
    np.testing.assert_array_equal(run(kind, sine, times_ns)[:known], run(kind, turns, times_ns)[:known])


@pytest.mark.parametrize("kind", KINDS)
def test_same_to_the_bit(kind: str) -> None:
    times_ns = stamps(20)
    assert run(kind, sine, times_ns).tobytes() == run(kind, sine, times_ns).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_input_may_be_reused(kind: str) -> None:
    """A caller that writes the next frame into the same array changes no history."""
    predictor, buffer = make_predictor(kind), np.zeros((1, 3))
    times_ns = stamps(20)
    predicted = []
    for stamp_ns in times_ns:
        buffer[:] = sine(seconds(stamp_ns))
        predictor.add(stamp_ns, buffer)
        predicted.append(predictor.predict(HORIZON_NS))
    np.testing.assert_array_equal(predicted, run(kind, sine, times_ns))


@pytest.mark.parametrize("shape", [(3,), (1, 2), (1, 1, 3)])
def test_shape_is_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be \\(N, 3\\)"):
        make_predictor("adaptive_linear").add(T0, np.zeros(shape))


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="adaptive_linear"):
        make_predictor("adaptive")


finite = st.floats(-9999.0, 9999.0)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    steps_ms=st.lists(st.integers(-50, 1600), min_size=1, max_size=30),
    values=st.lists(st.one_of(finite, st.floats(-30, 30)), min_size=3, max_size=12),
    horizon_ms=st.integers(0, 1100),
    scale=st.sampled_from([1.0, 1e3, 1e-6]),
)
def test_finite_input_gives_finite_output(
    kind: str, steps_ms: list[int], values: list[float], horizon_ms: int, scale: float
) -> None:
    """Whatever the frames hold, after ten seconds of breathing or without."""
    monitored = MonitoredPredictor(PredictorParameters(kind=kind))
    stamp_ns = T0
    for stamp_ns in stamps(10):
        monitored.update(stamp_ns, scale * sine(seconds(stamp_ns)), horizon_ms * NS_PER_MS)
    for i, step_ms in enumerate(steps_ms):
        stamp_ns += step_ms * NS_PER_MS
        positions_mm = np.array([[values[(i + j) % len(values)] for j in range(3)]])
        prediction = monitored.update(stamp_ns, positions_mm, horizon_ms * NS_PER_MS)
        assert np.isfinite(prediction.positions_mm).all()
        assert prediction.margin_mm >= 0


# the monitor -------------------------------------------------------------------------------------


def watch(
    motion: Motion,
    times_ns: list[int],
    *,
    horizon_ns: int = HORIZON_NS,
    monitored: MonitoredPredictor | None = None,
    **parameters: object,
) -> list[Prediction]:
    """Return what a monitored predictor says on each frame."""
    if monitored is None:
        settings = {"kind": "adaptive_linear", **parameters}
        monitored = MonitoredPredictor(PredictorParameters(**settings))  # type: ignore[arg-type]
    return [monitored.update(t, motion(seconds(t)), horizon_ns) for t in times_ns]


def erratic(time_s: float) -> np.ndarray:
    """Return (1, 3): jumps that nothing can foresee."""
    rng = np.random.default_rng(round(time_s * 1000))
    return sine(time_s) + rng.uniform(-6, 6, (1, 3))


def test_none_asks_for_nothing_and_gets_nothing() -> None:
    times_ns = stamps(60)
    for stamp_ns, prediction in zip(
        times_ns, watch(erratic, times_ns, kind="none", diverged_mm=0.0), strict=True
    ):
        assert prediction.positions_mm.tolist() == erratic(seconds(stamp_ns)).tolist()
        assert (prediction.margin_mm, prediction.predicting, prediction.diverged) == (0.0, False, False)


@pytest.mark.parametrize(("kind", "until_s"), [("constant_velocity", 4), ("adaptive_linear", 12)])
def test_good_predictions_are_used_once_they_are_proven(kind: str, until_s: float) -> None:
    times_ns = stamps(60)
    predictions = watch(sine, times_ns, kind=kind)
    assert not predictions[0].predicting
    late = [p for p, t in zip(predictions, times_ns, strict=True) if seconds(t) >= until_s]
    assert all(p.predicting and p.margin_mm == 0 and not p.diverged for p in late)


def test_until_then_the_newest_position_is_given() -> None:
    times_ns = stamps(8)
    for stamp_ns, prediction in zip(times_ns, watch(sine, times_ns), strict=True):
        assert not prediction.predicting
        assert prediction.positions_mm.tolist() == sine(seconds(stamp_ns)).tolist()


def test_margin_is_what_the_error_exceeds_the_allowed_one_by() -> None:
    """Standing still on a ramp of 10 mm/s is 3 mm off after 0.3 s."""

    def slope(time_s: float) -> np.ndarray:
        return np.array([[0.0, 10.0 * time_s, 0.0]])

    horizon_ns = 300 * NS_PER_MS
    predictions = watch(slope, stamps(5), horizon_ns=horizon_ns, allowed_error_mm=1.0)
    assert [p.margin_mm for p in predictions[:10]] == [0.0] * 10
    assert predictions[-1].margin_mm == pytest.approx(2.0)
    predicted = watch(slope, stamps(40), horizon_ns=horizon_ns, allowed_error_mm=1.0)[-1]
    assert predicted.predicting
    assert predicted.margin_mm == 0


def test_predictions_due_between_frames_are_scored_there() -> None:
    def slope(time_s: float) -> np.ndarray:
        return np.array([[0.0, 10.0 * time_s, 0.0]])

    last = watch(slope, stamps(5), horizon_ns=250 * NS_PER_MS, allowed_error_mm=0.0)[-1]
    assert last.margin_mm == pytest.approx(2.5)


def test_useless_predictions_are_not_used_and_used_again_when_good() -> None:
    def motion(time_s: float) -> np.ndarray:
        return erratic(time_s) if 30 <= time_s < 50 else sine(time_s)

    times_ns = stamps(200)
    predictions = watch(motion, times_ns, max_error_mm=3.0)
    predicting = {round(seconds(t)): p.predicting for t, p in zip(times_ns, predictions, strict=True)}
    assert predicting[29]
    assert not any(predicting[s] for s in range(33, 51))
    assert predicting[199]
    changes = sum(a.predicting != b.predicting for a, b in pairwise(predictions))
    assert changes == 3, "used, not used, used"


def test_nothing_is_predicted_while_the_error_is_above_its_limit() -> None:
    assert not any(p.predicting for p in watch(erratic, stamps(60), max_error_mm=1.0))


def test_worse_than_standing_still_is_not_used() -> None:
    """White noise about a fixed place: its velocity says nothing."""
    predictions = watch(erratic, stamps(60), kind="constant_velocity", max_error_mm=50.0)
    assert not any(p.predicting for p in predictions)


def test_error_that_stays_too_large_is_said_to_diverge_and_recovers() -> None:
    def motion(time_s: float) -> np.ndarray:
        return erratic(time_s) if time_s < 60 else sine(time_s)

    times_ns = stamps(120)
    predictions = watch(motion, times_ns, diverged_mm=6.0, diverged_after_s=10.0)
    diverged = [seconds(t) for t, p in zip(times_ns, predictions, strict=True) if p.diverged]
    # scored from the first prediction due, judged from 2 s of scores on
    assert diverged[0] == pytest.approx(12.3, abs=0.3)
    assert 60 < diverged[-1] < 85
    assert np.diff(diverged).max() < 0.15


def test_one_cough_does_not_diverge() -> None:
    def motion(time_s: float) -> np.ndarray:
        return erratic(time_s) * 4 if 40 <= time_s < 42 else sine(time_s)

    predictions = watch(motion, stamps(100))
    assert max(p.margin_mm for p in predictions) > 5
    assert not any(p.diverged for p in predictions)


def test_reset_clears_margin_and_divergence() -> None:
    parameters = PredictorParameters(kind="adaptive_linear", diverged_mm=1.0, diverged_after_s=1.0)
    monitored = MonitoredPredictor(parameters)
    last = watch(erratic, stamps(30), monitored=monitored)[-1]
    assert last.diverged
    assert last.margin_mm > 0
    monitored.reset()
    first = watch(sine, stamps(0.1), monitored=monitored)[0]
    assert (first.margin_mm, first.predicting, first.diverged) == (0.0, False, False)


def test_worst_landmark_counts() -> None:
    def both(time_s: float) -> np.ndarray:
        return np.concatenate([sine(time_s), erratic(time_s)])

    one = watch(erratic, stamps(30))[-1].margin_mm
    assert one > 0
    assert watch(both, stamps(30))[-1].margin_mm >= one


def test_unobserved_axis_is_not_scored() -> None:
    predictions = watch(lambda t: sine(t) * [np.nan, 1, 1], stamps(30))
    assert predictions[-1].predicting
    assert predictions[-1].margin_mm == 0
    assert np.isnan(predictions[-1].positions_mm).tolist() == [[True, False, False]]


def test_bad_frame_is_not_predicted_from() -> None:
    monitored = MonitoredPredictor(PredictorParameters(kind="adaptive_linear"))
    assert watch(sine, stamps(30), monitored=monitored)[-1].predicting
    spoilt = monitored.update(T0 + 30 * NS_PER_S, np.full((1, 3), np.nan), HORIZON_NS)
    assert not spoilt.predicting
    assert np.isnan(spoilt.positions_mm).all()
    assert monitored.update(T0 + 30 * NS_PER_S + 1, sine(30.0), HORIZON_NS).predicting


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "lstm"}, "constant_velocity"),
        ({"window_s": 0.0}, "window_s must be at least"),
        ({"allowed_error_mm": -1.0}, "allowed_error_mm must be at least 0"),
        ({"allowed_error_mm": float("nan")}, "allowed_error_mm"),
        ({"max_eror_mm": 1.0}, "max_error_mm"),
    ],
)
def test_parameters_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(PredictorParameters, values, "test.yaml")


def test_nothing_is_predicted_by_default() -> None:
    assert PredictorParameters().kind == "none"


# real breathing ----------------------------------------------------------------------------------


def test_real_breathing() -> None:
    """At 300 ms the pooled error is less than half of standing still's, and less than constant velocity's."""
    names = ("201205101522_LAC", "201205111055_LAC", "201205181211_UCC")
    squares = dict.fromkeys(KINDS, 0.0)
    for name in names:
        path = BREATHING / f"{name}.csv"
        if not path.is_file():
            pytest.skip("the breathing traces ../shared/data/breathing are not beside the repository")
        time_s, *axes = np.genfromtxt(path, delimiter=",", skip_header=1)[:1200].T
        trace_mm = np.stack(axes, axis=1)
        scored = (time_s >= 20) & (time_s + 0.3 <= time_s[-1])
        truth = np.stack([np.interp(time_s + 0.3, time_s, axis) for axis in axes], axis=1)
        for kind in KINDS:
            monitored = MonitoredPredictor(PredictorParameters(kind=kind))
            for i, position_mm in enumerate(trace_mm):
                stamp_ns = T0 + round(time_s[i] * NS_PER_S)
                prediction = monitored.update(stamp_ns, position_mm[None], HORIZON_NS)
                if scored[i]:
                    squares[kind] += float(((prediction.positions_mm[0] - truth[i]) ** 2).sum())
                    assert prediction.predicting or kind != "adaptive_linear"
                    assert not prediction.diverged
    rms = {kind: np.sqrt(s / squares["none"]) for kind, s in squares.items()}
    assert rms["adaptive_linear"] < 0.5
    assert rms["adaptive_linear"] < rms["constant_velocity"]

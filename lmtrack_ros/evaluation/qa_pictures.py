"""The plots of the quality check."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lmtrack_ros.core.frames import Array
from lmtrack_ros.evaluation.couch_qa import IMAGING_MS, SPEED_MM_S
from lmtrack_ros.evaluation.gating_qa import KINDS, LEARN_S, MAIN_SHARE, WINDOW_SHARES, figures, pool
from lmtrack_ros.evaluation.live_gating import AXIS, LiveRun
from lmtrack_ros.evaluation.lock_step_qa import ADAPTIVE, CONSTANT_VELOCITY, NONE, LockStep
from lmtrack_ros.evaluation.moving_target import Crossing, fit
from lmtrack_ros.evaluation.programme import Programme

LABELS = {NONE: "no prediction", CONSTANT_VELOCITY: "constant velocity", ADAPTIVE: "adaptive linear"}
_COLORS = {NONE: "#8d99ae", CONSTANT_VELOCITY: "#e09f3e", ADAPTIVE: "#1d6fa3"}
_TRUE, _WINDOW, _GOOD, _BAD = "#22262b", "#dfeee0", "#3a9d5d", "#d1495b"
_EXAMPLE_S = 25.0
_WIDTH = 11.0


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    return buffer.getvalue()


def _figure(height: float) -> Figure:
    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="0.92", lw=0.8)
    axes.set_axisbelow(True)


def _bars_of_beam(
    axes: Axes, time_s: Array, beam: NDArray[np.bool_], inside: NDArray[np.bool_], row: float
) -> None:
    for wanted, color in ((beam & inside, _GOOD), (beam & ~inside, _BAD)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.astype(int), [0]])))
        step = time_s[1] - time_s[0]
        spans = [(time_s[a], (b - a) * step) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        axes.broken_barh(spans, (row - 0.36, 0.72), color=color, lw=0.0)


def example(done: LockStep) -> Figure:
    """Draw a part of the pooled trace of median extent: motion, window, and each gate's beam."""
    middle = sorted(done.pooled, key=lambda i: done.traces[i].peak_to_peak_mm)[len(done.pooled) // 2]
    trace, window = done.traces[middle], done.windows[MAIN_SHARE][middle]
    start_s = LEARN_S + 10.0
    time_s = np.arange(start_s, min(start_s + _EXAMPLE_S, trace.time_s[-1]), 0.01)
    true_mm = trace.at(time_s) - window.planned_mm
    inside = window.contains(true_mm + window.planned_mm)
    main = int(np.ptp(trace.position_mm, axis=0).argmax())
    figure = _figure(4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
    half = window.half_width_mm[main]
    above.axhspan(-half, half, color=_WINDOW, lw=0.0, label="window")
    above.plot(time_s, true_mm[:, main], color=_TRUE, lw=1.8, label="true position")
    for kind in (NONE, ADAPTIVE):
        run = done.runs[MAIN_SHARE, kind][middle]
        # each sample is drawn when its decision acts
        acts_s = run.frame_s + (0.3 + trace.interval_s / 2)
        shown = (acts_s >= time_s[0]) & (acts_s <= time_s[-1])
        position = run.predicted_mm[shown, main] - window.planned_mm[main]
        text = "last known, when acted on" if kind == NONE else "predicted for then"
        above.plot(acts_s[shown], position, ".-", ms=3.5, lw=0.7, color=_COLORS[kind], label=text)
    above.set_ylabel(f"{'xyz'[main]} from exhale [mm]")
    above.set_ylim(top=1.25 * above.get_ylim()[1])
    above.legend(loc="upper right", ncols=4, fontsize=8)
    above.set_title(f"{trace.name}: {trace.peak_to_peak_mm:.1f} mm peak to peak", loc="left", fontsize=10)
    for row, kind in enumerate(reversed(KINDS)):
        _bars_of_beam(below, time_s, done.runs[MAIN_SHARE, kind][middle].beam(time_s), inside, row)
    below.set_yticks(range(len(KINDS)), [LABELS[k] for k in reversed(KINDS)])
    below.set_xlabel("time [s]")
    below.set_title("beam on: green with the target inside, red outside", loc="left", fontsize=9)
    below.set_xlim(time_s[0], time_s[-1])
    for axes in (above, below):
        _tidy(axes)
    return figure


def per_trace(done: LockStep) -> Figure:
    """Draw for each trace beam-on outside, duty cycle and prediction error."""
    order = sorted(range(len(done.traces)), key=lambda i: done.traces[i].peak_to_peak_mm)
    figure = _figure(1.4 + 0.42 * len(order))
    panels = figure.subplots(1, 3, sharey=True)
    columns = (
        ("beam_on_outside_percent", "beam-on time outside [%]", 1.0),
        ("duty_cycle", "duty cycle [%]", 100.0),
        ("prediction_rmse_mm", "position error at total latency, RMS [mm]", 1.0),
    )
    for axes, (name, text, factor) in zip(panels, columns, strict=True):
        for offset, kind in zip((0.27, 0.0, -0.27), KINDS, strict=True):
            found = [figures(done.scores[MAIN_SHARE, kind][i])[name] for i in order]
            values = [factor * (v or 0.0) for v in found]
            rows = np.arange(len(order)) + offset
            axes.barh(rows, values, 0.25, color=_COLORS[kind], label=LABELS[kind])
        axes.set_xlabel(text)
        _tidy(axes)
        axes.grid(False, axis="y")
    names = [f"{done.traces[i].name}  {done.traces[i].peak_to_peak_mm:4.1f} mm" for i in order]
    panels[0].set_yticks(range(len(order)), names)
    for tick, index in zip(panels[0].get_yticklabels(), order, strict=True):
        tick.set_color("black" if index in done.pooled else "0.55")
    panels[1].set_xlim(0, 100)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def ratios_by_window(done: LockStep) -> Figure:
    """Draw the pooled ratios to the unpredicted gate for each window, with their intervals and goals."""
    figure = _figure(3.2)
    panels = figure.subplots(1, 3)
    columns = (
        ("beam_on_outside", "beam-on time outside", 0.4, "≤"),
        ("duty_cycle", "duty cycle", 0.95, "≥"),
        ("prediction_rmse", "position error", 0.5, "≤"),
    )
    for axes, (name, text, goal, sign) in zip(panels, columns, strict=True):
        for offset, kind in ((-0.015, CONSTANT_VELOCITY), (0.015, ADAPTIVE)):
            for share in WINDOW_SHARES:
                found = done.compared(share, kind, NONE)[name]
                if found is None:
                    continue
                ratio, low, high = found["ratio"], found["low"], found["high"]
                axes.errorbar(
                    share + offset,
                    ratio,
                    [[max(0.0, ratio - low)], [max(0.0, high - ratio)]],
                    fmt="o",
                    color=_COLORS[kind],
                    capsize=3,
                    label=LABELS[kind] if share == WINDOW_SHARES[0] else None,
                )
        axes.axhline(1.0, color="0.6", lw=0.8)
        axes.axhline(goal, color=_BAD, lw=1.0, ls="--", label=f"goal {sign} {goal:g}")
        axes.set_title(text, fontsize=10, loc="left")
        axes.set_xticks(WINDOW_SHARES, [f"{100 * s:g} %" for s in WINDOW_SHARES])
        axes.set_xlabel("half width, share of the range")
        axes.set_ylim(bottom=0.0)
        _tidy(axes)
        axes.legend(fontsize=7.5, loc="lower right")
    panels[0].set_ylabel("ratio to no prediction")
    return figure


def switch_errors(done: LockStep) -> Figure:
    """Draw how late the beam switches at crossings of the window's edge, pooled."""
    figure = _figure(3.0)
    panels = figure.subplots(1, 2, sharey=True)
    bins = np.arange(-600, 725, 25)
    for axes, name, text in zip(
        panels,
        ("on_errors_ms", "off_errors_ms"),
        ("beam on, target enters", "beam off, target leaves"),
        strict=True,
    ):
        for kind in KINDS:
            errors_ms = getattr(pool(done.pooled_scores(MAIN_SHARE, kind)), name)
            weights = np.full(len(errors_ms), 100.0 / max(1, len(errors_ms)))
            axes.hist(
                np.clip(errors_ms, bins[0], bins[-1]),
                bins,
                weights=weights,
                histtype="stepfilled",
                alpha=0.25,
                color=_COLORS[kind],
            )
            axes.hist(
                np.clip(errors_ms, bins[0], bins[-1]),
                bins,
                weights=weights,
                histtype="step",
                lw=1.4,
                color=_COLORS[kind],
                label=LABELS[kind],
            )
        axes.axvline(0.0, color=_TRUE, lw=0.8)
        axes.set_title(text, fontsize=10, loc="left")
        axes.set_xlabel("switch minus true crossing [ms]")
        _tidy(axes)
    panels[0].set_ylabel("share of crossings [%]")
    panels[0].legend(fontsize=8, loc="upper left")
    return figure


def couch(done: LockStep) -> Figure:
    """Draw the residual motion of each trace with the couch still and following, and one in time."""
    order = sorted(range(len(done.traces)), key=lambda i: done.traces[i].fast_mm_s)
    runs = done.couch[IMAGING_MS]
    figure = _figure(1.6 + 0.3 * len(order))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.25))
    rows = np.arange(len(order))
    for offset, part, color, text in ((0.2, 0, "#8d99ae", "couch still"), (-0.2, 1, "#1d6fa3", "following")):
        left.barh(rows + offset, [runs[i].residual_mm[part] for i in order], 0.38, color=color, label=text)
    for row, index in enumerate(order):
        still, following = runs[index].residual_mm
        left.annotate(
            f" {still / following:.1f}×", (max(still, following), row), va="center", fontsize=8, color="0.3"
        )
    left.set_yticks(rows, [f"{done.traces[i].name}  {done.traces[i].fast_mm_s:4.1f} mm/s" for i in order])
    for tick, index in zip(left.get_yticklabels(), order, strict=True):
        tick.set_color("black" if index in done.followable else "0.55")
    left.set_xlabel("distance from plan, RMS [mm]")
    left.margins(x=0.12)
    left.legend(fontsize=8, loc="lower right")
    followable = [i for i in order if i in done.followable] or order
    index = max(followable, key=lambda i: done.traces[i].peak_to_peak_mm)
    run, main = runs[index], int(np.ptp(done.traces[index].position_mm, axis=0).argmax())
    shown = run.time_s < LEARN_S + 30.0
    right.plot(run.time_s[shown], run.still_mm[shown, main], color="#8d99ae", lw=1.4, label="couch still")
    right.plot(run.time_s[shown], run.following_mm[shown, main], color="#1d6fa3", lw=1.4, label="following")
    right.set_title(done.traces[index].name, loc="left", fontsize=10)
    right.set_xlabel("time [s]")
    right.set_ylabel(f"{'xyz'[main]} from plan [mm]")
    right.legend(fontsize=8, loc="upper right")
    for axes in (left, right):
        _tidy(axes)
    left.grid(False, axis="y")
    left.set_title(f"couch with at most {SPEED_MM_S:g} mm/s; grey names are faster", loc="left", fontsize=9)
    return figure


def moving_target(runs: Mapping[str, LiveRun], programme: Programme) -> Figure:
    """Draw where the target was when the beam switched, against its speed, for each predictor."""
    figure = _figure(3.8)
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    for axes, (entering, text) in zip(
        panels, ((True, "beam on, target enters"), (False, "beam off, target leaves")), strict=True
    ):
        for kind, run in runs.items():
            crossings = [c for c in run.crossings(programme.sines_s) if c.entering is entering]
            _draw_crossings(axes, crossings, kind)
        axes.axhline(0.0, color=_TRUE, lw=0.8)
        axes.set_title(text, loc="left", fontsize=10)
        axes.set_xlabel("speed across the edge [mm/s]")
        # below, for the crossings may lie anywhere
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.17))
        _tidy(axes)
    panels[0].set_ylabel("past the edge at the switch [mm]")
    panels[0].set_xlim(left=0.0)
    return figure


def _draw_crossings(axes: Axes, crossings: Sequence[Crossing], kind: str) -> None:
    speed = np.array([c.speed_mm_s for c in crossings])
    dots = axes.plot(speed, [c.past_mm for c in crossings], "o", ms=4, color=_COLORS[kind], alpha=0.7)
    line = fit(crossings)
    if line is None:
        dots[0].set_label(f"{LABELS[kind]}: too few crossings")
        return
    ends = np.array([0.0, speed.max()])
    low, high = line.latency_interval_ms
    text = f"{LABELS[kind]}: {line.latency_ms:.0f} ms [{low:.0f}, {high:.0f}], {line.intercept_mm:+.2f} mm"
    axes.plot(ends, line.intercept_mm + line.latency_ms / 1e3 * ends, color=_COLORS[kind], label=text)


def live_motion(run: LiveRun, programme: Programme, kind: str) -> Figure:
    """Draw the whole live run: motion along the body, window, beam, and the couch."""
    figure = _figure(3.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.0, 0.55))
    every = slice(None, None, 10)
    time_s = run.time_s[every]
    above.axhspan(*run.window_mm, color=_WINDOW, lw=0.0, label="window")
    above.plot(time_s, run.true_mm[every, AXIS], color=_TRUE, lw=1.2, label="true target")
    if np.ptp(run.couch_mm[:, AXIS]) > 0:
        without_mm = run.true_mm[every, AXIS] - run.couch_mm[every, AXIS]
        above.plot(time_s, without_mm, color="#8d99ae", lw=0.9, ls=":", label="target without the couch")
        above.plot(time_s, run.couch_mm[every, AXIS], color="#1d6fa3", lw=1.0, ls="--", label="couch")
    for start_s, text in (
        (programme.sines_s[0], "sines"),
        (programme.irregular_s[0], "irregular"),
        (programme.recorded_s[0], f"recorded ({programme.excerpt})"),
    ):
        if start_s < time_s[-1]:
            above.axvline(start_s, color="0.6", lw=0.8)
            above.annotate(
                text, (start_s, 1.0), (3, -9), textcoords="offset points", fontsize=8,
                xycoords=("data", "axes fraction"), color="0.35",
            )  # fmt: skip
    above.set_ylabel("y from plan [mm]")
    above.legend(fontsize=8, ncols=4, loc="lower left")
    above.set_title(f"live graph, {LABELS[kind]}", loc="left", fontsize=10)
    _bars_of_beam(below, run.time_s, run.beam(run.time_s), run.inside(), 0.0)
    below.set_yticks([0.0], ["beam"])
    below.set_xlabel("phantom's time [s]; beam on: green with the target inside, red outside")
    below.set_xlim(time_s[0], time_s[-1])
    for axes in (above, below):
        _tidy(axes)
    return figure


def live_latency(run: LiveRun, hold_ms: Array) -> Figure:
    """Draw how long the frames took to their decisions, and how long a hold took."""
    figure = _figure(2.8)
    left, right = figure.subplots(1, 2)
    stages_ms = 1e3 * np.diff(run.decided, axis=1)
    total_ms = stages_ms.sum(axis=1)
    bottom = np.floor(np.percentile(total_ms, 0))
    left.hist(np.minimum(total_ms, bottom + 100), np.arange(bottom, bottom + 102, 2), color="#1d6fa3")
    left.set_xlabel("exposure to decision [ms]")
    left.set_ylabel("frames")
    right.hist(hold_ms, np.arange(-250, 255, 10), color="#8d99ae")
    right.axvline(100.0, color=_BAD, ls="--", lw=1.0, label="limit 100 ms")
    right.set_xlabel("exposure of the first frame outside to HOLD at the consumer [ms]")
    right.set_ylabel("crossings")
    right.legend(fontsize=8)
    for axes in (left, right):
        _tidy(axes)
    return figure

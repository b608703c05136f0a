"""The picture of a closed loop: the tracked frame, the traces with the beam-on spans, the latencies."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from lmtrack_ros.core.records import NS_PER_MS
from lmtrack_ros.evaluation.closed_loop import ClosedLoop

_TRUE, _TRACKED, _COUCH, _BEAM = "#1b1b1b", "#d1495b", "#2e6f95", "#8ac926"
_AXES = (("y", 1, "towards the gantry"), ("z", 2, "up"))


def draw_closed_loop(loop: ClosedLoop, title: str, path: Path) -> None:
    """Write the picture (PNG) of a run.

    Args:
        loop: the run.
        title: one line that names the setting.
        path: where to.
    """
    figure = Figure(figsize=(13.0, 7.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(3, 2, width_ratios=(1.0, 1.75), height_ratios=(1.0, 1.0, 0.62))
    _draw_frame(loop, figure.add_subplot(grid[:2, 0]))
    _draw_latency(loop, figure.add_subplot(grid[2, 0]))
    first: Axes | None = None
    for row, (name, axis, direction) in enumerate(_AXES):
        axes = figure.add_subplot(grid[row, 1], sharex=first)
        first = first or axes
        _draw_trace(loop, axes, axis)
        axes.set_ylabel(f"{name} ({direction}) [mm]")
        if row == 0:
            axes.legend(loc="upper right", ncols=4, fontsize=8, framealpha=0.9)
    residual = figure.add_subplot(grid[2, 1], sharex=first)
    _shade_beam(loop, residual)
    residual.plot(loop.time_s, np.linalg.norm(loop.true_mm, axis=1), color=_TRUE, lw=1.0)
    residual.set_ylabel("distance from plan [mm]")
    residual.set_xlabel("time since arming [s]")
    residual.set_xlim(0.0, loop.end_s)
    figure.savefig(path, dpi=110, format="png")


def _draw_frame(loop: ClosedLoop, axes: Axes) -> None:
    frame, tracked, truth = loop.frame
    axes.imshow(frame.image, cmap="gray", interpolation="nearest")
    assert frame.geometry is not None
    pitch_mm = frame.geometry.plane_spacing_mm[0]
    for estimate, true in zip(tracked.estimates, truth.estimates, strict=True):
        axes.plot(*true.uv_px[:2], "o", ms=9, mfc="none", mec="white", mew=1.0)
        column, row = estimate.uv_px[:2]
        axes.plot(column, row, "+", color=_TRACKED, ms=12, mew=1.6)
        axes.add_patch(Circle((column, row), estimate.radius_mm / pitch_mm, fill=False, ec=_TRACKED, lw=0.8))
        axes.annotate(
            f"{estimate.id}  {estimate.status.name}  {estimate.confidence:.2f}",
            (column, row),
            xytext=(10, -10),
            textcoords="offset points",
            color="white",
            fontsize=8,
            bbox={"fc": "black", "ec": "none", "alpha": 0.6, "pad": 1.5},
        )
    axes.set_title("tracked (+, 95 % radius) and true (○)", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_trace(loop: ClosedLoop, axes: Axes, axis: int) -> None:
    _shade_beam(loop, axes)
    axes.plot(loop.time_s, loop.true_mm[:, axis], color=_TRUE, lw=1.6, label="true target")
    axes.plot(
        loop.tracked_time_s, loop.tracked_mm[:, axis], ".", color=_TRACKED, ms=2.2, label="tracked target"
    )
    axes.plot(loop.couch_time_s, loop.couch_mm[:, axis], color=_COUCH, lw=1.0, ls="--", label="couch")
    axes.axhline(0.0, color="0.6", lw=0.6)
    if np.isfinite(loop.following_from_s):
        axes.axvline(loop.following_from_s, color=_COUCH, lw=0.8)
    axes.tick_params(labelbottom=False)


def _shade_beam(loop: ClosedLoop, axes: Axes) -> None:
    times = np.arange(0.0, loop.end_s, 0.005)
    axes.fill_between(
        times,
        0.0,
        1.0,
        where=loop.beam_on(times).tolist(),
        transform=axes.get_xaxis_transform(),
        color=_BEAM,
        alpha=0.35,
        lw=0.0,
        label="beam on",
    )


def _draw_latency(loop: ClosedLoop, axes: Axes) -> None:
    latency_ms = [
        (d.stamps.decided_ns - d.stamps.acquired_ns) / NS_PER_MS
        for d in loop.decisions
        if d.stamps.received_ns
    ]
    axes.hist(latency_ms, bins=40, color=_COUCH)
    axes.set_xlabel("latency from acquisition to decision [ms]")
    axes.set_ylabel("frames")

"""The page of the quality check: one HTML file that needs nothing beside it."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lmtrack_ros.evaluation import qa_pictures
from lmtrack_ros.evaluation.couch_qa import DEAD_TIME_MS, IMAGING_MS, SPEED_MM_S
from lmtrack_ros.evaluation.gating_qa import BEAM_MS, DECISION_MS, KINDS, LEARN_S, MAIN_SHARE, POOLED_FROM_MM
from lmtrack_ros.evaluation.live_gating import HOLD_LIMIT_MS, LiveRun, hold_latencies_ms
from lmtrack_ros.evaluation.lock_step_qa import ADAPTIVE, NONE, Goal, LockStep
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.programme import Programme
from lmtrack_ros.evaluation.qa_pictures import LABELS

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #22262b;
  max-width: 68rem; margin: 2rem auto 4rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.6rem; border-bottom: 2px solid #e6e8eb; }
h3 { margin-top: 1.8rem; }
.note { background: #fff8e6; border-left: 4px solid #e09f3e; padding: .6rem 1rem; margin: 1rem 0; }
.muted, figcaption { color: #5c6670; } figcaption { font-size: .88rem; }
figure { margin: 1.2rem 0; } img { max-width: 100%; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid #e6e8eb; text-align: right; white-space: nowrap; }
th { background: #f5f6f8; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; }
.pass, .fail { font-weight: 700; border-radius: .3rem; padding: .05rem .5rem; color: white; }
.pass { background: #3a9d5d; } .fail { background: #d1495b; }
"""
_PASS, _FAIL = '<span class="pass">pass</span>', '<span class="fail">FAIL</span>'


def write_page(
    path: Path,
    summary: Mapping[str, Any],
    goals: Sequence[Goal],
    done: LockStep,
    live: Mapping[str, LiveRun],
    programme: Programme | None,
) -> None:
    """Write the page.

    Args:
        path: .html file.
        summary: all figures.
        goals: of both halves.
        done: the runs in lock-step.
        live: live runs by predictor; may be empty.
        programme: what these played.

    Raises:
        UserError: it cannot be written.
    """
    parts = [
        "<h1>Phantom quality check of gate, prediction and couch</h1>",
        f'<p class="muted">lmtrack_ros {escape(summary["version"])} · {escape(summary["machine"])}</p>',
        '<p class="note"><b>Simulated.</b> Couch, beam and images are simulated; no patient, no treatment '
        f"machine. {escape(summary['motion'])} Research software.</p>",
        _goals(goals),
        *_gate(summary, done),
        *_couch(summary, done),
    ]
    if programme is not None:
        parts += _live(summary["live"], live, programme)
    body = "\n".join(parts)
    with atomic_file(path) as temporary:
        temporary.write_text(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>Phantom quality check</title>'
            f"<style>{_CSS}</style></head><body>\n{body}\n</body></html>\n",
            encoding="utf-8",
        )


def _goals(goals: Sequence[Goal]) -> str:
    rows = [
        f'<tr><td class="words">{escape(g.text)}</td><td class="words">{escape(g.value)}</td>'
        f"<td>{_PASS if g.passed else _FAIL}</td></tr>"
        for g in goals
    ]
    return (
        "<h2>Verdict</h2><table><tr><th>asked for</th><th>found</th><th></th></tr>"
        + "".join(rows)
        + "</table>"
    )


def _gate(summary: Mapping[str, Any], done: LockStep) -> list[str]:
    gate = summary["lock_step"]["gate"]
    main = gate[f"{MAIN_SHARE:g}"]
    traces = len(done.pooled)
    return [
        "<h2>The gate in lock-step</h2>",
        f"<p>Each sample of a trace is one frame, decided on {DECISION_MS:g} ms after it and acted on by "
        f"the beam {BEAM_MS:g} ms later; nothing between samples, and nothing of the future, is shown to the "
        f"gate. The window is a box about exhale, set by one rule from the first {LEARN_S:g} s, which are "
        "not scored: half width 30 % of each axis' range then, at least 1.5 mm; 20 and 40 % are shown too. "
        "Its faces lie midway between the 0.1 mm steps of the recordings. All gates of one trace have the "
        "same window, and no dwell time; one that predicts asks for the target inside at the middle of the "
        "time that a decision is in force, and a quarter of it before and after. The beam is judged every "
        "10 ms by the true position, on straight lines between samples. Pooled: the "
        f"{traces} of {len(done.traces)} traces with {POOLED_FROM_MM:g} mm or more peak to peak. Intervals: "
        "95 %, bootstrap over traces, several of which may be of one person.</p>",
        _picture(
            qa_pictures.example(done),
            "A part of the trace of median extent. The grey line is what a gate without prediction acts on: "
            "the position of a third of a second ago.",
        ),
        "<h3>Pooled</h3>",
        _pooled_table(main["pooled"]),
        "<h3>Windows</h3>",
        _picture(
            qa_pictures.ratios_by_window(done), "Pooled ratios to the gate without prediction, by window."
        ),
        _ratio_table(gate),
        "<h3>When the beam switches</h3>",
        _picture(
            qa_pictures.switch_errors(done),
            "How late the beam switches after the target has crossed the window's edge; negative: too early.",
        ),
        "<h3>Each trace</h3>",
        _picture(
            qa_pictures.per_trace(done), "Traces by their extent; grey names move too little to be pooled."
        ),
        _trace_table(main["per_trace"]),
    ]


def _pooled_table(pooled: Mapping[str, Any]) -> str:
    rows = []
    for kind in KINDS:
        f = pooled[kind]
        on, off = f["switch_on_error_ms"], f["switch_off_error_ms"]
        rows.append(
            [
                LABELS[kind],
                _number(f["beam_on_outside_s"], 1),
                _number(f["beam_on_outside_percent"], 1),
                _number(f["duty_cycle"], 3),
                _number(f["prediction_rmse_mm"], 2),
                f"{_number(on['median'], 0, sign=True)} / {_number(on['p95_absolute'], 0)}",
                f"{_number(off['median'], 0, sign=True)} / {_number(off['p95_absolute'], 0)}",
                str(f["crossings_missed"]),
                str(f["prediction_diverged"]),
            ]
        )
    return _table(
        [
            "predictor",
            "beam on outside, s",
            "% of beam on",
            "duty cycle",
            "position error RMS, mm",
            "beam on late, ms: median / 95 % of sizes",
            "beam off late, ms",
            "crossings missed",
            "latched",
        ],
        rows,
    )


def _ratio_table(gate: Mapping[str, Any]) -> str:
    rows = []
    for share, found in gate.items():
        compared = [(f"{LABELS[k]} to none", found["to_none"][k]) for k in KINDS[1:]]
        compared.append(("adaptive linear to constant velocity", found["adaptive_to_constant_velocity"]))
        for text, ratio in compared:
            cells = [_ratio(ratio[n]) for n in ("beam_on_outside", "duty_cycle", "prediction_rmse")]
            rows.append([f"{100 * float(share):g} %", text, *cells])
    return _table(["window", "ratio of", "beam on outside", "duty cycle", "position error"], rows)


def _trace_table(per_trace: Mapping[str, Any]) -> str:
    rows = []
    for name, f in per_trace.items():
        cells = [name, _number(f["peak_to_peak_mm"], 1), _number(f[NONE]["target_inside_share"], 2)]
        for key, digits in (("beam_on_outside_s", 1), ("duty_cycle", 3), ("prediction_rmse_mm", 2)):
            cells.append(" / ".join(_number(f[kind][key], digits) for kind in KINDS))
        for key in ("switch_on_error_ms", "switch_off_error_ms"):
            cells.append(" / ".join(_number(f[kind][key]["median"], 0, sign=True) for kind in KINDS))
        rows.append(cells)
    note = "<p class='muted'>Three values: no prediction / constant velocity / adaptive linear.</p>"
    headings = [
        "trace",
        "extent, mm",
        "target inside, share",
        "beam on outside, s",
        "duty cycle",
        "position error RMS, mm",
        "beam on late, median, ms",
        "beam off late, median, ms",
    ]
    return note + _table(headings, rows)


def _couch(summary: Mapping[str, Any], done: LockStep) -> list[str]:
    main, slow = summary["lock_step"]["couch"]
    rows = []
    for name, f in main["per_trace"].items():
        other = slow["per_trace"][name]
        rows.append(
            [
                name,
                _number(f["speed_p99_mm_s"], 1),
                _number(f["residual_rms_mm_still"], 2),
                _number(f["residual_rms_mm_following"], 2),
                _number(f["ratio"], 1),
                _number(f["ratio_about_own_mean"], 1),
                _number(other["ratio"], 1),
                ", ".join(f["held_by"]) or "–",
            ]
        )
    return [
        "<h2>The couch in lock-step</h2>",
        f"<p>A simulated couch with {DEAD_TIME_MS:g} ms dead time and {SPEED_MM_S:g} mm/s follows on all "
        f"axes with the adaptive predictor; a frame is decided on {main['imaging_latency_ms']:g} ms after it "
        f"(beside it {slow['imaging_latency_ms']:g} ms). Planned is the mean position of the first "
        f"{LEARN_S:g} s, which are not scored. Residual motion of the traces whose 99th percentile of speed "
        "the couch can reach, pooled: "
        f"{_number(main['pooled_ratio'], 1)} times smaller ({_number(slow['pooled_ratio'], 1)} at "
        f"{slow['imaging_latency_ms']:g} ms). A target that drifts is far from plan without the couch; "
        "without drift, the still couch is judged by the distance from the target's own mean instead: "
        f"{_number(main['pooled_ratio_about_own_mean'], 1)} times "
        f"({_number(slow['pooled_ratio_about_own_mean'], 1)}).</p>",
        _picture(qa_pictures.couch(done), "The target's distance from plan, couch still and following."),
        _table(
            [
                "trace",
                "speed p99, mm/s",
                "still, RMS mm",
                "following, RMS mm",
                f"ratio, {IMAGING_MS:g} ms",
                "of it without drift",
                f"ratio, {slow['imaging_latency_ms']:g} ms",
                "held by",
            ],
            rows,
        ),
    ]


def _live(summary: Mapping[str, Any], live: Mapping[str, LiveRun], programme: Programme) -> list[str]:
    parts = [
        "<h2>The live graph</h2>",
        "<p>Phantom, tracker, gate, couch and recorder as processes of their own over ROS 2; the beam is the "
        f"reference consumer of the decisions, and follows {summary['beam_latency_ms']:g} ms after its line. "
        f"Frames come {summary['imaging_latency_ms']:g} ms after their exposure, at "
        f"{summary['frame_rate_hz']:g} Hz. A good frame is enough for the beam to go on. "
        f"The window is {summary['window_mm'][0]:g} to {summary['window_mm'][1]:g} mm along the body. "
        f"Load of the machine over the runs: {escape(summary['load'])}.</p>",
    ]
    for kind, run in live.items():
        parts.append(_picture(qa_pictures.live_motion(run, programme, kind), f"The run with {LABELS[kind]}."))
    rows = []
    for kind, f in summary["runs"].items():
        for way in ("on", "off"):
            fitted = f["latency"][way]
            if fitted is None:
                rows.append([LABELS[kind], f"beam {way}", "too few crossings", "", "", "", ""])
                continue
            low, high = fitted["latency_interval_ms"]
            less, more = fitted["intercept_interval_mm"]
            rows.append(
                [
                    LABELS[kind],
                    f"beam {way}",
                    str(fitted["count"]),
                    f"{fitted['latency_ms']:.0f} [{low:.0f}, {high:.0f}]",
                    f"{fitted['intercept_mm']:+.2f} [{less:+.2f}, {more:+.2f}]",
                    f"{fitted['scatter_mm']:.2f}",
                    f"{fitted['median_late_ms']:+.0f}",
                ]
            )
    parts += [
        "<h3>Latency by the moving target</h3>",
        "<p>How far past the edge the target was when the beam switched, against its speed: the slope is the "
        "latency of the whole loop from motion to beam. With prediction it should vanish. The intercept is "
        "what does not grow with speed, such as the tracker's radius that the gate keeps free.</p>",
        _picture(
            qa_pictures.moving_target(live, programme), "Each dot is one crossing; lines with 95 % intervals."
        ),
        _table(
            [
                "predictor",
                "switch",
                "crossings",
                "latency, ms",
                "intercept, mm",
                "scatter, mm",
                "late, median, ms",
            ],
            rows,
        ),
    ]
    stages = [
        [LABELS[kind], name, *(_number(s[p], 1) for p in ("p50", "p95", "p99", "max"))]
        for kind, f in summary["runs"].items()
        for name, s in (
            *f["latency"]["stages_ms"].items(),
            ("hold: first frame outside to HOLD", f["latency"]["hold_ms"]),
        )
    ]
    unpredicted = live[NONE]
    parts += [
        "<h3>Stages</h3>",
        "<p>The time to hold runs from the exposure of the first frame that shows the target outside to HOLD "
        f"at the consumer, limit {HOLD_LIMIT_MS:g} ms; it is judged without prediction, which holds before "
        "that frame.</p>",
        _picture(
            qa_pictures.live_latency(unpredicted, hold_latencies_ms(unpredicted, programme.sines_s)),
            "Without prediction.",
        ),
        _table(["predictor", "stage, ms", "p50", "p95", "p99", "max"], stages),
    ]
    beam = [
        [
            LABELS[kind],
            part,
            _number(s["seconds"], 0),
            _number(s["target_inside_share"], 2),
            _number(s["duty_cycle"], 2),
            _number(s["beam_on_outside_s"], 2),
            _number(s["beam_on_outside_percent"], 1),
            _number(s["prediction_rmse_mm"], 2),
            _number(s["horizon_ms_median"], 0),
        ]
        for kind, f in summary["runs"].items()
        for part, s in f["beam"].items()
    ]
    parts += [
        "<h3>Beam</h3>",
        _table(
            [
                "predictor",
                "part",
                "s",
                "target inside, share",
                "duty cycle",
                "beam on outside, s",
                "% of beam on",
                "position error RMS, mm",
                "horizon, ms",
            ],
            beam,
        ),
    ]
    for kind, f in summary["runs"].items():
        held = ", ".join(f"{name} {number}" for name, number in f["latency"]["held_by"].items()) or "none"
        parts.append(
            f"<p class='muted'>{LABELS[kind]}: {f['latency']['frames_published']} frames published, "
            f"{f['latency']['frames_decided']} decided on; decisions that held, by reason: {held}.</p>"
        )
    couch = summary["runs"].get(ADAPTIVE, {}).get("couch")
    if couch and couch["ratio"] is not None:
        parts.append(
            "<h3>Couch</h3><p>While the couch follows the recorded excerpt with the adaptive predictor: "
            f"{couch['residual_rms_mm_following']:.2f} mm RMS from plan, "
            f"{couch['residual_rms_mm_still']:.2f} mm about its mean without the couch: "
            f"{couch['ratio']:.1f} times smaller.</p>"
        )
    return parts


def _ratio(found: Mapping[str, float] | None) -> str:
    return "–" if found is None else f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _picture(figure: Figure, caption: str) -> str:
    data = b64encode(qa_pictures.png(figure)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )

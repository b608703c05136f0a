"""Within-subject tracking on real recordings, beside the correlation tracker (paper section III.C.1).

Every tracker follows the same landmarks of the same recordings:

- annotated landmarks from the first frame;
- the same from later frames, as treatment does not begin at the first breath;
- targets put into the recordings, whose truth is exact.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import NS_PER_S, Frame, Landmark, Status
from lmtrack_ros.evaluation import coverage
from lmtrack_ros.evaluation.excerpt import Excerpt
from lmtrack_ros.evaluation.metrics import FAR_MM, Errors, errors, off_path
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.runs import Run, follow
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.tracker_settings import tracker_parameters
from lmtrack_ros.evaluation.tracking_picture import Cumulated, draw_errors
from lmtrack_ros.models import find_model
from lmtrack_ros.models.following import ASTRAY, CONTINUED, DOUBTED, NETWORK, REFINED, UNVERIFIED
from lmtrack_ros.models.template_matching.parameters import TemplateMatchingParameters
from lmtrack_ros.models.template_matching.tracker import TemplateMatchingTracker
from lmtrack_ros.models.tracking import Measurement
from lmtrack_ros.phantoms.insertion import TARGET, insert
from lmtrack_ros.phantoms.motion import Trace
from lmtrack_ros.phantoms.target_appearance import TargetParameters
from lmtrack_ros.sources import open_source
from lmtrack_ros.sources.annotations import Annotation, Mark, read_annotations
from lmtrack_ros.trackers import Tracker, create_tracker
from lmtrack_ros.trackers.refinement import RefinementParameters

Array = NDArray[np.float64]

_CORRELATION, _NETWORK, _REFINED = "correlation", "network alone", "network, refined"
_START_EVERY = 50
"""Frames between the starts."""
_SHORTEST = 50
"""Frames that a run from a later start has at least."""
_TARGETS = 4
"""Put into each recording, one at a time."""
_TARGET = TargetParameters(diameters_mm=(20.0, 16.0, 18.0))
_SIGNALS = (0.4, 2.0)
"""Relative to the tissue: dark, bright."""
_BESIDE_MM = (12.0, 20.0)
"""How far a target is from the landmark that it moves with."""

_REPORTED = (REFINED, DOUBTED, CONTINUED, UNVERIFIED, ASTRAY)
"""Kinds of measurement that are reported where there is refinement."""


@dataclass(frozen=True, eq=False)
class Known:
    """A recording with what is known of it.

    Attributes:
        name: of the recording, and how it was changed.
        excerpt: its frames.
        annotations: of its landmarks; on the first frame all are marked.
    """

    name: str
    excerpt: Excerpt
    annotations: Sequence[Annotation]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One tracker on one sequence.

    Attributes:
        sequence: its name.
        run: what was reported.
        errors: of each landmark on its certain frames.
    """

    sequence: str
    run: Run
    errors: Sequence[Errors]


class _Watched(TemplateMatchingTracker):
    """Counts which kinds of measurement are reported, and how far refinement moves the result."""

    def __init__(self, parameters: TemplateMatchingParameters) -> None:
        super().__init__(parameters)
        self.kinds: Counter[str] = Counter()
        self.moved_px: list[float] = []

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        measured = super().measure(frame)
        for found in measured:
            self.kinds[found[-1].kind if found else "none"] += 1
            if len(found) > 1:
                self.moved_px.append(float(np.linalg.norm(found[-1].uv_px - found[0].uv_px)))
        return measured


def conduct(order: Order) -> Path:
    """Conduct the study; returns its page.

    Raises:
        UserError: no recordings are given, or one has no landmarks.
    """
    if not order.recordings:
        raise UserError("this study is of real recordings: give their folders with --recordings")
    recordings = [_recording(folder) for folder in order.recordings]
    weights = order.weights or next(iter(find_model("template_matching").data))
    watched: dict[str, _Watched] = {}
    outcomes: dict[str, dict[str, list[Outcome]]] = {}
    stages: dict[str, Callable[[Known], Iterator[Known]]] = {
        "first frame": lambda s: iter([s]),
        "later frames": _from_later,
        "inserted": _with_targets,
    }
    for tracker_name in (_CORRELATION, _NETWORK, _REFINED):
        outcomes[tracker_name] = {}
        for stage, sequences_of in stages.items():
            found = outcomes[tracker_name][stage] = []
            for done, recording in enumerate(recordings):
                order.progress(f"{tracker_name}, {stage}", done, len(recordings))
                tracker = _tracker(tracker_name, recording, weights)
                if isinstance(tracker, _Watched) and stage == "first frame":
                    watched[f"{tracker_name} · {recording.name}"] = tracker
                found += [_follow(tracker, sequence, tracker_name) for sequence in sequences_of(recording)]
            order.progress(f"{tracker_name}, {stage}", len(recordings), len(recordings))
    picture = order.out / "tracking.png"
    draw_errors(picture, _cumulated(outcomes))
    page = order.out / "tracking.md"
    text = _page(order, recordings, outcomes, watched, weights)
    with atomic_file(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def _recording(folder: Path) -> Known:
    return Known(folder.resolve().name, Excerpt.of(open_source(folder)), read_annotations(folder))


def _tracker(name: str, recording: Known, weights: str) -> Tracker:
    geometry = recording.excerpt.info.geometry
    if name == _CORRELATION:
        return create_tracker(name, tracker_parameters(name, geometry.modality if geometry else None))
    refinement = RefinementParameters(enabled=name == _REFINED)
    return _Watched(TemplateMatchingParameters(weights=weights, refinement=refinement))


def _from_later(recording: Known) -> Iterator[Known]:
    """Yield the recording from later frames on, with the landmarks that are certain there."""
    for start in range(_START_EVERY, len(recording.excerpt) - _SHORTEST, _START_EVERY):
        shifted = []
        for a in recording.annotations:
            if start in a.marks and a.marks[start].certain:
                marks = {n - start: mark for n, mark in a.marks.items() if n >= start}
                landmark = Landmark(a.landmark.id, marks[0].uv_px, a.landmark.axes)
                shifted.append(Annotation(landmark, marks))
        if shifted:
            yield Known(f"{recording.name} from {start}", recording.excerpt.since(start), shifted)


def _with_targets(recording: Known) -> Iterator[Known]:
    """Yield the recording with a target in it that moves as the anatomy beside it does, several times.

    A target rides at a fixed distance from a landmark that is defined on both axes: its own place is exact,
    and what is round it moves nearly as it does, as round a tumour.
    """
    geometry = recording.excerpt.info.geometry
    assert geometry is not None
    frames = list(recording.excerpt)
    hosts = [a for a in recording.annotations if all(a.landmark.axes) and a.first_frame == 0]
    for seed in range(_TARGETS):
        rng = np.random.default_rng((seed, len(frames)))
        host = hosts[seed % len(hosts)]
        numbers = np.array(sorted(host.marks))
        time_s = np.array([(frames[n].stamp_ns - frames[0].stamp_ns) / NS_PER_S for n in numbers])
        places_mm = np.array([geometry.position_mm(host.marks[n].uv_px) for n in numbers])
        angle, away_mm = rng.uniform(0, 2 * np.pi), rng.uniform(*_BESIDE_MM)
        beside_px = np.array([np.cos(angle), np.sin(angle)]) * away_mm / geometry.plane_spacing_mm[:2]
        start_px = np.array(host.landmark.uv_px) + beside_px
        target = replace(_TARGET, signal=float(rng.choice(_SIGNALS)))
        start = (float(start_px[0]), float(start_px[1]))
        samples = list(insert(recording.excerpt, start, target, Trace(time_s, places_mm), seed))
        marks = {n: Mark(s.truth.estimates[0].uv_px[:2], certain=True) for n, s in enumerate(samples)}
        excerpt = Excerpt([s.frame for s in samples], recording.excerpt.info)
        annotation = Annotation(Landmark(TARGET, marks[0].uv_px), marks)
        yield Known(f"{recording.name} target {seed}", excerpt, [annotation])


def _follow(tracker: Tracker, sequence: Known, name: str) -> Outcome:
    run = follow(sequence.excerpt, sequence.annotations, lambda: tracker, name)
    spacing_mm = run.geometry.plane_spacing_mm
    found = [errors(t, a, spacing_mm) for t, a in zip(run.tracks, sequence.annotations, strict=True)]
    return Outcome(sequence.name, run, found)


def _cumulated(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> list[Cumulated]:
    return [
        Cumulated(stage, name, np.concatenate([e.length_mm for o in by_stage[stage] for e in o.errors]))
        for name, by_stage in outcomes.items()
        for stage in by_stage
    ]


def _page(
    order: Order,
    recordings: Sequence[Known],
    outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]],
    watched: Mapping[str, _Watched],
    weights: str,
) -> str:
    lines = [
        "# Template matching network: tracking on real recordings",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        f"Weights: `{weights}`; `lmtrack models` says what they were trained on. The reference is a silver",
        "standard made by correlation, optical flow and registration, which favours trackers of that kind;",
        "differences below its own spread mean nothing. The truth of inserted targets is exact.",
        "",
        "![Cumulated errors](tracking.png)",
        "",
        "## From the first frame",
        "",
        "Errors on certain frames, over the axes on which a landmark is defined.",
        "",
        "| recording | landmark | tracker | mean ± std px | mean mm | 95 % mm | max mm |",
        "|---|---|---|--:|--:|--:|--:|",
        *_first_rows(outcomes),
        "",
        "## All runs",
        "",
        f"*Later frames* are runs to the end from every {_START_EVERY}th frame on. *Inserted* are",
        f"{_TARGETS} runs for each recording, each with one target of 20 × 16 mm, dark or bright, that moves",
        "as a landmark 12 to 20 mm beside it was annotated to.",
        f"A *jump* is a change of the error by more than {FAR_MM:g} mm between successive certain",
        "frames. *Lost* and *TRACKED* are shares of all frames, *off path* the share that is TRACKED and",
        f"more than {FAR_MM:g} mm from the track's own smooth path.",
        "",
        _heading(
            "runs",
            "tracker",
            "runs",
            "mean mm",
            "95 % mm",
            "max mm",
            "jumps",
            "> 3 mm",
            "TRACKED > 3 mm",
            "lost",
            "TRACKED",
            "off path",
        ),
        *_pooled_rows(outcomes),
        "",
        "## The radius",
        "",
        coverage.EXPLANATION,
        "",
        _heading("runs", "tracker", *coverage.HEADINGS),
        *_coverage_rows(outcomes),
        "",
        "## What refinement did",
        "",
        "Share of the estimates from the first frame that were refined near the network's place, or while",
        "the network was not sure, refined near the last place because the network's led to nothing, carried",
        "along with the tissue, or not known to be the landmark; and how far that moved the result.",
        "",
        f"| recording | {' | '.join(_REPORTED)} | median move px | 95 % move px |",
        f"|---|{'--:|' * (len(_REPORTED) + 2)}",
        *_refinement_rows(watched),
        "",
    ]
    return "\n".join(lines)


def _heading(*names: str) -> str:
    return f"| {' | '.join(names)} |\n|---|---|{'--:|' * (len(names) - 2)}"


def _first_rows(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> Iterator[str]:
    for name, by_stage in outcomes.items():
        for outcome in by_stage["first frame"]:
            spacing_mm = outcome.run.geometry.plane_spacing_mm[0]
            pairs = zip(outcome.run.tracks, outcome.errors, strict=True)
            parts = [(t.landmark.id, e.length_mm) for t, e in pairs]
            parts.append(("all", np.concatenate([mm for _, mm in parts])))
            for landmark, mm in parts:
                px = mm / spacing_mm
                yield (
                    f"| {outcome.sequence} | {landmark} | {name} | {px.mean():.2f} ± {px.std():.2f} | "
                    f"{mm.mean():.2f} | {np.percentile(mm, 95):.2f} | {mm.max():.1f} |"
                )


def _pooled_rows(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> Iterator[str]:
    for stage in next(iter(outcomes.values())):
        for name, by_stage in outcomes.items():
            runs = by_stage[stage]
            mm = np.concatenate([e.length_mm for o in runs for e in o.errors])
            tracked = np.concatenate([e.status == Status.TRACKED for o in runs for e in o.errors])
            tracks = [(t, o.run) for o in runs for t in o.run.tracks]
            status = np.concatenate([t.status for t, _ in tracks])
            stray = np.concatenate([off_path(t, r.geometry.plane_spacing_mm, r.rate_hz) for t, r in tracks])
            yield (
                f"| {stage} | {name} | {len(tracks)} | {mm.mean():.2f} | {np.percentile(mm, 95):.2f} | "
                f"{mm.max():.1f} | {sum(e.jumps for o in runs for e in o.errors)} | {(mm > FAR_MM).sum()} | "
                f"{(mm[tracked] > FAR_MM).sum()} | {(status == Status.LOST).mean():.1%} | "
                f"{(status == Status.TRACKED).mean():.1%} | {stray.mean():.2%} |"
            )


def _coverage_rows(outcomes: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> Iterator[str]:
    for stage in next(iter(outcomes.values())):
        for name, by_stage in outcomes.items():
            found = coverage.cells([_claims(o) for o in by_stage[stage]])
            if found:
                yield f"| {stage} | {name} | {' | '.join(found)} |"


def _claims(outcome: Outcome) -> tuple[Array, Array]:
    """Return the (N,) errors and radii of all estimates."""
    return (
        np.concatenate([e.length_mm for e in outcome.errors]),
        np.concatenate([e.radius_mm for e in outcome.errors]),
    )


def _refinement_rows(watched: Mapping[str, _Watched]) -> Iterator[str]:
    for name, tracker in watched.items():
        moved: Any = tracker.moved_px
        total = sum(tracker.kinds.values())
        if NETWORK in tracker.kinds or not total:
            continue
        shares = " | ".join(f"{tracker.kinds[kind] / total:.1%}" for kind in _REPORTED)
        median_px, p95_px = np.percentile(moved, (50, 95))
        yield f"| {name.partition(' · ')[2]} | {shares} | {median_px:.2f} | {p95_px:.2f} |"

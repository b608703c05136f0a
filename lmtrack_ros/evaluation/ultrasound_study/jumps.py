"""Abrupt jumps of 15 mm within two frames, as in a cough, and how soon a landmark is found again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.records import Frame, Landmark, Status
from lmtrack_ros.evaluation.overlay import atomic_file
from lmtrack_ros.evaluation.studies import Order
from lmtrack_ros.evaluation.ultrasound_study.networks import NETWORK, WEIGHTS, tracker, usual_trackers
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.motion import Trace
from lmtrack_ros.phantoms.ultrasound.phantom import UltrasoundPhantom
from lmtrack_ros.phantoms.ultrasound.presets import PRESETS
from lmtrack_ros.trackers import Tracker

JUMP_MM = 15.0
_NAME = "landmark"
_JUMP_FRAMES = 2
_AGAIN_FRAMES = 3
"""After the jump's last frame; then the landmark must be found."""
_STAYS_FRAMES = 6
"""So long it must be found from then on."""
_FOUND_MM = 3.0
_BETWEEN_FRAMES = 14
_JUMPS = 4
"""Of each patient: to the head and back, twice."""
_PRESETS = ("liver", "liver_deep", "liver_fine", "liver_fast", "liver_slow", "kidney")
_SEEDS = range(8020, 8029)
"""Patients of each preset; nobody is trained, calibrated or tested on elsewhere."""
_BREATH_MM, _BREATH_HZ = 4.0, 0.25

_INTRODUCTION = """\
**Simulated ultrasound.** In each of {patients} patients, as many under each scanner, the most mobile landmark
is thrown 15 mm along the body within two frames, four times, to the head and back; between the jumps it
breathes by 4 mm. Of {count} jumps, *again* are those after which the landmark is found to within 3 mm from
the third frame after the jump on, for six frames; *silent* are those in which, from their first frame to the
next jump, a place farther off is TRACKED. *Held* is how many frames after the jump it is TRACKED at its place
again, the median: so long a gate holds. Weights: `{weights}`; the limits of its tracker were found with other
patients who were thrown alike."""


@dataclass(frozen=True, eq=False)
class Jump:
    """One landmark from the first frame of one jump to the last before the next.

    Attributes:
        preset: of the phantom.
        error_mm: (N,).
        status: (N,) values of ``Status``.
    """

    preset: str
    error_mm: NDArray[np.float64]
    status: NDArray[np.int64]

    @property
    def is_found(self) -> bool:
        """Whether the landmark is found all the time from when it must be."""
        due = self.error_mm[_JUMP_FRAMES + _AGAIN_FRAMES - 1 :][:_STAYS_FRAMES]
        return bool((due <= _FOUND_MM).all())

    @property
    def held(self) -> float:
        """How many frames after the jump it is TRACKED at its place; infinite if not before the next."""
        is_believed = (self.error_mm <= _FOUND_MM) & (self.status == Status.TRACKED)
        believed = np.flatnonzero(is_believed[_JUMP_FRAMES - 1 :])
        return float(believed[0]) if len(believed) else np.inf

    @property
    def is_silent(self) -> bool:
        """Whether a wrong place is TRACKED."""
        return bool(((self.error_mm > _FOUND_MM) & (self.status == Status.TRACKED)).any())


@dataclass(frozen=True, eq=False)
class _Sequence:
    """Frames of one patient, and (N, 2) where his landmark is in them, px."""

    frames: Sequence[Frame]
    truth_px: NDArray[np.float64]
    preset: str


def conduct(order: Order) -> Path:
    """Let landmarks jump, and follow them; returns the page.

    Raises:
        UserError: recordings were ordered, or there are no such weights.
    """
    if order.recordings:
        raise UserError("this study is of phantoms: leave out --recordings")
    weights = order.weights or WEIGHTS
    ready = {NETWORK: tracker(weights), **{name: new() for name, new in usual_trackers().items()}}
    jumps: dict[str, list[Jump]] = {name: [] for name in ready}
    patients = [(preset, seed) for preset in _PRESETS for seed in _SEEDS]
    for done, (preset, seed) in enumerate(patients):
        order.progress("patients", done, len(patients))
        sequence = _sequence(preset, seed)
        for name, one in ready.items():
            jumps[name] += _followed(one, sequence)
    order.progress("patients", len(patients), len(patients))
    path = order.out / "jumps.md"
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(_lines(order, weights, jumps)), encoding="utf-8")
    return path


def _thrown(preset: str, seed: int) -> tuple[UltrasoundPhantom, str]:
    """Return a patient and his most mobile landmark, which is thrown 15 mm to the head and back."""
    phantom = cast(UltrasoundPhantom, open_phantom("ultrasound", PhantomParameters(preset, seed)))
    phantom.motion = Trace(np.array([0.0, 1.0]), np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    before, after = (phantom.positions_mm(time_s) for time_s in (0.0, 1.0))
    share = {name: float(np.linalg.norm(after[name] - before[name])) for name in before}
    landmark = max(share, key=lambda name: share[name])
    phantom.motion = _motion(phantom.info.rate_hz, JUMP_MM / share[landmark])
    return phantom, landmark


def _motion(rate_hz: float, jump_mm: float) -> Trace:
    number = np.arange(_frames())
    thrown = np.zeros(len(number))
    for jump in range(_JUMPS):
        into = np.clip((number - _last_before(jump)) / _JUMP_FRAMES, 0.0, 1.0)
        thrown += jump_mm * into * (1 if jump % 2 == 0 else -1)
    time_s = number / rate_hz
    thrown += _BREATH_MM / 2 * np.sin(2 * np.pi * _BREATH_HZ * time_s)
    return Trace(time_s, np.stack([np.zeros_like(thrown), thrown, np.zeros_like(thrown)], axis=-1))


def _last_before(jump: int) -> int:
    return _BETWEEN_FRAMES + jump * (_BETWEEN_FRAMES + _JUMP_FRAMES)


def _frames() -> int:
    return _last_before(_JUMPS) + 1


def _sequence(preset: str, seed: int) -> "_Sequence":
    phantom, landmark = _thrown(preset, seed)
    times_s = [number / phantom.info.rate_hz for number in range(_frames())]
    frames = [phantom.render(number + 1, time_s) for number, time_s in enumerate(times_s)]
    truths = [{e.id: e.uv_px for e in phantom.truth(0, time_s).estimates}[landmark] for time_s in times_s]
    return _Sequence(frames, np.array(truths), preset)


def _followed(one: Tracker, sequence: "_Sequence") -> Iterator[Jump]:
    """Yield how a tracker fares in each jump of a patient."""
    first, *later = sequence.frames
    column, row = sequence.truth_px[0].tolist()
    one.initialize(first, [Landmark(_NAME, (column, row))])
    found = [one.update(frame).estimates[0] for frame in later]
    places_px, last_px = [sequence.truth_px[0]], sequence.truth_px[0]
    for estimate in found:
        last_px = np.where(np.isfinite(estimate.uv_px), estimate.uv_px, last_px)
        places_px.append(last_px)
    error_mm = np.linalg.norm(
        (np.array(places_px) - sequence.truth_px) * PRESETS[sequence.preset].spacing_mm, axis=1
    )
    status = np.array([Status.TRACKED, *(e.status for e in found)])
    for jump in range(_JUMPS):
        seen = slice(_last_before(jump) + 1, _last_before(jump + 1) + 1)
        yield Jump(sequence.preset, error_mm[seen], status[seen])


def _lines(order: Order, weights: str, jumps: Mapping[str, Sequence[Jump]]) -> list[str]:
    count = len(jumps[NETWORK])
    return [
        "# Attention Mask R-CNN with LSTM: abrupt jumps",
        "",
        f"Made by `{order.command}`; do not edit.",
        "",
        _INTRODUCTION.format(patients=len(_PRESETS) * len(_SEEDS), count=count, weights=weights),
        "",
        f"| scanner | {' | '.join(f'{name}: again | silent | held' for name in jumps)} |",
        f"|---|{'--:|' * (3 * len(jumps))}",
        *(_row(preset, jumps, preset) for preset in _PRESETS),
        _row("all", jumps, None),
        "",
    ]


def _row(said: str, jumps: Mapping[str, Sequence[Jump]], preset: str | None) -> str:
    cells = []
    for every in jumps.values():
        some = [jump for jump in every if preset in (None, jump.preset)]
        cells += [f"{np.mean([j.is_found for j in some]):.1%}", f"{np.mean([j.is_silent for j in some]):.1%}"]
        cells.append(f"{np.median([j.held for j in some]):g}")
    return f"| {said} | {' | '.join(cells)} |"

"""The faults that the live graph must survive: what each does, and how the gate must answer.

Faults of messages are pure transformations: from a message that comes along, the last good one
before the fault and a running number to what goes on in its place.
"""

import array
import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import unknown_name
from lmtrack_ros.core.records import LATCHING, Reason

Message: TypeAlias = Any

_NO_REASON = Reason(0)

SCHEDULING_MS = 100.0
"""What transport and the scheduler of a busy machine may add to the gate's own limits."""

_STALE_MS = 300.0
_LATE_MS = 50.0
_COUCH_OFFSET_M = 0.01


class Reaction(Enum):
    """What must follow from a fault."""

    SKIP = "skip"
    """The beam goes on: one frame more or less is nothing."""
    HOLD = "hold"
    """The beam is held and comes back by itself when the fault has ended."""
    LATCH = "hold and latch"
    """The beam is held until an operator has acknowledged it."""
    DIAGNOSE = "diagnose only"
    """The beam goes on, and somebody is told."""


@dataclass(frozen=True)
class Outgoing:
    """A message that goes on in place of one that came.

    Attributes:
        message: to be published.
        delay_ms: so long after the other came.
    """

    message: Message
    delay_ms: float = 0.0


Transformation: TypeAlias = Callable[[Message, Message, int], Sequence[Outgoing]]
"""From a message, the last good one before the fault, and how many came since, to what goes on."""


# messages ----------------------------------------------------------------------------------------


def drop_one(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Lose the first message."""
    return () if index == 0 else (Outgoing(message),)


def drop_all(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Lose every message."""
    return ()


def duplicate_one(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send the first message twice."""
    return (Outgoing(message),) * (2 if index == 0 else 1)


def reorder_one(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send the first message after the next one, and before the one after that at 30 Hz."""
    return (Outgoing(message, _LATE_MS if index == 0 else 0.0),)


def delay_all(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send every message too late."""
    return (Outgoing(message, _STALE_MS),)


def replace_by_default(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send a message with nothing in it."""
    return (Outgoing(type(message)()),)


# images ------------------------------------------------------------------------------------------


def _with_pixels(message: Message, pixels: NDArray[np.uint8]) -> Message:
    changed = copy.copy(message)
    changed.height, changed.width = pixels.shape
    changed.step = pixels.shape[1]
    changed.data = array.array("B", pixels.tobytes())
    return changed


def _pixels(message: Message) -> NDArray[np.uint8]:
    """Return the (H, W) pixels of a mono8 image."""
    data = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return data[:, : message.width]


def freeze(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send the last good picture again and again, with new stamps."""
    return (Outgoing(_with_pixels(message, _pixels(good))),)


def blacken(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send black pictures."""
    return (Outgoing(_with_pixels(message, np.zeros_like(_pixels(message)))),)


def saturate(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send white pictures."""
    return (Outgoing(_with_pixels(message, np.full_like(_pixels(message), 255))),)


def crop(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send pictures without their last rows."""
    return (Outgoing(_with_pixels(message, _pixels(message)[:-16])),)


def widen(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Send pictures of 16 bits per pixel in place of 8."""
    changed = copy.copy(message)
    changed.encoding, changed.is_bigendian = "mono16", 0
    changed.step = 2 * message.width
    wide = _pixels(message).astype("<u2") * 257
    changed.data = array.array("B", wide.tobytes())
    return (Outgoing(changed),)


def rescale(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Say that the pixels of an image geometry are larger than they were."""
    changed = copy.copy(message)
    changed.spacing = np.array(message.spacing) * 1.1
    return (Outgoing(changed),)


# landmarks ---------------------------------------------------------------------------------------


def _with_coordinate(message: Message, value: float) -> Message:
    changed = copy.deepcopy(message)
    for estimate in changed.estimates:
        estimate.position.y = value
    return changed


def put_nan(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Put a not-a-number into every position."""
    return (Outgoing(_with_coordinate(message, float("nan"))),)


def put_infinity(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Put an infinity into every position."""
    return (Outgoing(_with_coordinate(message, float("inf"))),)


# couch -------------------------------------------------------------------------------------------


def stick(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Have the couch stand still and take up no command."""
    changed = copy.copy(good)
    changed.header, changed.moving = message.header, False
    return (Outgoing(changed),)


def displace(message: Message, good: Message, index: int) -> Sequence[Outgoing]:
    """Have the couch beside the way that it was sent; along it, it could as well be early or late."""
    changed = copy.deepcopy(message)
    changed.translation.x += _COUCH_OFFSET_M
    return (Outgoing(changed),)


# the table ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One fault and the answer to it.

    Attributes:
        name: for the command line and the table.
        description: what is wrong, in a few words.
        where: the topic or the process that it strikes.
        reaction: what must follow.
        reasons: what the gate must say, each of them; it may say more.
        transformation: of the topic's messages; None where a process is struck.
        duration_s: how long it lasts.
        couch_tracking: whether the couch must follow the target for it to matter.
    """

    name: str
    description: str
    where: str
    reaction: Reaction
    reasons: Reason = _NO_REASON
    transformation: Transformation | None = None
    duration_s: float = 0.7
    couch_tracking: bool = False


_SKIP, _HOLD, _LATCH = Reaction.SKIP, Reaction.HOLD, Reaction.LATCH

FAULTS: Sequence[Fault] = (
    Fault("drop", "one frame is lost", "image", _SKIP, transformation=drop_one),
    Fault("drop-long", "no frame comes", "image", _HOLD, Reason.TRACKER_SILENT, drop_all),
    Fault("freeze", "the same picture with new stamps", "image", _LATCH, Reason.FROZEN_IMAGE, freeze),
    Fault("duplicate", "one frame comes twice", "image", _SKIP, transformation=duplicate_one),
    Fault(
        "reorder", "a frame comes after the one that follows it", "image", _LATCH, Reason.TIME_BACKWARDS,
        reorder_one,
    ),
    Fault("delay", f"frames come {_STALE_MS:g} ms late", "image", _HOLD, Reason.STALE_FRAME, delay_all),
    Fault(
        "clock-forward", "the gate's clock is set forward by 1 s", "clock", _LATCH,
        Reason.CLOCK_JUMP | Reason.NOT_ARMED,
    ),
    Fault(
        "clock-back", "the gate's clock is set back by 1 s", "clock", _LATCH,
        Reason.CLOCK_JUMP | Reason.NOT_ARMED,
    ),
    Fault("nan", "positions are not numbers", "landmarks", _HOLD, Reason.NOT_FINITE, put_nan),
    Fault("infinity", "positions are infinite", "landmarks", _HOLD, Reason.NOT_FINITE, put_infinity),
    Fault("black", "pictures are black", "image", _HOLD, Reason.BLACK_IMAGE, blacken),
    Fault("saturated", "pictures are white", "image", _HOLD, Reason.SATURATED_IMAGE, saturate),
    Fault("size", "pictures have fewer rows", "image", _LATCH, Reason.GEOMETRY_CHANGED, crop),
    Fault("encoding", "pictures have another pixel type", "image", _LATCH, Reason.GEOMETRY_CHANGED, widen),
    Fault(
        "geometry", "pixels are said to be 10 % larger", "image_geometry", _LATCH, Reason.GEOMETRY_CHANGED,
        rescale,
    ),
    Fault(
        "no-geometry", "a geometry with nothing in it", "image_geometry", _LATCH, Reason.GEOMETRY_MISSING,
        replace_by_default,
    ),
    Fault(
        "tracker-slow", "the tracker gets a fifth of its time", "tracker", _HOLD, Reason.TRACKER_SILENT,
        duration_s=2.0,
    ),
    Fault(
        "tracker-killed", "the tracker dies and is started again", "tracker", _LATCH,
        Reason.TRACKER_SILENT | Reason.TRACKER_RESTARTED,
    ),
    Fault("gate-killed", "the gate dies and is started again", "gating", _LATCH, Reason.NOT_ARMED),
    Fault("two-gates", "a second gate decides", "gating", _LATCH, Reason.SECOND_PUBLISHER),
    Fault(
        "couch-silent", "the couch does not report", "couch_status", _LATCH,
        Reason.COUCH_SILENT | Reason.COUCH_TIMEOUT, drop_all, couch_tracking=True,
    ),
    Fault(
        "couch-stuck", "the couch takes up no command", "couch_status", _LATCH, Reason.COUCH_TIMEOUT, stick,
        duration_s=2.0, couch_tracking=True,
    ),
    Fault(
        "couch-off-path", f"the couch is {1e3 * _COUCH_OFFSET_M:g} mm beside its path", "couch_status",
        _LATCH, Reason.COUCH_OFF_PATH, displace, duration_s=2.0, couch_tracking=True,
    ),
    Fault("disk-full", "the recorder can write no more", "recorder", Reaction.DIAGNOSE, duration_s=3.0),
)  # fmt: skip
"""In the order in which they are tried."""


def selected(names: Sequence[str]) -> Sequence[Fault]:
    """Return the faults of these names, all where none is given.

    Raises:
        UserError: there is no such fault.
    """
    by_name = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in by_name:
            raise unknown_name("fault", name, by_name)
    return [by_name[name] for name in names] if names else FAULTS


# the verdict -------------------------------------------------------------------------------------


def budget_ms(rate_hz: float, max_age_ms: float) -> float:
    """Return the longest time from a fault to the beam's hold, ms.

    Args:
        rate_hz: of the frames.
        max_age_ms: the gate's age limit.
    """
    return max(1.5e3 / rate_hz, max_age_ms) + SCHEDULING_MS


@dataclass(frozen=True)
class Run:
    """What one run of one fault showed.

    Attributes:
        hold_ms: from the fault to the beam's hold at the consumer; None: it was not held.
        reasons: all that the gate gave meanwhile.
        resumed_by_itself: whether the beam came on again with no operator's doing, once the fault had ended.
        recovered: whether it came on again at the end, with an operator's doing where that was needed.
        diagnosed: of a fault that holds nothing, whether somebody was told and nothing was lost.
        note: what else went wrong.
    """

    hold_ms: float | None
    reasons: Reason
    resumed_by_itself: bool
    recovered: bool
    diagnosed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What all runs of one fault showed, as it is reported.

    Attributes:
        fault: its name.
        description: what was wrong.
        where: what it struck.
        expected: the reaction, and the reasons that the gate must give.
        detected_as: the reasons that it gave, ``nothing``, ``skipped`` or ``diagnosed``.
        worst_ms: longest time from the fault to the hold; None where the beam was not held.
        budget_ms: the longest allowed.
        runs: how many.
        verdict: ``pass`` or ``fail``.
        why: of a fail, in one line.
    """

    fault: str
    description: str
    where: str
    expected: str
    detected_as: str
    worst_ms: float | None
    budget_ms: float
    runs: int
    verdict: str
    why: str


def judge(fault: Fault, runs: Sequence[Run], limit_ms: float) -> Finding:
    """Return the finding of a fault's runs.

    Args:
        fault: what was wrong.
        runs: at least one.
        limit_ms: the longest time to the hold.
    """
    reasons = Reason(0)
    for run in runs:
        reasons |= run.reasons
    held = [run.hold_ms for run in runs if run.hold_ms is not None]
    if held:
        detected = reason_names(reasons) or "nothing"
    else:
        detected = {Reaction.SKIP: "skipped", Reaction.DIAGNOSE: "diagnosed"}.get(fault.reaction, "nothing")
        told = all(run.diagnosed for run in runs) or fault.reaction is not Reaction.DIAGNOSE
        if any(run.note for run in runs) or not told:
            detected = "nothing"
    faults = [why for run in runs if (why := _why_wrong(fault, run, limit_ms))]
    expected = ": ".join(filter(None, (fault.reaction.value, reason_names(fault.reasons))))
    return Finding(
        fault=fault.name,
        description=fault.description,
        where=fault.where,
        expected=expected,
        detected_as=detected,
        worst_ms=round(max(held), 1) if held else None,
        budget_ms=limit_ms,
        runs=len(runs),
        verdict="fail" if faults else "pass",
        why="; ".join(dict.fromkeys(faults)),
    )


def _why_wrong(fault: Fault, run: Run, limit_ms: float) -> str:
    """Return what is wrong with a run in a few words, or an empty text."""
    if run.note:
        return run.note
    if fault.reaction in (Reaction.SKIP, Reaction.DIAGNOSE):
        if run.hold_ms is not None:
            return f"the beam was held ({reason_names(run.reasons) or 'for no reason given'})"
        return "nobody was told" if fault.reaction is Reaction.DIAGNOSE and not run.diagnosed else ""
    if run.hold_ms is None:
        return "the beam was not held"
    if run.hold_ms > limit_ms:
        return f"held only after {run.hold_ms:.0f} ms"
    if missing := fault.reasons & ~run.reasons:
        return f"never said {reason_names(missing)}"
    if fault.reaction is Reaction.LATCH and run.resumed_by_itself:
        return "the beam came back by itself"
    if fault.reaction is Reaction.HOLD and not run.resumed_by_itself:
        latched = reason_names(run.reasons & LATCHING)
        return "the beam did not come back by itself" + (f" ({latched})" if latched else "")
    return "" if run.recovered else "the beam could not be brought back"


def reason_names(reasons: Reason) -> str:
    """Return the names of reasons, joined by commas, without DWELL: that one always ends a hold."""
    return ", ".join(r.name for r in Reason if r in reasons and r is not Reason.DWELL and r.name)


# the report --------------------------------------------------------------------------------------


def report(findings: Sequence[Finding], setting: str) -> dict[str, Any]:
    """Return the findings as one plain object."""
    return {
        "setting": setting,
        "passed": all(f.verdict == "pass" for f in findings),
        "faults": [asdict(f) for f in findings],
    }


def markdown(findings: Sequence[Finding], setting: str) -> str:
    """Return the findings as a page."""
    lines = [
        "# Faults",
        "",
        f"Injected into the live graph: {setting}. Worst is the longest time of all runs from the fault",
        "to the moment at which the reference consumer reads the beam as off.",
        "",
        "| fault | what is wrong | expected | detected as | worst [ms] | budget [ms] | runs | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for f in findings:
        worst = "–" if f.worst_ms is None else f"{f.worst_ms:.0f}"
        verdict = f.verdict + (f": {f.why}" if f.why else "")
        lines.append(
            f"| {f.fault} | {f.description} (`{f.where}`) | {f.expected} | {f.detected_as} "
            f"| {worst} | {f.budget_ms:.0f} | {f.runs} | {verdict} |"
        )
    return "\n".join(lines) + "\n"

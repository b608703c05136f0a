"""The coarse-to-fine U-Net as a tracker: it finds the tumour by itself in every frame, from its motion.

Frames that come faster than the network's time step are as many streams by turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.records import NS_PER_S, Frame, Landmark, LandmarkSet
from lmtrack_ros.models.calibration import read_calibration
from lmtrack_ros.models.coarse_to_fine_unet.agreement import FOUND
from lmtrack_ros.models.coarse_to_fine_unet.candidates import Candidate, candidates
from lmtrack_ros.models.coarse_to_fine_unet.finder import Finder, Stream
from lmtrack_ros.models.coarse_to_fine_unet.parameters import CoarseToFineUnetParameters
from lmtrack_ros.models.coarse_to_fine_unet.steadiness import Steadiness
from lmtrack_ros.models.coarse_to_fine_unet.strands import TOLERANCE, Strands
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.tracking import Measurement, judged
from lmtrack_ros.models.views import View
from lmtrack_ros.trackers.measurement import to_set
from lmtrack_ros.trackers.outline import contour_of_mask

STEADY = "steady"
"""Kind of measurement of a tumour that was found for a while, alone and clearly, in frames after others."""
UNSTEADY = "unsteady"
"""Kind of any other: never calibrated, so that it is UNCERTAIN."""

_RIVAL = 0.3
"""A second candidate is a rival if it has this share of the first one's area."""
_TUMOR = Landmark("tumor", (np.nan, np.nan))


@dataclass(frozen=True, eq=False)
class _Strand:
    """A stream and the frames that it is of.

    Attributes:
        stream: up to the last of these.
        frames: as many as the output is late, and one.
        since_ns: stamp of its first frame.
    """

    stream: Stream
    frames: tuple[Frame, ...]
    since_ns: int


@dataclass(frozen=True, eq=False)
class _Finding:
    """What is found in a frame.

    Attributes:
        frame: in which; older than the newest where the output is late.
        measurements: none, or one.
        mask: (H, W) what of the image is tumour; None: nothing.
    """

    frame: Frame
    measurements: tuple[Measurement, ...] = ()
    mask: NDArray[np.bool_] | None = None


class CoarseToFineUnetTracker:
    """Finds a lung tumour in fluoroscopy; see the module's text.

    Raises:
        UserError: there are no such weights, or they cannot be read.
    """

    name: ClassVar[str] = "coarse_to_fine_unet"
    needs_initialization: ClassVar[bool] = False
    calibrated_in_turn: ClassVar[tuple[tuple[str, ...], ...]] = ((STEADY,),)
    Parameters = CoarseToFineUnetParameters

    def __init__(self, parameters: CoarseToFineUnetParameters | None = None) -> None:
        p = parameters or CoarseToFineUnetParameters()
        self._parameters = p
        self._finder = Finder(p.weights, p.inference, late=p.late_steps)
        self.calibration = read_calibration(self._finder.description)
        step_s = self._finder.configuration.step_s
        self._late_ns = round(p.late_steps * step_s * NS_PER_S)
        self._strands: Strands[_Strand] = Strands(step_s)
        self._steadiness = Steadiness(p.steady_s, (1 + TOLERANCE) * step_s, p.fastest_mm_s)
        self._steady_ns = round(p.steady_s * NS_PER_S)
        self._shape: tuple[int, ...] = ()
        self._last_ns = 0

    @property
    def landmark_ids(self) -> tuple[str, ...]:
        """Name of the tumour."""
        return (_TUMOR.id,)

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return self._finder.runs_by

    def initialize(self, frame: Frame, landmarks: Sequence[Landmark]) -> None:
        """Forget what was seen; the network needs no marks and takes none."""
        self._strands.clear()
        self._steadiness.forget()

    def update(self, frame: Frame) -> LandmarkSet:
        """Find the tumour; where the output is late, that of as many time steps ago.

        Args:
            frame: (H, W) image; where its size changes, what was seen before is forgotten.
        """
        found = self._found(frame)
        shown = found.frame
        estimate = judged(
            _TUMOR, found.measurements, shown.geometry, self.calibration, self._parameters.trust
        )
        if found.mask is not None and shown.geometry is not None:
            estimate = replace(estimate, contour_mm=contour_of_mask(found.mask, shown.geometry))
        return to_set(shown, self.name, [estimate])

    def measure(self, frame: Frame) -> list[tuple[Measurement, ...]]:
        """Return how the tumour is found: in one way, or none."""
        return [self._found(frame).measurements]

    def _found(self, frame: Frame) -> _Finding:
        if frame.image.shape != self._shape or frame.stamp_ns <= self._last_ns:
            self.initialize(frame, ())
        self._shape, self._last_ns = frame.image.shape, frame.stamp_ns
        if frame.image.ndim != 2:
            return _Finding(frame)
        view = View.whole(frame.image.shape, self._finder.configuration.image_px)
        grey = view.of(scaled(frame.image))
        before = self._strands.before(frame.stamp_ns) or _Strand(self._finder.begun(grey), (), frame.stamp_ns)
        output, stream = self._finder.advanced(before.stream, grey)
        frames = (*before.frames, frame)[-1 - self._parameters.late_steps :]
        if not np.isfinite(output).all():
            self._steadiness.forget()
            return _Finding(frames[0])
        self._strands.add(frame.stamp_ns, _Strand(stream, frames, before.since_ns))
        if len(frames) <= self._parameters.late_steps:
            # of a frame before the first one: nothing is known of it but when it would have been
            return _Finding(replace(frame, stamp_ns=frame.stamp_ns - self._late_ns))
        knows_motion = frame.stamp_ns - before.since_ns >= self._steady_ns
        return self._judged(frames[0], view, candidates(output), knows_motion)

    def _judged(self, frame: Frame, view: View, found: Sequence[Candidate], knows_motion: bool) -> _Finding:
        if not found:
            self._steadiness.forget()
            return _Finding(frame)
        best, *others = found
        uv_px = view.to_image(best.centroid_px)
        spacing_mm = np.array(frame.geometry.plane_spacing_mm[:2]) if frame.geometry else np.ones(2)
        has_rival = bool(others) and others[0].area_px >= _RIVAL * best.area_px
        is_clear = best.clarity >= self._parameters.least_clarity
        is_steady = self._steadiness.add(frame.stamp_ns, uv_px * spacing_mm, has_rival=has_rival)
        kind = STEADY if is_steady and knows_motion and is_clear else UNSTEADY
        mask = view.back(best.output, frame.image.shape) > FOUND
        return _Finding(frame, (Measurement(kind, uv_px, view.scale * best.sigma_px),), mask)

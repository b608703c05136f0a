"""What the user says about a source, and the geometry that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmtrack_ros.core import frames
from lmtrack_ros.core.errors import UserError, unknown_name
from lmtrack_ros.core.frames import View
from lmtrack_ros.core.geometry import ImageGeometry, Modality

_USUAL_VIEW = {
    Modality.ULTRASOUND: View.LONGITUDINAL,
    Modality.MR: View.SAGITTAL,
    Modality.FLUOROSCOPY: View.CORONAL,
    Modality.PORTAL: View.CORONAL,
    Modality.ULTRASOUND_VOLUME: View.AXIAL,
}


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a source; where given, it wins over what the file says.

    Attributes:
        modality: what made the images.
        spacing_mm: pixel pitch along columns, rows and, for volumes, slices.
        rate_hz: frames are this evenly spaced in time.
        nominal_rate_hz: the same, but only for files without times of their own.
        view: how the plane stands in the room; the modality's usual one where not given.
        sad_mm: source to isocentre of a projection, given together with ``sid_mm``. The spacing is
            then that of the detector and positions are at the isocentre plane; without them the
            spacing is taken as it is.
        sid_mm: source to detector, likewise.
        pose: (3, 4) rows of the transform image → isocenter, mm, in place of a view.
    """

    modality: Modality | None = None
    spacing_mm: tuple[float, ...] | None = None
    rate_hz: float | None = None
    nominal_rate_hz: float | None = None
    view: View | None = None
    sad_mm: float | None = None
    sid_mm: float | None = None
    pose: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def parse(
        cls,
        modality: Modality | str | None = None,
        spacing_mm: Sequence[float] | None = None,
        rate_hz: float | None = None,
        nominal_rate_hz: float | None = None,
        view: View | str | None = None,
        sad_mm: float | None = None,
        sid_mm: float | None = None,
        pose: Sequence[Sequence[float]] | None = None,
    ) -> "SourceOptions":
        """Return checked options from plain values.

        Raises:
            UserError: an unknown modality or view, a spacing, rate or distance that is not positive, one
                distance without the other, or a pose that is not rigid.
        """
        if modality is not None and modality not in list(Modality):
            raise unknown_name("modality", str(modality), [m.value for m in Modality])
        if view is not None and view not in list(View):
            raise unknown_name("view", str(view), [v.value for v in View])
        if (sad_mm is None) != (sid_mm is None):
            raise UserError(
                "give both sad_mm (source to isocentre) and sid_mm (source to detector), or neither"
            )
        return cls(
            modality=None if modality is None else Modality(modality),
            spacing_mm=None if spacing_mm is None else _spacing(spacing_mm),
            rate_hz=_positive("rate_hz", rate_hz),
            nominal_rate_hz=_positive("rate_hz", nominal_rate_hz),
            view=None if view is None else View(view),
            sad_mm=_positive("sad_mm", sad_mm),
            sid_mm=_positive("sid_mm", sid_mm),
            pose=None if pose is None else _pose(pose),
        )

    def rate(self, name: str, stated_hz: float | None = None) -> float:
        """Return the frame rate: the user's, else the file's own, else the nominal one.

        Args:
            name: what the error message calls the source.
            stated_hz: what the file says.

        Raises:
            UserError: nothing says it.
        """
        rate = self.rate_hz or stated_hz or self.nominal_rate_hz
        if not rate:
            raise UserError(f"{name} does not say its frame rate: give it (rate_hz)")
        return rate

    def geometry(
        self,
        name: str,
        shape: Sequence[int],
        *,
        modality: Modality | None = None,
        spacing_mm: Sequence[float] | None = None,
        sad_mm: float = 0.0,
        sid_mm: float = 0.0,
    ) -> ImageGeometry:
        """Return the geometry of a room-mounted imager, its image's centre at the isocentre unless posed.

        Args:
            name: what the error message calls the source.
            shape: (H, W) or (D, H, W) of the image.
            modality: what the file says.
            spacing_mm: (column, row[, slice]) likewise.
            sad_mm: source to isocentre of a projection that the file says, 0 where unknown.
            sid_mm: source to detector, likewise.

        Raises:
            UserError: nothing says the modality or the spacing, or the spacing does not fit the image.
        """
        modality = self.modality or modality
        if modality is None:
            known = ", ".join(m.value for m in Modality)
            raise UserError(f"{name} does not say what made its images: give the modality ({known})")
        spacing = self.spacing_mm or spacing_mm
        if spacing is None:
            raise UserError(f"{name} does not say its pixel spacing: give it (spacing_mm: columns, rows)")
        column, row, slice_ = (*spacing, 0.0)[:3]
        if len(shape) == 3 and slice_ <= 0:
            raise UserError(f"{name} holds volumes: give three spacings (columns, rows, slices), not two")
        sad_mm, sid_mm = self.sad_mm or sad_mm, self.sid_mm or sid_mm
        try:
            flat = ImageGeometry(modality, (column, row, slice_), sad_mm=sad_mm, sid_mm=sid_mm)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        if self.pose is not None:
            rows = np.array(self.pose)
            return replace(flat, pose=frames.rigid(rows[:, :3], rows[:, 3]))
        return replace(flat, pose=_centred(self.view or _USUAL_VIEW[modality], flat, shape))

    def applied_to(self, name: str, shape: Sequence[int], recorded: ImageGeometry) -> ImageGeometry:
        """Return a recorded geometry with what the user says in its place; the pose moves only with the view.

        The user's distances leave no projection matrix, which would contradict them.

        Args:
            name: what the error message calls the source.
            shape: (H, W) or (D, H, W) of the image.
            recorded: the geometry that came with the image.

        Raises:
            UserError: the spacing does not fit the image.
        """
        if all(said is None for said in (self.modality, self.spacing_mm, self.view, self.sad_mm)):
            return recorded
        made = self.geometry(
            name,
            shape,
            modality=recorded.modality,
            spacing_mm=recorded.spacing_mm,
            sad_mm=recorded.sad_mm,
            sid_mm=recorded.sid_mm,
        )
        if self.view is not None:
            return made
        return replace(
            recorded,
            modality=made.modality,
            spacing_mm=made.spacing_mm,
            sad_mm=made.sad_mm,
            sid_mm=made.sid_mm,
            projection=recorded.projection if self.sad_mm is None else None,
        )


def _centred(view: View, geometry: ImageGeometry, shape: Sequence[int]) -> frames.Array:
    centre_px = (np.array(shape[::-1], dtype=float) - 1) / 2
    to_centre_mm = frames.apply(frames.isocenter_from_image(view), geometry.position_mm(centre_px))
    return frames.isocenter_from_image(view, 0.0 - to_centre_mm)


def _spacing(spacing_mm: Sequence[float]) -> tuple[float, ...]:
    try:
        spacing = tuple(float(v) for v in spacing_mm)
    except (TypeError, ValueError):
        spacing = ()
    if len(spacing) not in (2, 3) or not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise UserError(f"spacing_mm must be two or three positive numbers, got {spacing_mm!r}")
    return spacing


def _pose(pose: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    try:
        rows = np.array(pose, dtype=float).reshape(3, 4)
        frames.rigid(rows[:, :3], rows[:, 3])
    except (TypeError, ValueError, OverflowError):
        raise UserError(
            f"pose must be three rows of a rigid transform, four numbers each, not {pose!r}"
        ) from None
    return tuple(tuple(row) for row in rows.tolist())


def _positive(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise UserError(f"{name} must be a positive number, got {value!r}")
    return float(value)

"""A patient's planning 4-D CT: how tissue moves from phase to phase, and where the tumour is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import SimpleITK

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.xray.hounsfield import AIR_HU
from lmtrack_ros.phantoms.xray.solids import Grid, Volume
from lmtrack_ros.sources.files import natural_order
from lmtrack_ros.sources.metaimage import SUFFIXES

Image = Any
"""SimpleITK's; it has no types."""

_MOST_VOXELS = 4e6
"""Finer scans are resampled: to register them would take minutes for each phase."""
_BONE_HU = 200.0
"""What is brighter counts no more: edges of bone would rule the registration."""
_LEVELS, _ITERATIONS, _SMOOTHING = (4, 2, 1), 40, 1.5
"""Of the registration: how coarse, how often, and the standard deviation of its smoothing in voxels."""


class Ball(NamedTuple):
    """A tumour of which there is no contour.

    Attributes:
        center_mm: (3,) in the scan's own coordinates: to the left, to the back, to the head.
        diameter_mm: of the ball.
    """

    center_mm: tuple[float, float, float]
    diameter_mm: float


class Breathed(NamedTuple):
    """A scan in one phase of a breath.

    Attributes:
        hounsfield: (D, H, W) on the grid of :attr:`PlanningCt.grid`.
        tumor: how much of each voxel is tumour.
    """

    hounsfield: Volume
    tumor: Volume


class PlanningCt:
    """The phases of one breath; the tumour is drawn in the first.

    Args:
        folder: with one volume for each phase, in natural order of their names: a file that ITK reads, or
            a folder of DICOM slices.
        tumor: file of a mask, or a ball.
        water: grey value of water; 0 in Hounsfield units.
        on_phase: told how many phases are registered, and of how many.

    Attributes:
        grid: of the voxels; the middle of the tumour in the first phase is the isocentre.
        phases: how many there are.
        differences_hu: mean ones between the first phase and the others, before and after registration.

    Raises:
        UserError: a file cannot be read, there are fewer than two phases, their sizes differ, or the tumour
            is not in them.
    """

    def __init__(
        self,
        folder: Path,
        tumor: Path | Ball,
        water: float = 0.0,
        on_phase: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        scans = [_cubic(_read(path) - water) for path in _paths(folder, tumor)]
        if len({scan.GetSize() for scan in scans}) > 1:
            raise UserError(f"{folder}: the phases are not of one size")
        self._first = scans[0]
        self._tumor = _ball(tumor, self._first) if isinstance(tumor, Ball) else _mask(tumor, self._first)
        inside = _turned(self._tumor)
        if not inside.any():
            raise UserError("the tumour is not in the scan: its coordinates are those of the scan, in mm")
        self._movements = [SimpleITK.Image(self._first.GetSize(), SimpleITK.sitkVectorFloat64)]
        self._movements[0].CopyInformation(self._first)
        for number, scan in enumerate(scans[1:], 1):
            on_phase(number - 1, len(scans) - 1)
            self._movements.append(_registered(scan, self._first))
        on_phase(len(scans) - 1, len(scans) - 1)
        self.phases = len(scans)
        depth, height, width = inside.shape
        step_mm = self._first.GetSpacing()[0]
        centred = Grid((depth, height, width), (step_mm, step_mm, step_mm))
        x, y, z = (-middle_mm(centred, inside)).tolist()
        self.grid = Grid(centred.shape, centred.step_mm, (x, y, z))
        self.differences_hu = self._differences_hu(scans)

    def breathed(self, phase: int, amplitude: float) -> Breathed:
        """Return the scan in a phase of a breath that is deeper or shallower than that of the scan.

        All tissue moves as from the first phase to this one, times the amplitude; its density stays.
        """
        field = SimpleITK.GetArrayFromImage(self._movements[phase]) * amplitude
        movement = SimpleITK.GetImageFromArray(field, isVector=True)
        movement.CopyInformation(self._first)
        moved = SimpleITK.DisplacementFieldTransform(movement)
        return Breathed(*(_turned(_resampled(one, self._first, moved)) for one in (self._first, self._tumor)))

    def _differences_hu(self, scans: list[Image]) -> tuple[float, float]:
        first = _turned(_soft(self._first))
        before, after = [], []
        for phase, scan in enumerate(scans[1:], 1):
            there = _turned(_soft(scan))
            moved = np.minimum(self.breathed(phase, 1.0).hounsfield, _BONE_HU)
            before.append(np.abs(first - there).mean())
            after.append(np.abs(moved - there).mean())
        return float(np.mean(before)), float(np.mean(after))


def middle_mm(grid: Grid, inside: Volume) -> Array:
    """Return the (3,) centre, in isocenter, of what fills so much of each of (D, H, W) voxels."""
    return np.array([float((axis * inside).sum()) for axis in grid.axes_mm()]) / float(inside.sum())


def _paths(folder: Path, tumor: Path | Ball) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of a 4-D CT")
    paths = [path for path in folder.iterdir() if path.is_dir() or path.name.endswith(SUFFIXES)]
    if isinstance(tumor, Path):
        # the mask may lie beside the phases
        paths = [path for path in paths if path.resolve() != tumor.resolve()]
    if len(paths) < 2:
        raise UserError(
            f"{folder} must hold a volume, or a folder of DICOM slices, for each phase of a breath"
        )
    return sorted(paths, key=natural_order)


def _read(path: Path) -> Image:
    reader = SimpleITK.ImageSeriesReader
    files = reader.GetGDCMSeriesFileNames(str(path)) if path.is_dir() else str(path)
    try:
        image = SimpleITK.ReadImage(files, SimpleITK.sitkFloat32)
    except RuntimeError as error:
        raise UserError(f"{path} holds no volume that can be read") from error
    if image.GetDimension() != 3:
        raise UserError(f"{path} is no volume")
    image = SimpleITK.DICOMOrient(image, "LPS")
    if not np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-3):
        raise UserError(f"{path}: the slices are tilted")
    return image


def _cubic(scan: Image) -> Image:
    """Return a scan in cubic voxels."""
    size, spacing_mm = np.array(scan.GetSize()), np.array(scan.GetSpacing())
    extent_mm = size * spacing_mm
    step_mm = max(float(spacing_mm.min()), float((extent_mm.prod() / _MOST_VOXELS) ** (1 / 3)))
    if np.allclose(spacing_mm, step_mm):
        return scan
    wanted = np.floor(extent_mm / step_mm).astype(int).tolist()
    first = np.array(scan.GetOrigin()) + (step_mm - spacing_mm) / 2
    smooth = SimpleITK.SmoothingRecursiveGaussian(scan, np.maximum(0.4 * step_mm, 1e-3).tolist())
    how = SimpleITK.Transform(), SimpleITK.sitkLinear, first.tolist(), [step_mm] * 3
    return SimpleITK.Resample(smooth, wanted, *how, scan.GetDirection(), AIR_HU)


def _ball(ball: Ball, like: Image) -> Image:
    size, step_mm = like.GetSize(), like.GetSpacing()[0]
    axes = [
        o + np.arange(n) * step_mm - c for o, n, c in zip(like.GetOrigin(), size, ball.center_mm, strict=True)
    ]
    x, y, z = axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]
    outside = (np.sqrt(x * x + y * y + z * z) - ball.diameter_mm / 2) / step_mm
    image = SimpleITK.GetImageFromArray(np.clip(0.5 - outside, 0.0, 1.0).astype(np.float32))
    image.CopyInformation(like)
    return image


def _mask(path: Path, like: Image) -> Image:
    mask = SimpleITK.Cast(_read(path) > 0, SimpleITK.sitkFloat32)
    how = SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0
    return SimpleITK.Resample(mask, like, *how)


def _soft(scan: Image) -> Image:
    return SimpleITK.Clamp(scan, SimpleITK.sitkFloat32, AIR_HU, _BONE_HU)


def _registered(fixed: Image, moving: Image) -> Image:
    """Return the displacement, at each voxel of a scan, to where its tissue is in another, mm."""
    field = None
    for level in _LEVELS:
        scans = [_coarser(_soft(scan), level) for scan in (fixed, moving)]
        demons = SimpleITK.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(_ITERATIONS)
        demons.SetStandardDeviations(_SMOOTHING)
        field = (
            demons.Execute(*scans) if field is None else demons.Execute(*scans, _resampled(field, scans[0]))
        )
    return field


def _coarser(scan: Image, level: int) -> Image:
    if level == 1:
        return scan
    smooth = SimpleITK.SmoothingRecursiveGaussian(scan, 0.5 * level * scan.GetSpacing()[0])
    return SimpleITK.Shrink(smooth, [level] * 3)


def _resampled(image: Image, like: Image, moved: Any = None) -> Image:
    # beyond its border a scan goes on as it ends
    resample = SimpleITK.ResampleImageFilter()
    resample.SetReferenceImage(like)
    resample.SetTransform(moved or SimpleITK.Transform())
    resample.SetInterpolator(SimpleITK.sitkLinear)
    resample.SetUseNearestNeighborExtrapolator(True)
    return resample.Execute(image)


def _turned(image: Image) -> Volume:
    """Return a volume with its axes as those of a :class:`Grid`: to the back, to the feet, to the left."""
    return np.ascontiguousarray(np.transpose(SimpleITK.GetArrayFromImage(image), (1, 0, 2))[:, ::-1])

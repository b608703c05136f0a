"""Landmarks of the plan, and what projections show of them. Positions are in isocenter, mm."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.geometry import ImageGeometry
from lmtrack_ros.core.records import LandmarkSet, Status

_ROUNDS = 3
_NUMBER = re.compile(r"_[A-Z]?\d+$")


def kind_of(name: str) -> str:
    """Return what a landmark is, of those that repeat without their number: spinous_process_T4."""
    return _NUMBER.sub("", name)


@dataclass(frozen=True, eq=False)
class PlannedLandmark:
    """Where a landmark is when the patient lies as planned.

    Attributes:
        name: of this one.
        kind: what a network can tell of it; landmarks that repeat, as spinous processes do, share one.
        position_mm: (3,).
        covariance_mm2: (3, 3) of where it is in a patient who lies as planned: how well the plan shows it,
            and how breath moves it.
    """

    name: str
    kind: str
    position_mm: Array
    covariance_mm2: Array


@dataclass(frozen=True, eq=False)
class Sight:
    """One landmark found in one projection.

    Attributes:
        kind: of the landmark.
        view: number of the projection.
        projection: (3, 4) isocenter mm → homogeneous pixel, of that view.
        uv_px: (2,) column and row.
        covariance_px2: (2, 2) of these.
    """

    kind: str
    view: int
    projection: Array
    uv_px: Array
    covariance_px2: Array


def sights_of(found: LandmarkSet, view: int, geometry: ImageGeometry) -> list[Sight]:
    """Return what is TRACKED in one projection, with the covariance of its pixels.

    Args:
        found: in the image.
        view: number of the projection.
        geometry: with a projection matrix.
    """
    projection = geometry.projection
    assert projection is not None
    pitch_mm = np.array([*geometry.plane_spacing_mm[:2], 1.0])
    to_px = geometry.pose[:3, :3].T / pitch_mm[:, None]
    sights = []
    for one in found.estimates:
        if one.status is Status.TRACKED:
            # nothing is known along the rays, and it does not show
            in_plane = np.where(np.isfinite(one.covariance_mm2), one.covariance_mm2, 0.0)
            covariance = (to_px @ in_plane @ to_px.T)[:2, :2]
            sights.append(Sight(kind_of(one.id), view, projection, np.array(one.uv_px), covariance))
    return sights


def projected(projections: Array, points_mm: Array) -> Array:
    """Return the (N, 2) columns and rows of (N, 3) points in (N, 3, 4) projections, or one of all."""
    homogeneous = np.einsum("...ij,...j->...i", projections[..., :3], points_mm) + projections[..., 3]
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:])


def slopes(projections: Array, points_mm: Array) -> Array:
    """Return the (N, 2, 3) derivatives of columns and rows by (N, 3) points, px/mm, likewise."""
    homogeneous = np.einsum("...ij,...j->...i", projections[..., :3], points_mm) + projections[..., 3]
    depth = homogeneous[..., 2:, None]
    uv = homogeneous[..., :2, None] / depth
    return np.asarray((projections[..., :2, :3] - uv * projections[..., 2:, :3]) / depth)


def meeting(sights: Sequence[Sight]) -> tuple[Array, Array]:
    """Return the point nearest to the rays of sights of one landmark, and its covariance.

    Weighted least squares of the pixels, by Gauss and Newton from the linear solution on.

    Args:
        sights: in two views or more.

    Returns:
        (3,) mm and (3, 3) mm².
    """
    projections = np.array([s.projection for s in sights])
    seen = np.array([s.uv_px for s in sights])
    weights = np.linalg.inv([s.covariance_px2 for s in sights])
    rows = (projections[:, :2] - seen[:, :, None] * projections[:, 2:]).reshape(-1, 4)
    point = np.linalg.lstsq(rows[:, :3], -rows[:, 3], rcond=None)[0]
    for _ in range(_ROUNDS):
        by_point = slopes(projections, point)
        information = np.einsum("nij,nik,nkl->jl", by_point, weights, by_point)
        off = seen - projected(projections, point)
        point = point + np.linalg.solve(information, np.einsum("nij,nik,nk->j", by_point, weights, off))
    return point, np.linalg.inv(information)


def mahalanobis(sight: Sight, points_mm: Array, covariances_mm2: Array) -> Array:
    """Return how far a sight is from (N, 3) points that are known so well, (N,) standard deviations."""
    by_point = slopes(sight.projection, points_mm)
    off = sight.uv_px - projected(sight.projection, points_mm)
    doubts = sight.covariance_px2 + by_point @ covariances_mm2 @ by_point.transpose(0, 2, 1)
    return np.asarray(np.sqrt(np.einsum("ni,nij,nj->n", off, np.linalg.inv(doubts), off)))


def farthest(sights: Sequence[Sight], point_mm: Array) -> float:
    """Return how far from a (3,) point the ray of sights is that passes it farthest, standard deviations."""
    exactly = np.zeros((1, 3, 3))
    return float(max(mahalanobis(sight, point_mm[None], exactly)[0] for sight in sights))

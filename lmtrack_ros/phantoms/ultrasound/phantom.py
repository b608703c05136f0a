"""A body under an ultrasound probe, made of scatterers that it carries and that a probe sums coherently."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core import frames
from lmtrack_ros.core.frames import Array, View
from lmtrack_ros.core.geometry import ImageGeometry, Modality, Mount
from lmtrack_ros.phantoms.deformation import BodyState
from lmtrack_ros.phantoms.phantom import Phantom, PhantomParameters, preset_of
from lmtrack_ros.phantoms.ultrasound.anatomy import Ellipse, Face, Shadow
from lmtrack_ros.phantoms.ultrasound.contact import Contact
from lmtrack_ros.phantoms.ultrasound.presets import PRESETS
from lmtrack_ros.phantoms.ultrasound.probe import Beamformer
from lmtrack_ros.phantoms.ultrasound.scatterers import SLAB_MM, Echoes, Scatterers

_MARGIN = 1 / 6  # of the field's depth: how far the anatomy reaches beyond the field
_SWAY_HZ = np.geomspace(0.2, 8.0, 14)
_BEHIND_MM = 10.0  # how far the organs reach up behind the wall


class UltrasoundPhantom(Phantom):
    """A breathing body under a probe whose plane is longitudinal.

    Scatterers fill the organs and are carried by the deformation; the wall above them slides. The
    picture is their coherent sum, so that speckle changes as tissue turns, deforms and leaves the plane.

    Args:
        parameters: of patient and motion.

    Raises:
        UserError: the preset is unknown or the trace cannot be read.
    """

    def __init__(self, parameters: PhantomParameters) -> None:
        preset = preset_of(parameters, PRESETS)
        probe, spacing_mm = preset.probe, preset.spacing_mm
        center_px = np.array(preset.size_px) / 2
        self._pose = frames.isocenter_from_image(View.LONGITUDINAL)
        self._pose[:3, 3] = -self._pose[:3, :3] @ np.append(center_px * spacing_mm, 0.0)
        geometry = ImageGeometry(
            Modality.ULTRASOUND, (spacing_mm, spacing_mm, 0.0), mount=Mount(parameters.mount), pose=self._pose
        )
        super().__init__("ultrasound", geometry, preset, parameters)
        rng = np.random.default_rng((parameters.seed, 10))
        face_px = (float(center_px[0]), preset.face_mm / spacing_mm)
        self._face = Face(float(center_px[1]) * spacing_mm - preset.face_mm, probe.radius_mm, probe.depth_mm)
        half_width_mm = preset.size_px[0] / 2 * spacing_mm + _MARGIN * probe.depth_mm
        self._anatomy = preset.anatomy(rng, self._face, half_width_mm)
        self._beams = Beamformer(
            probe, preset.density_mm2, face_px, preset.size_px, spacing_mm, preset.background, rng
        )
        self._gain = np.float32(10.0 ** (rng.uniform(*preset.gain_db) / 20.0))
        share = _SWAY_HZ**-0.6
        self._sway_mm = preset.sway_mm * np.sqrt(2.0 * share / share.sum())
        self._sway_phases = rng.uniform(0, 2 * np.pi, len(_SWAY_HZ))
        self._contact = Contact(rng, probe, self._face, preset.edge_db, preset.dropout)
        self._organs, self._wall = self._scatterers(rng, half_width_mm, preset.density_mm2, probe.slice_mm)

    def _scatterers(
        self, rng: np.random.Generator, half_width_mm: float, density_mm2: float, reach_mm: float
    ) -> tuple[tuple[Scatterers, Scatterers], tuple[Scatterers, Scatterers]]:
        """Return tissue and interfaces of the organs, and of the wall."""
        anatomy, face, probe = self._anatomy, self._face, self._beams.probe
        margin_mm = _MARGIN * probe.depth_mm
        top_mm, bottom_mm = face.z_mm + margin_mm, face.z_mm - face.depth_mm - margin_mm
        count = round(2 * half_width_mm * (top_mm - bottom_mm) * density_mm2)
        drawn = rng.uniform((0.0, -half_width_mm, bottom_mm), (SLAB_MM, half_width_mm, top_mm), (count, 3))
        strength = rng.standard_normal(count)
        height = face.layer_z_mm(drawn[:, 1], anatomy.wall_mm)
        depth, beam = probe.polar(
            (-drawn[:, 1]).astype(np.float32), (face.z_mm - drawn[:, 2]).astype(np.float32)
        )
        margin = margin_mm / probe.cell_mm()[probe.rows // 2]
        seen = (
            (depth > -margin_mm)
            & (depth < probe.depth_mm + margin_mm)
            & (beam > -margin)
            & (beam < probe.beams + margin)
        )
        # organs reach up behind the wall, from where they come forth
        organs = seen & (drawn[:, 2] < height + _BEHIND_MM)
        wall = seen & (drawn[:, 2] > height)
        moving, sliding = anatomy.deformation.weights, anatomy.deformation.wall_weights
        return (
            Scatterers.of(drawn[organs], strength[organs] * anatomy.organs(drawn[organs]), moving, reach_mm),
            Scatterers.along(anatomy.organ_lines, moving, reach_mm),
        ), (
            Scatterers.of(drawn[wall], strength[wall] * anatomy.wall(drawn[wall]), sliding, reach_mm),
            Scatterers.along(anatomy.wall_lines, sliding, reach_mm),
        )

    def positions_mm(self, time_s: float) -> Mapping[str, Array]:
        """Return the (3,) position of every landmark at one moment, the couch at zero, in isocenter, mm."""
        return {name: self.carried_mm(point, time_s) for name, point in self.landmarks_mm.items()}

    @property
    def landmarks_mm(self) -> Mapping[str, Array]:
        """Where landmarks are while the diaphragm is at zero: (3,) in isocenter, mm, the couch at zero."""
        return self._anatomy.landmarks_mm

    def carried_mm(self, points_mm: Array, time_s: float) -> Array:
        """Return where tissue is at one moment that is at (..., 3) points while the diaphragm is at zero.

        In isocenter, mm, the couch at zero.
        """
        return self._anatomy.deformation.displaced_mm(points_mm, BodyState.at(self.motion, time_s))

    def _image(self, time_s: float, couch_mm: Array) -> NDArray[np.uint8]:
        state = BodyState.at(self.motion, time_s)
        sway_mm = self._sway_mm @ np.sin(2 * np.pi * _SWAY_HZ * time_s + self._sway_phases)
        moved_mm = np.add(couch_mm, (sway_mm, 0.0, 0.0))
        organs = [self._beneath(s.echoes(state, moved_mm), couch_mm) for s in self._organs]
        parts = [*organs, *(s.echoes(state, moved_mm) for s in self._wall)]
        echoes = Echoes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        shadows = [self._now(shadow, state, couch_mm) for shadow in self._anatomy.shadows]
        gain = self._gain * self._contact.gain(time_s, shadows)
        return self._beams.picture(echoes, (0.0, self._face.z_mm), gain, self._noise(time_s))

    def _beneath(self, echoes: Echoes, couch_mm: Array) -> Echoes:
        """Hide the organs where the wall has slid over them."""
        y_mm = echoes.y_mm - np.float32(couch_mm[1])
        bottom_mm = self._face.layer_z_mm(y_mm, self._anatomy.wall_mm).astype(np.float32)
        seen = echoes.z_mm - np.float32(couch_mm[2]) < bottom_mm
        return echoes._replace(amplitude=echoes.amplitude * seen)

    def _masks(self, time_s: float, couch_mm: Array) -> Mapping[str, NDArray[np.bool_]]:
        state = BodyState.at(self.motion, time_s)
        return {
            name: self._section(structure, state, couch_mm)
            for name, structure in self._anatomy.structures.items()
        }

    def _section(self, structure: Ellipse, state: BodyState, couch_mm: Array) -> NDArray[np.bool_]:
        """Return which pixels of the field a structure covers, looking only where it can be."""
        deformation = self._anatomy.deformation
        outline_mm = np.insert(structure.outline(scale=1.1), 0, 0.0, axis=1)
        corners_px = np.array([self.pixel(p + couch_mm) for p in deformation.displaced_mm(outline_mm, state)])
        height, width = self._beams.outside.shape
        left, top = np.clip(np.floor(corners_px.min(axis=0)), 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(corners_px.max(axis=0)) + 1, 0, (width, height)).astype(int)
        rows, columns = np.mgrid[top:bottom, left:right]
        image_mm = np.stack([columns, rows, np.zeros_like(rows)], axis=-1) * self.geometry.plane_spacing_mm
        points_mm = frames.apply(self._pose, image_mm) - couch_mm
        origin = deformation.origin_mm(points_mm, state)
        mask = np.zeros((height, width), bool)
        mask[top:bottom, left:right] = structure.radius(origin[..., 1], origin[..., 2]) < 1.0
        return mask & ~self._beams.outside

    def _now(self, shadow: Shadow, state: BodyState, couch_mm: Array) -> Shadow:
        """Return a shadow where breath and couch have carried it."""
        edge_mm = np.array([0.0, shadow.y_mm[0], shadow.z_mm])
        moved_mm = couch_mm
        if shadow.breathes:
            moved_mm = couch_mm + self._anatomy.deformation.displaced_mm(edge_mm, state) - edge_mm
        feet_mm, head_mm = shadow.y_mm
        # the lung slides along the wall
        return shadow._replace(
            y_mm=(feet_mm + float(moved_mm[1]), head_mm + float(moved_mm[1])),
            z_mm=shadow.z_mm + float(couch_mm[2]),
        )

"""What keeps sound from the body: a probe that lifts off the skin, bone and air."""

from collections.abc import Iterable

import numpy as np

from lmtrack_ros.phantoms.ultrasound.anatomy import Face, Shadow
from lmtrack_ros.phantoms.ultrasound.probe import Probe
from lmtrack_ros.phantoms.ultrasound.scatterers import Floats

_DROPOUTS = 4
_DEEPEST = 0.03  # amplitude in a shadow
_PENUMBRA = 0.02  # of the beams: the aperture is partly covered
_ONSET_MM = 10.0


class Contact:
    """How much of the echoes' amplitude is left, by depth and beam.

    Args:
        rng: of the recording.
        probe: its settings.
        face: where it touches the skin.
        edge_db: greatest loss at the field's edges, towards the head and towards the feet.
        dropout: by how much contact comes and goes, from 0 to 1.
    """

    def __init__(
        self, rng: np.random.Generator, probe: Probe, face: Face, edge_db: tuple[float, float], dropout: float
    ) -> None:
        self._probe, self._face, self._dropout = probe, face, dropout
        along = np.linspace(0.0, 1.0, probe.beams)
        loss_db = np.zeros_like(along)
        for from_edge, most_db in zip((along, 1.0 - along), edge_db, strict=True):
            width = rng.uniform(0.25, 0.42)
            loss_db += rng.uniform(0.5, 1.0) * most_db * np.maximum(1.0 - from_edge / width, 0.0) ** 1.5
        self._steady = (10.0 ** (-loss_db / 20.0)).astype(np.float32)
        middles = rng.uniform(0.0, 1.0, (_DROPOUTS, 1))
        spreads = rng.uniform(0.02, 0.07, (_DROPOUTS, 1))
        self._bumps = np.exp(-0.5 * ((along - middles) / spreads) ** 2).astype(np.float32)
        self._rates_hz = rng.uniform(0.05, 0.3, _DROPOUTS)
        self._phases = rng.uniform(0.0, 1.0, _DROPOUTS)

    def gain(self, time_s: float, shadows: Iterable[Shadow]) -> Floats:
        """Return the amplitude that is left, float32, broadcasting to (rows, beams).

        Args:
            time_s: of the recording.
            shadows: where they are now, in isocenter.
        """
        lost = np.maximum(np.sin(2 * np.pi * (self._rates_hz * time_s + self._phases)), 0.0) ** 2
        gain = self._steady * np.prod(1.0 - self._dropout * lost[:, None] * self._bumps, axis=0)
        left: Floats = gain.astype(np.float32)[None, :]
        for shadow in shadows:
            left = left * self._shaded(shadow)
        return left

    def _shaded(self, shadow: Shadow) -> Floats:
        probe = self._probe
        y_mm = np.array(shadow.y_mm, np.float32)
        start_mm, edges = probe.polar(-y_mm, np.full(2, self._face.z_mm - shadow.z_mm, np.float32))
        from_feet, from_head = ((edges[:, None] - np.arange(probe.beams)) / (_PENUMBRA * probe.beams)) * (
            np.array([[1.0], [-1.0]])
        )
        covered = 1.0 / (1.0 + np.exp(-np.clip(np.minimum(from_feet, from_head), -30.0, 30.0)))
        depth_mm = np.arange(probe.rows) * probe.row_mm
        below = np.clip((depth_mm - start_mm[0]) / _ONSET_MM + 0.5, 0.0, 1.0)
        return np.asarray(1.0 - (1.0 - _DEEPEST) * below[:, None] * covered, dtype=np.float32)

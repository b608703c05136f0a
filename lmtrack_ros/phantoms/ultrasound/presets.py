"""Patients under scanners: what ``lmtrack phantom ultrasound`` can render."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmtrack_ros.phantoms.motion import MotionRange
from lmtrack_ros.phantoms.phantom import Preset
from lmtrack_ros.phantoms.ultrasound.anatomy import Anatomy, Ellipse, Face
from lmtrack_ros.phantoms.ultrasound.kidney import kidney
from lmtrack_ros.phantoms.ultrasound.liver import Vessel, drawn_vessels, liver
from lmtrack_ros.phantoms.ultrasound.muscle import muscle
from lmtrack_ros.phantoms.ultrasound.probe import Probe


@dataclass(frozen=True)
class UltrasoundPreset(Preset):
    """A patient under a scanner.

    Attributes:
        probe: of the scanner.
        size_px: (width, height) of the picture.
        spacing_mm: of its square pixels.
        anatomy: makes the patient under the face of the probe; takes how far, mm, to draw it to both sides.
        face_mm: of the picture above the middle of the probe's face.
        density_mm2: scatterers per area of the plane, over the thickness that repeats.
        background: grey level outside the field.
        gain_db: within what the gain of recordings lies, about that of the probe.
        edge_db: greatest loss at the field's edges towards the head and towards the feet.
        sway_mm: standard deviation of the probe across the plane, by the hand and body that hold it.
        dropout: by how much contact comes and goes, from 0 to 1.
    """

    probe: Probe
    size_px: tuple[int, int]
    spacing_mm: float
    anatomy: Callable[[np.random.Generator, Face, float], Anatomy]
    face_mm: float = 8.0
    density_mm2: float = 8.0
    background: int = 0
    gain_db: tuple[float, float] = (-2.0, 2.0)
    edge_db: tuple[float, float] = (45.0, 25.0)
    sway_mm: float = 0.75
    dropout: float = 0.5


def _demo(rng: np.random.Generator, face: Face, half_width_mm: float) -> Anatomy:
    vessels = {
        "portal_vein": Vessel(Ellipse((0.0, 0.0), (6.5, 4.5)), 1.0),
        "hepatic_vein": Vessel(Ellipse((31.0, -21.0), (4.0, 5.0)), 0.3),
    }
    return liver(rng, face, vessels, half_width_mm, rigid=True)


def _liver_with(vessels: int) -> Callable[[np.random.Generator, Face, float], Anatomy]:
    def drawn(rng: np.random.Generator, face: Face, half_width_mm: float) -> Anatomy:
        return liver(rng, face, drawn_vessels(rng, face, vessels), half_width_mm, rigid=False)

    return drawn


_BREATHING = MotionRange(
    peak_to_peak_mm=(10.0, 20.0), anterior_mm=(0.5, 4.0), left_mm=(-2.0, 2.0), period_s=(3.2, 5.0)
)

PRESETS: Mapping[str, UltrasoundPreset] = {
    "kidney": UltrasoundPreset(
        "kidney, calyces and fat under a convex probe: 3 MHz, 15 cm, 0.27 mm",
        19.0,
        MotionRange(
            peak_to_peak_mm=(16.0, 26.0),
            anterior_mm=(0.0, 2.5),
            left_mm=(1.0, 4.5),
            period_s=(2.8, 4.0),
            amplitude_variation=(0.08, 0.25),
        ),
        Probe(3.0, 150.5, dynamic_range_db=70.0, white_db=39.0, noise_db=-58.0),
        (770, 584),
        0.2732,
        kidney,
        background=56,
        edge_db=(75.0, 40.0),
        dropout=0.8,
    ),
    "liver": UltrasoundPreset(
        "three vessels of a liver: 3.5 MHz, 16 cm, 0.41 mm",
        20.0,
        _BREATHING,
        Probe(3.5, 160.0, half_angle_deg=34.0, dynamic_range_db=65.0, white_db=36.0),
        (480, 416),
        0.41,
        _liver_with(3),
    ),
    "liver_deep": UltrasoundPreset(
        "two vessels of a liver: 2 MHz, 18 cm, 0.71 mm, wide sector",
        15.0,
        _BREATHING,
        Probe(
            2.0,
            180.0,
            radius_mm=45.0,
            half_angle_deg=38.0,
            row_mm=0.4,
            pulse_mm=0.5,
            beam_mm=1.1,
            slice_mm=2.8,
            dynamic_range_db=60.0,
            white_db=33.0,
        ),
        (336, 272),
        0.71,
        _liver_with(2),
        density_mm2=5.0,
    ),
    "liver_fine": UltrasoundPreset(
        "five vessels of a liver: 4.5 MHz, 12 cm, 0.30 mm",
        24.0,
        _BREATHING,
        Probe(4.5, 120.0, pulse_mm=0.22, beam_mm=0.5, focus_mm=65.0, dynamic_range_db=70.0, white_db=38.0),
        (520, 432),
        0.3,
        _liver_with(5),
        density_mm2=11.0,
    ),
    "liver_fast": UltrasoundPreset(
        "one vessel of a liver: 2.5 MHz, 14 cm, 0.55 mm, narrow sector, hard contrast",
        30.0,
        _BREATHING,
        Probe(
            2.5,
            140.0,
            half_angle_deg=24.0,
            beams=160,
            row_mm=0.3,
            pulse_mm=0.36,
            beam_mm=0.85,
            dynamic_range_db=50.0,
            white_db=26.0,
            smoothing=(0.6, 0.5),
        ),
        (336, 288),
        0.55,
        _liver_with(1),
        density_mm2=6.0,
    ),
    "liver_slow": UltrasoundPreset(
        "four vessels of a liver: 3 MHz, 17 cm, 0.77 mm, six frames a second, noisy",
        6.0,
        _BREATHING,
        Probe(
            3.0,
            170.0,
            half_angle_deg=32.0,
            row_mm=0.3,
            pulse_mm=0.36,
            beam_mm=0.8,
            noise_db=-38.0,
            noise_rise_db=28.0,
            dynamic_range_db=60.0,
            white_db=34.0,
        ),
        (288, 240),
        0.77,
        _liver_with(4),
        density_mm2=6.0,
    ),
    "muscle": UltrasoundPreset(
        "calf muscle between its aponeuroses under a linear probe: 10 MHz, 4 cm, 0.087 mm",
        20.0,
        MotionRange(
            peak_to_peak_mm=(3.0, 7.0),
            anterior_mm=(-0.8, 0.8),
            left_mm=(-0.3, 0.3),
            period_s=(2.5, 5.0),
            baseline_mm=(0.0, 0.2),
            drift_mm_min=(0.0, 0.0),
        ),
        Probe(
            10.0,
            39.9,
            radius_mm=0.0,
            half_width_mm=25.1,
            beams=288,
            row_mm=0.08,
            pulse_mm=0.09,
            beam_mm=0.16,
            focus_mm=20.0,
            spread=0.005,
            slice_mm=1.0,
            dynamic_range_db=65.0,
            white_db=33.0,
            fall_db=14.0,
            clutter_mm=0.4,
            smoothing=(0.9, 0.7),
        ),
        (800, 600),
        0.0868,
        muscle,
        face_mm=5.2,
        density_mm2=90.0,
        edge_db=(0.0, 0.0),
        sway_mm=0.15,
        dropout=0.2,
    ),
    "demo": UltrasoundPreset(
        "vessels in a liver that moves as one, as the demo follows them",
        30.0,
        MotionRange.exactly(15.0, 3.0, 4.0),
        Probe(2.5, 120.0, half_angle_deg=38.0, row_mm=0.4, pulse_mm=0.42, beam_mm=0.75),
        (320, 256),
        0.5,
        _demo,
        density_mm2=7.0,
        edge_db=(0.0, 0.0),
        sway_mm=0.1,
        dropout=0.0,
    ),
}
"""The first is the default."""

"""From line integrals to what a flat-panel detector reads out and a screen shows."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.phantoms.xray.projector import Picture


@dataclass(frozen=True)
class Detector:
    """What the beam and the panel do to a radiograph.

    Attributes:
        photons: detected per pixel where nothing attenuates; sets the quantum noise.
        scatter: scattered radiation behind the patient, of the primary beam spread over the neighbourhood.
        scatter_mm: standard deviation of that spread at the isocentre.
        veiling: share of the light that spreads over the whole panel.
        blur_mm: standard deviation of the point spread of focal spot and scintillator at the isocentre.
        readout: standard deviation of the electronic noise, of the open beam.
    """

    photons: float
    scatter: float = 0.15
    scatter_mm: float = 35.0
    veiling: float = 0.004
    blur_mm: float = 0.8
    readout: float = 2e-4

    def expose(self, integrals: Picture, pixel_mm: float, noise: np.random.Generator) -> Picture:
        """Return the (H, W) signal, 1 in the open beam, of (H, W) line integrals; pixel_mm at the isocentre.

        Quantum noise has the variance signal / photons (Poisson) and is blurred with the picture.
        """
        primary: Picture = np.exp(-np.maximum(integrals, 0.0))
        # air in front of the panel scatters nothing
        behind = primary * (primary < 0.95)
        signal = primary + self.scatter * _spread(behind, self.scatter_mm / pixel_mm)
        signal = (1.0 - self.veiling) * signal + np.float32(self.veiling * signal.mean())
        quanta = noise.standard_normal(signal.shape, dtype=np.float32)
        signal += quanta * np.sqrt(signal / np.float32(self.photons))
        sigma_px = self.blur_mm / pixel_mm
        signal = cv2.GaussianBlur(signal, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        signal += np.float32(self.readout) * noise.standard_normal(signal.shape, dtype=np.float32)
        return np.maximum(signal, np.float32(1e-6))


@dataclass(frozen=True)
class Display:
    """How grey follows the signal: the S of a film's characteristic curve.

    Attributes:
        middle: signal that is shown at half the scale.
        gamma: steepness there.
        positive: much signal is bright, so bones are black; else as on film.
    """

    middle: float
    gamma: float
    positive: bool = False

    def grey(self, signal: Picture) -> NDArray[np.uint8]:
        """Return the (H, W) picture."""
        odds = np.power(signal / np.float32(self.middle), np.float32(self.gamma))
        shown = (odds if self.positive else 1.0) / (1.0 + odds)
        return np.asarray(255.0 * shown + 0.5, dtype=np.uint8)


def _spread(signal: Picture, sigma_px: float) -> Picture:
    """Return the signal under a wide Gaussian, computed on a coarse grid."""
    height, width = signal.shape
    small = cv2.resize(signal, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

"""Cross-subject detection: landmarks that examples show, found anywhere in the image of another subject.

Frueh et al. 2022, section II.C. Nothing is trained for a landmark: one or more labelled images are enough.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.inference.parameters import InferenceParameters
from lmtrack_ros.models.grey import scaled
from lmtrack_ros.models.template_matching.matcher import Matcher, Place, weighted
from lmtrack_ros.models.views import View

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Example:
    """An image in which the landmarks are known.

    Attributes:
        image: (H, W) grey values of any numeric type.
        uv_px: (2,) column and row of each landmark, by name, px.
    """

    image: NDArray[Any]
    uv_px: Mapping[str, NDArray[np.float64]]


class Detector:
    """Finds what examples show; their patches are encoded once.

    Args:
        weights: of the network, trained on whole images: a name, a file, or the folder of a run.
        examples: at least one; all name the same landmarks.
        parameters: of inference.
        on_progress: gets a line per stage of making the network ready.

    Raises:
        UserError: there are no such weights, they are of a network that sees only a region, or the examples
            are none, differ in their landmarks, are not 2-D, or have a landmark outside their image.
    """

    def __init__(
        self,
        weights: str,
        examples: Sequence[Example],
        parameters: InferenceParameters | None = None,
        *,
        on_progress: Callable[[str], None] = logger.info,
    ) -> None:
        self.landmarks = _landmarks(examples)
        count = len(self.landmarks) * len(examples)
        self._matcher = Matcher(
            weights, parameters or InferenceParameters(), batch=1, examples=count, on_progress=on_progress
        )
        self._input_px = self._matcher.configuration.image_px
        if self._matcher.configuration.view_mm:
            raise UserError(
                f"the network of '{weights}' sees a region round a landmark: to detect one anywhere, it must "
                "see the whole image (preset detection)"
            )
        encoded = [self._encode(example) for example in examples]
        self._encoded = np.stack(encoded, axis=1).reshape(1, count, -1)

    @property
    def runs_by(self) -> str:
        """Backend, device and precision that run the network."""
        return self._matcher.runs_by

    def detect(self, image: NDArray[Any]) -> dict[str, Place]:
        """Return where each landmark is, equation (3).

        Args:
            image: (H, W) grey values of any numeric type.

        Returns:
            Place and uncalibrated σ̂ by landmark, px of the image; NaN where nothing can be found.

        Raises:
            UserError: the image is not 2-D.
        """
        found = weighted(self.find(image))
        return {name: Place(one[:2], one[2:]) for name, one in zip(self.landmarks, found, strict=True)}

    def find(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Return what every example says by itself.

        Args:
            image: (H, W).

        Returns:
            (landmarks, examples, 4): x̂, ŷ, σ̂x, σ̂y, px of the image.

        Raises:
            UserError: the image is not 2-D.
        """
        view = self._view(image)
        found = self._matcher.find([view.of(scaled(image))], self._encoded)[0]
        image_px = np.concatenate([view.to_image(found[:, :2]), found[:, 2:] * view.scale], axis=-1)
        # an image without any contrast is nothing to find a landmark in
        if not np.isfinite(image).any() or np.ptp(image[np.isfinite(image)]) == 0:
            image_px[:] = np.nan
        return np.asarray(image_px.reshape(len(self.landmarks), -1, 4), dtype=float)

    def _encode(self, example: Example) -> NDArray[np.float32]:
        view = self._view(example.image)
        places_px = view.to_view(np.array([example.uv_px[name] for name in self.landmarks]))
        grey = view.of(scaled(example.image))
        return self._matcher.encode([grey] * len(places_px), places_px)

    def _view(self, image: NDArray[Any]) -> View:
        if image.ndim != 2:
            raise UserError(f"landmarks are detected in (H, W) images, not in one of shape {image.shape}")
        return View.whole(image.shape, self._input_px)


def _landmarks(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the names of the landmarks, the same in all examples."""
    if not examples or not examples[0].uv_px:
        raise UserError("detection needs at least one example with a landmark")
    names = tuple(examples[0].uv_px)
    for number, example in enumerate(examples):
        if set(example.uv_px) != set(names):
            odd = ", ".join(sorted(set(example.uv_px) ^ set(names)))
            raise UserError(f"example {number} and the first differ in their landmarks: {odd}")
        for name, uv_px in example.uv_px.items():
            size = np.array(example.image.shape[1::-1])
            at = np.asarray(uv_px, dtype=float)
            if example.image.ndim == 2 and not ((at >= -0.5) & (at <= size - 0.5)).all():
                raise UserError(f"example {number}: {name} at {at.tolist()} px is outside the image")
    return names

"""A cached pool of rendered sequences, to train from when rendering is the bottleneck."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.kept import name_of

# to be raised when a phantom's pictures change: an old pool is then made anew
_VERSION = 2


@dataclass(frozen=True, eq=False)
class PooledSequence:
    """One rendered sequence.

    Attributes:
        images: (N, H, W) or (N, D, H, W), read from the file as they are used.
        uv_px: (N, 2) or (N, 3) position in each frame, by landmark.
        masks: (N, H, W) or (N, D, H, W), by structure; empty for a pool without masks.
        spacing_mm: (3,) pixel pitch along columns, rows and slices, of a projection in the isocentre plane.
        parameters: of the phantom.
    """

    images: NDArray[np.generic]
    uv_px: Mapping[str, Array]
    masks: Mapping[str, NDArray[np.bool_]]
    spacing_mm: Array
    parameters: PhantomParameters


@dataclass(frozen=True)
class Pool:
    """Sequences of one modality under some presets and seeds.

    Each seed is another patient with another motion, so splitting by seed splits by patient. Only for the
    presets of a real base anatomy are all seeds one and the same patient, who moves differently.

    Attributes:
        modality: name of the phantom.
        presets: kinds of anatomy and imager.
        seeds: patients of each.
        frames: of each sequence.
        directory: where the sequences are kept; may be shared by pools.
        rate_hz: of the frames; 0: the preset's.
        with_masks: whether the structures are rendered too.
    """

    modality: str
    presets: tuple[str, ...]
    seeds: tuple[int, ...]
    frames: int
    directory: Path
    rate_hz: float = 0.0
    with_masks: bool = True

    def __len__(self) -> int:
        """Return how many sequences there are."""
        return len(self.presets) * len(self.seeds)

    def parameters(self, index: int) -> PhantomParameters:
        """Return the phantom of one sequence; those of a preset come together."""
        preset, seed = divmod(index, len(self.seeds))
        return PhantomParameters(self.presets[preset], self.seeds[seed], self.rate_hz)

    def load(self, index: int) -> PooledSequence:
        """Return one sequence, rendered now where it is not there yet.

        Raises:
            UserError: the preset is unknown, or the directory cannot be written.
        """
        parameters = self.parameters(index)
        folder = self.directory / self._key(parameters)
        if not folder.is_dir():
            try:
                self._render(parameters, folder)
            except OSError as error:
                raise UserError(f"cannot keep a rendered sequence in {self.directory}: {error}") from error
        with np.load(folder / "truth.npz") as truth:
            uv_px = {name: truth[name] for name in truth.files}
        masks = {file.stem: np.load(file, mmap_mode="r") for file in sorted((folder / "masks").glob("*.npy"))}
        images = np.load(folder / "images.npy", mmap_mode="r")
        return PooledSequence(images, uv_px, masks, np.load(folder / "spacing_mm.npy"), parameters)

    def fill(self, on_sequence: Callable[[], None] = lambda: None) -> None:
        """Render what is not there yet; may be interrupted and goes on where it was."""
        for index in range(len(self)):
            self.load(index)
            on_sequence()

    def _key(self, parameters: PhantomParameters) -> str:
        return name_of(_VERSION, self.modality, self.frames, self.with_masks, asdict(parameters))

    def _render(self, parameters: PhantomParameters, folder: Path) -> None:
        phantom = open_phantom(self.modality, parameters)
        self.directory.mkdir(parents=True, exist_ok=True)
        # in a place of its own and then moved, so that several processes may fill one pool
        with TemporaryDirectory(dir=self.directory, prefix=".") as made:
            partial = Path(made) / folder.name
            (partial / "masks").mkdir(parents=True)
            times_s = [i / phantom.info.rate_hz for i in range(self.frames)]
            np.save(partial / "images.npy", np.stack([f.image for f in islice(phantom, self.frames)]))
            truths = [phantom.truth(0, time_s).estimates for time_s in times_s]
            uv_px = {e.id: np.array([t[i].uv_px for t in truths]) for i, e in enumerate(truths[0])}
            np.savez(partial / "truth.npz", **uv_px)  # type: ignore[arg-type]
            np.save(partial / "spacing_mm.npy", phantom.geometry.plane_spacing_mm)
            masks = [phantom.masks(time_s) if self.with_masks else {} for time_s in times_s]
            for name in masks[0]:
                np.save(partial / "masks" / f"{name}.npy", np.stack([m[name] for m in masks]))
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster
                    raise

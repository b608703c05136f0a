"""The folder of a run: what is in it, and how it survives a kill at any time."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.models.description import BEST, CARD, RUN_FILE, Description, read_description
from lmtrack_ros.models.files import remove_partial, write_whole
from lmtrack_ros.models.trainee import Trainee
from lmtrack_ros.models.weights import save_weights


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimisation steps taken.
        sums: of each loss over the steps of the epoch that is not at its end.
        history: one line per epoch, as in ``metrics.jsonl``.
        trained_s: time spent, over all resumptions.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    trained_s: float = 0.0

    @property
    def best(self) -> Mapping[str, Any] | None:
        """Return the line of the epoch with the lowest deciding figure, the first of equals."""
        judged = [line for line in self.history if _deciding(line) is not None]
        return min(judged, key=lambda line: _deciding(line) or 0.0) if judged else None


def _deciding(line: Mapping[str, Any]) -> float | None:
    figure: float | None = next(iter(line["validation"].values()))
    return figure


class RunFolder:
    """The files of one run.

    ``state.pt`` alone says where the run is: it is written whole, after the files that follow from it. A kill
    between two of them is undone by resuming, which computes the same again and writes the same files.

    Args:
        path: of the folder; use :meth:`create` or :meth:`open`.
        description: what is trained, as in ``config.yaml``.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description

    @classmethod
    def create(cls, path: Path, description: Description) -> "RunFolder":
        """Make the folder of a new run.

        Raises:
            UserError: something is there, or it cannot be written.
        """
        if (path / RUN_FILE).exists():
            raise UserError(
                f"there is a run in {path}: go on with --resume, or name another folder with --out"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            remove_partial(path)
            if any(path.iterdir()):
                raise UserError(f"{path} holds other files: name another folder with --out")
            description.write(path / RUN_FILE)
        except OSError as error:
            raise UserError(f"cannot write a run to {path}: {error.strerror}") from error
        return cls(path, description)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open the folder of a run that was begun.

        Raises:
            UserError: there is none.
        """
        if not (path / RUN_FILE).is_file():
            raise UserError(f"there is no run to resume in {path}: leave out --resume, or name it with --out")
        remove_partial(path)
        return cls(path, read_description(path / RUN_FILE))

    @property
    def best(self) -> Path:
        """Return the file of the best weights."""
        return self.path / BEST

    @property
    def has_state(self) -> bool:
        """Whether anything was kept that training goes on from."""
        return self._state.exists()

    def save(self, trainee: Trainee, progress: Progress) -> None:
        """Keep the state of everything that a step changes."""
        state = {
            "configuration": self.description.digest,
            "progress": asdict(progress),
            "parts": {name: part.state_dict() for name, part in trainee.stateful().items()},
        }
        stream = io.BytesIO()
        torch.save(state, stream)
        write_whole(self._state, stream.getvalue())

    def restore(self, trainee: Trainee) -> Progress:
        """Bring everything to where it was saved last, or leave it as it is where it never was.

        Raises:
            UserError: what was saved cannot be read, or is of something else.
        """
        if not self.has_state:
            return Progress()
        try:
            state = torch.load(self._state, map_location=trainee.device, weights_only=True)
            progress = Progress(**state["progress"])
            parts, digest = dict(state["parts"]), state["configuration"]
        except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self._state} cannot be read ({' '.join(str(error).split())[:80]}): remove it to train "
                "from the first step again"
            ) from error
        if digest != self.description.digest:
            raise UserError(f"{self._state} is not of the configuration in {self.path / RUN_FILE}")
        expected = trainee.stateful()
        if parts.keys() != expected.keys():
            odd = ", ".join(sorted(parts.keys() ^ expected.keys()))
            raise UserError(f"{self._state} does not fit the model: {odd} missing or unexpected")
        for name, part in expected.items():
            try:
                part.load_state_dict(parts[name])
            except (RuntimeError, ValueError, KeyError) as error:
                line = " ".join(str(error).split())
                raise UserError(f"{self._state} does not fit the model: {name}: {line}") from error
        return progress

    def save_epoch(self, trainee: Trainee, progress: Progress, picture: NDArray[np.uint8]) -> None:
        """Write what an epoch leaves, and its state after all else.

        Args:
            trainee: at the end of the epoch.
            progress: with the epoch's line.
            picture: (H, W, 3) RGB.
        """
        epoch = progress.history[-1]["epoch"]
        encoded = cv2.imencode(".png", picture[..., ::-1])[1]
        pictures = self.path / "pictures"
        pictures.mkdir(exist_ok=True)
        write_whole(pictures / f"epoch_{epoch:04d}.png", encoded.tobytes())
        lines = "".join(json.dumps(line, allow_nan=False) + "\n" for line in progress.history)
        write_whole(self.path / "metrics.jsonl", lines.encode())
        weights = trainee.network.state_dict()
        save_weights(self.path / "last.safetensors", weights, self.description)
        if progress.best is progress.history[-1]:
            save_weights(self.best, weights, self.description)
        self.save(trainee, progress)

    def finish(self, description: Description, card: str) -> None:
        """Write the card, and the scores beside the weights."""
        write_whole(self.path / CARD, card.encode())
        description.write(self.path / RUN_FILE)
        self.description = description

    @property
    def _state(self) -> Path:
        return self.path / "state.pt"

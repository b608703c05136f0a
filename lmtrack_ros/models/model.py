"""What a model says of itself before anything heavy is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lmtrack_ros.core.parameters import parameter

if TYPE_CHECKING:
    from lmtrack_ros.models.trainee import Trainee


@dataclass(frozen=True)
class Configuration:
    """What every model's configuration has; each model adds its own fields.

    Together with the weights it is all that is needed to build the network again.
    """

    epochs: int = parameter(
        100, "how many epochs to train; after each one the network is validated", minimum=1
    )


@dataclass(frozen=True)
class PhantomSequences:
    """Phantoms that move, each seed another patient.

    Attributes:
        modality: of the phantoms.
        presets: kinds of anatomy and imager.
        seeds: of each.
        frames: of each, at the preset's rate.
        landmarks: names of those that count; empty: all.
    """

    modality: str
    presets: tuple[str, ...]
    seeds: range
    frames: int
    landmarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many sequences there are."""
        return len(self.presets) * len(self.seeds)


@dataclass(frozen=True)
class Mode:
    """A way to train a model, which stands for some words of the command.

    Attributes:
        data: set that it trains on.
        preset: that it trains with.
        start: weights that it begins from; empty: none.
    """

    data: str
    preset: str
    start: str = ""


@dataclass(frozen=True)
class Model:
    """A model as ``lmtrack train`` and ``lmtrack models`` know it.

    Attributes:
        name: of its folder in ``models/``.
        summary: one line: what it does, and whose it is.
        modalities: that it is made for.
        data: data sets it can make by itself, the default first: name to a few words.
        presets: sizes by name, the default first: ``realtime``, that of the shipped weights, and
            ``paper``, the publication's own.
        trainee: ``module:Class`` of its :class:`~lmtrack_ros.models.trainee.Trainee`.
        calibration: for data sets, sequences that the model is not trained on.
        modes: ways to train it by name, of a paper that has several.
        own_images: whether it trains on folders of a user's own images, too.
    """

    name: str
    summary: str
    modalities: tuple[str, ...]
    data: Mapping[str, str]
    presets: Mapping[str, Configuration]
    trainee: str
    calibration: Mapping[str, tuple[PhantomSequences, ...]] = field(default_factory=dict)
    modes: Mapping[str, Mode] = field(default_factory=dict)
    own_images: bool = True

    @property
    def configuration(self) -> type[Configuration]:
        """Return the class of its configuration."""
        return type(next(iter(self.presets.values())))

    @property
    def weights_folder(self) -> Path:
        """Return where its shipped weights lie."""
        return Path(__file__).parent / self.name / "weights"

    def trainee_class(self) -> "type[Trainee]":
        """Import and return the class that trains it."""
        module, _, attribute = self.trainee.partition(":")
        return cast("type[Trainee]", getattr(import_module(module), attribute))

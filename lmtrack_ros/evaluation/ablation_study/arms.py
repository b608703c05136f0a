"""What is changed, Frueh et al. 2022, section III.E and figure 5; all else is that of the preset realtime."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lmtrack_ros.models.template_matching.configuration import REALTIME, TemplateMatchingConfiguration

SCHEDULE = replace(REALTIME, epochs=6, decay=0.55)
"""Shorter than the preset's 30 epochs; the learning rate falls as far."""

VARIED: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "patch_px": (32, 40, 50, 60, 70, 80),
        "depth": (1, 2, 3, 4),
        "loss": ("normal", "laplace"),
        "matching": (True, False),
    }
)
"""Values by parameter of the configuration, the preset's own among them; ``matching`` is not of the paper."""


@dataclass(frozen=True)
class Arm:
    """One network of the study.

    Attributes:
        parameter: of the configuration, that is changed.
        value: it has here.
        base: what all else is.
    """

    parameter: str
    value: Any
    base: TemplateMatchingConfiguration = SCHEDULE

    @property
    def is_base(self) -> bool:
        """Whether nothing is changed."""
        return bool(getattr(self.base, self.parameter) == self.value)

    @property
    def name(self) -> str:
        """Of its folder; the same for all arms that change nothing, which are one."""
        return "unchanged" if self.is_base else f"{self.parameter}-{self.value}"

    @property
    def configuration(self) -> TemplateMatchingConfiguration:
        """Of its network and training."""
        return replace(self.base, **{self.parameter: self.value})


ARMS = tuple(Arm(parameter, value) for parameter, values in VARIED.items() for value in values)

"""Phantoms set beside real recordings: one table and one figure for each modality."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.core.frames import Array
from lmtrack_ros.core.records import Frame
from lmtrack_ros.evaluation.likeness import FACTOR, Appearance, appearance, ratio
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.sources import Source, open_source

FRAMES = 60
"""How many frames of each are looked at."""

SEEDS = (0, 1, 2)
"""Patients that a preset is judged by; the middle one of each figure counts."""

STEPS = 1 + len(SEEDS)
"""How many steps a comparison reports."""

_REAL_COLOUR, _SIMULATED_COLOUR = "#222222", "#d55e00"


@dataclass(frozen=True)
class Pair:
    """A real recording and the preset that imitates it."""

    recording: str
    modality: str
    preset: str


PAIRS = (
    Pair("us_kidney", "ultrasound", "kidney"),
    Pair("us_muscle", "ultrasound", "muscle"),
    Pair("xray_chest", "fluoroscopy", "lung"),
    Pair("cine_liver", "mr", "liver"),
    Pair("cine_liver_noisy", "mr", "noisy"),
    Pair("cine_thorax", "mr", "thorax"),
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One pair, measured.

    Attributes:
        pair: what was compared.
        real: the recording.
        simulated: the preset, one for each seed.
        real_picture: (H, W) its first frame.
        simulated_picture: (H, W) that of the first seed.
    """

    pair: Pair
    real: Appearance
    simulated: Sequence[Appearance]
    real_picture: Array
    simulated_picture: Array

    def rows(self) -> Iterator[tuple[str, float, float, float]]:
        """Yield (figure, real, simulated, factor between them)."""
        for name, real in self.real.figures.items():
            simulated = float(np.median([one.figures[name] for one in self.simulated]))
            yield name, real, simulated, ratio(real, simulated)


def compare(data: Path, pair: Pair, on_step: Callable[[], None] = lambda: None) -> Comparison:
    """Measure a recording and the preset that imitates it, on the coarser of their pixel grids, at one rate.

    Args:
        data: folder with the recordings.
        pair: which.
        on_step: called after the recording and after each seed.

    Raises:
        UserError: the recording is not there.
    """
    folder = data / pair.recording
    if not folder.is_dir():
        raise UserError(f"no recording at '{folder}': give the folder with the real recordings (--data)")
    source = open_source(folder)
    rate_hz = source.info.rate_hz
    phantoms = [
        open_phantom(pair.modality, PhantomParameters(preset=pair.preset, seed=seed, rate_hz=rate_hz))
        for seed in SEEDS
    ]
    spacing_mm = max(_pitch_mm(source), _pitch_mm(phantoms[0]))
    real_frames = _frames(source)
    source.close()
    real = appearance(real_frames, spacing_mm)
    on_step()
    simulated = []
    first: Frame | None = None
    for phantom in phantoms:
        frames = _frames(phantom)
        first = first or frames[0]
        simulated.append(appearance(frames, spacing_mm))
        on_step()
    assert first is not None
    return Comparison(pair, real, simulated, _picture(real_frames[0]), _picture(first))


def table(comparisons: Sequence[Comparison]) -> str:
    """Return one Markdown table for one modality."""
    lines = [
        "| recording, preset | figure | real | simulated | factor | within 2 |",
        "|---|---|---|---|---|---|",
    ]
    for comparison in comparisons:
        pair = comparison.pair
        for name, real, simulated, factor in comparison.rows():
            within = "yes" if factor <= FACTOR else "**no**"
            lines.append(
                f"| {pair.recording}, `{pair.preset}` | {name} | {real:.3g} | {simulated:.3g} | {factor:.2f} "
                f"| {within} |"
            )
    return "\n".join(lines)


def write_page(folder: Path, page: str, compared: Sequence[Comparison], *, with_real_frames: bool) -> None:
    """Write a Markdown page and a figure for each modality.

    Args:
        folder: to write to.
        page: name of the page.
        compared: of any modalities.
        with_real_frames: as of :func:`draw`.
    """
    lines = [
        "# Likeness of the phantoms",
        "",
        f"The first {FRAMES} frames of each recording, and of the preset that imitates it with seeds",
        f"{', '.join(map(str, SEEDS))}, of which the median counts; on the coarser of the two pixel grids",
        "and inside the field of view, at the recording's frame rate. Black: real. Orange: simulated.",
    ]
    for modality in dict.fromkeys(one.pair.modality for one in compared):
        of_modality = [one for one in compared if one.pair.modality == modality]
        name = f"likeness_{modality}.png"
        draw(folder / name, of_modality, with_real_frames=with_real_frames)
        lines += ["", f"## {modality}", "", f"![{modality}]({name})", "", table(of_modality)]
    (folder / f"{page}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(path: Path, comparisons: Sequence[Comparison], *, with_real_frames: bool) -> None:
    """Write one figure for one modality: a row for each pair.

    Args:
        path: PNG to write.
        comparisons: of one modality.
        with_real_frames: also show a frame of the recording, where its licence allows the figure's use.
    """
    columns = 6 if with_real_frames else 5
    figure = Figure(figsize=(3.1 * columns, 2.9 * len(comparisons)), layout="constrained")
    grid = figure.subplots(len(comparisons), columns, squeeze=False)
    for axes, comparison in zip(grid, comparisons, strict=True):
        plots = list(axes)
        if with_real_frames:
            _show(plots.pop(0), comparison.real_picture, f"real: {comparison.pair.recording}")
        _show(plots.pop(0), comparison.simulated_picture, f"simulated: {comparison.pair.preset}")
        _plot(plots, comparison)
    figure.savefig(path, dpi=80)


def _plot(plots: Sequence[Axes], comparison: Comparison) -> None:
    grey, texture, spectrum, change = plots
    for look, colour, label in _looks(comparison):
        grey.plot(np.linspace(0, 1, len(look.histogram)), look.histogram, color=colour, label=label, lw=1.2)
        texture.plot(look.lag_mm, look.autocorrelation[:, 0], color=colour, lw=1.2)
        texture.plot(look.lag_mm, look.autocorrelation[:, 1], color=colour, lw=1.2, ls=":")
        spectrum.loglog(look.frequency_per_mm, look.spectrum, color=colour, lw=1.2)
    grey.set(title="grey levels", xlabel="part of the 99.5th percentile", yscale="log")
    grey.legend(fontsize=8)
    texture.set(title="texture (rows dotted)", xlabel="lag, mm", ylabel="autocorrelation", ylim=(-0.3, 1))
    spectrum.set(title="power spectrum", xlabel="1/mm")
    figures = list(comparison.rows())
    change.barh([name for name, *_ in figures], [factor for *_, factor in figures], color="#0072b2")
    change.axvline(FACTOR, color="#222222", lw=0.8)
    change.set(title="factor between them", xlim=(1, max(2.5, min(6, max(f for *_, f in figures)))))
    change.tick_params(labelsize=7)
    change.invert_yaxis()


def _looks(comparison: Comparison) -> Iterator[tuple[Appearance, str, str]]:
    yield comparison.real, _REAL_COLOUR, "real"
    for index, look in enumerate(comparison.simulated):
        yield look, _SIMULATED_COLOUR, "" if index else "simulated"


def _show(axes: Axes, picture: Array, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=np.percentile(picture, 99.5))
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def _frames(source: Source) -> list[Frame]:
    return list(islice(source, FRAMES))


def _pitch_mm(source: Source) -> float:
    assert source.info.geometry is not None
    return max(source.info.geometry.plane_spacing_mm[:2])


def _picture(frame: Frame) -> Array:
    return frame.image.astype(float)

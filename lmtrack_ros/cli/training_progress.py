"""How training shows: a bar on a terminal, one plain line per epoch elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lmtrack_ros.models.figures import figures

if TYPE_CHECKING:
    from lmtrack_ros.training.loop import Reporter


@contextmanager
def reporter(console: Console) -> Iterator["Reporter"]:
    """Return who shows training on a console, as long as it goes."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("left · {task.fields[losses]}"),
        TextColumn("· {task.fields[validation]}"),
        console=console,
    ) as progress:
        yield _Bar(progress)


class _Lines:
    """One line per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def gather(self, part: str, done: int, total: int) -> None:
        if done == 0:
            self.say(f"gathers the {part} data: {total} subjects ...")

    def begin(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        if step:
            self.say(f"goes on after step {step} of {steps_per_epoch * epochs}")
        self._epochs = epochs

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        pass

    def epoch(self, line: Mapping[str, Any], best: bool) -> None:
        self.say(
            f"epoch {line['epoch']}/{self._epochs}: {figures(line['loss'])} · {figures(line['validation'])}"
            f"{' · best' if best else ''} · {line['trained_s']:.0f} s"
        )

    def say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


class _Bar:
    """One bar over all steps, with the losses of the last and the figures of the best epoch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, losses="", validation="not yet validated")

    def gather(self, part: str, done: int, total: int) -> None:
        self._progress.update(
            self._task, description=f"{part} data, {done}/{total} subjects", total=total, completed=done
        )

    def begin(self, step: int, steps_per_epoch: int, epochs: int) -> None:
        self._steps_per_epoch, self._epochs = steps_per_epoch, epochs
        self._progress.update(self._task, total=steps_per_epoch * epochs, completed=step)

    def step(self, step: int, losses: Mapping[str, float]) -> None:
        self._progress.update(
            self._task,
            completed=step,
            description=f"epoch {(step - 1) // self._steps_per_epoch + 1}/{self._epochs}",
            losses=figures(losses),
        )

    def epoch(self, line: Mapping[str, Any], best: bool) -> None:
        if best:
            shown = f"best {figures(line['validation'])} (epoch {line['epoch']})"
            self._progress.update(self._task, validation=shown)

    def say(self, line: str) -> None:
        self._progress.console.print(line, soft_wrap=True, highlight=False, markup=False)

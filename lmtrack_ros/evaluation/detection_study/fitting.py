"""Training of the baselines: Adam over a given number of steps, resumable at any kill."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lmtrack_ros.models.files import write_whole
from lmtrack_ros.models.randomness import seed_all
from lmtrack_ros.models.trainee import Stateful

_SAVE_EVERY_S = 60.0


def fit(
    network: nn.Module,
    loss: Callable[[], Tensor],
    checkpoint: Path,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    on_step: Callable[[int], None],
) -> float:
    """Train a network, or take over what was trained of it before, and leave it in evaluation mode.

    The learning rate falls to zero along half a cosine.

    Args:
        network: is changed.
        loss: returns the scalar loss of one batch, drawn from torch's global generator.
        checkpoint: file that is resumed from; of a finished training it holds the result.
        steps: of optimisation.
        learning_rate: of Adam, at first.
        seed: of all chance.
        on_step: called with how many steps are taken.

    Returns:
        Processor time it took in all, s: on a busy machine a clock would tell of the others.
    """
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    parts: dict[str, Stateful] = {"network": network, "optimiser": optimiser, "schedule": schedule}
    done, cpu_s = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        done, cpu_s = state.pop("steps"), state.pop("cpu_s")
        for name, kept in state.items():
            parts[name].load_state_dict(kept)

    def save() -> None:
        kept = parts if done < steps else {"network": network}
        state = {name: part.state_dict() for name, part in kept.items()}
        stream = io.BytesIO()
        torch.save({"steps": done, "cpu_s": cpu_s, **state}, stream)
        write_whole(checkpoint, stream.getvalue())

    network.train()
    begun_s = time.process_time() - cpu_s
    saved_s = time.monotonic()
    on_step(done)
    while done < steps:
        seed_all(seed, done)
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        done += 1
        cpu_s = time.process_time() - begun_s
        if done == steps or time.monotonic() - saved_s > _SAVE_EVERY_S:
            save()
            saved_s = time.monotonic()
        on_step(done)
    network.eval()
    return float(cpu_s)

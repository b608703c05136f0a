"""Convolutional LSTM, one way and both ways along a sequence (section 3.2)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Recurrent(NamedTuple):
    """State of a convolutional LSTM after a frame, or after each of N.

    Attributes:
        hidden: (B, K, H, W) or (B, N, K, H, W), h of equation (3).
        cell: likewise, c of equation (3).
    """

    hidden: Tensor
    cell: Tensor

    def after(self, frame: int) -> "Recurrent":
        """Return the state after one of N frames."""
        return Recurrent(self.hidden[:, frame], self.cell[:, frame])


class ConvLstm(nn.Module):
    """Equation (3), with 3 x 3 kernels.

    The convolution of [h, x] is that of x, of all frames at once, and that of h, added.

    Args:
        inputs: channels of x.
        hidden: channels of h and c.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self._hidden = hidden
        self.of_input = nn.Conv2d(inputs, 4 * hidden, 3, padding=1)
        self.of_hidden = nn.Conv2d(hidden, 4 * hidden, 3, padding=1, bias=False)

    def nothing(self, like: Tensor) -> Recurrent:
        """Return the state before the first frame, for (B, ..., H, W) features."""
        zeros = like.new_zeros(len(like), self._hidden, *like.shape[-2:])
        return Recurrent(zeros, zeros)

    def forward(self, frames: Tensor, before: Recurrent) -> Recurrent:
        """Return the state after each of (B, N, C, H, W) frames."""
        count, length = frames.shape[:2]
        driven = self.of_input(frames.flatten(0, 1)).unflatten(0, (count, length))
        after = []
        for x in driven.unbind(1):
            forget, put, out, new = (x + self.of_hidden(before.hidden)).chunk(4, dim=1)
            cell = torch.sigmoid(forget) * before.cell + torch.sigmoid(put) * torch.tanh(new)
            before = Recurrent(torch.sigmoid(out) * torch.tanh(cell), cell)
            after.append(before)
        return Recurrent(
            torch.stack([state.hidden for state in after], 1), torch.stack([state.cell for state in after], 1)
        )


class BothWays(nn.Module):
    """Two convolutional LSTMs, one from the first frame on, one from the last frame back (figure 4).

    Args:
        channels: of the features that come in and go out; an even number.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.forth = ConvLstm(channels, channels // 2)
        self.back = ConvLstm(channels, channels // 2)

    def forward(self, frames: Tensor, before: Recurrent | None) -> tuple[Tensor, Recurrent]:
        """Return what is known of each frame from both sides, and the state of the way forth after each.

        Args:
            frames: (B, N, C, H, W).
            before: of the way forth before the first frame; None: nothing was seen. The way back always
                begins with nothing.

        Returns:
            (B, N, C, H, W), and states of N frames.
        """
        forth = self.forth(frames, before or self.forth.nothing(frames))
        back = self.back(frames.flip(1), self.back.nothing(frames)).hidden.flip(1)
        return torch.cat([forth.hidden, back], dim=2), forth

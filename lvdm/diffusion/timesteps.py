"""Which training steps a sampler visits."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvdm.suggestions import suggest

Spacing = Literal["uniform", "uniform_trailing", "quad"]
"""uniform: starts below the last step (t = 981 for 50 steps), the original's default and right for the 256 model.
uniform_trailing: starts at the last step, which models with zero terminal SNR need.
quad: dense near t = 0."""


def make_timesteps(spacing: Spacing, num_steps: int, num_train: int = 1000) -> Tensor:
    """The steps to visit, (num_steps,) int64, strictly descending within [0, num_train - 1].

    Equal to the original wherever the original gives `num_steps` distinct steps in range. Elsewhere it returns another
    number of steps, repeats some, or leaves the range; here `uniform` and `uniform_trailing` stay evenly spaced, and
    `quad` moves repeated steps up to the next free one. One step of `uniform` or `quad` is t = 1, as in the original:
    use `uniform_trailing` for few steps. Raises `ValueError` for a number of steps outside 1..num_train or an unknown
    spacing.
    """
    if not 1 <= num_steps <= num_train:
        raise ValueError(f"the number of sampling steps must be from 1 to {num_train}, it is {num_steps}")
    if spacing == "uniform":
        ascending = _uniform(num_steps, num_train)
    elif spacing == "uniform_trailing":
        ascending = _uniform_trailing(num_steps, num_train)
    elif spacing == "quad":
        ascending = _quad(num_steps, num_train)
    else:
        raise ValueError(f"timestep spacing {spacing!r} is not known; {suggest(spacing, get_args(Spacing))}")
    return torch.from_numpy(ascending[::-1].copy())


def _uniform(num_steps: int, num_train: int) -> NDArray[np.int64]:
    steps = np.arange(num_steps, dtype=np.int64) * num_train // num_steps
    # The original shifts by one to spare t = 0; with a stride of 1 there is no room for it.
    return steps + 1 if steps[-1] + 1 < num_train else steps


def _uniform_trailing(num_steps: int, num_train: int) -> NDArray[np.int64]:
    # arange's own rounding decides ties as the original does, and at times adds an entry at 0, which is cut off here.
    descending = np.arange(num_train, 0, -num_train / num_steps)[:num_steps]
    return np.round(descending[::-1]).astype(np.int64) - 1


def _quad(num_steps: int, num_train: int) -> NDArray[np.int64]:
    steps = (np.linspace(0.0, np.sqrt(0.8 * num_train), num_steps) ** 2).astype(np.int64) + 1
    order = np.arange(num_steps)
    # Strictly ascending means that `steps - order` never falls; the second line makes room at the upper end.
    steps = np.maximum.accumulate(steps - order) + order
    return np.minimum(steps, num_train - num_steps + order)

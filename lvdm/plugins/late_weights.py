"""Other weights for the late time steps: one model decides on the motion, another draws it (EDG, arXiv 2503.00948).

In the noisy steps the motion of a video is decided, in the later ones its details. EDG takes a model that moves more
for the first (`dynamicrafter merge`) and one that keeps to its picture for the second, both of one architecture, and
goes from the one to the other at t = 500 of 1000. What both are told (image tokens, text, latents) comes from the
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.seams import Samples, Seams


@dataclass(frozen=True, eq=False)
class LateWeights:
    """The method as a plug-in.

    weights  all of the network's, by name and in its shapes and dtypes, on any device
    below    they are at work at this time step and at lower ones; the network's own are at higher ones

    Besides the network's own weights, those that are not at work lie on the CPU.
    """

    weights: Mapping[str, Tensor]
    below: float

    @contextmanager
    def attach(self, unet: UNetModel, seams: Seams, samples: Samples) -> Iterator[Seams]:
        """Change the weights with the time step; see `Plugin`."""
        stock = Stock(unet, self.weights)

        def make(conditions: Sequence[Conditioning]) -> Branches:
            inner: dict[bool, Branches] = {}  # made when their weights are in: they project the conditions once

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                late = bool((t <= self.below).all())
                stock.put_to_work(late=late)
                if late not in inner:
                    inner[late] = seams.branches(conditions)
                return inner[late](x_t, t)

            return branches

        try:
            yield replace(seams, branches=make)
        finally:
            stock.put_to_work(late=False)


class Stock:
    """Two sets of weights for one network, one of which is in it."""

    def __init__(self, unet: UNetModel, others: Mapping[str, Tensor]) -> None:
        self._own: dict[str, Tensor] = unet.state_dict(keep_vars=True)
        wrong = [name for name, tensor in self._own.items() if name not in others or others[name].shape != tensor.shape]
        if wrong or len(others) != len(self._own):
            raise ValueError(
                f"the late weights are those of another network: {', '.join(wrong[:3]) or 'there are more'}"
            )
        self._stored, self._late = dict(others), False

    def put_to_work(self, *, late: bool) -> None:
        """Have the late weights in the network, or its own."""
        if late == self._late:
            return
        with torch.inference_mode(False):  # else the network would be left with tensors that cannot be trained
            for name, tensor in self._own.items():
                coming, leaving = self._stored[name], tensor.data
                self._stored[name] = leaving.to("cpu")
                tensor.data = coming.to(leaving.device, leaving.dtype)
        self._late = late

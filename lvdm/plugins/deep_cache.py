"""DeepCache (arXiv 2312.00858): deep features change slowly from step to step, so they are computed in some alone.

In every `interval`-th step, from the first on, the whole network is evaluated, and what enters one of the decoder's
last blocks is kept for the steps between. In those, the first blocks of the encoder and the last ones of the decoder
are evaluated with it. What is kept belongs to a network, a condition and what stands in for layers: branches may be
evaluated together, one after another, or not at all in some steps, and a network that changes is evaluated anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvdm.modules.attention import Context
from lvdm.modules.hooks import LayerHooks, active_hooks
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.methods.deep_cache import DeepCacheOptions

Deep = Callable[[int, Tensor, Tensor, Context | None, int], Tensor]
"""`UNetModel.from_block` of one network."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What enters a block of the decoder, (b t, c, h, w), and the step in which it was computed."""

    step: int
    features: Tensor


@dataclass(frozen=True)
class DeepCache:
    """The method as a plug-in."""

    options: DeepCacheOptions

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Keep deep features of `unet` for some steps; see `Plugin`."""
        interval, clock = self.options.interval, hooks.clock
        blocks = min(self.options.blocks, len(unet.input_blocks))
        kept: dict[Hashable, Kept] = {}

        def from_block(
            network: UNetModel, inner: Deep, index: int, h: Tensor, emb: Tensor, context: Context | None, frames: int
        ) -> Tensor:
            if index != blocks or context is None or not context.conditions:
                return inner(index, h, emb, context, frames)
            layers = replaced_layers(active_hooks())
            keys = [(id(network), id(condition), layers) for condition in context.conditions]
            found = [kept[key] for key in keys if key in kept and clock.step - kept[key].step < interval]
            if len(found) == len(keys):
                return torch.cat([own.features for own in found])
            features = inner(index, h, emb, context, frames)
            kept.update({key: Kept(clock.step, own) for key, own in zip(keys, features.chunk(len(keys)), strict=True)})
            return features

        return hooks.with_functions("from_block", {unet: from_block})


def replaced_layers(hooks: LayerHooks) -> Hashable:
    """Which methods of which layers `hooks` stand in for, and which kinds of their attention, and how often."""
    functions = ((key, len(chain)) for key, chain in hooks.functions.items())
    attention = ((layer, tuple(kind for kind, _ in chain)) for layer, chain in hooks.attention.items())
    return frozenset(functions), frozenset(attention)

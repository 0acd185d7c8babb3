"""Attention between pixels that stays as sharp with more of them (arXiv 2306.08645; optional part of ScaleCrafter).

The entropy of a softmax grows with the logarithm of the number of keys; its logits are scaled to hold it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples


def attention_scale(tokens: int, factor: float) -> float:
    """sqrt(log N / log N_trained), N_trained = N / `factor`: as published, the ratio of the sides and not of the areas.

    1 where so few tokens are left that the ratio means nothing.
    """
    trained = tokens / factor
    return math.sqrt(math.log(tokens) / math.log(trained)) if trained > 2 else 1.0


@dataclass(frozen=True)
class ScaledAttention:
    """The method as a plug-in, for sides `factor` times those of the training; 1 changes nothing."""

    factor: float

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Scale the attention between the pixels of a frame; see `Plugin`."""
        return hooks.with_attention(unet, "self", self.attend)

    def attend(self, inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        """`inner` on scaled queries; (b, nh, n, d)."""
        return inner(q * attention_scale(k.shape[2], self.factor), k, v, meta)

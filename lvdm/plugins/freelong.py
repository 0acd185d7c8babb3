"""FreeLong (arXiv 2407.19918): attention between all frames for what is slow, between near ones for the rest.

A network that attends to more frames than it was trained on keeps its image together and loses detail; one that
attends to windows of the trained length keeps detail and loses the whole. Each layer between frames is computed both
ways; the low frequencies of its result, over frames, rows and columns, come from the first way, the others from the
second.

At full resolution windows alone are used, as published. What is published masks attention to frames at most 8 away;
here the windows are those of FreeNoise, whose weights fall towards their ends and which relative positions can follow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from lvdm.modules.attention import TemporalTransformer
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.hooks import LayerFunction
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.frequencies import low_pass_filter, mix_frequencies
from lvdm.plugins.hooks import Hooks, Samples


@dataclass(frozen=True)
class FreeLong:
    """The method as a plug-in. Videos of at most `window` frames are the plain ones, to the bit.

    window             frames of a local window: as many as the model was trained on
    stride             frames from one window to the next
    spatial, temporal  where the low-pass is down by one standard deviation, as shares of the highest frequencies; 0 in
                       one of them leaves windows alone
    """

    window: int = 16
    stride: int = 4
    spatial: float = 0.25
    temporal: float = 0.25

    def __post_init__(self) -> None:
        FreeNoise(self.window, self.stride)  # raises for what is not possible
        for name in ("spatial", "temporal"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is not possible; use 0 or more")

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Blend the temporal attention of `unet`; noise stays what it is. See `Plugin`."""
        sizes = {"latents": (0, 0), "layer": (0, 0)}  # height and width

        def noting(name: str) -> LayerFunction:
            def forward(
                module: nn.Module, inner: Callable[..., Tensor], x: Tensor, *args: Any, **others: Any
            ) -> Tensor:
                sizes[name] = (x.shape[3], x.shape[4])
                return inner(x, *args, **others)

            return forward

        def wrapper(inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
            full = sizes["layer"] == sizes["latents"]
            return self.blended(inner, q, k, v, meta, None if full else sizes["layer"])

        layers = {layer: noting("layer") for layer in unet.modules() if isinstance(layer, TemporalTransformer)}
        noted = hooks.with_functions("forward", {unet: noting("latents")}).with_functions("forward", layers)
        return noted.with_attention(unet, "temporal", wrapper)

    def blended(
        self,
        inner: AttentionProcessor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        meta: AttentionMeta,
        size: tuple[int, int] | None,
    ) -> Tensor:
        """`inner` between all frames and in windows, blended; q, k, v (b h w, nh, t, d) -> (b h w, nh, t, d).

        size  (h, w); None for windows alone. What follows, the projection and the sum with the input, is linear: the
              blend is that of the layer's results
        """
        num_frames = q.shape[2]
        if num_frames <= self.window:
            return inner(q, k, v, meta)
        local = FreeNoise(self.window, self.stride).windowed(inner, q, k, v, meta)
        if size is None:
            return local
        height, width = size
        weights = low_pass_filter((num_frames, height, width), self.spatial, self.temporal)
        slow, fast = (
            rearrange(x.float(), "(b h w) nh t d -> b nh d t h w", h=height, w=width)
            for x in (inner(q, k, v, meta), local)
        )
        mixed = mix_frequencies(slow, fast, weights)
        return rearrange(mixed, "b nh d t h w -> (b h w) nh t d").to(local.dtype)

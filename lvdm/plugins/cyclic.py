"""Cyclic loops: between its last frame and its first a video is made as it is between any two others.

Attention between frames runs in windows that go round, and so do the convolutions over frames; the statistics of group
normalisation do not care for order. But for its image tokens the network then does not know where the cycle begins. The
tokens run forward, then backward, and so meet at the seam. It needs no model that was trained between two images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from lvdm.conditioning import Conditioning
from lvdm.deprecation import renamed_names
from lvdm.diffusion.guidance import Branches
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor
from lvdm.modules.layers import TemporalConv3d
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.windows import attend_windowed, cyclic_windows


@dataclass(frozen=True)
class CyclicLoop:
    """The method as a plug-in, for clips whose last frame comes before their first one.

    window  frames that attention sees at once, as many as the model was trained on; shorter cycles are seen as a whole
    stride  frames from one window to the next
    """

    window: int = 16
    stride: int = 4

    def __post_init__(self) -> None:
        FreeNoise(self.window, self.stride)  # raises for what is not possible

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Let frames of `unet` go round, repeat the noise of long cycles as FreeNoise does, turn the tokens."""
        noise = FreeNoise(self.window, self.stride)

        def branches(conditions: Sequence[Conditioning]) -> Branches:
            per_frame = unet.config.image_tokens_per_frame
            return hooks.branches([forward_and_backward(condition, per_frame) for condition in conditions])

        layers = [layer for layer in unet.modules() if isinstance(layer, TemporalConv3d)]
        rounded = replace(noise.with_noise(hooks, samples), branches=branches)
        rounded = rounded.with_functions("forward", dict.fromkeys(layers, convolve_round))
        return rounded.with_attention(unet, "temporal", self.windowed)

    def windowed(self, inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        """`inner` in windows that go round; q, k, v (b, nh, t, d) -> (b, nh, t, d)."""
        num_frames = q.shape[2]
        windows = cyclic_windows(num_frames, min(self.window, num_frames), self.stride)
        return attend_windowed(inner, q, k, v, meta, windows)


def convolve_round(layer: TemporalConv3d, inner: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`layer` on (b, c, t, h, w) with the last frame before the first one and the first after the last."""
    x = torch.cat([x[:, :, -1:], x, x[:, :, :1]], dim=2)
    b, _, t, h, w = x.shape
    return F.conv2d(x.flatten(3), layer.weight[..., 0], layer.bias).view(b, -1, t - 2, h, w)


def forward_and_backward(conditioning: Conditioning, per_frame: int) -> Conditioning:
    """The image tokens of frame 2 i at frames i and -i of the cycle; those that all frames share stay."""
    num_frames = conditioning.concat.shape[2]
    if conditioning.image.shape[1] != per_frame * num_frames:
        return conditioning
    order = torch.tensor([2 * min(i, num_frames - i) for i in range(num_frames)]).clamp(max=num_frames - 1)
    tokens = rearrange(conditioning.image, "b (t l) d -> b t l d", l=per_frame)[:, order.to(conditioning.image.device)]
    return replace(conditioning, image=rearrange(tokens, "b t l d -> b (t l) d"))


__getattr__ = renamed_names(__name__, {"Ring": "CyclicLoop", "there_and_back": "forward_and_backward"})

"""I3D, the inflated Inception-v1 of Carreira and Zisserman (arXiv:1705.07750): the network that FVD is defined by.

Its weights, which do not come with this package, are read from a file of `convert_i3d`. Keys are those of
`i3d_pretrained_400.pt` of VideoGPT and TATS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 400
MIN_FRAMES = 9
"""With 8, one frame is left before the last pooling, which takes two."""

INPUT_SIDE = 224

Sizes = tuple[int, int, int]
"""Of time, height and width."""

INCEPTION_CHANNELS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Of each module: branch 0, branch 1 within and out, branch 2 within and out, branch 3."""


def same_padding(sizes: Sequence[int], kernel: Sizes, stride: Sizes) -> list[int]:
    """Padding as TensorFlow's SAME, in the order of `F.pad` (last axis first): ceil(size / stride) outputs an axis.

    An odd one goes to the end.
    """
    padding: list[int] = []
    for size, width, step in zip(reversed(sizes), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        padding += [total // 2, total - total // 2]
    return padding


class Unit3D(nn.Module):
    """Convolution with SAME padding, batch normalisation and ReLU; without `eps` a convolution with bias alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, eps: float | None = None) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=eps is None)
        self.bn = None if eps is None else nn.BatchNorm3d(outputs, eps=eps)
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w) -> (b, outputs, t / stride, h / stride, w / stride), rounded up."""
        x = self.conv3d(F.pad(x, same_padding(x.shape[2:], self.kernel, self.stride)))
        return x if self.bn is None else F.relu(self.bn(x))


class MaxPool3D(nn.Module):
    """Max pooling with SAME padding. Its zeros are as good as -inf, because what comes here is never negative."""

    def __init__(self, kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, t, h, w), 0 or more -> the same over the strides, rounded up."""
        return F.max_pool3d(F.pad(x, same_padding(x.shape[2:], self.kernel, self.stride)), self.kernel, self.stride)


class Inception3D(nn.Module):
    """Four branches side by side: 1x1x1; 1x1x1 and 3x3x3, twice; a maximum over 3x3x3 and 1x1x1."""

    def __init__(self, inputs: int, channels: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.b0 = Unit3D(inputs, channels[0], 1, eps=eps)
        self.b1a = Unit3D(inputs, channels[1], 1, eps=eps)
        self.b1b = Unit3D(channels[1], channels[2], 3, eps=eps)
        self.b2a = Unit3D(inputs, channels[3], 1, eps=eps)
        self.b2b = Unit3D(channels[3], channels[4], 3, eps=eps)
        self.b3a = MaxPool3D((3, 3, 3), (1, 1, 1))
        self.b3b = Unit3D(inputs, channels[5], 1, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, inputs, t, h, w) -> (b, outputs, t, h, w)."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


def outputs_of(channels: tuple[int, ...]) -> int:
    """Channels that an Inception module gives."""
    return channels[0] + channels[2] + channels[4] + channels[5]


class I3D(nn.Module):
    """The network, always in evaluation mode. `eps` is that of its batch normalisations and belongs to the weights."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(3, 64, 7, stride=2, eps=eps)
        self.MaxPool3d_2a_3x3 = MaxPool3D((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit3D(64, 64, 1, eps=eps)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3, eps=eps)
        self.MaxPool3d_3a_3x3 = MaxPool3D((1, 3, 3), (1, 2, 2))
        inputs = 192
        for name, channels in INCEPTION_CHANNELS.items():
            if name == "Mixed_4b":
                self.MaxPool3d_4a_3x3 = MaxPool3D((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                self.MaxPool3d_5a_2x2 = MaxPool3D((2, 2, 2), (2, 2, 2))
            self.add_module(name, Inception3D(inputs, channels, eps))
            inputs = outputs_of(channels)
        self.logits = Unit3D(inputs, CLASSES, 1)
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> I3D:
        """Evaluation mode, whatever is asked: statistics of the batch would mix the clips."""
        return super().train(False)

    def maps(self, x: Tensor) -> Tensor:
        """x (b, 3, t, h, w) in [-1, 1] -> (b, 1024, t / 8, h / 32, w / 32), rounded up: before the last pooling."""
        for name, layer in self.named_children():
            if name != "logits":
                x = layer(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """x (b, 3, t, 224, 224) in [-1, 1], t of at least `MIN_FRAMES` -> logits (b, 400), averaged over time.

        Raises `ValueError` for a smaller t.
        """
        if x.shape[2] < MIN_FRAMES:
            raise ValueError(f"I3D needs {MIN_FRAMES} frames or more, the clip has {x.shape[2]}")
        x = F.avg_pool3d(self.maps(x), (2, 7, 7), stride=1)  # b 1024 t/8-1 1 1
        return self.logits(x).mean(dim=(2, 3, 4))  # b 400


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions in float32 proper: cuDNN would round their inputs to 10 bits, which moves an FVD."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed

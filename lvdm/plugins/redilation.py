"""Re-dilated convolutions (ScaleCrafter, arXiv 2310.07702, section 3): trained kernels that reach further.

A network that is shown larger pictures than it was trained on sees too little of them with each kernel, and repeats
objects. Spreading the taps of a kernel by the factor by which the picture grew gives it back its view.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

KernelOf = Callable[[nn.Conv2d], Tensor]
"""The kernel (out, in, k, k) that stands in for that of a convolution."""


def redilated_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, factor: float) -> Tensor:
    """Convolve x (n, in, h, w) with taps `factor` >= 1 apart -> (n, out, h // stride, w // stride).

    A whole factor is the dilation of an ordinary convolution. Any other is made of the next whole one on an input
    enlarged by as much as that is too far (section 3.2). The padding is that of a 3x3 kernel, or twice it for 5x5.
    """
    dilation, (height, width) = math.ceil(factor), x.shape[-2:]
    if dilation != factor:
        stretch = dilation / factor
        x = F.interpolate(x, (round(height * stretch), round(width * stretch)), mode="bilinear")
    padding = dilation * (1 + (weight.shape[-1] - 3) // 2)
    y = F.conv2d(x, weight, bias, stride, padding, dilation)  # n out h' w'
    size = (height // stride, width // stride)
    return y if tuple(y.shape[-2:]) == size else F.interpolate(y, size, mode="bilinear")


def progressive_factor(factor: float, step: int, last_step: int) -> float:
    """The factor of `step`, falling from ceil(`factor`) to 2 over the steps before `last_step`."""
    return max(math.ceil(factor * (last_step - step) / last_step), 2)


@contextmanager
def redilated(factors: Mapping[nn.Conv2d, float], kernel_of: KernelOf | None = None) -> Iterator[None]:
    """Within the block, convolve with the taps of each module `factors[module]` apart, with kernels of `kernel_of`.

    Only the modules' way of computing is exchanged, and given back at the end of the block, whatever ended it: no
    weight and no setting of theirs is touched. A module with factor 1 and its own kernel computes as it always does.
    """
    patched: list[nn.Conv2d] = []
    try:
        for module, factor in factors.items():
            if factor != 1 or kernel_of is not None:
                # an attribute of the instance goes before the method of the class
                module.__dict__["forward"] = functools.partial(_forward, module, factor, kernel_of)
                patched.append(module)
        yield
    finally:
        for module in patched:
            del module.__dict__["forward"]


def _forward(module: nn.Conv2d, factor: float, kernel_of: KernelOf | None, x: Tensor) -> Tensor:
    weight = module.weight if kernel_of is None else kernel_of(module)
    return redilated_conv2d(x, weight, module.bias, module.stride[0], factor)

"""Re-dilated convolutions (ScaleCrafter, arXiv 2310.07702, section 3): trained kernels that reach further.

A network that is shown larger images than it was trained on sees too little of them with each kernel, and repeats
objects. Spreading the taps of a kernel by the factor by which the image grew gives it back its view.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.modules.hooks import active_hooks

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

    That is so for evaluations in this context alone (`lvdm.modules.hooks`), and on top of the hooks that are active: no
    module is touched. One with factor 1 and its own kernel computes as it always does.
    """
    functions = {
        module: functools.partial(_forward, factor, kernel_of)
        for module, factor in factors.items()
        if factor != 1 or kernel_of is not None
    }
    with active_hooks().with_functions("forward", functions).active():
        yield


def _forward(factor: float, kernel_of: KernelOf | None, module: nn.Conv2d, inner: object, x: Tensor) -> Tensor:
    weight = module.weight if kernel_of is None else kernel_of(module)
    return redilated_conv2d(x, weight, module.bias, module.stride[0], factor)

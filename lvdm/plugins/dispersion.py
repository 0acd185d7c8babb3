"""Dispersed convolutions (ScaleCrafter, arXiv 2310.07702, section 3.3): 5x5 kernels that act like 3x3 on an image

twice as large. Beside a larger dilation they leave no gaps between taps. The transform is linear and the same for all
kernels: each 5x5 kernel is R times the nine taps of the 3x3 one.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

GRID, PIXEL_WEIGHT = 3, 0.05
"""Size of the inputs that the transform is fitted on, and how much the kernel's view of the small input counts."""


@functools.cache
def dispersion_transform() -> NDArray[np.float64]:
    """R, (25, 9) float64, row-major taps.

    The least-squares solution, for every input x of `GRID` x `GRID` pixels and every 3x3 kernel, of

        conv5(up(x)) = up(conv3(x))    and, weighted by `PIXEL_WEIGHT`,    conv5(x) = conv3(x)

    where `up` is bilinear interpolation to 2 n - 1 pixels with aligned corners, and convolutions pad with zeros.
    """
    up = _interpolation(GRID)
    large, small, rows, targets = 2 * GRID - 1, GRID, [], []
    for index in range(GRID * GRID):
        impulse = np.zeros((small, small))
        impulse.flat[index] = 1.0
        enlarged = (up @ impulse.ravel()).reshape(large, large)
        rows += [_shifts(enlarged, 5), PIXEL_WEIGHT * _shifts(impulse, 5)]
        targets += [up @ _shifts(impulse, 3), PIXEL_WEIGHT * _shifts(impulse, 3)]
    return np.linalg.lstsq(np.concatenate(rows), np.concatenate(targets), rcond=None)[0]


def disperse(kernel: Tensor) -> Tensor:
    """Kernels (out, in, 3, 3) -> (out, in, 5, 5)."""
    transform = torch.from_numpy(dispersion_transform()).to(kernel)
    return torch.einsum("m n, o i n -> o i m", transform, kernel.flatten(2)).unflatten(2, (5, 5))


class DispersedKernels:
    """The dispersed kernel of each convolution, computed when it is first asked for."""

    def __init__(self) -> None:
        self._kernels: dict[tuple[nn.Conv2d, torch.device], Tensor] = {}

    def __call__(self, module: nn.Conv2d) -> Tensor:
        """(out, in, 5, 5), on the device of the module."""
        place = module.weight.device
        kernel = self._kernels.get((module, place))
        if kernel is None:
            kernel = self._kernels[module, place] = disperse(module.weight)
        return kernel


def _shifts(image: NDArray[np.float64], taps: int) -> NDArray[np.float64]:
    """(h w, taps^2): each column is the image as one tap of a zero-padded convolution sees it."""
    height, width = image.shape
    padded = np.pad(image, taps // 2)
    columns = [padded[y : y + height, x : x + width].ravel() for y in range(taps) for x in range(taps)]
    return np.stack(columns, axis=1)


def _interpolation(side: int) -> NDArray[np.float64]:
    """((2 n - 1)^2, n^2): bilinear interpolation with aligned corners, which puts one pixel between any two."""
    line = np.zeros((2 * side - 1, side), dtype=np.float64)
    for row in range(2 * side - 1):
        line[row, row // 2] += 0.5
        line[row, (row + 1) // 2] += 0.5
    return np.asarray(np.kron(line, line), dtype=np.float64)

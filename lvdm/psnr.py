"""The one peak signal-to-noise ratio: of frames, images and whole videos."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PSNR = 100.0
"""Decibels that equal images get, and the most that any get: a mean over clips would otherwise be infinite."""


def psnr(actual: Tensor, expected: Tensor) -> float:
    """Decibels of all values together: 10 log10(range^2 / mean squared difference), from `MAX_PSNR` down.

    Both are pixels of one shape, whatever it is: uint8, whose range is 255, or floats in [-1, 1], whose range is 2.
    What lies outside [-1, 1] in `actual` counts as the nearest value inside, as it does in a file. 0 for black against
    white. Raises `ValueError` for different shapes, and for bytes against floats.
    """
    return float(psnr_of_each(actual[None], expected[None]))


def psnr_of_each(actual: Tensor, expected: Tensor) -> Tensor:
    """`psnr` of each item along the first axis, (n, ...) and (n, ...) -> (n,); their mean is not that of all together.

    float64 for bytes, which is exact, and float32 for floats.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"pixels of shape {tuple(actual.shape)} cannot be compared with {tuple(expected.shape)}")
    in_bytes = actual.dtype == torch.uint8
    if in_bytes != (expected.dtype == torch.uint8):
        raise ValueError(f"pixels in {actual.dtype} cannot be compared with {expected.dtype}: give both alike")
    if in_bytes:
        difference, span = actual.double() - expected.double(), 255.0
    else:
        difference, span = actual.float().clamp(-1, 1) - expected.float(), 2.0
    error = difference.square().flatten(1).mean(dim=1)
    return (10 * torch.log10(span**2 / error)).clamp(max=MAX_PSNR)

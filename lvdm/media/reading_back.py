"""Whether a file that was just written shows what it should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lvdm.media.atomic import OutputError

if TYPE_CHECKING:
    from torch import Tensor

_MIN_PSNR = 15.0
"""Below this (dB, means of 8x8 blocks) a file read back does not show what was written."""


def check_count(path: Path, found: int, wanted: int) -> None:
    """Raise `OutputError` unless as many frames were found as were written."""
    if found != wanted:
        raise OutputError(f"{path}: nothing was written, {found} of {wanted} frames could be read back")


def check_pictures(path: Path, back: np.ndarray, wanted: np.ndarray, lossless: bool = False) -> None:
    """Raise `OutputError` unless frames uint8 (t, H, W, 3) came back as they were, or about so unless `lossless`."""
    if back.shape != wanted.shape:
        raise OutputError(f"{path}: nothing was written, frames came back as {back.shape}, not {wanted.shape}")
    same = np.array_equal(back, wanted) if lossless else _likeness(back, wanted) >= _MIN_PSNR
    if not same:
        raise OutputError(f"{path}: nothing was written, the pictures read back are not those that were written")


def _likeness(back: np.ndarray, wanted: np.ndarray) -> float:
    """PSNR of the means of 8x8 blocks: fine noise, which codecs may drop, does not count."""
    from lvdm.psnr import psnr

    return psnr(_block_means(back), _block_means(wanted))


def _block_means(frames: np.ndarray) -> Tensor:
    """uint8 (t, H, W, 3) -> (t, 3, H / 8, W / 8) in [-1, 1]."""
    import torch

    pixels = torch.from_numpy(frames.astype(np.float32)).movedim(-1, 1) / 127.5 - 1
    return torch.nn.functional.avg_pool2d(pixels, 8, ceil_mode=True, count_include_pad=False)

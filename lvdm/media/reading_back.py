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


def check_count(path: Path, count: int, expected: int) -> None:
    """Raise `OutputError` unless `count` frames, read back, are as many as were written."""
    if count != expected:
        raise OutputError(f"{path}: nothing was written, {count} of {expected} frames could be read back")


def check_frames(path: Path, back: np.ndarray, expected: np.ndarray, lossless: bool = False) -> None:
    """Raise `OutputError` unless frames uint8 (t, H, W, 3) came back as they were, or about so unless `lossless`."""
    if back.shape != expected.shape:
        raise OutputError(f"{path}: nothing was written, frames came back as {back.shape}, not {expected.shape}")
    same = np.array_equal(back, expected) if lossless else _likeness(back, expected) >= _MIN_PSNR
    if not same:
        raise OutputError(f"{path}: nothing was written, the frames read back are not those that were written")


def _likeness(back: np.ndarray, expected: np.ndarray) -> float:
    """PSNR of the means of 8x8 blocks: fine noise, which codecs may drop, does not count."""
    from lvdm.psnr import psnr

    return psnr(_block_means(back), _block_means(expected))


def _block_means(frames: np.ndarray) -> Tensor:
    """uint8 (t, H, W, 3) -> (t, 3, H / 8, W / 8) in [-1, 1]."""
    import torch

    pixels = torch.from_numpy(frames.astype(np.float32)).movedim(-1, 1) / 127.5 - 1
    return torch.nn.functional.avg_pool2d(pixels, 8, ceil_mode=True, count_include_pad=False)

"""Whether a file that was just written shows what it should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lvdm.data.atomic import OutputError

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
    same = np.array_equal(back, wanted) if lossless else _block_psnr(back, wanted) >= _MIN_PSNR
    if not same:
        raise OutputError(f"{path}: nothing was written, the pictures read back are not those that were written")


def _block_psnr(back: np.ndarray, wanted: np.ndarray) -> float:
    """PSNR of the means of 8x8 blocks: fine noise, which codecs may drop, does not count."""
    difference = torch.from_numpy(back.astype(np.float32) - wanted.astype(np.float32)).movedim(-1, 1)  # (t, 3, H, W)
    means = torch.nn.functional.avg_pool2d(difference, 8, ceil_mode=True, count_include_pad=False)
    return float(10 * torch.log10(255**2 / means.square().mean().clamp(min=1e-9)))

"""Masks over an image: white (1) is the region that is meant, black (0) the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from lvdm.media.geometry import FitMode, fit_box
from lvdm.media.images import ImageError, fit_image, is_tensor, to_image

if TYPE_CHECKING:
    from torch import Tensor

MaskSource: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"


def to_masks(source: MaskSource) -> tuple[Image.Image, ...]:
    """One mask for all frames, or one for each of them, as 8-bit grey images. Raises `ImageError`.

    A file or PIL image counts by its brightness. Arrays and tensors are (H, W), or (t, H, W) for a mask per frame:
    bool, whole numbers from 0 to 1 or 0 to 255, or float in [0, 1].
    """
    if is_tensor(source):
        source = source.detach().cpu()
        source = source.float().numpy() if source.is_floating_point() else source.numpy()
    if not isinstance(source, np.ndarray):
        return (to_image(source).convert("L"),)
    frames = source[None] if source.ndim == 2 else source
    if frames.ndim != 3 or frames.size == 0:
        raise ImageError(f"a mask should be (H, W) or (frames, H, W), it is {source.shape}")
    if not np.issubdtype(frames.dtype, np.floating) and frames.min() >= 0 and frames.max() <= 1:
        frames = frames.astype(np.float32)
    return tuple(to_image(frame).convert("L") for frame in frames)


def fit_masks(masks: Sequence[Image.Image], height: int, width: int, mode: FitMode = "crop") -> Tensor:
    """Masks as a tensor (len(masks), height, width) in [0, 1], fitted like their image (`lvdm.media.images.fit_image`).

    What `pad` adds around the image is outside the region.
    """
    import torch

    fitted = torch.zeros(len(masks), height, width)
    for inside, mask in zip(fitted, masks, strict=True):
        box = fit_box((mask.height, mask.width), (height, width), mode)
        box.crop(inside).copy_(box.crop((fit_image(mask, height, width, mode)[0] + 1) / 2))
    return fitted

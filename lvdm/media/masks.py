"""Masks over an image: white (1) is the region that is meant, black (0) the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from lvdm.declaration.values import Fit
from lvdm.media.geometry import fit_box
from lvdm.media.images import ImageError, fit_image, is_tensor, load_layer, to_image

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

MaskSource: TypeAlias = "str | Path | Image.Image | np.ndarray | Tensor"

_HALF = 128
"""Levels from this one on are in the region rather than outside."""


def to_masks(source: MaskSource) -> tuple[Image.Image, ...]:
    """One mask for all frames, or one for each of them, as 8-bit grey images. Raises `ImageError`.

    A file or PIL image is read by what was painted, see `painted_mask`. Arrays and tensors are (H, W), or (t, H, W) for
    a mask per frame: bool, whole numbers from 0 to 1 or 0 to 255, or float in [0, 1]; they may select all or nothing.
    """
    if isinstance(source, str | Path | Image.Image):
        return (painted_mask(*load_layer(source)),)
    if is_tensor(source):
        source = source.detach().cpu()
        source = source.float().numpy() if source.is_floating_point() else source.numpy()
    if not isinstance(source, np.ndarray):
        raise ImageError(f"a mask should be a path, PIL image, array or tensor, it is a {type(source).__name__}")
    frames = source[None] if source.ndim == 2 else source
    if frames.ndim != 3 or frames.size == 0:
        raise ImageError(f"a mask should be (H, W) or (frames, H, W), it is {source.shape}")
    if not np.issubdtype(frames.dtype, np.floating) and frames.min() >= 0 and frames.max() <= 1:
        frames = frames.astype(np.float32)
    return tuple(to_image(frame).convert("L") for frame in frames)


def painted_mask(image: Image.Image, name: str) -> Image.Image:
    """The 8-bit grey mask that somebody painted, white where it selects. `name` is that of the file, for messages.

    Where an image is partly transparent, what is opaque selects, in whatever colour. Otherwise brightness does. Two
    values are taken for black and white however near they are, such as 0 and 1.
    Raises `ImageError` for one that selects nothing or everything, with what was read.
    """
    levels, what = _painted_levels(image, name)
    low, high = levels.min().item(), levels.max().item()
    if low < high and bool(((levels == low) | (levels == high)).all()):
        mask = np.where(levels == high, 255, 0).astype(np.uint8)
    elif levels.dtype == np.uint8:
        mask = levels
    else:
        mask = np.rint(levels / 257).clip(0, 255).astype(np.uint8)  # 16 bits
    if mask.max() < _HALF or mask.min() >= _HALF:
        extent = f"is {low} everywhere" if low == high else f"goes from {low} to {high}"
        selected = "everything" if mask.min() >= _HALF else "nothing"
        raise ImageError(
            f"{name}: the mask selects {selected}: its {what} {extent}; paint the region white on black, or in any "
            "colour on a transparent layer"
        )
    logger.info("%s: its %s selects %.0f %% of the image", name, what, 100 * float((mask >= _HALF).mean()))
    return Image.fromarray(mask)


def _painted_levels(image: Image.Image, name: str) -> tuple[np.ndarray, str]:
    """What the mask is read by, (H, W) of whole numbers, and the word for it."""
    if image.mode.startswith("I"):
        return np.asarray(image), "brightness"
    if image.has_transparency_data:
        straight = image.convert("RGBA")
        alpha = np.asarray(straight.getchannel("A"))
        if alpha.min() < alpha.max():
            grey = np.asarray(straight.convert("L"))[alpha == alpha.max()]
            if set(np.unique(grey).tolist()) == {0, 255}:
                raise ImageError(
                    f"{name}: holds black and white as well as transparency, and both could be the mask; save it "
                    "without transparency, or paint in one colour on a transparent layer"
                )
            return alpha, "transparency"
        image = straight.convert("RGB")
    if image.mode == "F":
        raise ImageError(f"{name}: floating-point pixels have no fixed white; save the mask with 8 bits per channel")
    return np.asarray(image.convert("L")), "brightness"


def fit_masks(masks: Sequence[Image.Image], height: int, width: int, mode: Fit = "crop") -> Tensor:
    """Masks as a tensor (len(masks), height, width) in [0, 1], fitted like their image (`lvdm.media.images.fit_image`).

    What `pad` adds around the image is outside the region.
    """
    import torch

    fitted = torch.zeros(len(masks), height, width)
    for inside, mask in zip(fitted, masks, strict=True):
        box = fit_box((mask.height, mask.width), (height, width), mode)
        box.crop(inside).copy_(box.crop((fit_image(mask, height, width, mode)[0] + 1) / 2))
    return fitted

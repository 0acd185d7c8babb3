"""How frames are brought to the trained size: for training clips, and as the original did it at inference.

Training transforms take and give frames (t, 3, h, w), float of any range. The two `original_*` functions reproduce the
original's inference preprocessing, which adds bars to every image that is narrower than the target: black ones on
its command line, grey ones in its web application. `lvdm.media.images.fit_image` is what we use instead.
"""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from lvdm.errors import UserError
from lvdm.media.geometry import Box, covering_size

SpatialTransform = Literal["random_crop", "center_crop", "resize_center_crop", "resize"]
"""The names that training configurations use."""


class FrameSizeError(UserError):
    """Frames that are smaller than the crop taken from them."""


def apply_spatial_transform(
    name: SpatialTransform, frames: Tensor, height: int, width: int, rng: random.Random
) -> Tensor:
    """Frames (t, 3, h, w) to (t, 3, height, width). Only `random_crop` draws from `rng`.

    `resize_center_crop` scales to cover the size. That is the original's scaling of the short side to
    min(height, width) wherever the original fills the size; where it adds black bars (frames narrower than the target),
    we crop. Raises `FrameSizeError` when a pure crop is larger than the frames; the original pads with black.
    """
    size = (frames.shape[-2], frames.shape[-1])
    if name == "resize":
        return _resize(frames, height, width)
    if name == "resize_center_crop":
        return _centre_box(*covering_size(size, (height, width)), height, width).crop(
            _resize(frames, *covering_size(size, (height, width)))
        )
    if size[0] < height or size[1] < width:
        raise FrameSizeError(
            f"cannot {name} {height}x{width} from frames of {size[0]}x{size[1]}; use resize_center_crop"
        )
    if name == "random_crop":
        return Box(rng.randint(0, size[0] - height), rng.randint(0, size[1] - width), height, width).crop(frames)
    return _centre_box(*size, height, width).crop(frames)


def original_cli_image(image: Image.Image, height: int, width: int) -> Tensor:
    """The original command line's Resize + CenterCrop + ToTensor + Normalize: (3, height, width) in [-1, 1].

    The short side becomes min(height, width) (Pillow's bilinear); what is missing then is black, -1.
    """
    scaled_height, scaled_width = _short_side_size((image.height, image.width), min(height, width))
    scaled = image.convert("RGB").resize((scaled_width, scaled_height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float() / 255
    return (_centre_crop_or_pad(pixels, height, width) - 0.5) / 0.5


def original_gradio_image(image: Image.Image, height: int, width: int, antialias: bool = True) -> Tensor:
    """The same in the original's web application: normalised first, so that what is missing is grey, 0.

    It scales a float tensor; `antialias` is the default of its torchvision, False before version 0.17 and True since.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()
    normalised = (pixels / 255 - 0.5) * 2
    size = _short_side_size((image.height, image.width), min(height, width))
    return _centre_crop_or_pad(_resize(normalised[None], *size, antialias=antialias)[0], height, width)


def _short_side_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(height, width) after scaling the shorter side to `short_side`, the longer one rounded down."""
    height, width = size
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def _resize(frames: Tensor, height: int, width: int, antialias: bool = True) -> Tensor:
    if frames.shape[-2:] == (height, width):
        return frames
    return functional.interpolate(frames, (height, width), mode="bilinear", align_corners=False, antialias=antialias)


def _centre_box(height: int, width: int, box_height: int, box_width: int) -> Box:
    """The middle of an image, an odd remainder rounded half to even like torchvision's CenterCrop."""
    return Box(round((height - box_height) / 2), round((width - box_width) / 2), box_height, box_width)


def _centre_crop_or_pad(image: Tensor, height: int, width: int) -> Tensor:
    """CenterCrop of the original: zeros where the image (3, h, w) is smaller than the crop."""
    missing_height, missing_width = max(height - image.shape[-2], 0), max(width - image.shape[-1], 0)
    left, top = missing_width // 2, missing_height // 2
    padded = functional.pad(image, (left, missing_width - left, top, missing_height - top))
    return _centre_box(padded.shape[-2], padded.shape[-1], height, width).crop(padded)

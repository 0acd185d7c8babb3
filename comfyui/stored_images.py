"""Images of ComfyUI, float (b, h, w, c) in [0, 1], as files that requests name and records can find again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lvdm.media.atomic import atomic_path, together
from lvdm.media.depth import write_depth
from lvdm.media.video_writer import write_video


def store_image(images: Tensor, folder: Path, name: str) -> Path:
    """The one image of a batch as a PNG in `folder`, named by its pixels. Raises `ValueError` for several."""
    if len(images) != 1:
        raise ValueError(f"{name} holds {len(images)} images, and one is needed; choose it with ImageFromBatch")
    return _store(_bytes(images)[0], folder)


def store_images(images: Tensor, folder: Path) -> list[Path]:
    """Each image of a batch, likewise."""
    return [_store(pixels, folder) for pixels in _bytes(images)]


def store_mask(masks: Tensor, folder: Path, name: str) -> Path:
    """The one mask of a batch (b, h, w), white where it is 1, as a PNG in `folder`. Raises `ValueError` for several."""
    if len(masks) != 1:
        raise ValueError(f"{name} holds {len(masks)} masks, and one is needed")
    return _store((masks[0].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8), folder)


def store_video(images: Tensor, fps: float, folder: Path, name: str) -> Path:
    """The images of a batch as an animation without loss. Raises `ValueError` for a single one, which is none."""
    if len(images) == 1:
        raise ValueError(f"{name} is one image; give the frames of a video as a batch")
    pixels = _bytes(images)
    path = folder / f"{_name(pixels)}_{fps:g}.apng"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_video(pixels, path, fps)
    return path


def store_depth(images: Tensor, folder: Path) -> Path:
    """The grey values of a batch as depth in an NPZ, which rounds none of them."""
    grey = images[..., :3].detach().cpu().float().mean(dim=-1)
    path = folder / f"{_name(grey)}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with together() as files:
            write_depth(path, grey.numpy(), files)
    return path


def _bytes(images: Tensor) -> Tensor:
    """The colours of images as bytes (b, h, w, 3)."""
    return (images[..., :3].detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)


def _store(pixels: Tensor, folder: Path) -> Path:
    path = folder / f"{_name(pixels)}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            Image.fromarray(pixels.numpy()).save(temporary, "PNG")
    return path


def _name(pixels: Tensor) -> str:
    return hashlib.sha256(f"{tuple(pixels.shape)} ".encode() + pixels.numpy().tobytes()).hexdigest()[:32]

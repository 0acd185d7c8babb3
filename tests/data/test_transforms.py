"""Preprocessing of images as the original does it, and the training transforms."""

from __future__ import annotations

import random

import pytest
import torch
from golden_vectors import assert_close, case, int_image
from PIL import Image

from lvdm.data.transforms import (
    FrameSizeError,
    apply_spatial_transform,
    original_cli_image,
    original_gradio_image,
)
from lvdm.media.images import fit_image

REFERENCE = case("image_transforms")
HEIGHT, WIDTH = REFERENCE.meta["video_size"]
TRANSFORMS = {
    "cli": original_cli_image,
    "gradio_antialias": original_gradio_image,
    "gradio_noantialias": lambda image, height, width: original_gradio_image(image, height, width, antialias=False),
}


def reference_image(size: str) -> Image.Image:
    height, width = map(int, size.split("x"))
    return Image.fromarray(int_image(f"golden/image_transforms/{size}", height, width))


@pytest.mark.parametrize("name", sorted(REFERENCE.outputs))
def test_original_transforms(name: str) -> None:
    kind, size = name.rsplit("_", 1)
    assert_close(REFERENCE, name, TRANSFORMS[kind](reference_image(size), HEIGHT, WIDTH))


@pytest.mark.parametrize("size", ["100x100", "150x90", "60x80"])
def test_our_fit_has_no_bars_where_the_original_has(size: str) -> None:
    original, ours = REFERENCE.outputs[f"cli_{size}"], fit_image(reference_image(size), HEIGHT, WIDTH)
    assert (original[:, :, 0] == -1).all(), "the original pads this image with black"
    assert not (ours[:, :, 0] == -1).all(), "ours shows the image up to the edge"


def gradient_frames(height: int, width: int) -> torch.Tensor:
    """(2, 3, height, width) whose first channel is the column number and second the row number."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((x, y, x * 0)).float().expand(2, 3, height, width)


def test_resize_center_crop_covers_and_centres() -> None:
    wide = apply_spatial_transform("resize_center_crop", gradient_frames(40, 100), 20, 30, random.Random(0))
    assert wide.shape == (2, 3, 20, 30)
    assert wide[0, 0].mean() == pytest.approx(49.5, abs=1.01), "the middle column stays in the middle"
    tall = apply_spatial_transform("resize_center_crop", gradient_frames(90, 30), 20, 30, random.Random(0))
    assert torch.equal(tall, gradient_frames(90, 30)[:, :, 35:55]), "a narrow video is cropped, not given black bars"


def test_resize_ignores_the_aspect() -> None:
    resized = apply_spatial_transform("resize", gradient_frames(40, 100), 20, 20, random.Random(0))
    assert resized.shape == (2, 3, 20, 20)
    assert resized[0, 0, 10].diff()[3:-3].sub(5.0).abs().max() < 1e-3


def test_crops() -> None:
    frames = gradient_frames(40, 60)
    centre = apply_spatial_transform("center_crop", frames, 20, 30, random.Random(0))
    assert torch.equal(centre, frames[:, :, 10:30, 15:45])
    offsets = set()
    for seed in range(8):
        crop = apply_spatial_transform("random_crop", frames, 20, 30, random.Random(seed))
        left, top = int(crop[0, 0, 0, 0]), int(crop[0, 1, 0, 0])
        assert torch.equal(crop, frames[:, :, top : top + 20, left : left + 30]), "all frames share one window"
        offsets.add((top, left))
    assert len(offsets) > 4, "random crops should differ"
    with pytest.raises(FrameSizeError, match="64x64 from frames of 40x60"):
        apply_spatial_transform("random_crop", frames, 64, 64, random.Random(0))

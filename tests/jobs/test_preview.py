"""Previews from latents: the colours are about right, for an autoencoder that is one."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lvdm.jobs.preview import fit_colors, moving_image, soft_images
from lvdm.media.images import fit_image, load_image
from lvdm.model_files import REPOSITORY
from lvdm.pipeline import DynamiCrafterPipeline


@pytest.mark.parametrize("name", ["01_purple_ring", "04_orange_heart"])
def test_the_map_tells_the_colours_of_pictures_it_was_not_fitted_to(name: str) -> None:
    pipeline = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu")
    state = torch.get_rng_state()
    colors = fit_colors(pipeline)
    assert torch.equal(torch.get_rng_state(), state)
    picture = fit_image(load_image(REPOSITORY / f"prompts/tiny/{name}.png"), 64, 64)
    latents = pipeline.runtime.encode_video(picture[None, :, None])[0]
    shown = colors.frames(latents)[0].permute(2, 0, 1).float() / 127.5 - 1
    wanted = F.adaptive_avg_pool2d(picture, (16, 16))
    likeness = torch.corrcoef(torch.stack([shown.flatten(), wanted.flatten()]))[0, 1].item()
    assert likeness > 0.9, f"the preview of {name} correlates by {likeness:.2f} with its colours"


def test_the_preview_moves_and_is_small() -> None:
    frames = ((soft_images(6, 16) + 1) * 127.5).to(torch.uint8).permute(0, 2, 3, 1)
    stored = moving_image(frames)
    with Image.open(io.BytesIO(stored)) as read:
        assert (read.format, read.n_frames, read.size) == ("WEBP", 6, (256, 256))
    assert len(stored) < 60_000

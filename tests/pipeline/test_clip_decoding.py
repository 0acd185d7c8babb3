"""A model with a dual-reference decoder: references are the true ends of each clip, and clips do not mix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_model import FRAMES, picture, small_yaml, write_model

from lvdm.pipeline import DynamiCrafterPipeline

SETTINGS = {"num_inference_steps": 1, "height": 32, "width": 32}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> DynamiCrafterPipeline:
    tree = small_yaml(("interpolation",))
    tree["model"]["params"]["first_stage_config"]["target"] = "lvdm.models.autoencoder.AutoencoderKL_Dualref"
    folder: Path = write_model(tmp_path_factory.mktemp("toon") / "model", tree)
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu")


def test_the_decoder_reads_the_first_and_the_last_image(pipeline: DynamiCrafterPipeline) -> None:
    images = [picture(seed=1), picture(seed=2)]
    result = pipeline(images[0], "it goes on", end_image=images[1], num_frames=FRAMES + 3, **SETTINGS)
    assert result.video.shape[2] == FRAMES + 3
    autoencoder = pipeline.runtime.model.first_stage_model
    ends = torch.stack([torch.from_numpy(_array(image)) for image in images], dim=1)[None]
    with torch.no_grad():
        latents = result.latents / pipeline.runtime.model.config.scale_factor
        expected = autoencoder.decode_clips(latents, autoencoder.references(ends))
        without = autoencoder.decode_clips(latents, None)
    assert torch.allclose(result.video, expected, atol=1e-5), "decoded at once, with the images of its own ends"
    assert not torch.allclose(result.video, without, atol=1e-3), "the references are read"


def _array(image):
    import numpy as np

    return np.asarray(image.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


def test_each_clip_of_a_batch_has_its_own_references(pipeline: DynamiCrafterPipeline) -> None:
    first, last = [picture(seed=1), picture(seed=3)], [picture(seed=2), picture(seed=4)]
    seeds = {"seed": [5, 6]}
    together = pipeline(first, "it goes on", end_image=last, **seeds, **SETTINGS).video
    alone = pipeline(first[1], "it goes on", end_image=last[1], seed=6, **SETTINGS).video
    assert torch.allclose(together[1:], alone, atol=1e-4)


def test_tiles_are_refused_before_anything_is_made(pipeline: DynamiCrafterPipeline) -> None:
    with pytest.raises(ValueError, match="decodes all frames of a clip together, and not in tiles; leave out vae_tile"):
        pipeline(picture(seed=1), "it goes on", end_image=picture(seed=2), vae_tile=8, **SETTINGS)

"""Text-to-video, and image-to-video without the image's latents, on small models in VideoCrafter's layout."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file
from small_model import FRAMES, SIDE, picture, small_videocrafter_yaml, write_model, write_small_model

from lvdm.model_card import RELEASED, VIDEOCRAFTER
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.settings import GenerationSettings

CPU = {"device": "cpu", "dtype": "fp32"}
PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_model(folder / "text", small_videocrafter_yaml())
    write_model(folder / "images", small_videocrafter_yaml(images=True))
    return folder


@pytest.fixture(scope="module")
def from_text(folders):
    return DynamiCrafterPipeline.from_pretrained(folders / "text", **CPU)


@pytest.fixture(scope="module")
def from_image(folders):
    return DynamiCrafterPipeline.from_pretrained(folders / "images", **CPU)


def test_a_sentence_alone_makes_a_video(from_text):
    result = from_text(prompt=PROMPT)
    assert result.video.shape == (1, 3, FRAMES, SIDE, SIDE)
    assert torch.isfinite(result.video).all()
    assert result.first_frame_psnr == (None,)
    assert result.settings.mode == "text-to-video"
    assert torch.equal(from_text(prompt=PROMPT).video, result.video)
    assert not torch.equal(from_text(prompt="something else").latents, result.latents), "the sentence has no effect"
    assert not torch.equal(from_text(prompt=PROMPT, fps=20).latents, result.latents), "the frame rate has no effect"


def test_several_sentences_are_the_single_videos(from_text):
    prompts = ["left", "right", ""]
    together = from_text(prompt=prompts, negative_prompt="blue", num_videos_per_prompt=1)
    for i, prompt in enumerate(prompts):
        alone = from_text(prompt=prompt, negative_prompt="blue", sample_index=i)
        torch.testing.assert_close(together.latents[i : i + 1], alone.latents, rtol=0, atol=1e-4)


def test_size_and_length_are_free(from_text):
    result = from_text(prompt=PROMPT, height=30, width=46, num_frames=FRAMES + 3)
    assert result.video.shape == (1, 3, FRAMES + 3, 30, 46)
    assert from_text(prompt=PROMPT, width=64).video.shape[3:] == (64, 64), "one side follows the trained shape"


def test_low_memory_and_other_samplers(folders, from_text):
    small = DynamiCrafterPipeline.from_pretrained(folders / "text", **CPU, low_memory=True)
    torch.testing.assert_close(
        small(prompt=PROMPT).latents, from_text(prompt=PROMPT).latents, rtol=0, atol=1e-4, msg="low memory"
    )
    for sampler in ("dpm++", "unipc"):
        assert torch.isfinite(from_text(prompt=PROMPT, sampler=sampler).latents).all()
    assert torch.isfinite(from_text(prompt=PROMPT, guidance_scale=1.0).latents).all()


def test_an_image_is_read_as_tokens(from_image):
    result = from_image(picture(), PROMPT)
    assert result.video.shape == (1, 3, FRAMES, SIDE, SIDE)
    assert result.first_frame_psnr[0] is not None
    assert not torch.equal(from_image(picture(seed=1), PROMPT).latents, result.latents), "the image has no effect"
    longer = from_image(picture(), PROMPT, num_frames=FRAMES + 3, image_guidance_scale=1.5)
    assert longer.video.shape[2] == FRAMES + 3


def test_all_frames_share_the_image_tokens(from_image, monkeypatch):
    """Also where their number is that of tokens for each frame: DynamiCrafter's network would split them."""
    unet = from_image.runtime.model.unet
    context = torch.zeros(1, unet.config.text_length + FRAMES * unet.config.image_tokens_per_frame, 32)
    shared = unet.split_context(context, FRAMES)
    assert shared.image is not None
    assert shared.image.shape[:2] == (1, FRAMES * unet.config.image_tokens_per_frame)


def test_the_last_step_keeps_the_contrast_and_does_not_warn(from_text, caplog):
    with caplog.at_level(logging.WARNING, logger="lvdm"):
        from_text(prompt=PROMPT, timestep_spacing="uniform_trailing")
    assert "contrast" not in caplog.text
    assert from_text.runtime.model.schedule.scale_at_end(torch.tensor([999, 499])) == 1


def test_nothing_of_an_image_can_be_kept(from_image, from_text):
    with pytest.raises(ValueError, match="does not show the image itself"):
        from_image(picture(), PROMPT, keep_mask=picture().convert("L"))
    with pytest.raises(ValueError, match="no image of which a region"):
        from_text(prompt=PROMPT, keep_mask=picture().convert("L"))


def test_what_a_checkpoint_cannot_do_is_refused(folders, from_image, from_text, tmp_path):
    with pytest.raises(ValueError, match="from text alone and cannot animate; use text-to-video"):
        from_text(picture(), PROMPT)
    with pytest.raises(ValueError, match="from text alone and cannot loop"):
        from_text(picture(), PROMPT, loop=True)
    with pytest.raises(ValueError, match="needs an image and cannot make a video from text alone; use animate"):
        from_image(prompt=PROMPT)
    dynamicrafter = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path / "small"), **CPU)
    with pytest.raises(ValueError, match="such as preset vc2"):
        dynamicrafter(prompt=PROMPT)
    with pytest.raises(ValueError, match="animates one image and cannot interpolate"):
        from_image(picture(), PROMPT, end_image=picture(seed=1))
    with pytest.raises(ValueError, match="a loop begins with an image"):
        from_text(prompt=PROMPT, loop=True)


def test_a_model_without_frame_rate_takes_none():
    card = VIDEOCRAFTER["vc1"]
    assert GenerationSettings.from_card(card, mode="text-to-video").guidance_scale == 12.0
    for given in ({"fps": 8}, {"frame_stride": 2}, {"motion": 0.5}):
        with pytest.raises(ValueError, match="vc1 reads no frame rate; leave out"):
            GenerationSettings.from_card(card, mode="text-to-video", **given)
    assert card.fs_description == "not read by this model"
    assert RELEASED["512_interp"].usual_mode == "interpolate"


def test_the_state_dict_of_a_text_model_has_no_images(folders):
    keys = load_file(folders / "text" / "model.safetensors")
    assert not [key for key in keys if key.startswith(("embedder.", "image_proj_model.")) or "_ip." in key]
    assert keys["scale_arr"].shape == (1400,)

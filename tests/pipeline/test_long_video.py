"""Videos longer than the trained clips, from settings to files and back."""

from __future__ import annotations

import logging

import pytest
import torch
from small_model import FRAMES, picture, write_small_model

from lvdm.jobs.record import read_record, save_video
from lvdm.media.ownership import record_path
from lvdm.modules.hooks import NO_HOOKS, active_hooks
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.settings import GenerationSettings

LONG = 2 * FRAMES + 1
PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def test_more_frames_than_trained_on_choose_the_method_and_say_so(pipe, caplog):
    with caplog.at_level(logging.INFO, logger="lvdm"):
        settings = pipe.settings(num_frames=LONG)
    assert (settings.long_video, settings.chunk_frames) == ("freenoise", FRAMES)
    assert f"{LONG} frames are more than the {FRAMES}" in caplog.text
    assert "--long plain" in caplog.text
    for given in ({"num_frames": FRAMES}, {"num_frames": LONG, "long_video": "plain"}, {}):
        plain = pipe.settings(**given)
        assert (plain.long_video, plain.chunk_frames) == ("plain", None), given
    between = pipe.settings(mode="interpolate", num_frames=LONG)
    assert between.long_video == "plain", "windows in the middle would see neither of two images"
    assert pipe.settings(num_frames=LONG, chunk_frames=2).chunk_frames == 2


def test_short_videos_are_those_without_the_method(pipe):
    plain = pipe(picture(), PROMPT, eta=1.0, long_video="plain").latents
    assert torch.equal(pipe(picture(), PROMPT, eta=1.0, long_video="freenoise").latents, plain)


def test_a_long_video_leaves_the_model_as_it_was(pipe):
    unet = pipe.runtime.model.unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    short = pipe(picture(), PROMPT).latents
    result = pipe(picture(), PROMPT, num_frames=LONG, eta=1.0)
    assert result.video.shape[2] == LONG
    assert torch.isfinite(result.video).all()
    assert active_hooks() is NO_HOOKS
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert torch.equal(pipe(picture(), PROMPT).latents, short)


def test_pieces_change_the_video_by_rounding_only(pipe):
    latents = [pipe(picture(), PROMPT, num_frames=LONG, chunk_frames=n).latents for n in (1, 3, LONG)]
    for other in latents[1:]:
        assert (other - latents[0]).abs().max() <= 1e-4 * latents[0].abs().max()


def test_a_long_batch_equals_its_samples_alone(pipe):
    together = pipe([picture(), picture(seed=1)], [PROMPT, "left"], num_frames=LONG, eta=1.0).latents
    alone = pipe(picture(seed=1), "left", num_frames=LONG, eta=1.0, sample_index=1).latents
    assert (together[1:] - alone).abs().max() <= 1e-4 * alone.abs().max()


def test_another_sentence_changes_the_frames_that_it_reaches(pipe):
    plain = pipe(picture(), PROMPT, num_frames=LONG).latents
    same = pipe(picture(), PROMPT, num_frames=LONG, prompts_at={5: PROMPT}).latents
    assert (same - plain).abs().max() <= 1e-3 * plain.abs().max(), "the same sentence again is no change"
    other = pipe(picture(), PROMPT, num_frames=LONG, prompts_at={5: "the ball stops"}).latents
    assert (other - plain).abs().max() > 1e-2
    with pytest.raises(ValueError, match="prompts should take over at ascending frames from 1 to 8"):
        pipe(picture(), PROMPT, num_frames=LONG, prompts_at={40: "too late"})


def test_the_record_of_a_long_video_says_how_it_was_made(pipe, tmp_path):
    image = tmp_path / "image.png"
    picture().save(image)
    result = pipe(picture(), PROMPT, num_frames=LONG, prompts_at={5: "the ball stops"})
    object.__setattr__(result.requests[0], "image_path", image)
    save_video(pipe, result, 0, tmp_path / "video.mp4", 8)
    recipe = read_record(record_path(tmp_path / "video.mp4"))
    assert recipe.settings == result.settings
    assert recipe.settings.long_video == "freenoise"
    assert recipe.parameters["prompts_at"] == ((5, "the ball stops"),)
    old = {
        name: value for name, value in result.settings.as_dict().items() if name not in ("long_video", "chunk_frames")
    }
    assert GenerationSettings(**old).long_video == "plain", "records from before there was a method"


def test_an_unknown_method_is_refused(pipe):
    with pytest.raises(ValueError, match="long_video 'freenoize' is not known; did you mean 'freenoise'"):
        pipe.settings(long_video="freenoize")

"""A model with a frame carrier in the pipeline: what its UNet is shown in every mode, and by methods that read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_model import FRAMES, SIDE, picture, small_yaml, write_model
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.modules.carrier import FrameCarrierConfig
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime

PROMPT = "a red ball moves to the right"


def carrying_tree(visibility: bool) -> dict[str, Any]:
    """`small_yaml` with a carrier, conditioned on the frame stride."""
    tree = small_yaml()
    params = tree["model"]["params"]
    params["fps_condition_type"] = "fs"
    params["unet_config"]["params"]["in_channels"] = 8 + visibility
    carrier = {"patch": 2, "text_dim": 32, "width": 16, "layers": 1, "hidden": 16, "visibility": visibility}
    params["frame_carrier_config"] = {"target": "lvdm.modules.carrier.FrameCarrier", "params": carrier}
    tree["sampling"] |= {"fs_meaning": "stride", "fs_min": 1, "fs_max": 3, "fs_default": 2}
    return tree


@pytest.fixture(scope="module", params=[False, True], ids=["latents", "latents and visibility"])
def pipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DynamiCrafterPipeline:
    folder: Path = tmp_path_factory.mktemp("carrying") / "small"
    write_model(folder, carrying_tree(request.param))
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def shown(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Conditioning:
    """The full condition under which a video is made."""
    seen: list[Conditioning] = []
    conditions = Runtime.conditions

    def watch(self: Runtime, *arguments: Any) -> tuple[Conditioning, ...]:
        found = conditions(self, *arguments)
        seen.append(found[0])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Runtime, "conditions", watch)
        result = pipe(picture(), PROMPT, **options)
    assert torch.isfinite(result.video).all()
    return seen[0]


def channels(pipe: DynamiCrafterPipeline) -> int:
    return 4 + pipe.runtime.model.config.frame_carrier_config.params.visibility


def test_an_animation_is_shown_the_carried_latents(
    pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = shown(pipe, monkeypatch, frame_stride=3)
    model = pipe.runtime.model
    first = condition.concat[:, :4, 0]
    seen = torch.from_numpy(np.array(picture())).permute(2, 0, 1)[None] / 127.5 - 1
    assert model.frame_carrier is not None
    with torch.inference_mode():
        text, encode = model.embed_text([PROMPT]), model.encode_first_stage
        expected = model.frame_carrier.concat(seen, text, torch.tensor([3]), FRAMES, encode)
    assert condition.concat.shape == (1, channels(pipe), FRAMES, SIDE // 4, SIDE // 4)
    torch.testing.assert_close(condition.concat[:, :, 1:], expected[:, :, 1:], atol=1e-4, rtol=1e-4)
    assert (condition.concat[:, :4, 1:] - first[:, :, None]).abs().max() > 1e-3, "nothing was carried"


def test_the_second_image_is_shown_as_it_is(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, both = shown(pipe, monkeypatch).concat, shown(pipe, monkeypatch, end_image=picture(seed=2)).concat
    assert torch.equal(both[:, :, :-1], alone[:, :, :-1]), "up to there frame 0 is carried along"
    assert not torch.equal(both[:, :4, -1], alone[:, :4, -1])
    assert torch.equal(both[:, 4:, -1], torch.ones_like(both[:, 4:, -1]))


def test_a_plain_loop_goes_there_and_back(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    concat = shown(pipe, monkeypatch, loop=True, long_video="plain", num_frames=5).concat
    assert torch.equal(concat[:, :4], concat[:, :4].flip(2))
    assert not torch.equal(concat[:, :4, 0], concat[:, :4, 2])


def test_a_cyclic_loop_goes_there_and_back(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    concat = shown(pipe, monkeypatch, loop=True, num_frames=7).concat
    assert concat.shape[2] == 6, "the first frame is repeated at the end"
    assert torch.equal(concat[:, :, 1:], concat[:, :, 1:].flip(2))
    assert not torch.equal(concat[:, :, 1], concat[:, :, 3])


def test_a_batch_is_its_samples(pipe: DynamiCrafterPipeline) -> None:
    images, prompts = [picture(seed=i) for i in range(2)], ["the camera pans left", PROMPT]
    together = pipe(images, prompts)
    for i in range(2):
        alone = pipe(images[i], prompts[i], sample_index=i)
        torch.testing.assert_close(together.video[i : i + 1], alone.video, atol=1e-4, rtol=0)


def test_every_guidance_works(pipe: DynamiCrafterPipeline) -> None:
    made: list[Tensor] = [pipe(picture(), PROMPT, guidance_scale=scale).video for scale in (1.0, 3.0)]
    assert all(torch.isfinite(video).all() for video in made)
    assert not torch.equal(*made)


@pytest.mark.parametrize(
    "options",
    [
        {"keep_mask": torch.ones(SIDE, SIDE)},
        {"anchor": "soft"},
        {"low_pass": 0.5, "low_pass_until": 0.5},
        {"num_frames": 2 * FRAMES},
        {"num_frames": 2 * FRAMES, "long_video": "freenoise"},
        {"num_frames": 2 * FRAMES, "long_video": "fifo"},
        {"low_memory": True},
    ],
    ids=lambda options: " ".join(f"{key}" for key in options),
)
def test_methods_that_read_the_concat_work(
    pipe: DynamiCrafterPipeline, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if options.pop("low_memory", False):
        monkeypatch.setattr(pipe.runtime, "low_memory", True)
    video = pipe(picture(), PROMPT, **options).video
    assert video.shape[2] == options.get("num_frames", FRAMES)
    assert torch.isfinite(video).all()


@pytest.mark.parametrize("options", [{}, {"truncated_start": 0.9}, {"num_frames": 2 * FRAMES, "long_video": "fifo"}])
def test_sampling_begins_with_the_carried_latents_where_nothing_else_says_where(
    pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    noise = pipe(picture(), PROMPT, num_inference_steps=2, **options).video
    monkeypatch.setattr(pipe.runtime.model.frame_carrier, "config", beginning(pipe, 0.3))
    early = pipe(picture(), PROMPT, num_inference_steps=2, **options).video
    assert torch.equal(noise, early) == bool(options)


def test_little_noise_leaves_the_carried_latents(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe.runtime.model.frame_carrier, "config", beginning(pipe, 0.001))
    seen: list[tuple[int, Tensor]] = []

    def watch(step: int, t: int, x_t: Tensor, x_0: Tensor) -> None:
        seen.append((t, x_0))

    pipe(picture(), PROMPT, num_inference_steps=1, callback_on_step_end=watch)
    assert [t for t, _ in seen] == [0]
    carried = shown(pipe, monkeypatch, num_inference_steps=2).concat[:, :4]  # with noise: there are too many steps
    assert (seen[0][1] - carried).abs().mean() < 0.2 * carried.std(), "at time step 0 there is hardly any noise"


def beginning(pipe: DynamiCrafterPipeline, start: float) -> FrameCarrierConfig:
    """The configuration of the carrier with another `start`."""
    assert pipe.runtime.model.frame_carrier is not None
    return replace(pipe.runtime.model.frame_carrier.config, start=start)

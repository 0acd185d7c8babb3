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
from lvdm.pipeline import DynamiCrafterPipeline, carried_details
from lvdm.pipeline.carried_details import CarriedFrames
from lvdm.pipeline.carried_start import carried_step
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


@pytest.mark.parametrize(
    "options",
    [{}, {"loop": True, "num_frames": 7}, {"end_image": picture(seed=2)}],
    ids=["animate", "loop", "interpolate"],
)
def test_given_frames_have_all_their_details(
    pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """At a time step with hardly any noise the network changes next to nothing, so that all details belong."""
    carrier = pipe.runtime.model.frame_carrier
    monkeypatch.setattr(carrier, "config", replace(beginning(pipe, 0.001), details=True))
    monkeypatch.setattr(carried_details, "CHANGED", 1e6)  # the autoencoder is untrained, and exaggerates
    monkeypatch.setattr(
        pipe.runtime, "sample", lambda requests, clip, conditions, *_, **__: conditions[0].concat[:, :4]
    )
    made = pipe(picture(), PROMPT, num_inference_steps=1, **options).video
    pieces = pipe(picture(), PROMPT, num_inference_steps=1, decode_chunk_size=1, **options).video
    torch.testing.assert_close(pieces, made, atol=1e-4, rtol=0)
    given = {0: picture()} | ({made.shape[2] - 1: options.get("end_image", picture())} if options else {})
    for frame, image in given.items():
        seen = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(made[0, :, frame], seen, atol=1e-3, rtol=0)


def test_videos_with_later_images_begin_where_they_are_told(
    pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pipe.runtime.model
    monkeypatch.setattr(model.frame_carrier, "config", replace(beginning(pipe, 0.1), between=0.5))
    steps = {mode: carried_step(model, pipe.settings(mode=mode)) for mode in ("animate", "loop", "interpolate")}
    assert steps["animate"] == steps["loop"] == 99
    assert steps["interpolate"] == 499


def test_details_belong_where_frame_0_shows_what_stands_there_and_the_network_left_it() -> None:
    pixels, visible = torch.rand(1, 3, 4, 12, 12), torch.ones(1, 1, 4, 12, 12)
    visible[..., :6] = 0
    carried = CarriedFrames(pixels, visible, torch.zeros(1, 4, 4, 3, 3))

    def decode(latents: Tensor) -> Tensor:
        return torch.full((1, 3, latents.shape[2], 12, 12), 0.5)

    left = carried.detailed(decode(torch.zeros(1, 4, 2, 3, 3)), 3, decode)  # frames 3 and, once around, 0
    torch.testing.assert_close(left[..., 6:], pixels[:, :, [3, 0], :, 6:])
    torch.testing.assert_close(left[..., :6], torch.full_like(left[..., :6], 0.5))
    changed = torch.full((1, 3, 1, 12, 12), -0.5)
    torch.testing.assert_close(carried.detailed(changed, 0, decode), changed, atol=1e-6, rtol=0)


def beginning(pipe: DynamiCrafterPipeline, start: float) -> FrameCarrierConfig:
    """The configuration of the carrier with another `start`."""
    assert pipe.runtime.model.frame_carrier is not None
    return replace(pipe.runtime.model.frame_carrier.config, start=start)

"""A video model with a frame carrier: its configuration, its losses, and what the UNet is shown in a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_vectors import fill_module, fill_value, rand
from small_model import FRAMES, SIDE, small_yaml
from torch import Tensor

from lvdm.checkpoint.lora import is_adapter_key, read_lora, write_lora
from lvdm.conditioning import repeat_frame
from lvdm.config import ConfigError, parse_component
from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.fit.tuning import TuningConfig, apply_tuning
from lvdm.models.carrier_training import FLOW_WEIGHT, NEAR, carrier_losses, choose_frames, motion_targets, pick
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.lora import LoraConfig, lora_info, lora_matrices
from lvdm.models.lora_merging import LoraStack
from lvdm.models.training_draws import TrainingDraws, draw_training_numbers
from lvdm.modules.carrier import Carried
from lvdm.modules.carrying import carry, places, points

LATENT = (2, 4, FRAMES, SIDE // 4, SIDE // 4)


def tree(visibility: bool = True, **params: Any) -> dict[str, Any]:
    model = small_yaml()["model"]
    model["params"] |= {"fps_condition_type": "fs", **params}
    model["params"]["unet_config"]["params"]["in_channels"] = 8 + visibility
    carrier = {"patch": 2, "text_dim": 32, "width": 16, "layers": 1, "hidden": 16, "visibility": visibility}
    model["params"]["frame_carrier_config"] = {"target": "lvdm.modules.carrier.FrameCarrier", "params": carrier}
    return model


def build(visibility: bool = True, **params: Any) -> LatentVisualDiffusion:
    model = parse_component(tree(visibility, **params), "model").build()
    fill_module(model, "")
    return model


def clips(size: int = 2, **options: Any) -> dict[str, Any]:
    """A batch of procedural clips with their true motion."""
    config = ProceduralClipsConfig(num_frames=FRAMES, height=SIDE, width=SIDE, motion_targets=True, **options)
    made = ProceduralClips(config).__getitems__(list(range(size)))
    batch: dict[str, Any] = {key: torch.stack([clip[key] for clip in made]) for key in ("video", "flow", "mask")}
    batch |= {key: [clip[key] for clip in made] for key in ("caption",)}
    numbers = {key: torch.tensor([clip[key] for clip in made]) for key in ("fps", "frame_stride")}
    return {**batch, **numbers, "number": torch.arange(size)}


def draws_of(model: LatentVisualDiffusion, size: int = 2) -> TrainingDraws:
    return draw_training_numbers((size, *LATENT[1:]), list(range(size)), 0, model.draw_rules())


# ---------------------------------------------------------------------- configuration


def test_without_a_carrier_nothing_changes() -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    assert model.frame_carrier is None
    assert not [key for key in model.state_dict() if "carrier" in key]


def test_a_carrier_comes_after_the_released_keys() -> None:
    plain = list(parse_component(small_yaml()["model"], "model").build().state_dict())
    keys = list(build().state_dict())
    assert keys[: len(plain)] == plain
    assert all(key.startswith("frame_carrier.") for key in keys[len(plain) :])
    assert len(keys) > len(plain)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rand_cond_frame": True}, "rand_cond_frame false"),
        ({"fps_condition_type": "fps"}, "fps_condition_type fs"),
        ({"carried_frames": 0}, "carried_frames should be a whole number from 1"),
    ],
)
def test_what_does_not_go_with_a_carrier_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_component(tree(**params), "model")


@pytest.mark.parametrize("visibility", [False, True])
def test_the_unet_must_have_the_channels_that_the_carrier_fills(visibility: bool) -> None:
    wrong = tree(visibility)
    wrong["params"]["unet_config"]["params"]["in_channels"] = 9 - visibility
    with pytest.raises(ConfigError, match=f"needs in_channels {8 + visibility}"):
        parse_component(wrong, "model")


def test_details_and_an_autoencoder_of_whole_clips_are_refused() -> None:
    wrong = tree()
    wrong["params"]["frame_carrier_config"]["params"]["details"] = True
    wrong["params"]["first_stage_config"]["target"] = "lvdm.models.autoencoder.DualReferenceAutoencoder"
    with pytest.raises(ConfigError, match="has references for details"):
        parse_component(wrong, "model")


# ---------------------------------------------------------------------- what the UNet is shown


def test_cells_of_the_carrier_must_fit_into_latents() -> None:
    wrong = tree()
    wrong["params"]["frame_carrier_config"]["params"]["patch"] = 3
    with pytest.raises(ConfigError, match="patch 3 of the frame carrier must divide the 4 pixels"):
        parse_component(wrong, "model")


@torch.no_grad()
def carried_concat(model: LatentVisualDiffusion, batch: dict[str, Any]) -> Tensor:
    """What the carrier makes of frame 0 of a batch of pixels."""
    assert model.frame_carrier is not None
    text, image = model.embed_text(batch["caption"]), batch["video"][:, :, 0]
    return model.frame_carrier.concat(image, text, batch["frame_stride"], FRAMES, model.encode_first_stage)


@pytest.mark.parametrize("visibility", [False, True])
def test_the_unet_is_shown_what_the_carrier_makes(visibility: bool) -> None:
    model, batch = build(visibility), clips()
    with torch.no_grad():
        latents, conditioning = model.training_batch(batch, draws_of(model))
        expected = carried_concat(model, batch)
    assert torch.equal(conditioning.concat[:, :, 1:], expected[:, :, 1:])
    assert torch.equal(conditioning.concat[:, :4, 0], latents[:, :, 0]), "frame 0 is that of the clip, noise included"
    assert (expected[:, :4] - repeat_frame(latents[:, :, 0], FRAMES)).abs().max() > 1e-3, "nothing was carried"


def test_a_dropped_sentence_still_carries() -> None:
    model, batch = build(uncond_prob=1 / 3), clips()
    draws = draws_of(model)
    with torch.no_grad():
        kept = model.training_batch(batch, replace(draws, condition_drop=torch.ones(2)))[1]
        dropped = model.training_batch(batch, replace(draws, condition_drop=torch.zeros(2)))[1]
    assert not torch.equal(kept.text, dropped.text)
    assert torch.equal(kept.concat, dropped.concat), "in sampling the branch without the sentence has the same concat"


@pytest.mark.parametrize("visibility", [False, True])
def test_the_second_end_is_shown_as_it_is(visibility: bool) -> None:
    model, batch = build(visibility, interp_mode=True), clips()
    with torch.no_grad():
        latents, conditioning = model.training_batch(batch, draws_of(model))
        carried = carried_concat(model, batch)
    assert torch.equal(conditioning.concat[:, :, 1:-1], carried[:, :, 1:-1])
    assert torch.equal(conditioning.concat[:, :4, -1], latents[:, :, -1])
    assert torch.equal(conditioning.concat[:, 4:, -1], torch.ones_like(conditioning.concat[:, 4:, -1]))


# ---------------------------------------------------------------------- its training


def test_only_the_carrier_is_trained_and_the_unet_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(), clips()
    apply_tuning(model, TuningConfig(train="carrier"))
    monkeypatch.setattr(model, "apply_model", lambda *args: pytest.fail("the UNet ran"))
    outputs = model._step(batch, "train")
    outputs["loss"].backward()
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"frame_carrier"}
    assert outputs["losses"].shape == (2,)
    parts = [outputs[f"carrier_{name}"] for name in ("pixels", "flow", "mask")]
    torch.testing.assert_close(sum(parts, torch.zeros(())), outputs["loss"].detach())


def test_plain_videos_train_it_by_their_pixels_alone() -> None:
    model, batch = build(), clips()
    apply_tuning(model, TuningConfig(train="carrier"))
    outputs = model._step({k: v for k, v in batch.items() if k not in ("flow", "mask")}, "train")
    assert [key for key in outputs if key.startswith("carrier_")] == ["carrier_pixels"]
    outputs["loss"].backward()
    assert model.frame_carrier is not None
    assert any(p.grad is not None and p.grad.any() for p in model.frame_carrier.parameters())


def test_cached_latents_train_it_too() -> None:
    model, batch = build(), clips()
    apply_tuning(model, TuningConfig(train="carrier"))
    with torch.no_grad():
        posterior = model.first_stage_model.encode(batch["video"].transpose(1, 2).flatten(0, 1))
        moments = torch.cat([posterior.mean, posterior.logvar], dim=1).unflatten(0, (2, FRAMES)).transpose(1, 2)
        text, null = model.embed_text(batch["caption"]), model.embed_text([""])
        decoded = model.decode_first_stage(moments[:, :4] * model.config.scale_factor).clamp(-1, 1)
    cached = {"moments": moments, "text_emb": text, "null_text": null.expand_as(text)}
    rest = {key: batch[key] for key in ("caption", "fps", "frame_stride", "number", "flow", "mask")}
    live, stored = model._step({**batch, "video": decoded}, "val"), model._step({**cached, **rest}, "val")
    torch.testing.assert_close(stored["losses"], live["losses"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [TuningConfig("carrier"), TuningConfig("lora", LoraConfig(where="carrier"))])
def test_a_model_without_one_cannot_train_it(config: TuningConfig) -> None:
    model = parse_component(small_yaml()["model"], "model").build()
    with pytest.raises(ConfigError, match="needs a model with a frame carrier"):
        apply_tuning(model, config)


def test_a_lora_of_it_learns_from_plain_videos_and_goes_into_the_weights(tmp_path: Path) -> None:
    model, batch = build(), {key: value for key, value in clips().items() if key not in ("flow", "mask")}
    plain = carried_concat(model, batch)
    apply_tuning(model, TuningConfig("lora", LoraConfig(rank=2, alpha=3.0, where="carrier")))
    with torch.no_grad():
        for key, (down, up) in lora_matrices(model).items():
            down.copy_(fill_value(key + "/A", tuple(down.shape)))
            up.copy_(0.3 * fill_value(key + "/B", tuple(up.shape)))
    model._step(batch, "train")["loss"].backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert len(trained) == 10, "two matrices for each of five layers"
    assert all(name.startswith("frame_carrier.motion.") and is_adapter_key(name) for name in trained)
    path = write_lora(tmp_path / "motion.safetensors", lora_matrices(model), lora_info(model))
    other = build()
    LoraStack(other).add(read_lora(path), 1.0)
    expected = carried_concat(model, batch)
    torch.testing.assert_close(carried_concat(other, batch), expected, atol=1e-4, rtol=1e-4)
    assert (expected - plain).abs().max() > 0.01, "the adapters should move something"


def test_a_training_of_the_unet_leaves_the_carrier_alone() -> None:
    model = build()
    model._step(clips(), "train")["loss"].backward()
    assert model.frame_carrier is not None
    assert all(p.grad is None for p in model.frame_carrier.parameters())


def test_frames_depend_on_the_sample_alone_and_leave_out_frame_0() -> None:
    frames = choose_frames(6, 3, [4, 9], 1, "train")
    assert torch.equal(frames[1:], choose_frames(6, 3, [9], 1, "train"))
    assert not torch.equal(frames, choose_frames(6, 3, [4, 9], 2, "train"))
    every = choose_frames(6, 99, range(20), 1, "train")
    assert torch.equal(every.sort(dim=1).values, torch.arange(1, 6).expand(20, 5))


def test_pick_takes_frames_of_each_clip() -> None:
    video = torch.arange(2 * 3 * 4).view(2, 3, 4)
    assert pick(video, torch.tensor([[1], [3]])).tolist() == [[[1], [5], [9]], [[15], [19], [23]]]


# ---------------------------------------------------------------------- losses


def truth(moving: bool) -> tuple[Carried, Tensor, dict[str, Tensor]]:
    """A thing of 4 pixels that goes 2 to the right over a background that goes 1 up; with its pixels and targets."""
    size = 8
    camera, thing = torch.eye(2, 3).expand(1, 1, 2, 3).clone(), torch.eye(2, 3).expand(1, 1, 2, 3).clone()
    camera[..., 1, 2] = 1 / size
    thing[..., 1, 2] = 1 / size
    mask = torch.zeros(1, 1, size, size)
    if moving:
        mask[..., 3:5, 1:3] = 1
        thing[..., 0, 2] = -2 / size
    image = rand("carried", (1, 3, size, size))
    video, visible = carry(image, mask, camera, thing)
    here = points(size, size, mask.device)[:, None]
    flow = places(camera, size, size).transpose(1, 2) - here
    there = torch.zeros(1, 1, 1, size, size)
    if moving:
        there[..., 2:4, 3:5] = 1
    flow = torch.where(there.bool(), places(thing, size, size).transpose(1, 2) - here, flow)
    zeros = torch.zeros_like(flow)
    still = torch.eye(2, 3).expand(1, 1, 2, 3)
    camera, thing = torch.cat([still, camera], dim=1), torch.cat([still, thing], dim=1)
    batch = {
        "flow": torch.cat([zeros, flow], dim=2),
        "mask": torch.stack([mask, there[:, :, 0]], dim=2),
    }
    return Carried(video, visible, (mask * 2 - 1) * 20, camera, thing), video, batch


@pytest.mark.parametrize("moving", [False, True])
def test_the_truth_costs_nothing(moving: bool) -> None:
    carried, video, batch = truth(moving)
    losses = carrier_losses(carried, video, motion_targets(batch, (8, 8)), torch.tensor([4]))
    for name, loss in losses.items():
        assert loss.abs().max() < 1e-4, f"{name} is {loss.item()} of what is true"


@pytest.mark.parametrize("part", ["camera", "thing"])
@pytest.mark.parametrize("moving", [False, True])
def test_each_map_is_held_to_its_own_flow(part: str, moving: bool) -> None:
    carried, video, batch = truth(moving)
    wrong = getattr(carried, part).clone()
    wrong[:, 1:, 0, 2] += 0.25
    targets = motion_targets(batch, (8, 8))
    loss = carrier_losses(replace(carried, **{part: wrong}), video, targets, torch.tensor([4]))["flow"]
    # a quarter of a side off along one of two axes, at a progress of 4 / 20
    assert loss.item() == pytest.approx(FLOW_WEIGHT * (0.25 / 0.2 - NEAR / 2) / 2)


def test_hidden_pixels_do_not_count_among_the_pixels() -> None:
    carried, video, _ = truth(moving=True)
    hidden = carried.visible.expand_as(video) == 0
    assert hidden.any()
    assert carrier_losses(carried, video + 5.0 * hidden, None)["pixels"].item() == pytest.approx(0.0, abs=1e-6)
    assert carrier_losses(carried, video + 5.0, None)["pixels"].item() == pytest.approx(5.0, rel=1e-4)


def test_flow_without_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="both `flow` and `mask`"):
        motion_targets({"flow": torch.zeros(1, 2, 2, 8, 8)}, (2, 2))

"""VideoCrafter's networks, schedule, sampler and image tokens against the original's outputs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import torch
from golden_vectors import GOLDEN, assert_close, case, fill_module, fill_value, image_tensor, rand
from tiny_videocrafter import CONFIGS, SALT, reference_videocrafter, reference_videocrafter_unet
from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.config import load_model_config
from lvdm.diffusion.guidance import classifier_free_guidance
from lvdm.diffusion.parameterization import q_sample, scale_x0
from lvdm.diffusion.samplers.ddim import ddim_steps, sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule, schedule_buffers
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.modules.attention import RelativePosition
from lvdm.modules.encoders.resampler import ImageProjConfig, ImageProjModel, Resampler
from lvdm.modules.networks.openaimodel3d import UNetModel

CASES = {name for name in json.loads((GOLDEN / "vc" / "index.json").read_text()) if name != "_about"}
UNET = sorted(name for name in CASES if name.startswith("unet_"))
DDIM = sorted(name for name in CASES if name.startswith("ddim_"))
ONE_BY_ONE = {"ddim_t2v_v2_5", "ddim_i2v_5"}  # with text alone and with an image
OTHERS = {"relpos_blocks", "scale_and_qsample", "i2v_image_embeds", "opt_image_proj_model", "full_i2v_resampler"}
SCHEDULES = {
    "v1": "inference_t2v_512_v1.0.yaml",
    "v2": "inference_t2v_512_v2.0.yaml",
    "k1024": "inference_t2v_1024_v1.0.yaml",
    "i2v": "inference_i2v_512_v1.0.yaml",
}
FIRST_BLOCK, INIT = "input_blocks.1.2", "init_attn.0"


@cache
def model_of(config: str) -> LatentVisualDiffusion:
    """Filling the weights takes longer than five steps."""
    return reference_videocrafter(config)


def unet_of(config: str, temporal_length: int = 4, **over: Any) -> UNetModel:
    """That of `model_of` where it is the one asked for."""
    if over or temporal_length != 4:
        return reference_videocrafter_unet(config, temporal_length, **over)
    return model_of(config).unet


def test_every_case_is_compared() -> None:
    assert {*UNET, *DDIM, *OTHERS} == CASES


@pytest.mark.parametrize("name", UNET)
@torch.no_grad()
def test_unet_output(name: str) -> None:
    reference = case(f"vc/{name}")
    meta, inputs = reference.meta, reference.inputs
    unet = unet_of(meta["config"], meta["temporal_length"], **meta["over"])
    output = unet(inputs["x"], inputs["timesteps"], inputs["context"], inputs.get("fps"))
    assert_close(reference, "y", output)


@torch.no_grad()
def test_a_model_without_frame_rate_ignores_it() -> None:
    with_fps, without = (case(f"vc/unet_t2v_512_v1{ending}").outputs["y"] for ending in ("_fps_ignored", ""))
    assert torch.equal(with_fps, without)
    unet = unet_of("inference_t2v_512_v1.0.yaml")
    inputs = case("vc/unet_t2v_512_v1").inputs
    x, t, context = inputs["x"][:1], inputs["timesteps"][:1], inputs["context"][:1]
    assert torch.equal(unet(x, t, context, torch.tensor([3])), unet(x, t, context))


@torch.no_grad()
def test_relative_positions() -> None:
    reference = case("vc/relpos_blocks")
    x = reference.inputs
    unet = unet_of("inference_t2v_512_v1.0.yaml", reference.meta["temporal_length"])
    temporal = unet.get_submodule(FIRST_BLOCK)
    block = temporal.transformer_blocks[0]  # type: ignore[union-attr, index]
    table = RelativePosition(16, reference.meta["temporal_length"])
    table.embeddings_table.copy_(fill_value("opt.rp.embeddings_table", (9, 16), SALT))
    outputs = {
        "relative_position_7x7": table(7),
        "attn1": block.attn1(x["tok"]),
        "attn2": block.attn2(x["tok"]),
        "block": block(x["tok"]),
        "temporal_transformer": temporal(x["x5"]),
        "init_attn": unet.get_submodule(INIT)(x["x5"]),
    }
    assert set(outputs) == set(reference.outputs)
    for name, value in outputs.items():
        assert_close(reference, name, value)


@pytest.mark.parametrize("tag", SCHEDULES)
def test_schedule_and_noising(tag: str) -> None:
    reference = case("vc/scale_and_qsample")
    config = load_model_config(CONFIGS / SCHEDULES[tag]).params.schedule_config()
    buffers, schedule = schedule_buffers(config), NoiseSchedule.from_config(config)
    for name in ("betas", "alphas_cumprod", "alphas_cumprod_prev"):
        assert_close(reference, name, buffers[name])
    x_0, noise, t = (reference.inputs[name] for name in ("x0", "noise", "t"))
    assert_close(reference, f"q_sample_{tag}", q_sample(scale_x0(x_0, t, schedule), noise, t, schedule))
    assert ("scale_arr" in buffers) == reference.meta[tag]["use_scale"]
    if "scale_arr" not in buffers:
        return
    assert_close(reference, f"scale_arr_{tag}", buffers["scale_arr"])
    assert len(buffers["scale_arr"]) == reference.meta[tag]["scale_len"]
    for count in (5, 16, 50):
        t = reference.outputs[f"ts_{count}"].flip(0)
        assert_close(reference, f"ddim_scale_{tag}_{count}", schedule.scale(t).flip(0))
        steps = ddim_steps(schedule, t, 1.0, False, torch.float32)
        scale_prev = torch.tensor([step.scale_prev for step in steps]).flip(0)
        assert_close(reference, f"ddim_scale_prev_{tag}_{count}", scale_prev)


@pytest.mark.parametrize("count", [5, 16, 50])
def test_step_coefficients(count: int) -> None:
    reference = case("vc/scale_and_qsample")
    config = load_model_config(CONFIGS / SCHEDULES["v2"]).params.schedule_config()
    schedule = NoiseSchedule.from_config(config)
    ascending = reference.outputs[f"ts_{count}"]
    if count != 16:  # the original makes 17 steps of 16
        assert make_timesteps("uniform", count).flip(0).equal(ascending)
    steps = ddim_steps(schedule, ascending.flip(0), 1.0, False, torch.float32)[::-1]
    assert_close(reference, f"alphas_{count}", schedule.alphas_cumprod[ascending])
    assert_close(reference, f"alphas_prev_{count}", torch.tensor([step.abar_prev for step in steps]))
    assert_close(reference, f"sigmas_eta1_{count}", torch.tensor([step.sigma for step in steps]))


@torch.no_grad()
def test_image_tokens() -> None:
    reference = case("vc/i2v_image_embeds")
    model = model_of("inference_i2v_512_v1.0.yaml")
    image = image_tensor("vc/i2v_image_embeds/img", 320, 512)
    assert_close(reference, "clip_tokens", model.embedder(image))
    assert_close(reference, "img_emb", model.embed_image(image))
    assert_close(reference, "uc_img_emb", model.embed_image(torch.zeros(1, 3, 224, 224)))
    assert_close(reference, "uc_img_emb", model.embed_image(torch.zeros_like(image)))


@torch.no_grad()
def test_image_projection() -> None:
    reference = case("vc/opt_image_proj_model")
    layer = ImageProjModel(ImageProjConfig(embedding_dim=48, output_dim=64, num_tokens=4))
    fill_module(layer, "image_proj_model.", SALT)
    assert_close(reference, "y", layer(reference.inputs["x"]))


@torch.no_grad()
def test_query_transformer_of_real_size() -> None:
    reference = case("vc/full_i2v_resampler")
    component = load_model_config(CONFIGS / "inference_i2v_512_v1.0.yaml").params.image_proj_stage_config
    resampler: Resampler = component.build()
    fill_module(resampler, "image_proj_model.", SALT)
    assert_close(reference, "y", resampler(rand("vc/full_i2v_resampler/x", (1, 257, 1280))))


@pytest.mark.parametrize("name", DDIM)
@torch.no_grad()
def test_trajectory(name: str) -> None:
    """Branches of guidance in one batch, in `ONE_BY_ONE` also alone; what is decoded are the latents of one batch."""
    reference = case(f"vc/{name}")
    meta, x_T = reference.meta, reference.inputs["x_T"]
    model = model_of(meta["config"])
    if "image" in meta:
        image = image_tensor(f"vc/{name}/img", 320, 512)
        texts = model.embed_text([meta["prompt"]]), model.embed_text([""])
        images = model.embed_image(image), model.embed_image(torch.zeros_like(image))
        assert_close(reference, "c", torch.cat([texts[0], images[0]], dim=1))
        assert_close(reference, "uc", torch.cat([texts[1], images[1]], dim=1))
    else:
        texts = reference.inputs["c"], reference.inputs["uc"]
        images = texts[0][:, :0], texts[1][:, :0]
    no_latents = x_T[:, :0]
    fps = torch.full((len(x_T),), meta["fps"])
    conditions = [Conditioning(text, image, no_latents, fps) for text, image in zip(texts, images, strict=True)]
    timesteps = make_timesteps("uniform", meta["S"])
    for batched in (False, True) if name in ONE_BY_ONE else (True,):
        x_inter, pred_x0 = [x_T], [x_T]

        def record(i: int, t: int, x_t: Tensor, x_0: Tensor, x_inter: list = x_inter, pred_x0: list = pred_x0) -> None:
            x_inter.append(x_t)
            pred_x0.append(x_0)  # without the dynamic rescale, unlike DynamiCrafter's

        branches = model.branches(conditions[: 1 if meta["cfg"] == 1.0 else 2], batched)
        y = sample_ddim(
            classifier_free_guidance(branches, meta["cfg"]),
            x_T,
            model.schedule,
            timesteps,
            eta=meta["eta"],
            callback=record,
        )
        assert_close(reference, "y", y)
        assert_close(reference, "x_inter", torch.stack(x_inter))
        assert_close(reference, "pred_x0", torch.stack(pred_x0))
    if "decode_2DAE" in reference.outputs:
        assert_close(reference, "decode_2DAE", model.decode_first_stage(y))

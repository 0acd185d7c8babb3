"""DDIM with the reference UNet, step by step, against the original's trajectories."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from golden_vectors import Case, assert_close, case, rand
from tiny_models import reference_unet
from torch import Tensor

from lvdm.diffusion.guidance import Branches, Denoiser, classifier_free_guidance, text_image_guidance
from lvdm.diffusion.samplers.ddim import ddim_steps, sample_ddim
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.modules.networks.openaimodel3d import UNetModel

CASES = [
    "ddim_eps_eta0_nocfg",
    "ddim_eps_eta1_cfg",
    "ddim_eps_multicond_none",
    "ddim_eps_quad",
    "ddim_v1024_official",
    "ddim_v512_50steps",
    "ddim_v512_eta0",
    "ddim_v512_multicond",
    "ddim_v512_norescale",
    "ddim_v512_official",
]
BASE_SCALE = {"512": 0.7, "1024": 0.3}


@cache
def unet_of(style: str) -> UNetModel:
    """Filling the weights takes longer than five steps."""
    return reference_unet(style)


def schedule_of(meta: dict[str, Any]) -> NoiseSchedule:
    is_v = meta["parameterization"] == "v"
    config = ScheduleConfig(
        parameterization=meta["parameterization"],
        rescale_betas_zero_snr=is_v,
        use_dynamic_rescale=meta["dynamic_rescale"],
        base_scale=BASE_SCALE.get(meta["style"], 0.7),
    )
    return NoiseSchedule.from_config(config)


def guided_denoiser(reference: Case) -> Denoiser:
    meta, x = reference.meta, reference.inputs
    unet = unet_of("256" if meta["style"] == "256" else "512")  # 512 and 1024 share their UNet

    def branches_of(*tokens: tuple[str, str]) -> Branches:
        """All in one batch: the weights of this network are larger than what it computes on."""
        context = torch.cat([torch.cat([x[text], x[image]], dim=1) for text, image in tokens])
        context = unet.project_context(context, x["concat"].shape[2])  # once for all steps, as the pipeline does
        concat, fs = (value.repeat(len(tokens), *[1] * (value.ndim - 1)) for value in (x["concat"], x["fs"]))

        def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
            latents = torch.cat([x_t.repeat(len(tokens), 1, 1, 1, 1), concat], dim=1)
            return unet(latents, t.repeat(len(tokens)), context, fs).chunk(len(tokens))

        return branches

    cond, uncond = ("text", "img"), ("uncond_text", "uncond_img")
    if meta["multi"] and meta["cfg_img"] is not None:
        branches = branches_of(cond, uncond, ("uncond_text", "img"))
        return text_image_guidance(branches, meta["cfg"], meta["cfg_img"], meta["guidance_rescale"])
    # The original's three-branch guidance without an image scale is plain guidance, at two thirds of the cost here.
    branches = branches_of(cond) if meta["cfg"] == 1.0 else branches_of(cond, uncond)
    return classifier_free_guidance(branches, meta["cfg"], meta["guidance_rescale"])


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_trajectory(name: str) -> None:
    reference = case(name)
    meta, x_T = reference.meta, reference.inputs["x_T"]
    schedule = schedule_of(meta)
    timesteps = make_timesteps(meta["spacing"], meta["steps"])
    assert timesteps.tolist() == meta["timesteps"][::-1], f"{name}: other time steps than the original"

    def step_noise(k: int, shape: tuple[int, ...]) -> Tensor:
        noise = rand(f"golden/{name}/noise/ddim/{k}", shape)
        stored = reference.inputs.get("noise_per_step")
        assert stored is None or torch.equal(stored[k], noise), f"{name}: noise {k} is not the stored one"
        return noise

    x_inter, pred_x0 = [x_T], [x_T]
    steps = ddim_steps(schedule, timesteps, meta["eta"], False, torch.float32)

    def record(i: int, t: int, x_t: Tensor, x_0: Tensor) -> None:
        assert t == timesteps[i], f"{name}: the callback was told t = {t} at step {i}"
        x_inter.append(x_t)
        # The original's estimate carries the dynamic rescale of the step it leads to.
        pred_x0.append(x_0 * steps[i].scale_prev)

    y = sample_ddim(
        guided_denoiser(reference),
        x_T,
        schedule,
        timesteps,
        eta=meta["eta"],
        step_noise=step_noise if meta["eta"] else None,
        callback=record,
    )
    assert_close(reference, "y", y)
    if "x_inter" in reference.outputs:
        assert_close(reference, "x_inter", torch.stack(x_inter))
        assert_close(reference, "pred_x0", torch.stack(pred_x0))

"""Differences from the original that no other test shows; docs/differences.md names these tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_model import picture, write_small_model
from torch import Tensor

from lvdm.diffusion.samplers.ddim import DDIMStep, ddim_steps
from lvdm.diffusion.schedule import NoiseSchedule, ScheduleConfig
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.pipeline import DynamiCrafterPipeline


def test_step_coefficients_are_numbers_on_the_cpu() -> None:
    """No step waits for the GPU to hand over a value of the schedule."""
    schedule = NoiseSchedule.from_config(ScheduleConfig())
    steps = ddim_steps(schedule, make_timesteps("uniform", 4), 1.0, False, torch.float32)
    values = [value for step in steps for value in vars(step).values()]
    assert len(values) == 4 * len(DDIMStep.__dataclass_fields__)
    assert all(type(value) is float for value in values), f"not plain numbers: {values}"


def test_the_conditioning_latent_is_a_sample(tmp_path: Path) -> None:
    """The image's latent is drawn from the posterior, from the seed, as in the original; the mode is at hand."""
    pipe = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path / "small"), device="cpu", dtype="fp32")
    concat = [_concat(pipe, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(concat[0], concat[1]), "the same seed drew another latent"
    assert not torch.equal(concat[0], concat[2]), "the latent does not depend on the seed: it is the mode"
    video = torch.zeros(1, 3, 1, 32, 32)
    model = pipe.runtime.model
    with torch.no_grad():
        mode = model.encode_first_stage(video)
        zero_noise = model.encode_first_stage(video, torch.zeros_like(mode))
    assert torch.equal(mode, zero_noise), "without noise the latent should be the mode"


def _concat(pipe: DynamiCrafterPipeline, **settings: Any) -> Tensor:
    """The latents that a generation concatenates to the noise."""
    seen: list[Tensor] = []
    branches = pipe.runtime.model.branches

    def watch(conditions: Any, batched: bool) -> Any:
        seen.append(conditions[0].concat)
        return branches(conditions, batched=batched)

    pipe.runtime.model.branches = watch
    try:
        pipe(picture(), "a red ball", num_inference_steps=1, **settings)
    finally:
        del pipe.runtime.model.branches
    return seen[0]

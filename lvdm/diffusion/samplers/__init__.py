"""Samplers: functions of (denoiser, x_T, schedule, timesteps), all with the signature of `types.Sampler`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lvdm.diffusion.samplers.ddim import sample_ddim
from lvdm.diffusion.samplers.dpm_solver import sample_dpm_solver
from lvdm.diffusion.samplers.types import Inpainting, Sampler, SamplingCancelled, StepCallback
from lvdm.diffusion.samplers.unipc import sample_unipc

__all__ = ["SAMPLERS", "Inpainting", "Sampler", "SamplingCancelled", "StepCallback"]

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {"ddim": sample_ddim, "dpm++": sample_dpm_solver, "unipc": sample_unipc}
)
"""Samplers by the name that users give."""

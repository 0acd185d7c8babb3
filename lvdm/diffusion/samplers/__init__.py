"""Samplers: functions of (denoiser, x_T, schedule, timesteps), all with the signature of `types.Sampler`.

A file of this folder that has one says so by `SAMPLER`; its name is also a choice of `lvdm.declaration.values.Sampler`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from lvdm.diffusion.samplers.types import Inpainting, Sampler, SamplingCancelled, StepCallback

__all__ = ["SAMPLERS", "Inpainting", "Sampler", "SamplingCancelled", "StepCallback"]


def _declared() -> dict[str, Sampler]:
    names = sorted(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__))
    found = (getattr(importlib.import_module(name), "SAMPLER", None) for name in names)
    return dict(pair for pair in found if pair is not None)


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(_declared())
"""Samplers by the name that users give."""

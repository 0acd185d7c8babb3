"""Speed and memory of one network in one mode: a few guided steps and the decoder, as a generation runs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.benchmark.networks import NetworkSpec, in_precision, with_options
from lvdm.checkpoint.parts import AUTOENCODER, UNET
from lvdm.declaration.values import Attention
from lvdm.device import empty_cache, synchronize, watch_peak_memory
from lvdm.pipeline.memory import MemoryPlan, Workload, plan_memory
from lvdm.pipeline.placement import PLAIN, WeightPlacement
from lvdm.pipeline.process_memory import plan_process
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.runtime import Runtime
from lvdm.plugins.choosing import choose_offload
from lvdm.request.effort import FAST, values_for
from lvdm.request.settings import GenerationSettings

ROUNDS = 2
PEAK_SIDE = {"cpu": 1536}
USUAL_PEAK_SIDE = 8192
"""Side of the square matrices whose product is the peak: on a CPU, and elsewhere."""


@dataclass(frozen=True)
class Mode:
    """A way to run: attention, options of the machine, and settings over those of the card.

    steps  that are taken at once, so that those of a period are all measured
    fast   the number of a bundle of `--fast`
    """

    name: str
    attention: Attention = "sdpa"
    low_memory: bool = False
    placement: WeightPlacement = PLAIN
    settings: Mapping[str, Any] = field(default_factory=dict)
    fast: int | None = None
    steps: int = 2

    @property
    def same_numbers(self) -> bool:
        """Whether the results are to be those of the default up to rounding."""
        return self.fast is None and self.attention != "sage" and self.placement.storage == "full"

    def settings_for(self, network: NetworkSpec, steps: int | None = None) -> GenerationSettings:
        """Those of a video: of the card, under those of the mode; with so many steps, or as many as it has."""
        values = values_for(FAST[self.fast], network.card) if self.fast else {}
        values |= {"height": network.height, "width": network.width, "fix_final_step": True, **self.settings}
        if steps is not None:
            values["num_inference_steps"] = steps
        return GenerationSettings.from_card(network.card, **values)


@dataclass(frozen=True)
class Measurement:
    """Seconds of a step and of decoding, the latents after the measured steps, and the peak of memory in bytes.

    operations  floating-point operations of a plain step, counted; those of attention in kernels of others are not
    """

    step: float
    decoding: float
    latents: Tensor
    peak: int | None
    operations: int


def measure(runtime: Runtime, network: NetworkSpec, mode: Mode) -> Measurement:
    """Sample a few steps after one that counts for nothing, twice, and decode. Raises `torch.OutOfMemoryError`."""
    runtime = with_options(runtime, mode.attention, mode.low_memory)
    settings, device = mode.settings_for(network, mode.steps), runtime.device
    draw = torch.Generator().manual_seed(0)
    requests = [GenerationRequest(None, "a benchmark", seed=0)]
    empty_cache(device)
    peak = watch_peak_memory(device)
    with runtime.in_use(), runtime.without_gradients():
        conditions = network.conditions(settings.num_branches, draw, device)
        conditions = in_precision(conditions, runtime.precision.weights)

        def sample(chosen: GenerationSettings) -> tuple[float, Tensor]:
            fs = network.card.fs_default
            methods = runtime.plugins(requests, chosen, {}, None, conditions, fs)
            synchronize(device)
            began = time.perf_counter()
            latents = runtime.sample(requests, chosen, conditions, None, None, plugins=methods)
            synchronize(device)
            return time.perf_counter() - began, latents

        with FlopCounterMode(display=False) as counter:
            sample(mode.settings_for(network, 1))
        rounds = [sample(settings) for _ in range(ROUNDS)]
        latents = rounds[0][1]
        began = time.perf_counter()
        decoded = 0
        for part in runtime.decode([latents], settings.num_frames, settings, None):
            decoded += part.shape[2]
        decoding = time.perf_counter() - began
    assert decoded == settings.num_frames
    step = min(seconds for seconds, _ in rounds) / mode.steps
    return Measurement(step, decoding, latents.float().cpu(), peak(), counter.get_total_flops())


def memory_plan(runtime: Runtime, network: NetworkSpec, mode: Mode) -> MemoryPlan:
    """What the planner says of the same video, with no file to read."""
    settings, on_cpu = mode.settings_for(network), runtime.device.type == "cpu"
    store = choose_offload(settings.num_frames, settings.chunk_frames, mode.low_memory, on_cpu)
    workload = Workload(
        network.height,
        network.width,
        settings.num_frames,
        branches=settings.num_branches,
        decode_chunk=settings.decode_chunk_size or settings.num_frames,
        vae_tile=settings.vae_tile,
        chunk_frames=settings.chunk_frames,
        skips_elsewhere=store != "device",
    )
    parts = {UNET: runtime.model.unet, AUTOENCODER: runtime.model.first_stage_model}
    parameters = {part: sum(own.numel() for own in module.parameters()) for part, module in parts.items()}
    precision = runtime.precision.names
    plan = plan_memory(
        network.outline,
        parameters,
        workload,
        precision,
        mode.low_memory,
        moves_parts=mode.placement.offload != "none" or (mode.low_memory and not on_cpu),
        storage=mode.placement.storage,
        by_layer=mode.placement.by_layer,
    )
    return plan_process(plan, network.outline, workload, precision.vae_bytes, [], False) if on_cpu else plan


def matrix_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """Operations in a second of a large product of matrices, the best of as many as `seconds` allow."""
    side, best, began = PEAK_SIDE.get(device.type, USUAL_PEAK_SIDE), float("inf"), time.perf_counter()
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        while time.perf_counter() - began < seconds or best == float("inf"):
            synchronize(device)
            start = time.perf_counter()
            torch.mm(a, b)
            synchronize(device)
            best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best

"""Numbers of this machine against those of a CPU: a video of the embedded model, and a step of a small network.

`python -m scripts.write_benchmark_reference` writes the CPU's anew, for changes that are meant to move them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from lvdm.benchmark.networks import SMALL, build_runtime, in_precision, with_options
from lvdm.benchmark.results import ParityRow
from lvdm.checkpoint.writing import write_safetensors
from lvdm.declaration.values import Attention
from lvdm.device import DTYPES, choose_precision, rounds_float32
from lvdm.model_files import EMBEDDED
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime

REFERENCE = Path(__file__).with_name("reference.safetensors")
PROMPT, STEPS, GUIDANCE = "the red star moves to the right", 2, 2.0
PIXELS = 4
"""Of every so many pixels one is compared, along both sides."""

LIMITS: Mapping[str, float] = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 1e-1}
"""How far rounding may move results, as a part of the largest value: about five times as far as it did on a CPU.

`tf32` is float32 whose factors are rounded, to as many bits as fp16 has.
"""


def star() -> Image.Image:
    """The image that is animated, 64x64, made of whole numbers."""
    y, x = np.mgrid[:64, :64]
    near = (np.abs(x - 24) + np.abs(y - 30) < 12)[..., None]
    ground = np.stack([60 + x, 120 + y, 200 - x // 2], axis=-1)
    return Image.fromarray(np.where(near, (220, 30, 40), ground).astype(np.uint8))


def embedded_results(pipe: DynamiCrafterPipeline) -> dict[str, Tensor]:
    """Latents and pixels of a short guided video."""
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "height": 64, "width": 64}
    result = pipe(star(), PROMPT, seed=0, **settings)  # type: ignore[arg-type]
    return {"latents": result.latents, "frames": result.video[0, :, :, ::PIXELS, ::PIXELS].contiguous()}


@torch.inference_mode()
def step_results(runtime: Runtime) -> dict[str, Tensor]:
    """The branches of one step, and a decoded frame."""
    draw, device = torch.Generator().manual_seed(1), runtime.device
    conditions = in_precision(SMALL.conditions(2, draw, device), runtime.precision.weights)
    x_t, t = SMALL.latents(draw, device), torch.tensor([500], device=device)
    with runtime.layers.active():
        outputs = torch.cat(runtime.model.branches(conditions, batched=not runtime.low_memory)(x_t, t))
    frame = runtime.model.decode_first_stage(x_t[:, :, :1].to(runtime.precision.vae))
    return {"branches": outputs.float().cpu(), "frame": frame.float().cpu()[..., ::2, ::2].contiguous()}


def small_runtime(device: torch.device, dtype: str) -> Runtime:
    """The small network, whose weights are drawn on the CPU."""
    return build_runtime(SMALL, device, choose_precision(dtype, device), torch.Generator().manual_seed(0))


@cache
def reference() -> Mapping[str, Tensor]:
    """The results of a CPU in float32."""
    return load_file(REFERENCE)


def measure_parity(device: torch.device, dtype: str, modes: Mapping[Attention, str]) -> Iterator[ParityRow]:
    """By mode of attention, under its name: the embedded model's video, and one step."""
    precision = "tf32" if dtype == "fp32" and rounds_float32(device) else dtype
    small, pipe = (
        small_runtime(device, dtype),
        DynamiCrafterPipeline.from_pretrained(EMBEDDED, None, str(device), dtype),
    )
    for attention, name in modes.items():
        own = replace(pipe.runtime, attention=attention)
        found = embedded_results(DynamiCrafterPipeline(own, pipe.card, pipe.files))
        yield from _rows("embedded", found, name, precision)
        yield from _rows(SMALL.name, step_results(with_options(small, attention, False)), name, precision)


def _rows(model: str, results: Mapping[str, Tensor], mode: str, dtype: str) -> Iterator[ParityRow]:
    for name, value in results.items():
        expected = reference()[f"{model}.{name}"]
        largest = largest_difference(value, expected)
        yield ParityRow(f"{model} {name}", mode, dtype, largest, LIMITS[dtype])


def largest_difference(value: Tensor, expected: Tensor) -> float | None:
    """As a part of the largest value that was expected; None where a value is not finite."""
    largest = ((value.float() - expected).abs().max() / expected.abs().max()).item()
    return largest if math.isfinite(largest) else None


def write_reference(path: Path = REFERENCE) -> None:
    """Store the results of this CPU in float32, with one thread."""
    device = torch.device("cpu")
    embedded = embedded_results(DynamiCrafterPipeline.from_pretrained(EMBEDDED, None, "cpu", "fp32"))
    small = step_results(small_runtime(device, "fp32"))
    tensors = {f"embedded.{name}": value for name, value in embedded.items()}
    tensors |= {f"{SMALL.name}.{name}": value for name, value in small.items()}
    write_safetensors(path, {name: value.to(DTYPES["fp32"]) for name, value in tensors.items()})

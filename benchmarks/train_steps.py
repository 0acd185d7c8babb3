"""Timed training steps of one model in several variants."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from allocator_peak import allocator_peak
from torch import nn
from training_sizes import build_model, clips

from lvdm.device import peak_memory, reset_peak_memory, synchronize
from lvdm.fit.tuning import TuningConfig
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.optimization import OptimizerConfig, build_optimizer


@dataclass(frozen=True)
class Variant:
    """A way to take the same step. `compiled` names a class of modules."""

    name: str
    checkpointing: bool = False
    cached: bool = False
    compiled: str = ""
    bf16: bool = False


class StepTimer:
    """Seconds that modules and phases took."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def now(self) -> float:
        """On the CPU what the process has used of it, so that other work on the machine does not count."""
        synchronize(self.device)
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    def start(self, name: str) -> None:
        """Begin a phase."""
        self._begun[name] = self.now()

    def stop(self, name: str) -> None:
        """End it."""
        self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - self._begun[name]

    def watch(self, module: nn.Module, name: str) -> None:
        """Count the forward passes of `module` as `name`."""
        module.register_forward_pre_hook(lambda *_: self.start(name))
        module.register_forward_hook(lambda *_: self.stop(name))


class TimedModel:
    """One variant, ready to take steps."""

    def __init__(self, size: str, variant: Variant, batch: int, device: torch.device) -> None:
        tuning = TuningConfig(gradient_checkpointing=variant.checkpointing)
        self.size, self.variant, self.batch, self.device = size, variant, batch, device
        self.model = build_model(size, tuning).to(device)
        self.optimizer, _ = build_optimizer(self.model.parameters(), OptimizerConfig(name="adamw_fused"))
        self.watch = StepTimer(device)
        for module, name in (
            (self.model.first_stage_model.encoder, "VAE"),
            (self.model.embedder, "encoders"),
            (self.model.cond_stage_model, "encoders"),
            (self.model.image_proj_model, "forward"),
            (self.model.unet, "forward"),
        ):
            self.watch.watch(module, name)
        self.cached = self._move(cached_batch(self.model, self._move(clips(size, batch)))) if variant.cached else None
        if variant.compiled:
            compile_blocks(self.model.unet, variant.compiled)

    def step(self) -> dict[str, float]:
        """One training step; seconds of its phases and of all of it."""
        self.watch.seconds = dict.fromkeys(("data", "VAE", "encoders", "forward", "backward", "optimizer"), 0.0)
        watch = self.watch
        watch.start("all")
        watch.start("data")
        batch = self.cached or self._move(clips(self.size, self.batch))
        watch.stop("data")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.variant.bf16):
            loss = self.model._step(batch, "train")["loss"]
        self.optimizer.zero_grad(set_to_none=True)
        watch.start("backward")
        loss.backward()
        watch.stop("backward")
        watch.start("optimizer")
        self.optimizer.step()
        watch.stop("optimizer")
        watch.stop("all")
        return dict(watch.seconds)

    def peak(self) -> int:
        """Bytes that a step adds to weights and optimizer state on the CPU; all that is allocated on a GPU."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cpu":
            return allocator_peak(self.step)
        reset_peak_memory(self.device)
        self.step()
        return peak_memory(self.device) or 0

    def _move(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def cached_batch(model: LatentVisualDiffusion, batch: dict[str, Any]) -> dict[str, Any]:
    """What a latent cache holds of `batch`, image tokens of the first frame alone."""
    video = batch["video"]
    with torch.no_grad():
        posterior = model.first_stage_model.encode(video.transpose(1, 2).flatten(0, 1))
        moments = torch.cat([posterior.mean, posterior.logvar], dim=1).unflatten(0, (len(video), -1)).transpose(1, 2)
        tokens, null_tokens = model.embedder(video[:, :, 0])[:, None], model.embedder(torch.zeros_like(video[:, :, 0]))
        text, null_text = model.embed_text(batch["caption"]), model.embed_text([""] * len(video))
    kept = {name: value for name, value in batch.items() if name != "video"}
    encoded = {"moments": moments, "clip_tokens": tokens, "null_tokens": null_tokens}
    return {**kept, **encoded, "text_emb": text, "null_text": null_text}


def compile_blocks(unet: nn.Module, class_name: str) -> None:
    """Compile every module of the class in place. Raises `ValueError` if there is none."""
    chosen = [module for module in unet.modules() if type(module).__name__ == class_name]
    if not chosen:
        raise ValueError(f"the UNet has no {class_name}; name one of its classes, such as FeedForward or ResBlock")
    for module in chosen:
        module.compile(dynamic=False)


def measure_steps(
    size: str, variants: list[Variant], batch: int, rounds: int, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Median speed, shares of the time and peak memory of each variant, by name. The first step warms up."""
    runners = {variant.name: TimedModel(size, variant, batch, device) for variant in variants}
    first = {name: runner.step()["all"] for name, runner in runners.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            taken[name].append(runner.step())
    return {name: summary(steps, batch, first[name], runners[name].peak) for name, steps in taken.items()}


def summary(steps: list[dict[str, float]], batch: int, first: float, peak: Callable[[], int]) -> dict[str, Any]:
    """One variant's numbers; `other` is what lies between the phases."""
    median = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
    whole = median.pop("all")
    median["other"] = max(0.0, whole - sum(median.values()))
    return {
        "samples_per_second": batch / whole,
        "shares": {name: seconds / whole for name, seconds in median.items()},
        "peak_bytes": peak(),
        "first_step_seconds": first,
    }

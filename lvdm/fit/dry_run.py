"""`--dry-run`: what a training would do, reported without weights and without training.

Nothing is guessed: the clips come from the data module by the plan of the training, the draws are those of its first
samples, parameters and memory are counted on a model that has shapes and no values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lvdm.config import ConfigError
from lvdm.data.clips import ClipSize, ClipSource
from lvdm.data.sampling import BatchSchedule
from lvdm.device import choose_device, device_name, free_memory, total_memory
from lvdm.errors import counted
from lvdm.fit.cached_training import select_encoders
from lvdm.fit.callbacks import AveragedWeights
from lvdm.fit.dry_run_clips import SeenClip, SeenDraws, first_batches, seen_clips
from lvdm.fit.dry_run_sheet import write_sheet
from lvdm.fit.strategies import Machines
from lvdm.fit.training_setup import TrainingSetup
from lvdm.fit.tuning import TuningReport, apply_tuning
from lvdm.media.atomic import write_json
from lvdm.media.ownership import check_replaceable
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.training_memory.planning import CONTEXT_BYTES, FRAGMENTATION, TrainingMemory, TrainingWorkload, plan_training

BATCHES, MAX_CLIPS = 2, 24
"""Global batches that are shown, and clips at most."""

MEMORY_HINT = (
    "use a smaller batch_size, tuning.gradient_checkpointing: true, optimizer.name: adamw_8bit, cached latents or "
    "tuning.train: lora (docs/training-memory.md)"
)

HALF = {"16": torch.float16, "16-mixed": torch.float16, "bf16": torch.bfloat16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class TrainingLength:
    """How far the training goes. `steps` are optimizer steps; None where nothing limits them."""

    videos: int
    batch_size: int
    devices: int
    accumulated: int
    batches_per_epoch: int
    steps: int | None
    epochs: float | None

    @property
    def effective_batch(self) -> int:
        """Clips for each optimizer step."""
        return self.batch_size * self.devices * self.accumulated

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass over the videos; the last one may have fewer batches."""
        return math.ceil(self.batches_per_epoch / self.accumulated)


def dry_run(
    setup: TrainingSetup,
    machines: Machines,
    seed: int,
    folder: Path,
    console: Console | None = None,
    overwrite: bool = False,
) -> None:
    """Print parameters, memory and progress, and write `clips.png` and `dry_run.json` into `folder`.

    Raises `ConfigError` for data that a training would stop at.
    """
    console = console or Console()
    for name in ("clips.png", "dry_run.json"):
        check_replaceable(folder / name, overwrite)
    with torch.device("meta"):
        model = select_encoders(setup.model, setup.data, setup.pretrained).build().train()
    if hasattr(model, "training_seed"):
        model.training_seed = seed
    parameters = apply_tuning(model, setup.tuning)
    data = setup.data.build()
    data.seed = seed
    try:
        source = data.source("train")
        plan = data.plan(source, machines.processes)
        count = max(1, min(BATCHES, MAX_CLIPS // plan.global_batch))
        batches = list(first_batches(source, plan, seed, count, machines.processes))
    except (ValueError, OSError) as error:
        raise ConfigError(f"data.params.train: {error}") from error
    clips = [clip for k, parts in enumerate(batches) for part in parts for clip in seen_clips(model, part, k)]
    progress = plan_progress(setup, source, plan, machines.processes)
    memory = plan_step(model, setup, machines, largest_clip(model, plan, clips))
    _print(console, parameters, progress, memory)
    for missing in (path for path in setup.pretrained if not path.exists()):
        console.print(f"model.pretrained_checkpoint: {missing} does not exist: the training would stop here")
    write_sheet(clips[:MAX_CLIPS], folder / "clips.png")
    report: dict[str, Any] = {
        "format": "dynamicrafter-dry-run/1",
        "parameters": _counts(parameters),
        "progress": _progress(progress),
        "clips": list(map(_listing, clips)),
    }
    if memory is not None:
        report["memory"] = {**asdict(memory), "total": memory.total}
    write_json(folder / "dry_run.json", report)
    console.print(
        f"the first {counted(len(clips), 'clip')}: {folder / 'clips.png'}, and in words: {folder / 'dry_run.json'}"
    )


def plan_progress(setup: TrainingSetup, source: ClipSource, plan: BatchSchedule, devices: int) -> TrainingLength:
    """Batches, steps and epochs, from the plan and the trainer's options."""
    trainer = setup.lightning.trainer
    accumulated = trainer.accumulated
    per_epoch = len(plan)
    limit = trainer.limit_train_batches
    if limit is not None:
        per_epoch = min(per_epoch, limit) if isinstance(limit, int) else int(per_epoch * limit)
    steps_per_epoch = math.ceil(per_epoch / accumulated)
    steps, epochs = trainer.max_steps, trainer.max_epochs
    limits = [value for value in (steps, epochs * steps_per_epoch if epochs else None) if value and value > 0]
    total = min(limits, default=None)
    return TrainingLength(
        videos=len(source),
        batch_size=plan.global_batch // devices,
        devices=devices,
        accumulated=accumulated,
        batches_per_epoch=per_epoch,
        steps=total,
        epochs=None if total is None or not steps_per_epoch else total / steps_per_epoch,
    )


def largest_clip(model: Any, plan: BatchSchedule, clips: list[SeenClip]) -> ClipSize:
    """The size, in pixels, of the clips that take most memory: of all buckets, and of the first batches."""
    sizes = [bucket.size for bucket in plan.buckets if bucket.size is not None]
    for clip in clips:
        frames, height, width = clip.size
        factor = model.vae_factor if clip.cached else 1
        sizes.append(ClipSize(frames, height * factor, width * factor))
    return max(sizes, key=lambda size: size.num_frames * size.height * size.width)


def plan_step(model: Any, setup: TrainingSetup, machines: Machines, size: ClipSize | None) -> TrainingMemory | None:
    """The memory of one device; None for models that are not video models, or clips of unknown size."""
    if not isinstance(model, LatentVisualDiffusion) or size is None:
        return None
    averages = [c for c in setup.lightning.callbacks.values() if issubclass(c.resolve(), AveragedWeights)]
    workload = TrainingWorkload(
        size.num_frames,
        size.height,
        size.width,
        setup.data.params.batch_size,
        half=HALF.get(str(setup.lightning.precision)),
        device="cpu" if machines.accelerator == "cpu" else "gpu",
        optimizer=setup.optimizer.name,
        average=any(average.params.device != "cpu" for average in averages),
        accumulates=setup.lightning.trainer.accumulated > 1,
        devices=machines.processes,
    )
    return plan_training(model, workload)


def verdict(memory: TrainingMemory) -> str:
    """Whether the plan fits the device that is here, in one line."""
    device = choose_device()
    room = total_memory(device) or free_memory(device)
    if room is None:
        return f"how much memory {device_name(device)} has is not known"
    line = f"{device_name(device)}, which has {room / 1e9:.1f} GB"
    if memory.total <= room:
        return f"{memory.total / 1e9:.2f} GB fit {line}"
    return f"{memory.total / 1e9:.2f} GB do NOT fit {line}; {MEMORY_HINT}"


def _print(console: Console, parameters: TuningReport, progress: TrainingLength, memory: TrainingMemory | None) -> None:
    table = Table("part", "trained", "of", title=f"Parameters (train: {parameters.train})")
    for name, (trained, total) in _counts(parameters).items():
        table.add_row(name, f"{trained:,}", f"{total:,}")
    console.print(table)
    table = Table("", "", title="Steps", show_header=False)
    for name, value in _progress(progress).items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    if memory is None:
        console.print("memory: predicted for video models only")
        return
    table = Table("", "GB", title="Memory of one device, predicted")
    for field in fields(TrainingMemory):
        if field.name != "on_gpu":
            table.add_row(MEANINGS[field.name], f"{getattr(memory, field.name) / 1e9:.3f}")
    if memory.on_gpu:
        reserve = f"assumed: context {CONTEXT_BYTES / 1e9:g} GB, fragmentation {FRAGMENTATION:.0%}"
        table.add_row(reserve, f"{memory.reserve / 1e9:.3f}")
    table.add_row("all at the busiest moment", f"{memory.total / 1e9:.3f}")
    console.print(table)
    console.print(verdict(memory))


MEANINGS: Mapping[str, str] = {
    "weights": "weights",
    "gradients": "gradients",
    "held": "of the gradients, through the forward pass",
    "optimizer": "optimizer state",
    "average": "moving average",
    "encoding": "encoding, at its peak",
    "forward": "forward pass, at its peak",
    "backward": "backward pass, at its peak, with gradients",
    "update": "optimizer step, at its peak",
    "saved": "kept for the backward pass",
}


def _counts(parameters: TuningReport) -> dict[str, tuple[int, int]]:
    return {part.name: counts for part, counts in parameters.counts.items()}


def _progress(progress: TrainingLength) -> dict[str, Any]:
    return {
        "videos": progress.videos,
        "clips for each step": progress.effective_batch,
        "how many that are": f"{progress.batch_size} clips x {progress.devices} devices x "
        f"{progress.accumulated} accumulated",
        "steps of an epoch": progress.steps_per_epoch,
        "steps in all": "no limit" if progress.steps is None else progress.steps,
        "epochs": "no limit" if progress.epochs is None else f"{progress.epochs:.4g}",
    }


def _listing(clip: SeenClip) -> dict[str, Any]:
    """A clip in words and numbers."""
    values = {field.name: getattr(clip, field.name) for field in fields(SeenClip) if field.name != "frames"}
    return {**values, "draws": None if clip.draws is None else _draws(clip.draws)}


def _draws(draws: SeenDraws) -> dict[str, Any]:
    """With `caption_dropped` under its old name too, which goes with the next version."""
    return {**asdict(draws), "sentence_dropped": draws.caption_dropped}

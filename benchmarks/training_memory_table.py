"""Which training fits which card, and how far the prediction is from what is measured on a CPU.

    python benchmarks/training_memory_table.py            # the tables of docs/training-memory.md
    python benchmarks/training_memory_table.py --check    # prediction against measurement

Both print Markdown; nothing needs weights or a GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from allocator_peak import saved_bytes, training_peak
from training_sizes import SHAPES, build_model, clips

from lvdm.config import load_model_config
from lvdm.fit.tuning import Trained, TuningConfig, apply_tuning
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.optimization import OptimizerName
from lvdm.training_memory.planning import (
    TrainingMemory,
    TrainingWorkload,
    optimizer_bytes,
    plan_training,
    update_bytes,
)
from lvdm.training_memory.tracking import module_tensors, tensor_bytes

ROOT = Path(__file__).resolve().parents[1]
CARDS = (12, 16, 24, 48, 80)
MODELS = {"256": (256, 256), "512": (320, 512), "1024": (576, 1024)}
OPTIMIZERS: tuple[OptimizerName, ...] = ("adamw", "adamw_8bit")
TRAINED: tuple[Trained, ...] = ("full", "temporal", "image_branch", "lora")
FRAMES = 16


@dataclass(frozen=True)
class Row:
    """One way to train: what is planned for one clip at a time, and for two."""

    train: str
    checkpointing: bool
    optimizer: str
    latents: str
    one: TrainingMemory
    two: TrainingMemory

    def total(self, batch: int) -> int:
        """Bytes for `batch` clips: every part of the plan grows by the same amount with each clip."""
        names = [field.name for field in fields(TrainingMemory) if field.name != "on_gpu"]
        first, second = self.one, self.two
        parts = {n: getattr(first, n) + (batch - 1) * (getattr(second, n) - getattr(first, n)) for n in names}
        return TrainingMemory(**parts, on_gpu=True).total

    def largest_batch(self, gigabytes: int) -> int:
        """Most clips that fit; 0 if one does not."""
        batch = 0
        while self.total(batch + 1) <= gigabytes * 1e9:
            batch += 1
        return batch

    def __str__(self) -> str:
        on_off = "on" if self.checkpointing else "off"
        cells = [str(self.largest_batch(card) or "-") for card in CARDS]
        total = f"{self.total(1) / 1e9:.1f}"
        return f"| {' | '.join([self.train, on_off, self.optimizer, self.latents, total, *cells])} |"


def rows(
    model_name: str, trained: tuple[Trained, ...] = TRAINED, checkpointing: tuple[bool, ...] = (True, False)
) -> Iterator[Row]:
    """All ways to train the released model of that name."""
    component = load_model_config(ROOT / "configs" / f"inference_{model_name}_v1.0.yaml")
    for train in trained:
        for recompute in checkpointing:
            with torch.device("meta"):
                model = component.build().train()
            tuning = TuningConfig(train=train, gradient_checkpointing=recompute, frozen_precision="bf16")
            apply_tuning(model, tuning)
            one, two = (
                plan_training(model, TrainingWorkload(FRAMES, *MODELS[model_name], batch, half=torch.bfloat16))
                for batch in (1, 2)
            )
            for optimizer in OPTIMIZERS:
                for latents in ("live", "cached"):
                    plans = [variant(model, plan, optimizer, latents) for plan in (one, two)]
                    yield Row(train, recompute, optimizer, latents, *plans)


def variant(
    model: LatentVisualDiffusion, plan: TrainingMemory, optimizer: OptimizerName, latents: str
) -> TrainingMemory:
    """A plan with AdamW and live latents, changed to `optimizer` and `latents`, which no step needs to be run for."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plan = replace(plan, optimizer=optimizer_bytes(trained, optimizer), update=update_bytes(trained, optimizer, "gpu"))
    if latents == "live":
        return plan
    encoders = (model.first_stage_model, model.embedder, model.cond_stage_model)
    left_out = sum(tensor_bytes(*part.parameters()) for part in encoders)
    return replace(plan, weights=plan.weights - left_out, encoding=0)


def print_tables() -> None:
    """The tables of the document."""
    for name, (height, width) in MODELS.items():
        print(f"\n### {name}: {FRAMES} frames of {height}x{width}\n")
        cards = " | ".join(f"{card} GB" for card in CARDS)
        print(f"| train | checkpointing | optimizer | latents | GB at batch 1 | {cards} |")
        print("|---" * (5 + len(CARDS)) + "|")
        for row in rows(name):
            print(row, flush=True)


def print_check(batch: int = 2) -> None:
    """Prediction and measurement of one real step, float32, on the CPU."""
    print(
        "| model | train | checkpointing | kept, predicted MB | kept, measured | peak, predicted MB | peak, measured |"
    )
    print("|---" * 7 + "|")
    for size in ("tiny", "mid"):
        for train in TRAINED:
            for recompute in (True, False):
                tuning = TuningConfig(train=train, gradient_checkpointing=recompute)
                workload = TrainingWorkload(*SHAPES[size], batch, device="cpu")
                plan = plan_training(build_model(size, tuning, "meta"), workload)
                model, sample = build_model(size, tuning), clips(size, batch)
                kept = saved_bytes(model, sample, module_tensors(model))
                predicted, measured = max(plan.encoding, plan.forward, plan.backward), training_peak(model, sample)
                print(
                    f"| {size} | {train} | {'on' if recompute else 'off'} | {plan.saved / 1e6:.2f} "
                    f"| {'the same to the byte' if kept == plan.saved else f'{kept / 1e6:.2f}'} "
                    f"| {predicted / 1e6:.2f} | {measured / 1e6:.2f} ({predicted / measured - 1:+.1%}) |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="measure real steps of small models on the CPU")
    if parser.parse_args().check:
        print_check()
    else:
        print_tables()


if __name__ == "__main__":
    main()

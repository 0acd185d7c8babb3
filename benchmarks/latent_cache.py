"""What a latent cache is worth: training steps per second and memory, from drawn clips and from their cache.

    python benchmarks/latent_cache.py [--steps 6] [--rounds 3] [--batch-size 4]

The embedded model is trained on procedural clips, its text encoder frozen. Each measurement is a process of its own, so
that its peak memory is its own; both ways alternate, so that what else the machine does meets both. Only the ratios of
times mean something, and on a CPU that others use too only that of CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

from lvdm.checkpoint import part_of, read_checkpoint
from lvdm.checkpoint.completing import ENCODERS
from lvdm.checkpoint.warm_start import warm_start
from lvdm.cli.app import app
from lvdm.config import load_model_config
from lvdm.fit.cached_training import select_encoders
from lvdm.fit.training_setup import load_training_setup

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "checkpoints" / "tiny"
FULL_SIZE = ROOT / "configs" / "training_512_v1.0" / "config.yaml"


def write_yamls(folder: Path, batch_size: int, clips: int) -> dict[str, Path]:
    """A training from drawn clips and one from their cache in `folder`."""
    tree = yaml.safe_load((MODEL / "config.yaml").read_text(encoding="utf-8"))
    model = tree["model"]
    model["params"]["cond_stage_trainable"] = False
    model["pretrained_checkpoint"] = str(MODEL / "model.safetensors")
    card = tree["sampling"]
    size = {"num_frames": card["num_frames"], "height": card["height"], "width": card["width"]}
    drawn = {"target": "lvdm.data.procedural.ProceduralClips", "params": {**size, "length": clips}}
    cached = {
        "target": "lvdm.caching.latent_cache.CachedLatents",
        "params": {"folder": str(folder / "cache"), "condition": "first"},
    }
    paths = {}
    for name, source in (("drawn", drawn), ("cached", cached)):
        data = {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": batch_size, "train": source}}
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump({"model": model, "data": data}), encoding="utf-8")
    return paths


def measure(config: Path, steps: int) -> dict[str, Any]:
    """Median seconds of a step, on the clock and of the CPU, peak memory, mean loss; run in a process of its own."""
    setup = load_training_setup([config])
    torch.manual_seed(0)
    model = select_encoders(setup.model, setup.data, setup.pretrained).build().train()
    for path in setup.pretrained:
        warm_start(model, read_checkpoint(path))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    batches = iter(setup.data.build().train_dataloader())
    seconds, cpu, losses = [], [], []
    for _ in range(steps + 1):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        loss = model._step(next(batches), "train")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
        losses.append(float(loss.detach()))
    return {
        "seconds": statistics.median(seconds[1:]),
        "cpu": statistics.median(cpu[1:]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": statistics.mean(losses),
    }


def measured(config: Path, steps: int) -> dict[str, Any]:
    """`measure` in a new process."""
    command = [sys.executable, __file__, "--measure", str(config), "--steps", str(steps)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def full_size_memory() -> tuple[float, float]:
    """GB of float32 weights of the 512 model, with its encoders and without."""
    with torch.device("meta"):
        model = load_model_config(FULL_SIZE).build()
    sizes = {key: value.numel() * 4 / 1e9 for key, value in model.named_parameters()}
    return sum(sizes.values()), sum(size for key, size in sizes.items() if part_of(key) not in ENCODERS)


def main() -> None:
    """Make the cache, measure both ways in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.steps)))
        return
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = write_yamls(folder, args.batch_size, args.batch_size * (args.steps + 1))
        begin = time.perf_counter()
        cache = [str(folder / "cache"), "--config", str(configs["drawn"]), "--image-tokens", "first"]
        app(["data", "cache", *cache], standalone_mode=False)
        made = time.perf_counter() - begin
        rounds = [{name: measured(path, args.steps) for name, path in configs.items()} for _ in range(args.rounds)]
    table = Table("training from", "seconds a step", "CPU seconds", "peak memory, MB", "mean loss")
    for name in configs:
        values = {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]}
        table.add_row(
            name,
            f"{values['seconds']:.3f}",
            f"{values['cpu']:.3f}",
            f"{values['memory'] / 1e6:.0f}",
            f"{values['loss']:.4f}",
        )
    console.print(table)
    for key, name in (("seconds", "second"), ("cpu", "CPU second")):
        ratios = [r["drawn"][key] / r["cached"][key] for r in rounds]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        console.print(f"steps per {name}, cached over drawn: {statistics.median(ratios):.2f} (each round: {each})")
    console.print(f"the cache was made in {made:.1f} s")
    whole, slim = full_size_memory()
    console.print(f"weights of the 512 model in float32: {whole:.2f} GB with its encoders, {slim:.2f} GB without")


if __name__ == "__main__":
    main()

"""How fast a training step is, where its time goes, what makes it faster, and whether the data keep up.

    python benchmarks/train.py --size tiny --parts steps pipeline growth --json logs/train-speed.json

`--size full` is the released 512 model and wants a GPU. Variants take turns within one run. On a CPU, set
OMP_NUM_THREADS=1: steps are timed by the CPU time of the process.

steps     the same step live, with gradient checkpointing, from precomputed latents, in mixed bf16, and with
          `--compile CLASS` with blocks of that class compiled; samples per second, shares of the time, peak memory
pipeline  clips per second of the data loader, procedural and from a folder of small mp4 files, with 0 and 2 workers,
          against what the live step eats
growth    memory of the process over 1,000 steps of a very small model under Lightning, by the trainer's data module
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from train_growth import measure_growth
from train_pipeline import measure_pipeline
from train_steps import Variant, measure_steps

from lvdm.device import choose_device, device_name

PARTS = ("steps", "pipeline", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "mid", "full"), default="tiny")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--batch", type=int, default=2, help="clips for each step")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each variant, in turns; the median counts")
    parser.add_argument("--compile", default="", metavar="CLASS", help="compile blocks of this class, or `UNetModel`")
    parser.add_argument("--growth-steps", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()
    console, device = Console(width=120), choose_device()
    results: dict[str, Any] = {"device": device_name(device), "size": arguments.size, "batch": arguments.batch}
    eaten = None
    if {"steps", "pipeline"} & set(arguments.parts):
        variants = [Variant("live"), Variant("checkpointing", checkpointing=True), Variant("precomputed", cached=True)]
        variants.append(Variant("bf16", bf16=True))
        if arguments.compile:
            variants.append(Variant(f"compiled {arguments.compile}", compiled=arguments.compile))
        chosen = variants if "steps" in arguments.parts else variants[:1]
        results["steps"] = measure_steps(arguments.size, chosen, arguments.batch, arguments.rounds, device)
        print_steps(console, results["steps"])
        eaten = results["steps"]["live"]["samples_per_second"]
    if "pipeline" in arguments.parts and eaten:
        with tempfile.TemporaryDirectory() as folder:
            results["pipeline"] = measure_pipeline(arguments.size, arguments.batch, Path(folder))
        print_pipeline(console, results["pipeline"], eaten)
    if "growth" in arguments.parts:
        results["growth"] = measure_growth(arguments.growth_steps)
        print_growth(console, results["growth"])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


def print_steps(console: Console, steps: dict[str, Any]) -> None:
    """A row for each variant; speed as a ratio to the live one."""
    live = steps["live"]
    shares = list(live["shares"])
    table = Table("variant", "speed", "samples/s", "peak MB", *shares, title="Training step")
    for name, row in steps.items():
        speed = f"{row['samples_per_second'] / live['samples_per_second']:.2f} x"
        shares_text = [f"{row['shares'][share]:.0%}" for share in shares]
        table.add_row(name, speed, f"{row['samples_per_second']:.3f}", f"{row['peak_bytes'] / 1e6:.0f}", *shares_text)
    console.print(table)


def print_pipeline(console: Console, pipeline: dict[str, float], eaten: float) -> None:
    """Clips per second of each source, and how many times what the step eats that is."""
    table = Table("source", "clips/s", "times what the live step eats", title="Data")
    for name, delivered in pipeline.items():
        table.add_row(name, f"{delivered:.1f}", f"{delivered / eaten:.1f} x")
    console.print(table)


def print_growth(console: Console, growth: dict[str, Any]) -> None:
    """First and last tenth of the measurements, and the slope between."""
    values = growth["bytes"]
    tenth = max(1, len(values) // 10)
    table = Table("steps", "first tenth, MB", "last tenth, MB", "slope, bytes/step", title="Memory of the process")
    first, last = statistics.mean(values[:tenth]), statistics.mean(values[-tenth:])
    table.add_row(str(growth["steps"]), f"{first / 1e6:.1f}", f"{last / 1e6:.1f}", f"{growth['slope']:.0f}")
    console.print(table)


if __name__ == "__main__":
    main()

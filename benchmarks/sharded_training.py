"""Sharded training of the embedded model on two processes of this CPU, against one process.

    python benchmarks/sharded_training.py --strategy fsdp

Three steps; after the first checkpoint both processes are killed and started again; `convert` makes one file of the
last one. Its weights are compared with those of one process that took the same clips: how far they lie apart, as a
share of how far they have moved.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from lvdm.checkpoint import convert, read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "checkpoints" / "tiny"
STEPS = 3
BATCH = 2


def configuration(folder: Path, average: bool) -> Path:
    """The YAML of the training: the embedded model without dropout, which is drawn for each process."""
    tree = yaml.safe_load((TINY / "config.yaml").read_text(encoding="utf-8"))
    unet = tree["model"]["params"]["unet_config"]["params"]
    unet |= {"dropout": 0.0, "temporal_conv_dropout": 0.0}
    tree["model"]["pretrained_checkpoint"] = [str(TINY / "model.safetensors")]
    clips = {"num_frames": 4, "length": 64, "seed": 3}
    callbacks = {"average": {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}}}
    tree |= {
        "optimizer": {"learning_rate": 1e-4},
        "data": {
            "target": "utils_data.DataModuleFromConfig",
            "params": {
                "batch_size": BATCH,
                "train": {"target": "lvdm.data.procedural.ProceduralClips", "params": clips},
            },
        },
        "lightning": {
            "trainer": {"max_steps": STEPS, "accelerator": "cpu", "gradient_clip_val": 1.0, "log_every_n_steps": 1},
            "checkpoint": {"every_n_train_steps": 1, "keep": 3},
            "logger": "csv",
            "callbacks": {"samples": {"target": "lvdm.fit.callbacks.SampleLogger", "params": {"every_n_steps": 0}}}
            | (callbacks if average else {}),
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def start(config: Path, name: str, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """The trainer in a process of its own, which starts the second one."""
    command = [sys.executable, "-m", "lvdm.fit.trainer", "--base", str(config), "--train", "--auto_resume"]
    command += ["--name", name, "--logdir", str(config.parent), "--seed", "1", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, cwd=ROOT, env=environment, start_new_session=True
        )


def finish(config: Path, name: str, log: Path, *words: str) -> Path:
    """Train to the end; returns the last checkpoint."""
    code = start(config, name, log, *words).wait()
    last = config.parent / name / "checkpoints" / f"step-{STEPS:08d}.ckpt"
    if code or not last.exists():
        raise SystemExit(f"the training of {name} ended with {code}:\n{log.read_text(errors='replace')[-4000:]}")
    return last


def kill_after_first(config: Path, name: str, log: Path, *words: str) -> None:
    """Start a training and kill all of its processes when the first checkpoint is there."""
    process = start(config, name, log, *words)
    folder = config.parent / name / "checkpoints"
    while not list(folder.glob("step-*.json")):
        if process.poll() is not None:
            raise SystemExit(
                f"the training ended before its first checkpoint:\n{log.read_text(errors='replace')[-4000:]}"
            )
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def apart(actual: Path, expected: Path, weights: str = "auto") -> tuple[float, float]:
    """How far the weights of two files lie apart, and how far the second ones have moved from the first: norms."""
    begun, one, two = read_checkpoint(TINY / "model.safetensors"), read_checkpoint(actual), read_checkpoint(expected)
    keys = [key for key in two if key in begun and two.dtype(key).is_floating_point]
    missing = set(two) ^ set(one)
    if missing:
        raise SystemExit(f"{len(missing)} tensors are in one of both files only, such as {sorted(missing)[0]}")
    distance = sum(float((one[key].double() - two[key].double()).square().sum()) for key in keys) ** 0.5
    moved = sum(float((two[key].double() - begun[key].double()).square().sum()) for key in keys) ** 0.5
    return distance, moved


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategy", default="fsdp", help="fsdp, fsdp_sharded, deepspeed or ddp")
    parser.add_argument("--average", action="store_true", help="keep averaged weights, and compare those")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, log = configuration(folder, args.average), folder / "log.txt"
        begun = time.perf_counter()
        expected = finish(config, "one", log, "--devices", "1")
        words = ["--devices", "2", "--strategy", args.strategy, f"data.params.batch_size={BATCH // 2}"]
        kill_after_first(config, "two", log, *words)
        killed = sorted(path.name for path in (folder / "two" / "checkpoints").glob("step-*.ckpt"))
        last = finish(config, "two", log, *words)
        for weights in ("averaged", "trained") if args.average else ("auto",):
            convert(last, folder / "two.safetensors", weights=weights, overwrite=True)  # type: ignore[arg-type]
            convert(expected, folder / "one.safetensors", weights=weights, overwrite=True)  # type: ignore[arg-type]
            distance, moved = apart(folder / "two.safetensors", folder / "one.safetensors")
            print(
                f"{args.strategy}, killed after {killed[-1]} and resumed: {weights} weights lie {distance:.3g} apart, "
                f"{distance / moved:.2%} of the {moved:.3g} that they moved; {time.perf_counter() - begun:.0f} s, "
                f"torch {torch.__version__}"
            )


if __name__ == "__main__":
    main()

"""What several processes are worth that make one video together: efficiency as a ratio, in one run.

    python benchmarks/process_group.py --processes 2 [--size small] [--device cpu]

prints a Markdown table: the time of sampling (two guided steps) and of decoding by so many processes as a part of that
of one, and the efficiency, 1 where each does its share alone. On a CPU it is CPU time with one thread a process, so
that other work on the machine counts for little; waiting for the others is not in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace

import torch

from lvdm.benchmark.networks import NETWORKS, build_runtime, in_precision
from lvdm.device import choose_precision, synchronize
from lvdm.pipeline.process_group import joined_processes
from lvdm.pipeline.requests import GenerationRequest
from lvdm.request.settings import GenerationSettings

STEPS = 2


def measure(size: str, device_name: str) -> None:
    """Print the seconds of this process as JSON, if it is the first: the largest of all processes."""
    network = NETWORKS[size]
    torch.set_num_threads(1)
    with joined_processes(device_name) as (processes, name):
        device = torch.device(name)
        precision = choose_precision("auto", device)
        runtime = build_runtime(network, device, precision, torch.Generator(device).manual_seed(0))
        runtime = replace(runtime, processes=processes)
        settings = GenerationSettings.from_card(
            network.card, height=network.height, width=network.width, num_inference_steps=STEPS, fix_final_step=True
        )
        draw = torch.Generator().manual_seed(0)
        conditions = in_precision(network.conditions(settings.num_branches, draw, device), precision.weights)
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        with runtime.without_gradients():
            for _ in range(2):  # the second time counts
                synchronize(device)
                began = clock()
                latents = runtime.sample([GenerationRequest(None, "a")], settings, conditions, None, None)
                synchronize(device)
                sampled = clock()
                for _ in runtime.decode([latents], settings.num_frames, settings, None):
                    pass
                decoded = clock()
        found = torch.tensor([sampled - began, decoded - sampled], device=device)
        if processes is not None:
            found = torch.stack([processes.from_process(n, found.clone()) for n in range(processes.size)]).amax(0)
        if processes is None or processes.writes:
            print(json.dumps(found.tolist()))


def by_processes(count: int, words: list[str]) -> list[float]:
    """The seconds of sampling and decoding by so many processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", __file__]
    done = subprocess.run([*command, "--worker", *words], stdout=subprocess.PIPE, text=True, check=True)
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--size", choices=NETWORKS, default="small")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        measure(args.size, args.device)
        return
    words = ["--size", args.size, "--device", args.device]
    alone, several = by_processes(1, words), by_processes(args.processes, words)
    print("| stage | time, parts of one process's | efficiency |\n|---|---|---|")
    for stage, one, many in zip(("sampling", "decoding"), alone, several, strict=True):
        print(f"| {stage} | {many / one:.2f} | {one / many / args.processes:.2f} |")


if __name__ == "__main__":
    main()

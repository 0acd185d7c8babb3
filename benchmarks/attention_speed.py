"""Attention by every backend that runs here, against torch's fused one: the measurement behind `--attention auto`.

    python benchmarks/attention_speed.py --device cpu --rounds 7

prints a Markdown table: for each shape that the models have, CPU time (on a GPU: time) as a multiple of `sdpa`'s, the
least of several rounds in which the backends take turns, and the largest difference of the results.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lvdm.device import DTYPES, choose_device, synchronize
from lvdm.modules.attention_backends import BACKENDS, AttentionBackend, why_not

SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    "temporal, 16 frames, heads of 16": (1024, 4, 16, 16, 16),
    "temporal, 16 frames, heads of 32": (1024, 4, 16, 16, 32),
    "temporal, 16 frames, heads of 64": (640, 5, 16, 16, 64),
    "text, 77 tokens": (1, 5, 10240, 77, 64),
    "self, 160 pixels": (16, 10, 160, 160, 64),
    "self, 640 pixels": (8, 5, 640, 640, 64),
    "self, 2560 pixels": (1, 5, 2560, 2560, 64),
}
"""Batch, heads, queries, keys, channels of a head. `self` of a 512x320 video; heads of 32 are the embedded model's."""


def shortest_seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """The time of one call."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    synchronize(device)
    began = clock()
    call()
    synchronize(device)
    return clock() - began


def measure(
    shape: tuple[int, int, int, int, int], backends: Mapping[Any, AttentionBackend], device: torch.device, rounds: int
) -> dict[Any, tuple[float, float]]:
    """By backend: seconds, and the largest difference from `sdpa`."""
    batch, heads, queries, keys, channels = shape
    dtype = DTYPES[_precision(device)]
    draw = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(batch, n, heads, channels, generator=draw).to(device, dtype).transpose(1, 2)
        for n in (queries, keys, keys)
    )
    seconds = dict.fromkeys(backends, float("inf"))
    with torch.inference_mode():
        expected = backends["sdpa"].kernel(q, k, v)
        off = {name: (backend.kernel(q, k, v) - expected).abs().max().item() for name, backend in backends.items()}
        for _ in range(rounds):
            for name, backend in backends.items():
                seconds[name] = min(seconds[name], shortest_seconds(partial(backend.kernel, q, k, v), device))
    return {name: (seconds[name], off[name]) for name in backends}


def _precision(device: torch.device) -> str:
    return "fp32" if device.type == "cpu" else "bf16"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    device = choose_device(args.device)
    dtype = DTYPES[_precision(device)]
    backends = {name: own for name, own in BACKENDS.items() if not why_not(name, device, dtype)}
    print(
        "| attention | " + " | ".join(f"{name}, times sdpa (difference)" for name in backends if name != "sdpa") + " |"
    )
    print("|---" * len(backends) + "|")
    for label, shape in SHAPES.items():
        found = measure(shape, backends, device, args.rounds)
        usual = found["sdpa"][0]
        cells = [f"{own / usual:.2f} ({off:.0e})" for name, (own, off) in found.items() if name != "sdpa"]
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""Where the time of a guided step goes, by kind of operation.

    python benchmarks/step_profile.py [--model mid] [--steps 3]

prints a Markdown table: the share of the CPU time of each kind, and which operations count as it.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from guided_steps import SIZES, guided_step
from torch.profiler import ProfilerActivity, profile

KINDS: dict[str, tuple[str, ...]] = {
    "convolutions": ("conv", "slow_conv"),
    "matrix products": ("addmm", "::mm", "bmm", "linear", "matmul", "baddbmm"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "norms": ("norm",),
    "GELU, SiLU": ("gelu", "silu"),
    "copies": ("copy_", "clone", "cat", "contiguous", "repeat", "pad", "to_mkldnn", "upsample"),
    "sums and products": ("add", "mul", "sub", "div", "softmax", "tanh", "exp"),
}
"""An operation counts as the first kind of which its name holds a part."""


def kind_of(operation: str) -> str:
    """The kind of a torch operation by its name."""
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "all else")


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="mid")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is time at work
    step = guided_step(args.model)
    branches = step.model.branches(step.conditions)
    branches(step.x_t, step.t)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(args.steps):
            branches(step.x_t, step.t)
    time: Counter[str] = Counter()
    names: dict[str, Counter[str]] = {}
    for row in found.key_averages():
        kind = kind_of(row.key)
        time[kind] += row.self_cpu_time_total
        names.setdefault(kind, Counter())[row.key] += row.self_cpu_time_total
    total = sum(time.values())
    print(f"{args.model}: {total / args.steps / 1e6:.2f} s a step\n\n| kind | share | most of it |\n|---|---|---|")
    for kind, spent in time.most_common():
        largest = ", ".join(name.removeprefix("aten::") for name, _ in names[kind].most_common(3))
        print(f"| {kind} | {100 * spent / total:.1f} % | {largest} |")


if __name__ == "__main__":
    main()

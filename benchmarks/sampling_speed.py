"""What the faster paths of a guided step are worth, as ratios measured in one run, and how far their numbers are.

    python benchmarks/sampling_speed.py [--model tiny] [--rounds 5] [--compile]

prints a Markdown table: CPU time of one thread as a multiple of the first row's, the least of several rounds in which
the rows take turns; floating-point operations likewise; and the largest difference as a part of the largest output.
Each row changes one thing. The first is what the original does: one forward pass for each guidance branch, keys and
values of the tokens computed in every step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from guided_steps import SIZES, GuidedStep, guided_step
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.diffusion.guidance import Branches
from lvdm.modules.attention import TemporalTransformer
from lvdm.modules.hooks import LayerHooks
from lvdm.modules.networks.openaimodel3d import UNetModel


def original(step: GuidedStep) -> Branches:
    """Every branch on its own, its context projected anew in each step."""

    def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        return tuple(step.model.apply_model(x_t, t, c.context, c.concat, c.fps) for c in step.conditions)

    return denoise


def unshared(step: GuidedStep) -> Branches:
    """In one batch, with every layer computed for both branches."""
    return step.model.branches([replace(c, concat=c.concat.clone()) for c in step.conditions])


def channels_last(step: GuidedStep) -> Branches:
    """The default with activations that lie in memory pixel by pixel."""

    def begin(network: UNetModel, inner: Callable[..., Tensor], index: int, h: Tensor, *others: object) -> Tensor:
        return inner(index, h.contiguous(memory_format=torch.channels_last) if index == 0 else h, *others)

    def back(layer: TemporalTransformer, inner: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return inner(x).contiguous(memory_format=torch.channels_last_3d)

    unet = step.model.unet
    layers = [layer for layer in unet.modules() if isinstance(layer, TemporalTransformer)]
    hooks = LayerHooks().with_functions("from_block", {unet: begin})
    return through(hooks.with_functions("forward", dict.fromkeys(layers, back)), step.model.branches(step.conditions))


def through(hooks: LayerHooks, branches: Branches) -> Branches:
    """`branches` whose layers go through `hooks`."""

    def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        with hooks.active():
            return branches(x_t, t)

    return denoise


PATHS: dict[str, Callable[[GuidedStep], Branches]] = {
    "the original's path": original,
    "tokens projected once": lambda step: step.model.branches(step.conditions, batched=False),
    "and branches in one batch": unshared,
    "and layers before the tokens once (default)": lambda step: step.model.branches(step.conditions),
    "and activations pixel by pixel (channels_last)": channels_last,
}


def measure(step: GuidedStep, paths: dict[str, Branches], rounds: int) -> Sequence[tuple[str, float, float, float]]:
    """By path: seconds, operations, and the largest difference over the largest output."""
    seconds, operations, outputs = dict.fromkeys(paths, float("inf")), dict[str, float](), dict[str, Tensor]()
    for name, branches in paths.items():
        with FlopCounterMode(display=False) as counter:
            outputs[name] = torch.cat(branches(step.x_t, step.t))
        operations[name] = counter.get_total_flops()
    for _ in range(rounds):
        for name, branches in paths.items():
            began = time.process_time()
            branches(step.x_t, step.t)
            seconds[name] = min(seconds[name], time.process_time() - began)
    expected = next(iter(outputs.values()))
    largest = expected.abs().max()
    return [(n, seconds[n], operations[n], float((outputs[n] - expected).abs().max() / largest)) for n in paths]


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is time at work
    step = guided_step(args.model)
    rows = measure(step, {name: make(step) for name, make in PATHS.items()}, args.rounds)
    base = rows[0]
    print(f"{args.model}: {base[1]:.2f} s, {base[2] / 1e9:.1f} GFLOP\n")
    print("| one guided step | CPU time | operations | largest difference |\n|---|---|---|---|")
    for name, seconds, operations, difference in rows:
        print(f"| {name} | {seconds / base[1]:.2f} | {operations / base[2]:.2f} | {difference:.0e} |")


if __name__ == "__main__":
    main()

"""What the faster paths are worth, as ratios measured in one run, and how far their numbers are from the plain path.

    python benchmarks/sampling_speed.py [--model tiny] [--repeats 5]

Plain path: one forward pass for each guidance branch, keys and values of the context computed in every step, as the
original does. Each row changes one thing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lvdm.conditioning import Conditioning, repeat_frame
from lvdm.diffusion.guidance import Branches
from lvdm.pipeline import DynamiCrafterPipeline


def plain_branches(model, conditions: Sequence[Conditioning]) -> Branches:  # type: ignore[no-untyped-def]
    """Every branch on its own, its context projected anew in each step."""

    def denoise(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        return tuple(model.apply_model(x_t, t, c.context, c.concat, c.fps) for c in conditions)

    return denoise


def median_seconds(step: Callable[[], object], repeats: int) -> float:
    """Median wall time of `step` after one warm-up."""
    step()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    pipe = DynamiCrafterPipeline.from_pretrained(args.model)
    model, card, device = pipe.runtime.model, pipe.card, pipe.runtime.device
    generator = torch.Generator().manual_seed(0)
    shape = (1, 4, card.num_frames, card.height // model.vae_factor, card.width // model.vae_factor)
    x_t = torch.randn(shape, generator=generator).to(device)
    image = torch.rand((1, 3, card.height, card.width), generator=generator).to(device) * 2 - 1
    latent = model.encode_first_stage(image[:, :, None])[:, :, 0]
    full = Conditioning(
        model.embed_text(["a red circle moves to the left"]),
        model.embed_image(image),
        repeat_frame(latent, card.num_frames),
        torch.tensor([card.fs_default], device=device),
    )
    conditions = [full, full.with_text(model.embed_text([""])).with_image(model.embed_image(torch.zeros_like(image)))]
    t = torch.tensor([500], device=device)
    paths = {
        "plain": plain_branches(model, conditions),
        "context projected once": model.branches(conditions, batched=False),
        "projected once, branches in one batch (default)": model.branches(conditions, batched=True),
    }
    reference = torch.cat(paths["plain"](x_t, t))
    table = Table("one guided step", "seconds", "speed-up", "largest difference")
    base = None
    for name, branches in paths.items():
        seconds = median_seconds(partial(branches, x_t, t), args.repeats)
        base = base or seconds
        difference = (torch.cat(branches(x_t, t)) - reference).abs().max().item()
        table.add_row(name, f"{seconds:.3f}", f"{base / seconds:.2f}", f"{difference:.1e}")
    repeated = image[:, :, None].expand(-1, -1, card.num_frames, -1, -1)
    encode = {
        f"encode {card.num_frames} equal frames (plain)": lambda: model.encode_first_stage(repeated),
        "encode the image once (default)": lambda: model.encode_first_stage(image[:, :, None]),
    }
    base = None
    for name, step in encode.items():
        seconds = median_seconds(step, args.repeats)
        base = base or seconds
        table.add_row(name, f"{seconds:.3f}", f"{base / seconds:.2f}", "0")
    Console().print(table)


if __name__ == "__main__":
    main()

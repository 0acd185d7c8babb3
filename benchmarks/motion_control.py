"""Does the video move as the prompt says? Measured from generated pixels on held-out procedural scenes.

    python benchmarks/motion_control.py [--model tiny] [--count 128] [--control-count 32] [--output result.json]

Prints one row each for the true clips, the true clips through the autoencoder, the first frame repeated, the model, the
model under a wrong prompt (that of another direction) and under the empty prompt. Directions are always compared with
the scene's own caption, so the last two rows show what the image alone gives away.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.atomic import write_json
from lvdm.data.procedural import ProceduralConfig, Scene, caption, displacement, render, render_mask, sample_scene
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.pipeline import DynamiCrafterPipeline

HELD_OUT = ProceduralConfig(split="test")
MIN_TRAVEL = 2.0
"""Pixels that a sprite must travel over the clip for its direction to count."""


@dataclass(frozen=True)
class Row:
    """Figures of one kind of video over `count` scenes."""

    name: str
    count: int
    within_45: float
    within_22: float
    moved: float
    speed_ratio: float
    first_frame_psnr: float


@dataclass(frozen=True)
class Settings:
    """How videos are made; None is the model's own value."""

    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 16
    seed: int = 2024


def held_out_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of unseen (shape, colour, motion) triples, the eight directions in turn."""
    names = list(DIRECTIONS)
    return [
        sample_scene(dataclasses.replace(HELD_OUT, motions=(names[i % 8],)), seed * 100_003 + i) for i in range(count)
    ]


def track_sprite(video: Tensor, mask: Tensor, reach: int = 40) -> Tensor:
    """Where the sprite of frame 0 is found in every frame: (t, 2) shifts (dx, dy) in pixels.

    video (3, t, H, W); mask (H, W) coverage of the sprite in frame 0. The shift with the least mean squared difference
    between the sprite's pixels and those under them wins; the sums over all shifts are cross-correlations.
    """
    frames = F.pad(video.transpose(0, 1), (reach,) * 4)  # t 3 H W
    inside = F.pad(torch.ones_like(video[:1, :1]), (reach,) * 4)
    first = video[:, 0]
    overlap = F.conv2d(inside, mask[None, None])
    squares = F.conv2d((frames**2).sum(1, keepdim=True), mask[None, None])
    product = F.conv2d(frames, (mask * first)[None])
    own = F.conv2d(inside, (mask * (first**2).sum(0))[None, None])
    cost = (squares - 2 * product + own) / overlap.clamp(min=1e-6)
    cost = torch.where(overlap > 0.4 * mask.sum(), cost, torch.inf)[:, 0]  # t, 2 reach + 1, 2 reach + 1
    best = cost.flatten(1).argmin(dim=1)
    width = cost.shape[-1]
    return torch.stack([best % width - reach, best // width - reach], dim=1).double()


def measure(name: str, videos: list[Tensor], scenes: list[Scene]) -> Row:
    """One row from videos (3, t, 64, 64) in [-1, 1] of `scenes`."""
    errors, ratios, psnrs = [], [], []
    for video, scene in zip(videos, scenes, strict=True):
        truth = render([scene], HELD_OUT)[0]
        path = track_sprite(video.float(), render_mask([scene], HELD_OUT)[0, 0])
        time = torch.arange(len(path)).double()
        velocity = (time[:, None] * path).sum(0) / (time**2).sum()  # least squares through the origin
        expected = torch.tensor(displacement(scene, HELD_OUT)).double()
        travel = velocity.norm().item() * (len(path) - 1)
        cosine = (velocity @ expected / (velocity.norm() * expected.norm()).clamp(min=1e-9)).clamp(-1, 1).item()
        errors.append(math.degrees(math.acos(cosine)) if travel >= MIN_TRAVEL else math.inf)
        ratios.append((velocity.norm() / expected.norm()).item())
        error = (video[:, 0].clamp(-1, 1) - truth[:, 0]).square().mean().clamp(min=1e-10)
        psnrs.append((10 * torch.log10(4 / error)).item())
    count = len(scenes)
    return Row(
        name,
        count,
        sum(error <= 45 for error in errors) / count,
        sum(error <= 22.5 for error in errors) / count,
        sum(math.isfinite(error) for error in errors) / count,
        sum(ratios) / count,
        sum(psnrs) / count,
    )


def generate(pipe: DynamiCrafterPipeline, scenes: list[Scene], prompts: list[str], settings: Settings) -> list[Tensor]:
    """One video (3, t, 64, 64) for each scene's first frame, in the order of the scenes."""
    videos: dict[int, Tensor] = {}
    starts = range(0, len(scenes), settings.batch_size)
    for start in track(starts, description=f"{len(scenes)} videos"):
        part = range(start, min(start + settings.batch_size, len(scenes)))
        for stride in sorted({scenes[i].frame_stride for i in part}):  # one value for a whole batch
            chosen = [i for i in part if scenes[i].frame_stride == stride]
            result = pipe(
                [render([scenes[i]], HELD_OUT)[0, :, 0] for i in chosen],
                [prompts[i] for i in chosen],
                seed=[settings.seed + i for i in chosen],
                frame_stride=stride,
                num_inference_steps=settings.steps,
                guidance_scale=settings.guidance,
            )
            videos |= dict(zip(chosen, result.video, strict=True))
    return [videos[i] for i in range(len(scenes))]


def wrong_prompt(scene: Scene) -> str:
    """The caption of the same sprite moving at a right angle to the scene's own direction."""
    names = list(DIRECTIONS)
    turned = names[(names.index(scene.motion) + 2) % 8]
    return caption(dataclasses.replace(scene, motion=turned))


def main() -> None:
    """Measure and print all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--count", type=int, default=128, help="scenes of the main row")
    parser.add_argument("--control-count", type=int, default=32, help="scenes of the wrong and empty prompt rows")
    parser.add_argument("--batch-size", type=int, default=Settings.batch_size)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps; the model's own by default")
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--output", type=Path, default=None, help="JSON file for the figures")
    args = parser.parse_args()
    pipe = DynamiCrafterPipeline.from_pretrained(args.model, args.checkpoint)
    settings = Settings(args.steps, args.guidance, args.batch_size, args.seed)
    scenes = held_out_scenes(args.count, args.seed)
    control = scenes[: args.control_count]
    truth = [render([scene], HELD_OUT)[0] for scene in scenes]
    model = pipe.runtime.model
    with torch.inference_mode():
        round_trip = [model.decode_first_stage(model.encode_first_stage(video[None]))[0] for video in truth]
    rows = [
        measure("truth", truth, scenes),
        measure("autoencoder round trip", round_trip, scenes),
        measure("frozen first frame", [video[:, :1].expand_as(video) for video in truth], scenes),
        measure("generated", generate(pipe, scenes, [caption(scene) for scene in scenes], settings), scenes),
        measure("wrong prompt", generate(pipe, control, [wrong_prompt(scene) for scene in control], settings), control),
        measure("empty prompt", generate(pipe, control, [""] * len(control), settings), control),
    ]
    table = Table("row", "scenes", "within 45", "within 22.5", "moved", "speed ratio", "frame 0 PSNR")
    for row in rows:
        shares = [f"{value:.1%}" for value in (row.within_45, row.within_22, row.moved)]
        table.add_row(row.name, str(row.count), *shares, f"{row.speed_ratio:.2f}", f"{row.first_frame_psnr:.1f} dB")
    Console().print(table)
    if args.output:
        used = {
            "model": args.model,
            "sampling": dataclasses.asdict(pipe.settings()),
            "run": dataclasses.asdict(settings),
        }
        write_json(args.output, {"settings": used, "rows": [dataclasses.asdict(row) for row in rows]})


if __name__ == "__main__":
    main()

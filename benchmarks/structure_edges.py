"""Does a video have its edges where the depth that it was given has them? On held-out procedural clips.

    python benchmarks/structure_edges.py --model FOLDER [--count 256] --output outputs/structure_edges

Every clip has a depth with edges: a sprite before its background, the leaves of a collage. Videos are made under its
caption and its depth; under its caption and flat depth, which shows nothing; and under its caption and the depth of the
next clip. All are compared with the clip's own depth.

edges  how well the colour gradient of a video tells pixels at edges of the depth from those away from them: the
       probability that it is larger at an edge (area under the ROC curve), over all frames. 0.5 is chance.

`truth` is the clip itself and `autoencoder` the clip through the autoencoder, the best that can be reached. Intervals
are of 95 %, by bootstrap over the clips; those of differences draw the same clips.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from embedded_generation import round_trip
from rich.progress import track
from sheets import write_rows
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import checkpoint_hash
from lvdm.data.procedural import ProceduralConfig, Scene, caption, render, render_depth, sample_scene
from lvdm.data.procedural_scene import BACKGROUNDS
from lvdm.evaluation.resampling import bootstrap_mean, paired_difference
from lvdm.media.atomic import write_json
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest

HELD_OUT = ProceduralConfig(split="test", backgrounds=BACKGROUNDS)
STEP = 0.1
"""What depth in [0, 1] has to change by from a pixel to the next for an edge."""
NEAR = 2
"""Pixels around an edge that count as neither edge nor away from it: an edge of a video may lie beside it."""
CONTROLS = ("flat", "other")


def depth_edges(depth: Tensor) -> Tensor:
    """Where depth (t, H, W) in [0, 1] has an edge, bool, of the same shape."""
    edges = torch.zeros_like(depth, dtype=torch.bool)
    down, right = (depth.diff(dim=dim).abs() > STEP for dim in (1, 2))
    edges[:, :-1] |= down
    edges[:, 1:] |= down
    edges[:, :, :-1] |= right
    edges[:, :, 1:] |= right
    return edges


def edge_agreement(video: Tensor, depth: Tensor) -> float:
    """The area under the ROC curve of the colour gradient of video (3, t, H, W) at the edges of depth (t, H, W).

    NaN where the depth has no edges, or nothing away from them.
    """
    frames = F.pad(video.float(), (1, 1, 1, 1), mode="replicate")
    across, along = frames[..., 1:-1, 2:] - frames[..., 1:-1, :-2], frames[..., 2:, 1:-1] - frames[..., :-2, 1:-1]
    gradient = torch.hypot(across, along).amax(0)  # (t, H, W), of the channel that changes most
    edges = depth_edges(depth)
    near = F.max_pool2d(edges.float()[:, None], 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
    at, away = gradient[edges], gradient[~near]
    if not len(at) or not len(away):
        return float("nan")
    larger = torch.searchsorted(away.sort().values, at).double()  # pixels away from edges with a smaller gradient
    equal = torch.searchsorted(away.sort().values, at, right=True).double() - larger
    return float((larger + equal / 2).mean() / len(away))


def held_out_clips(count: int, seed: int) -> list[Scene]:
    """Scenes of the test split whose depth has edges in every frame."""
    scenes: list[Scene] = []
    for number in range(100 * count):
        scene = sample_scene(HELD_OUT, random.Random(f"{seed}/structure/{number}"))
        if bool(depth_edges(render_depth([scene], HELD_OUT)[0, 0]).flatten(1).any(1).all()):
            scenes.append(scene)
        if len(scenes) == count:
            break
    return scenes


def follow(
    pipe: DynamiCrafterPipeline, depths: Sequence[Tensor], prompts: Sequence[str], args: argparse.Namespace, what: str
) -> list[Tensor]:
    """One video (3, t, H, W) for each depth (t, H, W) and prompt."""
    settings = pipe.settings(
        mode="structure", num_inference_steps=args.steps, guidance_scale=args.guidance, num_frames=len(depths[0])
    )
    requests = [
        GenerationRequest(None, prompt, seed=args.seed + number, depth=depth)
        for number, (depth, prompt) in enumerate(zip(depths, prompts, strict=True))
    ]
    batches = [requests[start : start + args.batch_size] for start in range(0, len(requests), args.batch_size)]
    videos = [pipe.generate(batch, settings).video for batch in track(batches, description=what)]
    return [video.float().cpu() for batch in videos for video in batch]


def flat_like(depth: Tensor) -> Tensor:
    """Depth that is the same everywhere but for rounding, which the network is shown as flat: see `depth_condition`."""
    flat = torch.ones_like(depth)
    flat[0, 0, 0] += 1e-6
    return flat


def table(values: dict[str, list[float]], seed: int) -> dict[str, Any]:
    """Means with intervals, and by how much the depth is better than each control."""
    found: dict[str, Any] = {}
    for name, own in values.items():
        interval = bootstrap_mean(own, seed)
        found[name] = {"mean": fmean(own), "low": interval.low, "high": interval.high}
        if name in CONTROLS:
            apart = paired_difference(values["depth"], own, seed)
            found[name]["depth_minus_this"] = [apart.low, apart.high]
    return found


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="preset, folder or YAML with a sampling block")
    parser.add_argument("--checkpoint", default=None, help="weight file, if not the model's own")
    parser.add_argument("--count", type=int, default=256, help="clips")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps; the model's own by default")
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--output", type=Path, default=Path("outputs/structure_edges"), help="folder")
    args = parser.parse_args()
    if args.count < 2:
        parser.error(f"--count should be at least 2, it is {args.count}: a clip is compared with another's depth")
    pipe = DynamiCrafterPipeline.from_pretrained(args.model, args.checkpoint)
    scenes = held_out_clips(args.count, args.seed)
    prompts = [caption(scene) for scene in scenes]
    truth, depths = list(render(scenes, HELD_OUT)), [depth[0] for depth in render_depth(scenes, HELD_OUT)]
    given = {
        "depth": depths,
        "flat": [flat_like(depth) for depth in depths],
        "other": [*depths[1:], depths[0]],
    }
    videos = {"truth": truth, "autoencoder": round_trip(pipe, truth)}
    videos |= {name: follow(pipe, own, prompts, args, name) for name, own in given.items()}
    values = {
        name: [edge_agreement(video, depth) for video, depth in zip(own, depths, strict=True)]
        for name, own in videos.items()
    }
    found: dict[str, Any] = {
        "clips": len(scenes),
        "weights": checkpoint_hash(pipe.files.checkpoint),
        "steps": pipe.settings(mode="structure", num_inference_steps=args.steps).num_inference_steps,
        "guidance": pipe.settings(mode="structure", guidance_scale=args.guidance).guidance_scale,
        "seed": args.seed,
        "edges": table(values, args.seed),
    }
    write_json(args.output / "edges.json", found)
    for first in range(0, min(12, len(scenes)), 4):
        rows: list[tuple[str, Tensor]] = []
        for i in range(first, min(first + 4, len(scenes))):
            rows.append((f"{i} depth", depths[i][None].expand(3, -1, -1, -1) * 2 - 1))
            rows += [(f"{name} {values[name][i]:.2f}  {prompts[i]}", videos[name][i]) for name in ("truth", *given)]
        write_rows(args.output / f"sheet_{first:02d}.png", rows)
    for name, entry in found["edges"].items():
        print(name, {key: np.round(value, 3).tolist() for key, value in entry.items()})


if __name__ == "__main__":
    main()

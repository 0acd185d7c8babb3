"""Does a model follow the caption? An early warning while it trains: one forward pass a caption, no sampling.

    python benchmarks/motion_gap.py logs/tiny-video/config.yaml CHECKPOINT [--count 4] [--size 64] [--output gap.json]

At t = 999 nothing but noise, the first frame and the caption reaches the network. For each class of motion the table
gives the v-loss where something moves, under the right caption and under that of the opposite motion: a model that
ignores the caption has a gap of 0. A checkpoint of Lightning or safetensors will do. Scenes come from the configured
clips of a training file, of combinations that are held out; `--everything` takes them from all kinds of clips.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from motion_classes import FAMILY_OF, HELD_OUT, held_out_scenes, opposite
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from lvdm.checkpoint import load_into, read_checkpoint
from lvdm.conditioning import Conditioning, repeat_frame
from lvdm.config import load_model_config, load_yaml, parse_component
from lvdm.data.procedural import BASE_FPS, ProceduralClips, ProceduralConfig, Scene, caption, render
from lvdm.data.procedural_scene import MOTIONS
from lvdm.diffusion.parameterization import q_sample, scale_x0, training_target
from lvdm.media.atomic import write_json
from lvdm.models.ddpm3d import LatentVisualDiffusion

LAST_STEP = 999
MOVED = 0.5
"""A latent moves when it differs from that of frame 0 by this part of the clip's standard deviation."""


@dataclass(frozen=True)
class Gap:
    """Mean v-loss in the moving region over `count` scenes of one motion."""

    motion: str
    count: int
    right: float
    wrong: float

    @property
    def gap(self) -> float:
        """What the wrong caption costs."""
        return self.wrong - self.right


def load_weights(config: Path, weights: Path) -> LatentVisualDiffusion:
    """The model of a YAML, of training or inference, filled from `weights`, in eval mode."""
    with torch.device("meta"):
        model = load_model_config(config).build()
    load_into(model, read_checkpoint(weights), torch.float32)
    if not isinstance(model, LatentVisualDiffusion):
        raise ValueError(f"{config}: the gap is measured on a video model, not on {type(model).__name__}")
    return model.eval().requires_grad_(False)


def scene_space(config: Path, everything: bool) -> ProceduralConfig:
    """Held-out clips of the kind that a training file describes; of every kind if it describes none."""
    train = load_yaml(config).get("data", {}).get("params", {}).get("train")
    if everything or train is None:
        return HELD_OUT
    clips = parse_component(train, f"{config}: data.params.train").build()
    if not isinstance(clips, ProceduralClips):
        return HELD_OUT
    shared = {field.name: getattr(clips.config, field.name) for field in dataclasses.fields(ProceduralConfig)}
    try:
        return ProceduralConfig(**shared | {"split": "test"})
    except ValueError:  # few shapes, colours and backgrounds may hold no held-out combination
        return ProceduralConfig(**shared | {"split": "all"})


def measure_gaps(
    model: LatentVisualDiffusion, scenes: Sequence[Scene], space: ProceduralConfig, seed: int, batch_size: int = 8
) -> list[Gap]:
    """One line for each motion of the scenes, in the order in which they first appear."""
    losses: dict[str, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(seed)
    for start in track(range(0, len(scenes), batch_size), description=f"{len(scenes)} scenes"):
        batch = scenes[start : start + batch_size]
        for scene, pair in zip(batch, _losses(model, batch, space, generator), strict=True):
            losses.setdefault(scene.motion, []).append(pair)
    means = {motion: torch.stack(pairs).mean(0).tolist() for motion, pairs in losses.items()}
    return [Gap(motion, len(losses[motion]), *means[motion]) for motion in losses]


@torch.inference_mode()
def _losses(
    model: LatentVisualDiffusion, scenes: Sequence[Scene], space: ProceduralConfig, generator: torch.Generator
) -> Tensor:
    """(b, 2): loss under the right and the wrong caption, from the same noise."""
    video = render(scenes, space)
    others = [opposite(scene) for scene in scenes]
    latents = model.encode_first_stage(video)
    # What stands still has no moving region of its own: there, it is where the other motion would be seen.
    region = _moving(latents) | (_moving(model.encode_first_stage(render(others, space))) & _still(scenes))
    t = torch.full((len(scenes),), LAST_STEP)
    noise = torch.randn(latents.shape, generator=generator)
    x_0 = scale_x0(latents, t, model.schedule)
    x_t = q_sample(x_0, noise, t, model.schedule)
    target = training_target(x_0, noise, t, model.schedule)
    speaks_fps = model.config.fps_condition_type == "fps"
    fs = torch.tensor([BASE_FPS // s.frame_stride if speaks_fps else s.frame_stride for s in scenes])
    image, num_frames, carrier = model.embed_image(video[:, :, 0]), latents.shape[2], model.frame_carrier
    columns = []
    for captioned in (scenes, others):
        text = model.embed_text([caption(scene) for scene in captioned])
        concat = repeat_frame(latents[:, :, 0], num_frames)
        if carrier is not None:
            concat = carrier.concat(video[:, :, 0], text, fs, num_frames, model.encode_first_stage)
        condition = Conditioning(text, image, concat, fs)
        error = (model.denoiser(condition)(x_t, t) - target).square().mean(1, keepdim=True)
        columns.append((error * region).flatten(1).sum(1) / region.flatten(1).sum(1).clamp(min=1))
    return torch.stack(columns, dim=1)


def _moving(latents: Tensor) -> Tensor:
    """(b, 1, t, h, w) bool."""
    spread = latents.flatten(1).std(dim=1)[:, None, None, None, None]
    return (latents - latents[:, :, :1]).abs().mean(dim=1, keepdim=True) > MOVED * spread


def _still(scenes: Sequence[Scene]) -> Tensor:
    return torch.tensor([scene.motion == "still" for scene in scenes])[:, None, None, None, None]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML of the training, as the run wrote it, or of the model")
    parser.add_argument("weights", type=Path, help="checkpoint or safetensors file")
    parser.add_argument("--count", type=int, default=4, help="scenes of each motion")
    parser.add_argument("--size", type=int, default=None, help="height and width in pixels; the configured by default")
    parser.add_argument(
        "--motions", nargs="+", default=None, help="classes to measure; all that are trained by default"
    )
    parser.add_argument("--everything", action="store_true", help="all kinds of clips, whatever the YAML trains on")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--output", type=Path, default=None, help="JSON file for the figures")
    args = parser.parse_args()
    space = scene_space(args.config, args.everything)
    if args.size:
        space = dataclasses.replace(space, height=args.size, width=args.size)
    trained = [motion for motion in MOTIONS if motion in space.motions]
    motions = tuple(args.motions or trained)
    model = load_weights(args.config, args.weights)
    gaps = measure_gaps(model, held_out_scenes(motions, args.count * len(motions), args.seed, space), space, args.seed)
    table = Table("motion", "family", "scenes", "right", "wrong", "gap")
    for gap in gaps:
        figures = [f"{value:.3f}" for value in (gap.right, gap.wrong, gap.gap)]
        table.add_row(gap.motion, FAMILY_OF[gap.motion], str(gap.count), *figures)
    Console().print(table)
    if args.output:
        used = {"config": str(args.config), "weights": str(args.weights), "space": dataclasses.asdict(space)}
        rows = [dataclasses.asdict(gap) | {"gap": gap.gap} for gap in gaps]
        write_json(args.output, {"settings": used | {"seed": args.seed}, "rows": rows})


if __name__ == "__main__":
    main()

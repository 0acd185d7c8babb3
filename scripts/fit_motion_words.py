"""Fit what a frame carrier understands of captions: its motion network, from captions and the motion law alone.

python -m scripts.fit_motion_words configs/training_tiny/video.yaml configs/training_tiny/carrier.yaml \
    --weights checkpoints/tiny/model.safetensors --output logs/tiny/words/weights.safetensors

Captions of the clips of `data.params.train` are encoded by the text encoder once; no image is drawn. Minutes on a core
for what takes hours when every clip is rendered: the two ways of turning differ by one token. The result is the state
dict of the network, for `model.pretrained_checkpoint` beside the rest of the model.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.warm_start import warm_start
from lvdm.checkpoint.writing import write_safetensors
from lvdm.data.procedural import ProceduralConfig, Scene, caption, sample_scene
from lvdm.data.procedural_motion import true_generators
from lvdm.fit.training_setup import load_training_setup
from lvdm.modules.carrier import PROGRESS, TURNS

TURNING = ("clockwise", "counterclockwise")
NEAR = 0.05
"""Errors below this count by their square."""


def main() -> None:
    """Read, fit, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="+", type=Path, help="training YAMLs of the carrier, later ones win")
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint that holds the text encoder")
    parser.add_argument("--captions", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    setup = load_training_setup(args.base)
    model = setup.model.build().eval()
    warm_start(model, read_checkpoint(args.weights))
    space = setup.data.params.train.params
    motions = (*space.motions, *TURNING * (len(space.motions) // 4))  # a third of them turns
    train = scenes_of(dataclasses.replace(space, motions=motions), args.captions, f"words {args.seed}")
    text = encode(model, train)
    fit(model.frame_carrier.motion, text, train, space, args)
    test = scenes_of(dataclasses.replace(space, split="test"), 1000, f"test {args.seed}")
    for motion, error in errors(model.frame_carrier.motion, encode(model, test), test, space).items():
        print(f"{motion:18} off by {error:.4f} per unit of progress")
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if k.startswith("frame_carrier.motion.")}
    write_safetensors(args.output, tensors)


def scenes_of(space: ProceduralConfig, count: int, seed: str) -> list[Scene]:
    """Scenes of a space, by seed and number."""
    return [sample_scene(space, random.Random(f"{seed}/{index}")) for index in range(count)]


@torch.no_grad()
def encode(model: Any, scenes: Sequence[Scene]) -> Tensor:
    """Text tokens of the captions, (n, tokens, d)."""
    captions = [caption(scene) for scene in scenes]
    return torch.cat([model.embed_text(captions[i : i + 100]) for i in range(0, len(captions), 100)])


def fit(motion: torch.nn.Module, text: Tensor, scenes: Sequence[Scene], space: Any, args: argparse.Namespace) -> None:
    """AdamW at a rate that falls along a cosine, on batches of captions, each at all frames."""
    motion.requires_grad_(True)
    targets, strides = _targets(scenes, space)
    time, units = torch.arange(space.num_frames), torch.tensor([TURNS, TURNS, 1.0])
    optimizer = torch.optim.AdamW(motion.parameters(), args.learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    generator = torch.Generator().manual_seed(args.seed)
    for _ in range(args.steps):
        rows = torch.randint(len(scenes), (args.batch_size,), generator=generator)
        error = (motion(text[rows], strides[rows], time) - targets[:, rows]) / units
        loss = F.smooth_l1_loss(error, torch.zeros_like(error), beta=NEAR)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(motion.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    motion.requires_grad_(False)


@torch.no_grad()
def errors(motion: torch.nn.Module, text: Tensor, scenes: Sequence[Scene], space: Any) -> dict[str, float]:
    """Mean over the clips of each motion of the largest error of an entry in the middle of the clip, in units."""
    targets, strides = _targets(scenes, space)
    units = torch.tensor([TURNS, TURNS, 1.0])
    found = (motion(text, strides, torch.arange(space.num_frames)) - targets)[:, :, space.num_frames // 2] / units
    worst = found.abs().amax((0, 2, 3))
    names = [scene.motion for scene in scenes]
    return {m: worst[[i for i, own in enumerate(names) if own == m]].mean().item() for m in sorted(set(names))}


def _targets(scenes: Sequence[Scene], space: Any) -> tuple[Tensor, Tensor]:
    """True generators (2, n, t, 2, 3) in the carrier's unit of progress, and strides (n,)."""
    strides = torch.tensor([scene.frame_stride for scene in scenes])
    generators, progress = true_generators(scenes, space)
    own = torch.arange(space.num_frames) * strides[:, None] * PROGRESS  # n t
    ratio = progress / own.clamp(min=PROGRESS)
    ratio[:, 0] = ratio[:, 1]  # of frame 0 nothing can be said
    return generators[:, :, None] * ratio[..., None, None], strides


if __name__ == "__main__":
    main()

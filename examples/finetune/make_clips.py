"""A plain folder of videos to fine-tune on: things that hop, which the embedded model has never seen.

    python examples/finetune/make_clips.py outputs/hops [--count 36]

Writes 0000.mp4, ... of 128 x 128 pixels, each with its caption beside it in 0000.txt. Two of three things hop, as "a
red circle hops" says; the others move as the model knows it, so that its other words keep their meaning.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

import torch
from torch import Tensor

from lvdm.data.procedural import ProceduralConfig, Scene, caption, render, sample_scene
from lvdm.data.procedural_scene import DIRECTIONS, PATTERNS, PHOTOGRAPH, displacement
from lvdm.media.atomic import atomic_path
from lvdm.media.video_writer import write_video

FRAMES, SIDE, FPS = 31, 128, 16
HEIGHT = 0.2
"""How high a thing hops, in sides."""
HOPS = ProceduralConfig(
    split="train",
    height=SIDE,
    width=SIDE,
    num_frames=2,
    motions=("up",),
    backgrounds=(*PATTERNS, PHOTOGRAPH),
    min_radius=0.15,
)
MOVES = dataclasses.replace(HOPS, num_frames=FRAMES, motions=(*DIRECTIONS, "still"), frame_strides=(1,))


def hop(scene: Scene) -> Tensor:
    """(3, t, H, W) in [-1, 1]: up and down again, once: the second frames of scenes of growing and falling strides."""
    _, fall = displacement(dataclasses.replace(scene, frame_stride=1), HOPS)
    strides = [HEIGHT * SIDE / -fall * math.sin(math.pi * i / (FRAMES - 1)) for i in range(FRAMES)]
    frames = [dataclasses.replace(scene, frame_stride=stride) for stride in strides]  # type: ignore[arg-type]
    return render(frames, HOPS)[:, :, 1].transpose(0, 1)


def clip(number: int) -> tuple[Tensor, str]:
    """Clip `number` and its caption."""
    if number % 3 == 2:
        scene = sample_scene(MOVES, number)
        return render([scene], MOVES)[0], caption(scene)
    scene = sample_scene(HOPS, number)
    article = "an" if scene.color[0] in "aeiou" else "a"
    return hop(scene), f"{article} {scene.color} {scene.shape} hops"


def main() -> None:
    """Draw the clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=36)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for number in range(args.count):
        video, text = clip(number)
        write_video(torch.as_tensor(video), args.folder / f"{number:04}.mp4", FPS)
        with atomic_path(args.folder / f"{number:04}.txt") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

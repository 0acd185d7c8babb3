"""What the ways to more frames do to videos of the embedded model: loops, videos that go on, videos of 64 frames.

    python benchmarks/long_methods.py --output outputs/long_methods [--tables loops extension methods]

Held-out scenes of a sprite that moves, 10 steps. Rows that are in the JSON already are not made again; each has a
contact sheet. Loops: the step from the last frame to the first over the median step (1 for no seam). Extension: how far
each segment is off the video that was given, see `lvdm.pipeline.extension.Drift`. Methods: see the columns.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from motion_classes import HELD_OUT, held_out_scenes
from sheets import file_name, write_rows
from torch import Tensor

from lvdm.data.procedural import Scene, caption, render
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.evaluation.metrics.loops import distance, seam_ratio
from lvdm.media.atomic import write_json
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.extension import Extension, extend_video
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker, frame_difference
from lvdm.quality.motion import motion

SEED = 3
SPACE = dataclasses.replace(HELD_OUT, sprite_probability=1.0)


@dataclass(frozen=True)
class Bench:
    """The model, and where contact sheets go."""

    pipe: DynamiCrafterPipeline
    steps: int
    sheets: Path

    def scenes(self, count: int) -> list[Scene]:
        """Scenes that move at the normal stride."""
        return [dataclasses.replace(s, frame_stride=2) for s in held_out_scenes(tuple(DIRECTIONS), count, SEED, SPACE)]

    def videos(self, scenes: list[Scene], name: str, **values: Any) -> list[Tensor]:
        """One video (3, t, H, W) for each scene, and their sheet."""
        made = []
        for number, scene in enumerate(scenes):
            image = render([scene], SPACE)[0][:, 0]
            made.append(
                self.pipe(image, caption(scene), seed=number, num_inference_steps=self.steps, **values).video[0]
            )
        self.sheet(name, scenes, made)
        return made

    def sheet(self, name: str, scenes: list[Scene], videos: list[Tensor]) -> None:
        """Write the contact sheet of a row."""
        rows = [(caption(scene), video) for scene, video in zip(scenes, videos, strict=True)]
        write_rows(self.sheets / file_name(name), rows)


def loop_row(bench: Bench, name: str, method: str, num_frames: int) -> dict[str, float]:
    """Seam and motion of four videos."""
    videos = bench.videos(bench.scenes(4), name, long_video=method, num_frames=num_frames)
    return {
        "seam": fmean(seam_ratio(video) for video in videos),
        "motion_diagonals_per_s": fmean(motion(video, bench.pipe.card.playback_fps) for video in videos),
    }


def extension_row(bench: Bench, name: str, overlap: int, color_lock: float) -> dict[str, float]:
    """How far two segments are off, mean of three videos of true frames."""
    scenes = bench.scenes(3)
    settings = bench.pipe.settings(num_inference_steps=bench.steps, height=SPACE.height, width=SPACE.width)
    extension = Extension(2 * (settings.num_frames - overlap), overlap, color_lock)
    found: list[dict[str, float]] = []
    longer = []
    for number, (scene, video) in enumerate(zip(scenes, render(scenes, SPACE), strict=True)):
        segments = list(extend_video(bench.pipe, video, caption(scene), extension, settings, seed=number))
        longer.append(torch.cat([video, *(segment.frames for segment in segments)], dim=1))
        found.append(
            {
                f"{figure} {place}": value
                for place, segment in enumerate(segments, start=1)
                for figure, value in dataclasses.asdict(segment.drift).items()
            }
        )
    bench.sheet(name, scenes, longer)
    return {figure: fmean(row[figure] for row in found) for figure in found[0]}


def method_row(bench: Bench, name: str, method: str) -> dict[str, float]:
    """Fidelity and liveliness of two videos of 64 frames: grey levels, dB, diagonals per second."""
    scenes = bench.scenes(2)
    videos = bench.videos(scenes, name, long_video=method, num_frames=64)
    firsts = [render([scene], SPACE)[0][:, 0] for scene in scenes]
    return {
        "step": fmean(frame_difference(video) for video in videos),
        "from frame 0": 127.5 * fmean(distance(video, video[:, :1].expand_as(video)) for video in videos),
        "flicker": fmean(flicker(video) for video in videos),
        "motion_diagonals_per_s": fmean(motion(video, bench.pipe.card.playback_fps) for video in videos),
        "frame 0": fmean(psnr(video[:, 0], first) for video, first in zip(videos, firsts, strict=True)),
    }


Row = Callable[[Bench, str], dict[str, float]]
LOOPS = (("plain", 16), ("cyclic", 16), ("freenoise", 32), ("cyclic", 32), ("cyclic", 64))
EXTENSIONS = ((1, 0.0), (1, 1.0), (2, 1.0), (4, 0.0), (4, 1.0), (8, 1.0))
METHODS = ("plain", "freenoise", "freelong", "fifo")
TABLES: Mapping[str, Mapping[str, Row]] = {
    "loops": {f"{m} {frames}": partial(loop_row, method=m, num_frames=frames) for m, frames in LOOPS},
    "extension": {
        f"overlap {overlap}, lock {lock:g}": partial(extension_row, overlap=overlap, color_lock=lock)
        for overlap, lock in EXTENSIONS
    },
    "methods": {f"{method} 64": partial(method_row, method=method) for method in METHODS},
}
"""The rows of each table, by name."""


def main() -> None:
    """Measure the rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/long_methods"))
    parser.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "long_methods.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    bench = Bench(DynamiCrafterPipeline.from_pretrained("tiny", device="cpu"), options.steps, options.output)
    for table in options.tables:
        for name, row in TABLES[table].items():
            rows = found.setdefault(table, {})
            if name not in rows:
                rows[name] = row(bench, f"{table} {name}")
                write_json(file, found)
            print(f"| {name} | {' | '.join(f'{key} {value:.3g}' for key, value in rows[name].items())} |", flush=True)


if __name__ == "__main__":
    main()

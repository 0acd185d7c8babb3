"""What each plug-in does to videos of the embedded model: motion, fidelity, flicker and seconds, with a contact sheet.

    python benchmarks/plugins.py --output outputs/plugins

Rows that are in the JSON already are not made again. Seconds are those of one thread of the processor.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from motion_classes import HELD_OUT, held_out_scenes
from motion_measures import direction_error, psnr
from sheets import write_rows
from torch import Tensor

from lvdm.data.procedural import caption, render
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.evaluation.loops import distance
from lvdm.evaluation.motion import flicker, motion_magnitude
from lvdm.pipeline import DynamiCrafterPipeline

ROWS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "anchor soft": {"anchor": "soft"},
    "anchor exact": {"anchor": "exact"},
    "color_lock 1": {"color_lock": 1.0},
    "low_pass 0.5 until 0.1": {"low_pass": 0.5, "low_pass_until": 0.1},
    "low_pass 0.75 until 0.2": {"low_pass": 0.75, "low_pass_until": 0.2},
    "start_time 0.94": {"start_time": 0.94},
    "start_time 0.86": {"start_time": 0.86},
    "camera hold": {"camera": "hold"},
    "camera pan_left": {"camera": "pan_left"},
    "camera zoom_in": {"camera": "zoom_in"},
    "camera pan_left, all frequencies": {"camera": "pan_left:spatial=1,temporal=1,level=0.7"},
    "camera pan_left, begin at 0.7": {"camera": "pan_left:begin=yes,spatial=1,temporal=1,level=0.7"},
    "camera zoom_in, begin at 0.7": {"camera": "zoom_in:begin=yes,spatial=1,temporal=1,level=0.7"},
    "free_init 2": {"free_init": "iterations=2"},
    "free_u": {"free_u": "b1=1.1,b2=1.2,s1=0.9,s2=0.9"},
    "weak stg 1": {"weak": "stg:scale=1"},
    "weak stg 1, decoder": {"weak": "stg:scale=1,blocks=output"},
    "weak pag 1": {"weak": "pag:scale=1"},
    "weak pag 1, decoder": {"weak": "pag:scale=1,blocks=output"},
    "twice the side, scale off": {"height": 128, "width": 128, "scale": "off"},
    "twice the side, scale auto": {"height": 128, "width": 128, "scale": "auto"},
}
"""Settings by the name of the row."""

LARGE_SCENES = 2
"""Scenes at twice the side, which take five times as long."""


def measure(
    pipe: DynamiCrafterPipeline, given: Mapping[str, Any], count: int, steps: int, sheet: Path
) -> dict[str, Any]:
    """The figures of one row, over `count` held-out scenes of a sprite that moves in one of eight directions."""
    side = given.get("height", pipe.card.height)
    count = count if side == pipe.card.height else LARGE_SCENES
    space = dataclasses.replace(HELD_OUT, sprite_probability=1.0, height=side, width=side)
    scenes = [dataclasses.replace(s, frame_stride=2) for s in held_out_scenes(tuple(DIRECTIONS), count, 3, space)]
    truth = list(render(scenes, space))
    images, sentences = [video[:, 0] for video in truth], [caption(scene) for scene in scenes]
    begin = time.process_time()
    result = pipe(images, sentences, seed=list(range(count)), num_inference_steps=steps, **given)
    seconds = time.process_time() - begin
    videos = list(result.video)
    write_rows(sheet, list(zip(sentences, videos, strict=True)))
    errors = [direction_error(video, scene, space) for video, scene in zip(videos, scenes, strict=True)]
    return {
        "videos": count,
        "motion": fmean(motion_magnitude(video, pipe.card.playback_fps) for video in videos),
        "true_motion": fmean(motion_magnitude(video, pipe.card.playback_fps) for video in truth),
        "within_45": fmean(error <= 45 for error, _ in errors),
        "speed_ratio": fmean(ratio for _, ratio in errors),
        "first_frame_psnr": fmean(psnr(video[:, 0], own[:, 0]) for video, own in zip(videos, truth, strict=True)),
        "psnr": fmean(psnr(video, own) for video, own in zip(videos, truth, strict=True)),
        "flicker": fmean(flicker(video) for video in videos),
        "first_step_ratio": fmean(first_step_ratio(video) for video in videos),
        "seconds": seconds / count,
    }


def first_step_ratio(video: Tensor) -> float:
    """Distance of frame 1 from frame 0 over the median distance of later neighbours: 1 where nothing jumps."""
    steps = [distance(video[:, i], video[:, i + 1]) for i in range(video.shape[1] - 1)]
    return steps[0] / max(median(steps[1:]), 1e-6)


def main() -> None:
    """Measure the rows, and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/plugins"))
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--statistics", help="a file of `dynamicrafter stats analytic-init` for a row of its own")
    parser.add_argument("--rows", nargs="*")
    options = parser.parse_args()
    rows = dict(ROWS)
    if options.statistics:
        rows["start_time 0.86, statistics"] = {"start_time": 0.86, "start_statistics": options.statistics}
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "plugins.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    pipe = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu")
    for name in options.rows or rows:
        if name not in found:
            sheet = options.output / f"{name.replace(' ', '_').replace(',', '')}.png"
            found[name] = measure(pipe, rows[name], options.videos, options.steps, sheet)
            file.write_text(json.dumps(found, indent=1))
        row = found[name]
        figures = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()

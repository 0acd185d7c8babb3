"""What each plug-in does to videos of the embedded model: motion, fidelity, flicker, seconds, with contact sheets.

    python benchmarks/plugins.py --output outputs/plugins [--sheet benchmarks/plugins.png]

Rows that are in the output folder already are not made again. It gets a sheet of all videos for each row, and --sheet
one of all rows, each with its first video. Seconds are those of one thread of the processor, memory the most that torch
held for one video beyond the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from allocator_peak import allocator_peak
from motion_classes import HELD_OUT, held_out_scenes
from motion_measures import direction_error
from sheets import file_name, write_rows
from torch import Tensor

from lvdm.data.procedural import caption, render
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.evaluation.metrics.loops import distance
from lvdm.media.atomic import atomic_path, write_json
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker
from lvdm.quality.motion import motion

ROWS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "anchor soft": {"anchor": "soft"},
    "anchor exact": {"anchor": "exact"},
    "color_lock 1": {"color_lock": 1.0},
    "low_pass 0.5 until 0.1": {"low_pass": 0.5, "low_pass_until": 0.1},
    "low_pass 0.75 until 0.2": {"low_pass": 0.75, "low_pass_until": 0.2},
    "truncated_start 0.94": {"truncated_start": 0.94},
    "truncated_start 0.86": {"truncated_start": 0.86},
    "camera hold": {"camera": "hold"},
    "camera pan_left": {"camera": "pan_left"},
    "camera zoom_in": {"camera": "zoom_in"},
    "camera pan_left, all frequencies": {"camera": "pan_left:spatial=1,temporal=1,level=0.7"},
    "camera pan_left, begin at 0.7": {"camera": "pan_left:begin=yes,spatial=1,temporal=1,level=0.7"},
    "camera zoom_in, begin at 0.7": {"camera": "zoom_in:begin=yes,spatial=1,temporal=1,level=0.7"},
    "free_init 2": {"free_init": "iterations=2"},
    "free_u": {"free_u": "b1=1.1,b2=1.2,s1=0.9,s2=0.9"},
    "weak stg 1": {"perturbed_guidance": "stg:scale=1"},
    "weak stg 1, init": {"perturbed_guidance": "stg:scale=1,blocks=init"},
    "weak stg 1, decoder": {"perturbed_guidance": "stg:scale=1,blocks=output"},
    "weak pag 1": {"perturbed_guidance": "pag:scale=1"},
    "weak pag 1, decoder": {"perturbed_guidance": "pag:scale=1,blocks=output"},
    "twice the side, scale off": {"height": 128, "width": 128, "scale": "off"},
    "twice the side, scale auto": {"height": 128, "width": 128, "scale": "auto"},
    "twice the side, scale freescale": {"height": 128, "width": 128, "scale": "freescale"},
    "twice the side, freescale, no cascade": {"height": 128, "width": 128, "scale": "freescale:level=1"},
    "twice the side, freescale, cascade alone": {"height": 128, "width": 128, "scale": "freescale:until=0,fuse=no"},
}
"""Settings by the name of the row."""

COLUMNS: Mapping[str, str] = {
    "videos": "{:d}",
    "motion_diagonals_per_s": "{:.4f}",
    "within_45": "{:.0%}",
    "speed_ratio": "{:.2f}",
    "first_frame_psnr": "{:.1f}",
    "psnr": "{:.2f}",
    "flicker": "{:.2f}",
    "drift": "{:.1f}",
    "first_step_ratio": "{:.2f}",
    "seconds": "{:.1f}",
    "memory": "{:.0f}",
}
"""The figures of a row in the table, and how they are written."""


def measure(
    pipe: DynamiCrafterPipeline, settings: Mapping[str, Any], count: int, steps: int, sheet: Path
) -> dict[str, Any]:
    """The figures of one row, over `count` held-out scenes of a sprite that moves in one of eight directions."""
    side = settings.get("height", pipe.card.height)
    space = dataclasses.replace(HELD_OUT, sprite_probability=1.0, height=side, width=side)
    scenes = [dataclasses.replace(s, frame_stride=2) for s in held_out_scenes(tuple(DIRECTIONS), count, 3, space)]
    truth = list(render(scenes, space))
    images, prompts = [video[:, 0] for video in truth], [caption(scene) for scene in scenes]
    begin = time.process_time()
    result = pipe(images, prompts, seed=list(range(count)), num_inference_steps=steps, **settings)
    seconds = time.process_time() - begin
    videos = list(result.video)
    write_rows(sheet, list(zip(prompts, videos, strict=True)))
    with atomic_path(sheet.with_suffix(".pt")) as temporary:
        torch.save(videos[0].half(), temporary)
    one = partial(pipe, images[0], prompts[0], num_inference_steps=2, **settings)
    errors = [direction_error(video, scene, space) for video, scene in zip(videos, scenes, strict=True)]
    return {
        "videos": count,
        "motion_diagonals_per_s": fmean(motion(video, pipe.card.playback_fps) for video in videos),
        "true_motion_diagonals_per_s": fmean(motion(video, pipe.card.playback_fps) for video in truth),
        "within_45": fmean(error <= 45 for error, _ in errors),
        "speed_ratio": fmean(ratio for _, ratio in errors),
        "first_frame_psnr": fmean(psnr(video[:, 0], own[:, 0]) for video, own in zip(videos, truth, strict=True)),
        "psnr": fmean(psnr(video, own) for video, own in zip(videos, truth, strict=True)),
        "flicker": fmean(flicker(video) for video in videos),
        "drift": fmean(drift(video, own) for video, own in zip(videos, truth, strict=True)),
        "first_step_ratio": fmean(first_step_ratio(video) for video in videos),
        "seconds": seconds / count,
        "memory": allocator_peak(one) / 1e6,
    }


def drift(video: Tensor, truth: Tensor) -> float:
    """How far the brightness of the last four frames is from that of the true clip, in grey levels."""
    return 127.5 * abs(video[:, -4:].mean() - truth[:, -4:].mean()).item()


def first_step_ratio(video: Tensor) -> float:
    """Distance of frame 1 from frame 0 over the median distance of later neighbours: 1 where nothing jumps."""
    steps = [distance(video[:, i], video[:, i + 1]) for i in range(video.shape[1] - 1)]
    return steps[0] / max(median(steps[1:]), 1e-6)


def main() -> None:
    """Measure the rows, and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/plugins"))
    parser.add_argument("--videos", type=int, default=6)
    parser.add_argument("--large-videos", type=int, default=2, help="at twice the side, which takes five times as long")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--statistics", help="a file of `dynamicrafter stats analytic-init` for a row of its own")
    parser.add_argument("--late", help="another checkpoint for a row of its own, where it takes the late steps")
    parser.add_argument("--sheet", type=Path, help="PNG file with a video of each row")
    parser.add_argument("--rows", nargs="*")
    options = parser.parse_args()
    rows = dict(ROWS)
    if options.statistics:
        rows["truncated_start 0.86, statistics"] = {"truncated_start": 0.86, "start_statistics": options.statistics}
    if options.late:
        rows["second_stage_unet below 0.5"] = {"second_stage_unet": options.late, "second_stage_below": 0.5}
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "plugins.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    pipe = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu")
    shown = []
    for name in options.rows or rows:
        sheet = options.output / file_name(name)
        if name not in found:
            count = options.large_videos if "height" in rows[name] else options.videos
            found[name] = measure(pipe, rows[name], count, options.steps, sheet)
            write_json(file, found)
        figures = [written.format(found[name][column]) for column, written in COLUMNS.items()]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)
        shown.append((name, torch.load(sheet.with_suffix(".pt"), weights_only=True).float()))
    if options.sheet:
        write_rows(options.sheet, shown)


if __name__ == "__main__":
    main()

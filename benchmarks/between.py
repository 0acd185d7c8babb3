"""From image to image with the embedded model, which animates one: how near both ends come, and what is between.

    python benchmarks/between.py --output outputs/between

Held-out clips that move, whose first and last frames are given. Rows that are in the JSON already are not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from embedded_generation import load_pipeline
from motion_classes import HELD_OUT, MOVING, held_out_scenes, wrong_caption
from sheets import file_name, write_rows
from torch import Tensor

from lvdm.data.procedural import Scene, caption, render
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker

ROWS: Mapping[str, tuple[Mapping[str, Any], bool]] = {
    "plain, first image only": ({}, False),
    "plain, both images": ({}, True),
    "trf": ({"between": "trf"}, True),
    "trf, repeats 3": ({"between": "trf:repeats=3"}, True),
    "vibid": ({"between": "vibid"}, True),
    "vibid, back first": ({"between": "vibid:first=back"}, True),
    "trf, prompt back": ({"between": "trf", "between_prompt": ""}, True),
    "trf, repeats 3, prompt back": ({"between": "trf:repeats=3", "between_prompt": ""}, True),
    "vibid, prompt back": ({"between": "vibid", "between_prompt": ""}, True),
    "vibid, prompt back, exact": ({"between": "vibid", "between_prompt": "", "anchor": "exact"}, True),
}
"""Settings, and whether the last image is given. A prompt back says what the reversed clip shows."""


def measure(
    pipe: DynamiCrafterPipeline,
    row: tuple[Mapping[str, Any], bool],
    scenes: Sequence[Scene],
    truth: Sequence[Tensor],
    steps: int,
    sheet: Path,
) -> dict[str, Any]:
    """The figures of one row."""
    videos, begin = [], time.process_time()
    for number, (scene, own) in enumerate(zip(scenes, truth, strict=True)):
        given = dict(row[0])
        if "between_prompt" in given:
            given["between_prompt"] = wrong_caption(scene)  # of the opposite motion
        end = own[:, -1] if row[1] else None
        given |= {"num_inference_steps": steps, "frame_stride": scene.frame_stride}
        videos.append(pipe(own[:, 0], caption(scene), end_image=end, seed=number, **given).video[0])
    seconds = time.process_time() - begin
    write_rows(sheet, [(caption(scene), video) for scene, video in zip(scenes, videos, strict=True)])
    pairs = list(zip(videos, truth, strict=True))
    return {
        "first": fmean(psnr(video[:, 0], own[:, 0]) for video, own in pairs),
        "last": fmean(psnr(video[:, -1], own[:, -1]) for video, own in pairs),
        "between": fmean(psnr(video[:, 1:-1], own[:, 1:-1]) for video, own in pairs),
        "flicker": fmean(flicker(video) for video in videos),
        "seconds": seconds / len(videos),
    }


def cross_fades(truth: Sequence[Tensor]) -> dict[str, Any]:
    """What a cross-fade of the two images comes to."""
    fades = [torch.lerp(v[:, :1], v[:, -1:], torch.linspace(0, 1, v.shape[1])[:, None, None]) for v in truth]
    between = fmean(psnr(fade[:, 1:-1], own[:, 1:-1]) for fade, own in zip(fades, truth, strict=True))
    return {"between": between, "flicker": fmean(flicker(fade) for fade in fades)}


def main() -> None:
    """Measure the rows, and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/between"))
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "between.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    pipe = load_pipeline("tiny", None)
    space = dataclasses.replace(HELD_OUT, num_frames=pipe.card.num_frames)
    scenes = held_out_scenes(MOVING, options.videos, 2024, space)
    truth = [render([scene], space)[0] for scene in scenes]
    found["cross-fade"] = cross_fades(truth)
    for name in options.rows or ROWS:
        if name not in found:
            sheet = options.output / file_name(name)
            found[name] = measure(pipe, ROWS[name], scenes, truth, options.steps, sheet)
            file.write_text(json.dumps(found, indent=1))
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{key} {value:.3g}' for key, value in row.items())} |", flush=True)


if __name__ == "__main__":
    main()

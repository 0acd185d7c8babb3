"""Fast modes against the plain path on held-out scenes: what each costs, and what it leaves of the videos.

    python benchmarks/fast_modes.py --scenes 64 --output outputs/fast_modes
    python benchmarks/fast_modes.py --scenes 64 --guidance 2 --output outputs/fast_modes_guided

Every mode makes the same scenes of the eight directions, one video at a time in one thread. `videos.jsonl` in the
folder gets a line for each video, and a run goes on where an earlier one was interrupted. Then `table.md`: median CPU
time and operations of a video as a part of the plain path's, PSNR against the plain video and against the true clip,
how many sprites go where the caption says (within 45 degrees), frame 0 against the image; means with 95 % intervals
over the scenes. "front": no other mode is faster and nearer to the plain video.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from embedded_generation import load_pipeline
from motion_classes import HELD_OUT, held_out_scenes
from motion_measures import direction_error
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.data.procedural import ProceduralConfig, Scene, caption, render
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.evaluation.resampling import bootstrap_mean
from lvdm.model_card import ModelCard
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import psnr
from lvdm.request.effort import FAST, OfCard, values_for

PLAIN = "plain"
HALF = {"sampler": "unipc", "num_inference_steps": OfCard(0.5)}
DEEP_CACHE = {"deep_cache": "interval=2,blocks=2"}
FAST_MODES: dict[str, Mapping[str, Any]] = {f"--fast {name}": bundle for name, bundle in FAST.items()}
ALWAYS: dict[str, Mapping[str, Any]] = {
    PLAIN: {},
    **FAST_MODES,
    "ddim, half of the steps": {"num_inference_steps": OfCard(0.5)},
    "unipc, half of the steps": HALF,
    "unipc, 4 of 10 steps": {"sampler": "unipc", "num_inference_steps": OfCard(0.4)},
    "deep cache, every 2nd step": DEEP_CACHE,
    "deep cache, every 5th step": {"deep_cache": "interval=5,blocks=2"},
    "unipc, half of the steps; deep cache, every 2nd": {**HALF, **DEEP_CACHE},
}
GUIDED: dict[str, Mapping[str, Any]] = {
    "guidance in the first half": {"guidance_steps": "until=0.5"},
    "guidance in the second half": {"guidance_steps": "after=0.5"},
    "all branches every 2nd step": {"guidance_steps": "interval=2"},
    "all branches every 3rd step": {"guidance_steps": "interval=3"},
    "all branches and deep cache, every 2nd step": {"guidance_steps": "interval=2", **DEEP_CACHE},
    "unipc, half of the steps; all branches every 2nd": {**HALF, "guidance_steps": "interval=2"},
}
"""Besides, where the model is sampled with guidance."""


def modes_of(card: ModelCard, guided: bool) -> dict[str, dict[str, Any]]:
    """The settings of each mode for a model; of two that come to the same, the first."""
    found: dict[str, dict[str, Any]] = {}
    for name, bundle in {**ALWAYS, **(GUIDED if guided else {})}.items():
        values = values_for(bundle, card)
        if not guided:
            values.pop("guidance_steps", None)
        if values not in found.values():
            found[name] = values
    return found


def scenes_of(pipe: DynamiCrafterPipeline, count: int, seed: int) -> tuple[ProceduralConfig, list[Scene]]:
    """Held-out scenes of the model's size, the eight directions in turn."""
    card = pipe.card
    space = dataclasses.replace(HELD_OUT, height=card.height, width=card.width, num_frames=card.num_frames)
    return space, held_out_scenes(tuple(DIRECTIONS), count, seed, space)


def make_video(
    pipe: DynamiCrafterPipeline, truth: Tensor, scene: Scene, seed: int, values: Mapping[str, Any]
) -> Tensor:
    """The video (3, t, H, W) of a scene."""
    video: Tensor = pipe(truth[:, 0], caption(scene), seed=seed, frame_stride=scene.frame_stride, **dict(values)).video[
        0
    ]
    return video.float().clamp(-1, 1)


def measure(
    pipe: DynamiCrafterPipeline, modes: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any], args: Any
) -> list[dict[str, Any]]:
    """A line for each mode and scene; those that the file has are not made again."""
    path: Path = args.output / "videos.jsonl"
    args.output.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(row["mode"], row["scene"]) for row in rows}
    space, scenes = scenes_of(pipe, args.scenes, args.seed)
    for number, scene in enumerate(scenes):
        missing = [name for name in modes if (name, number) not in known]
        if not missing:
            continue
        truth = render([scene], space)[0]
        plain = truth
        for name in [PLAIN, *(name for name in missing if name != PLAIN)]:
            began = time.process_time()
            video = make_video(pipe, truth, scene, args.seed + number, {**common, **modes[name]})
            seconds = time.process_time() - began
            if name == PLAIN:
                plain = video
            if name not in missing:
                continue
            error, speed = direction_error(video, scene, space)
            row = {"mode": name, "scene": number, "seconds": seconds, "right": error <= 45, "speed": speed}
            row |= {"to_plain": psnr(video, plain), "to_truth": psnr(video, truth)}
            row["frame_0"] = psnr(video[:, 0], truth[:, 0])
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return rows


def operations(
    pipe: DynamiCrafterPipeline, modes: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any], seed: int
) -> dict[str, int]:
    """Floating-point operations of one video, by mode."""
    space, (scene,) = scenes_of(pipe, 1, seed)
    truth, found = render([scene], space)[0], {}
    for name, values in modes.items():
        with FlopCounterMode(display=False) as counter:
            make_video(pipe, truth, scene, seed, {**common, **values})
        found[name] = counter.get_total_flops()
    return found


def table(rows: Sequence[Mapping[str, Any]], counted: Mapping[str, int]) -> list[str]:
    """Markdown, one line for each mode, the plain one first."""
    names = ("mode", "scenes", "CPU time", "operations", "to the plain video", "to the truth", "right", "frame 0")
    lines = ["| " + " | ".join((*names, "front")) + " |", "|---" * (len(names) + 1) + "|"]
    by_mode = {name: [row for row in rows if row["mode"] == name] for name in counted}
    seconds = {name: median(row["seconds"] for row in own) for name, own in by_mode.items()}
    near = {name: fmean(row["to_plain"] for row in own) for name, own in by_mode.items() if name != PLAIN}
    for name, own in by_mode.items():
        better = [n for n in near if n != name and seconds[n] <= seconds[name] and near[n] >= near.get(name, 0)]
        cells = [name, str(len(own)), f"{seconds[name] / seconds[PLAIN]:.2f}"]
        cells += [f"{counted[name] / counted[PLAIN]:.2f}"]
        cells += ["" if name == PLAIN else interval(own, "to_plain", " dB"), interval(own, "to_truth", " dB")]
        cells += [interval(own, "right", " %", 100), interval(own, "frame_0", " dB")]
        cells += ["" if better or name == PLAIN else "yes"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def interval(rows: Sequence[Mapping[str, Any]], figure: str, unit: str, factor: float = 1.0) -> str:
    """Mean and interval of a figure."""
    values = [factor * float(row[figure]) for row in rows]
    found = bootstrap_mean(values, seed=0)
    return f"{fmean(values):.1f}{unit} ({found.low:.1f} to {found.high:.1f})"


def main() -> None:
    """Make, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="preset, folder or YAML with a sampling block")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--guidance", type=float, default=None, help="its scale; the model's own by default")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--output", type=Path, default=Path("outputs/fast_modes"), help="folder")
    args = parser.parse_args()
    if args.scenes < 1:
        parser.error(f"--scenes should be at least 1, it is {args.scenes}")
    torch.set_num_threads(1)  # so that CPU time is time at work
    pipe = load_pipeline(args.model, None)
    common = {} if args.guidance is None else {"guidance_scale": args.guidance}
    modes = modes_of(pipe.card, pipe.settings(**common).num_branches > 1)
    rows = measure(pipe, modes, common, args)
    lines = table([row for row in rows if row["scene"] < args.scenes], operations(pipe, modes, common, args.seed))
    (args.output / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

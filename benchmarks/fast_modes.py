"""Fast modes against the plain path on held-out scenes: what each costs, and what it leaves of the videos.

    python benchmarks/fast_modes.py --models tiny small --scenes 64 24
    python benchmarks/fast_modes.py --search --models tiny --scenes 8

Every model makes the same scenes with its own guidance and with guidance 2, one video at a time in one thread: a
direction of a sprite and another class of motion in turn, on backgrounds on which all classes can be distinguished.
`videos.jsonl` in the folder gets a line for each video, and a run goes on where an earlier one with the same weights
was interrupted. `table.md` and `front.svg` are made of it, see `fast_modes_report`. `--search` tries a grid of steps,
solvers, deep caches and guidance steps in the place of the modes of docs/speed.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from embedded_generation import load_pipeline
from fast_modes_report import PLAIN, front_drawing, tables
from motion_classes import HELD_OUT, SPREAD, TELLING_BACKGROUNDS, held_out_scenes
from motion_measures import direction_error, nearest_motions
from rich.progress import track
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvdm.checkpoint import checkpoint_hash
from lvdm.data.procedural import ProceduralConfig, Scene, caption, render
from lvdm.data.procedural_scene import DIRECTIONS
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import psnr
from lvdm.request.effort import FAST, OfCard, values_for

Values = Mapping[str, Any]
OTHERS = tuple(motion for motion in SPREAD if motion not in DIRECTIONS)
UNIPC, HALF = {"sampler": "unipc"}, {"num_inference_steps": OfCard(0.5)}
EVERY_2ND, EVERY_3RD = {"deep_cache": "interval=2,blocks=2"}, {"deep_cache": "interval=3,blocks=2"}
MODES: Mapping[str, Values] = {
    PLAIN: {},
    **{f"--fast {name}": bundle for name, bundle in FAST.items()},
    "deep cache, every 2nd step": EVERY_2ND,
    "unipc, 1/2 of the steps": {**UNIPC, **HALF},
    "unipc, 1/4 of the steps": {**UNIPC, "num_inference_steps": OfCard(0.25)},
    "unipc, 1/2 of the steps; deep cache and all branches every 2nd": {
        **{**UNIPC, **HALF, **EVERY_2ND},
        "guidance_steps": "interval=2",
    },
    "unipc, 3/4 of the steps; deep cache, every 3rd": {**UNIPC, "num_inference_steps": OfCard(0.75), **EVERY_3RD},
    "guidance in 1/2 of the steps": {"guidance_steps": "until=0.5"},
    "all branches every 2nd step": {"guidance_steps": "interval=2"},
}
"""Shares of the card's steps. Of modes that come to the same values, the first is measured."""


@dataclass(frozen=True)
class Setting:
    """A model, its weights, and the scale of guidance; None is the model's own."""

    model: str
    weights: str
    guidance: float | None

    def values(self, values: Values) -> Values:
        """With the guidance, as the pipeline takes them."""
        return values if self.guidance is None else {"guidance_scale": self.guidance, **values}


def modes_of(modes: Mapping[str, Values], pipe: DynamiCrafterPipeline, setting: Setting) -> dict[str, Values]:
    """The values of each mode for a model; of two that come to the same, the first."""
    found: dict[str, Values] = {}
    for name, bundle in modes.items():
        values = values_for(bundle, pipe.card)
        if pipe.settings(**setting.values({})).num_branches == 1:
            values.pop("guidance_steps", None)
        if values not in found.values():
            found[name] = values
    return found


def grid() -> dict[str, Values]:
    """Everything that `--search` tries, by a name that says what it is."""
    caches = (None, "interval=2,blocks=1", "interval=2,blocks=2", "interval=3,blocks=2", "interval=8,blocks=2")
    guidance = (None, "until=0.5", "interval=2", "interval=8")
    found: dict[str, Values] = {PLAIN: {}}
    for steps, sampler, cache, branches in itertools.product((8, 6, 4, 3, 2, 1), ("ddim", "unipc"), caches, guidance):
        values = {"num_inference_steps": OfCard(steps / 8), "sampler": sampler}
        values |= {"deep_cache": cache} if cache and steps > 1 else {}
        values |= {"guidance_steps": branches} if branches and steps > 1 else {}
        if values["sampler"] == "ddim" or steps > 2:  # with two steps or one the solvers are the same
            found[f"{sampler} {steps}/8; {cache or 'no'} cache; guidance {branches or 'always'}"] = values
    return found


def scenes_of(pipe: DynamiCrafterPipeline, count: int, seed: int) -> tuple[ProceduralConfig, list[Scene]]:
    """Held-out scenes of the model's size: a direction and another motion in turn."""
    card = pipe.card
    space = dataclasses.replace(HELD_OUT, height=card.height, width=card.width, num_frames=card.num_frames)
    space = dataclasses.replace(space, backgrounds=TELLING_BACKGROUNDS)
    pairs = zip(itertools.cycle(DIRECTIONS), itertools.cycle(OTHERS), strict=False)
    motions = tuple(itertools.islice(itertools.chain.from_iterable(pairs), count))
    return space, held_out_scenes(motions, count, seed, space)


def make_video(pipe: DynamiCrafterPipeline, image: Tensor, scene: Scene, seed: int, values: Values) -> Tensor:
    """The video (3, t, H, W) of a scene that begins with `image` (3, H, W)."""
    video: Tensor = pipe(image, caption(scene), seed=seed, frame_stride=scene.frame_stride, **values).video[0]
    return video.float().clamp(-1, 1)


def measured(
    pipe: DynamiCrafterPipeline,
    setting: Setting,
    modes: Mapping[str, Values],
    scene: Scene,
    space: ProceduralConfig,
    seed: int,
    count_operations: bool,
) -> Iterator[dict[str, Any]]:
    """What each of `modes` makes of one scene, beside the plain video that is made with them."""
    truth = render([scene], space)[0]
    videos, rows = dict[str, Tensor](), dict[str, dict[str, Any]]()
    for name, values in {PLAIN: {}, **modes}.items():
        given = setting.values(values)
        began = time.process_time()
        videos[name] = make_video(pipe, truth[:, 0], scene, seed, given)
        rows[name] = {"seconds": time.process_time() - began}
        if count_operations:
            with FlopCounterMode(display=False) as counter:
                make_video(pipe, truth[:, 0], scene, seed, given)
            rows[name]["operations"] = counter.get_total_flops()
    motions = nearest_motions(list(videos.values()), scene, space)
    for (name, video), motion in zip(videos.items(), motions, strict=True):
        row = rows[name] | {"plain_seconds": rows[PLAIN]["seconds"], "motion": motion == scene.motion}
        if scene.motion in DIRECTIONS:
            row["direction"] = direction_error(video, scene, space)[0] <= 45
        row |= {"to_plain": psnr(video, videos[PLAIN]), "to_truth": psnr(video, truth)}
        row["frame_0"] = psnr(video[:, 0], truth[:, 0])
        if name in modes:
            yield {"values": modes[name], **row}


def measure(setting: Setting, pipe: DynamiCrafterPipeline, count: int, args: argparse.Namespace) -> dict[str, Any]:
    """The rows of every mode, in the order of scenes; those that the file has are not measured again."""
    path: Path = args.output / "videos.jsonl"
    modes = modes_of(grid() if args.search else MODES, pipe, setting)
    space, scenes = scenes_of(pipe, count, args.seed)
    about = {**dataclasses.asdict(setting), "seed": args.seed}
    known: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(line)
        known[place(row, row["scene"], row["values"])] = row
    make_video(pipe, render(scenes[:1], space)[0, :, 0], scenes[0], args.seed, setting.values({}))  # warm up
    for number, scene in enumerate(track(scenes, f"{setting.model}, guidance {setting.guidance or 'its own'}")):
        missing = {name: values for name, values in modes.items() if place(about, number, values) not in known}
        if not missing:
            continue
        for row in measured(pipe, setting, missing, scene, space, args.seed + number, number == 0):
            row = {**about, "scene": number, **row}
            known[place(row, number, row["values"])] = row
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return {name: [known[place(about, i, values)] for i in range(count)] for name, values in modes.items()}


def place(about: Mapping[str, Any], scene: int, values: Values) -> str:
    """What one measurement is known by."""
    names = [about[name] for name in ("model", "weights", "guidance", "seed")]
    return json.dumps([*names, scene, values], sort_keys=True)


def main() -> None:
    """Make, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "small"], help="presets, folders or YAML files")
    parser.add_argument("--scenes", nargs="+", type=int, default=[64, 24], help="of each model; the last of the others")
    parser.add_argument("--search", action="store_true", help="a grid of settings in the place of the modes")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--output", type=Path, default=Path("outputs/fast_modes"), help="folder")
    args = parser.parse_args()
    if min(args.scenes) < 1:
        parser.error(f"--scenes should be at least 1, it is {min(args.scenes)}")
    args.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # so that CPU time is time at work
    found: dict[tuple[str, str], Any] = {}
    for model, count in itertools.zip_longest(args.models, args.scenes[: len(args.models)], fillvalue=args.scenes[-1]):
        pipe = load_pipeline(model, None)
        for guidance in (None, 2.0):
            setting = Setting(model, checkpoint_hash(pipe.files.checkpoint), guidance)
            scale = pipe.settings(**setting.values({})).guidance_scale
            found[model, f"guidance {scale:g}"] = measure(setting, pipe, count, args)
            (args.output / "table.md").write_text(tables(found), encoding="utf-8")
            (args.output / "front.svg").write_text(front_drawing(found), encoding="utf-8")
    print(tables(found))


if __name__ == "__main__":
    main()

"""Does a character stay itself from shot to shot? Its colours and its shape against its reference image.

    python benchmarks/story_identity.py --count 12 --output outputs/story_identity

For each of `count` characters (a shape in a colour, over a place) `lvdm.story` makes a story: `laid out` is composed
with the reference, `second` and `third` go on from the shot before, `without` is the first shot without the reference:
the same place, prompt and seed, and nobody in the first frame. What differs from the place in the last frame is the
character.

colours  histogram intersection of its pixels with those of the reference (Swain and Ballard 1991), 4 bins a channel
shape    intersection over union of both outlines, each scaled to its bounding box

Both are 1 for the reference itself, and 0 where nobody is seen. `composed` is the first frame before anything is made:
what can be reached at this size.
Intervals are of 95 %, by bootstrap over the characters; those of differences draw the same characters.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image
from story_images import character, place

from lvdm.data.procedural_scene import COLORS, SHAPES
from lvdm.evaluation.resampling import bootstrap_mean, paired_difference
from lvdm.media.atomic import write_json
from lvdm.media.video_reader import VideoReader
from lvdm.story.film import Film
from lvdm.story.folder import StoryFolder
from lvdm.story.making import make_story
from lvdm.story.planning import plan_story
from lvdm.story.reading import parse_story

SIDE = 128
SHOTS = ("laid out", "second", "third", "without")
WAYS = {"right": (0.05, 0.3, 0.45, 0.7), "left": (0.55, 0.3, 0.95, 0.7), "down": (0.3, 0.05, 0.7, 0.45)}
"""Where a character moves to, and the box that it begins in."""
DIFFERENT = 48
"""Levels of the channel that differs most, from which on a pixel is not the place's."""
MIN_PIXELS = 12
BINS, OUTLINE = 4, 32


def likeness(frame: np.ndarray, background: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Colours and shape of what a frame (H, W, 3) shows over its background, against a reference (h, w, 4); uint8."""
    seen = np.abs(frame.astype(int) - background.astype(int)).max(axis=-1) >= DIFFERENT
    if seen.sum() < MIN_PIXELS:
        return {"colours": 0.0, "shape": 0.0}
    opaque = reference[..., 3] >= 128
    colours = np.minimum(_histogram(frame[seen]), _histogram(reference[opaque][:, :3])).sum()
    outlines = _outline(seen), _outline(opaque)
    union = (outlines[0] | outlines[1]).sum()
    return {"colours": float(colours), "shape": float((outlines[0] & outlines[1]).sum() / union)}


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """The shares of colours (n, 3) in `BINS` steps a channel."""
    steps = pixels.astype(int) * BINS // 256
    counts = np.bincount(steps @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3)
    found: np.ndarray = counts / counts.sum()
    return found


def _outline(mask: np.ndarray) -> np.ndarray:
    """A mask within its bounding box, scaled to a square."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scaled = Image.fromarray(inside.astype(np.uint8) * 255).resize((OUTLINE, OUTLINE), Image.Resampling.BILINEAR)
    return np.asarray(scaled) >= 128


def story_of(number: int, folder: Path, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """The script of a character, whose images are written into `folder`, and its reference."""
    draw = random.Random(f"{seed}/{number}")
    shape, color = draw.choice(SHAPES), draw.choice(sorted(set(COLORS) - {"white", "black"}))
    way, box = draw.choice(sorted(WAYS.items()))
    reference = character(shape, color)
    folder.mkdir(parents=True, exist_ok=True)
    reference.save(folder / "reference.png")
    level = draw.uniform(0.45, 0.75)
    place((level, level, level + 0.05), (level - 0.1, level - 0.1, level)).save(folder / "place.png")
    article = "an" if color[0] in "aeiou" else "a"
    prompt = "Hero moves to the right" if way == "right" else f"Hero moves {'to the left' if way == 'left' else way}"
    placed = {"place": "stage", "characters": [{"character": "Hero", "box": list(box)}]}
    shots: list[dict[str, Any]] = [
        {"name": SHOTS[0], "compose": placed, "prompt": prompt},
        {"name": SHOTS[1], "from": SHOTS[0], "prompt": "Hero stays still"},
        {"name": SHOTS[2], "from": SHOTS[1], "prompt": "Hero stays still"},
        {"name": SHOTS[3], "compose": {"place": "stage"}, "prompt": prompt},
    ]
    characters = {"Hero": {"image": "reference.png", "description": f"{article} {color} {shape}"}}
    tree = {"size": f"{SIDE}x{SIDE}", "seed": seed, "characters": characters, "shots": shots}
    return {**tree, "places": {"stage": {"image": "place.png"}}}, np.asarray(reference)


def measure(number: int, output: Path, seed: int) -> dict[str, dict[str, float]]:
    """The likeness of a character in each of its shots."""
    folder = output / f"{number:03d}"
    tree, reference = story_of(number, folder, seed)
    plan = plan_story(parse_story(tree, f"character {number}", folder), StoryFolder(folder, "story"))
    background = np.asarray(Image.open(plan.folder.frame(SHOTS[3], "first")).convert("RGB"))
    composed = np.asarray(Image.open(plan.folder.frame(SHOTS[0], "first")).convert("RGB"))
    found = {"composed": likeness(composed, background, reference)}
    for event in make_story(plan):
        if not isinstance(event, Film):
            with VideoReader(event.video.output) as reader:
                last = reader.read([reader.num_frames - 1])[0].numpy()
            found[event.video.name] = likeness(last, background, reference)
    return found


def table(rows: list[Mapping[str, Mapping[str, float]]], seed: int) -> dict[str, Any]:
    """Means with intervals, and the differences to the shot that is laid out."""
    found: dict[str, Any] = {"n": len(rows)}
    for name in ("composed", *SHOTS):
        for what in ("colours", "shape"):
            values = [row[name][what] for row in rows]
            of_all = bootstrap_mean(values, seed)
            entry: dict[str, Any] = {"mean": fmean(values), "low": of_all.low, "high": of_all.high}
            if name in SHOTS[1:]:
                apart = paired_difference([row[SHOTS[0]][what] for row in rows], values, seed)
                entry |= {"laid_out_minus_this": [apart.low, apart.high]}
            found[f"{name}, {what}"] = entry
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("outputs/story_identity"))
    args = parser.parse_args()
    rows: list[Mapping[str, Mapping[str, float]]] = []
    for number in range(args.count):
        rows.append(measure(number, args.output, args.seed))
        print(number, {name: {k: round(v, 2) for k, v in values.items()} for name, values in rows[-1].items()})
    found = table(rows, args.seed)
    write_json(args.output / "identity.json", found)
    for name, entry in found.items():
        print(name, entry)


if __name__ == "__main__":
    main()

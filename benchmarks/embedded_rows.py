"""The measurements of the embedded model, one function each: figures as JSON holds them, with their number."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from embedded_generation import Settings, animate, generate, round_trip
from motion_classes import (
    FAMILIES,
    FAMILY_OF,
    HELD_OUT,
    MOVING,
    SPREAD,
    TELLING_BACKGROUNDS,
    held_out_scenes,
    wrong_caption,
)
from motion_measures import direction_error, nearest_motions, speed_ratio
from photographs import PROMPTS, find_photographs, move_camera, read_photograph, register
from rich.progress import track
from sheets import write_rows
from torch import Tensor

from lvdm.data.procedural import ProceduralConfig, Scene, caption, render
from lvdm.data.procedural_scene import DIRECTIONS, MOTIONS
from lvdm.evaluation.metrics.loops import distance, seam_ratio
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.psnr import psnr

FOUR = ("right", "upper left", "grow", "pan left")
"""Motions that one first frame is given."""
DIFFERENT = 0.5
"""Two generated videos differ when their distance is at least this part of that of the true ones."""


@dataclass(frozen=True)
class Bench:
    """What is measured, on how many scenes, and where contact sheets go."""

    pipe: DynamiCrafterPipeline
    settings: Settings
    count: int
    control_count: int
    sheets: Path
    photographs: Path | None = None

    @property
    def space(self) -> ProceduralConfig:
        """Held-out clips of the model's size."""
        card = self.pipe.card
        return dataclasses.replace(HELD_OUT, height=card.height, width=card.width, num_frames=card.num_frames)

    @property
    def telling_space(self) -> ProceduralConfig:
        """Those on whose background every class of motion can be distinguished from every other."""
        return dataclasses.replace(self.space, backgrounds=TELLING_BACKGROUNDS)

    def drawn(self, motions: Sequence[str], count: int, space: ProceduralConfig) -> tuple[list[Scene], list[Tensor]]:
        """Scenes, and their true videos."""
        scenes = held_out_scenes(tuple(motions), count, self.settings.seed, space)
        return scenes, [render([scene], space)[0] for scene in scenes]


def autoencoder(bench: Bench) -> dict[str, Any]:
    """Reconstruction of held-out clips."""
    _, truth = bench.drawn(SPREAD, bench.count, bench.space)
    figures = [psnr(video, own) for video, own in zip(round_trip(bench.pipe, truth), truth, strict=True)]
    return {"n": len(figures), "psnr": fmean(figures), "psnr_worst": min(figures)}


def directions(bench: Bench) -> dict[str, Any]:
    """Does the sprite go where the caption says, of eight directions? Always compared with the scene's own caption."""
    scenes, truth = bench.drawn(tuple(DIRECTIONS), bench.count, bench.space)
    names, control = list(DIRECTIONS), bench.control_count
    turned = [dataclasses.replace(s, motion=names[(names.index(s.motion) + 2) % 8]) for s in scenes[:control]]
    videos = _kinds(bench, scenes, truth, [caption(scene) for scene in turned])
    return {name: direction_row(some, truth, scenes, bench.space) for name, some in videos.items()}


def classes(bench: Bench) -> dict[str, Any]:
    """Which of all motions does a video show? The class whose rendering of the true scene is nearest."""
    return _classes(bench, SPREAD)


def turning(bench: Bench) -> dict[str, Any]:
    """The same of things that turn alone, the rarest and the hardest of `classes`."""
    return _classes(bench, FAMILIES["turn"])


def _classes(bench: Bench, motions: Sequence[str]) -> dict[str, Any]:
    space = bench.telling_space
    scenes, truth = bench.drawn(motions, bench.count, space)
    videos = _kinds(bench, scenes, truth, [wrong_caption(scene) for scene in scenes[: bench.control_count]])
    found: dict[str, list[str]] = {name: [] for name in videos}
    for i, scene in enumerate(track(scenes, description="classes")):
        here = {name: some[i] for name, some in videos.items() if i < len(some)}
        for name, motion in zip(here, nearest_motions(list(here.values()), scene, space), strict=True):
            found[name].append(motion)
    return {name: _class_row(videos[name], motions, scenes, space) for name, motions in found.items()}


def four_prompts(bench: Bench) -> dict[str, Any]:
    """One first frame, four captions: are all four obeyed, and do the videos differ as the true ones do?"""
    space = dataclasses.replace(bench.telling_space, frame_strides=(3,), speeds=("normal",))
    firsts = held_out_scenes(("right",), max(1, bench.count // 8), bench.settings.seed, space)
    scenes = [dataclasses.replace(scene, motion=motion) for scene in firsts for motion in FOUR]
    truth = [render([scene], space)[0] for scene in scenes]
    videos = animate(bench.pipe, truth, scenes, [caption(scene) for scene in scenes], bench.settings)
    right = [nearest_motions([v], s, space)[0] == s.motion for v, s in zip(videos, scenes, strict=True)]
    shares = []
    for start in range(0, len(scenes), 4):
        pairs = list(itertools.combinations(range(start, start + 4), 2))
        shares.append(min(distance(videos[i], videos[j]) / distance(truth[i], truth[j]) for i, j in pairs))
    write_rows(
        bench.sheets / "four_prompts.png", [(caption(s), v) for s, v in zip(scenes[:16], videos[:16], strict=True)]
    )
    fours = [all(right[start : start + 4]) for start in range(0, len(right), 4)]
    return {
        "n": len(firsts),
        "motions": list(FOUR),
        "prompts_right": fmean(right),
        "all_four_right": fmean(fours),
        "all_pairs_differ": fmean(share >= DIFFERENT for share in shares),
        "least_distance_over_true": min(shares),
        "first_frame_psnr": fmean(psnr(v[:, 0], own[:, 0]) for v, own in zip(videos, truth, strict=True)),
    }


def interpolation(bench: Bench) -> dict[str, Any]:
    """Given both ends of clips that move: are they reached, and is the middle better than a cross-fade?"""
    scenes, truth = bench.drawn(MOVING, bench.count, bench.space)
    strides, prompts = [s.frame_stride for s in scenes], [caption(s) for s in scenes]
    firsts, lasts = [v[:, 0] for v in truth], [v[:, -1] for v in truth]
    videos = generate(bench.pipe, firsts, strides, prompts, bench.settings, ends=lasts)
    fades = [_cross_fade(video) for video in truth]
    pairs = list(zip(videos, truth, strict=True))
    write_rows(
        bench.sheets / "interpolation.png", [(caption(s), v) for s, v in zip(scenes[:16], videos[:16], strict=True)]
    )
    return {
        "n": len(scenes),
        "first_frame_psnr": fmean(psnr(v[:, 0], own[:, 0]) for v, own in pairs),
        "last_frame_psnr": fmean(psnr(v[:, -1], own[:, -1]) for v, own in pairs),
        "middle_psnr": fmean(psnr(v[:, 1:-1], own[:, 1:-1]) for v, own in pairs),
        "cross_fade_middle_psnr": fmean(psnr(v[:, 1:-1], own[:, 1:-1]) for v, own in zip(fades, truth, strict=True)),
        "better_than_cross_fade": fmean(
            psnr(v[:, 1:-1], own[:, 1:-1]) > psnr(fade[:, 1:-1], own[:, 1:-1])
            for (v, own), fade in zip(pairs, fades, strict=True)
        ),
    }


def _loop_ratios(videos: Sequence[Tensor]) -> list[float]:
    """A clip of which most frames are equal has no step to compare with, and counts as wide open."""
    return [100.0 if math.isnan(ratio := seam_ratio(video)) else ratio for video in videos]


def loops(bench: Bench) -> dict[str, Any]:
    """Does a loop close without standing still? Its farthest frame is compared with that of the true, open clip."""
    scenes, truth = bench.drawn(MOVING, bench.count, bench.space)
    strides, prompts = [s.frame_stride for s in scenes], [caption(s) for s in scenes]
    closed = generate(bench.pipe, [v[:, 0] for v in truth], strides, prompts, bench.settings, loop=True)
    videos = [video[:, :-1] for video in closed]  # the file leaves out the repeated frame, too
    ratios = _loop_ratios(videos)
    reach = [_reach(video) / _reach(own) for video, own in zip(videos, truth, strict=True)]
    write_rows(bench.sheets / "loops.png", [(caption(s), v) for s, v in zip(scenes[:16], videos[:16], strict=True)])
    return {
        "n": len(scenes),
        "seam_ratio_median": median(ratios),
        "seam_ratio_mean": fmean(ratios),
        "within_1_3": fmean(ratio <= 1.3 for ratio in ratios),
        "open_clip_seam_ratio_median": median(_loop_ratios(truth)),
        "reach_over_open_clip": fmean(reach),
        "first_frame_psnr": fmean(psnr(v[:, 0], own[:, 0]) for v, own in zip(videos, truth, strict=True)),
    }


def photographs(bench: Bench) -> dict[str, Any]:
    """Camera moves over real photographs: right by registration with the still image? One sheet for each photograph."""
    card, stride = bench.pipe.card, bench.pipe.card.fs_default
    paths = find_photographs(bench.photographs)
    stills = [read_photograph(path, card.height, card.width) for path in paths]
    cases = [(i, motion) for i in range(len(paths)) for motion in PROMPTS]
    images = [stills[i] for i, _ in cases]
    moved = [move_camera(stills[i], motion, 1.0, stride, card.num_frames)[0] for i, motion in cases]
    prompts = [PROMPTS[motion] for _, motion in cases]
    kinds = {
        "autoencoder": round_trip(bench.pipe, moved),
        "generated": generate(bench.pipe, images, [stride] * len(cases), prompts, bench.settings),
    }
    for i, path in enumerate(paths):
        rows = [(PROMPTS[m], v) for (j, m), v in zip(cases, kinds["generated"], strict=True) if j == i]
        write_rows(bench.sheets / f"photograph_{path.stem}.png", rows)
    result: dict[str, Any] = {"photographs": [path.name for path in paths]}
    for name, videos in kinds.items():
        found = [register(v, image, stride) for v, image in zip(videos, images, strict=True)]
        hits = [move.motion == motion for move, (_, motion) in zip(found, cases, strict=True)]
        speeds = [move.speed for move, hit in zip(found, hits, strict=True) if hit and move.motion != "still"]
        result[name] = {
            "n": len(cases),
            "right": fmean(hits),
            "right_by_motion": {
                m: fmean(h for h, (_, own) in zip(hits, cases, strict=True) if own == m) for m in PROMPTS
            },
            "right_by_photograph": {
                path.name: fmean(h for h, (j, _) in zip(hits, cases, strict=True) if j == i)
                for i, path in enumerate(paths)
            },
            "speed_ratio": fmean(speeds) if speeds else None,
            "first_frame_psnr": fmean(psnr(v[:, 0], image) for v, image in zip(videos, images, strict=True)),
            "seen_psnr": _seen_psnr(videos, images, [motion for _, motion in cases], stride),
        }
    return result


def _seen_psnr(
    videos: Sequence[Tensor], images: Sequence[Tensor], motions: Sequence[str], stride: int
) -> dict[str, dict[str, float]]:
    """PSNR of the pixels that frame 0 shows, against the true camera at normal speed: by family, at some frames."""
    result: dict[str, dict[str, float]] = {}
    for family in ("pan", "zoom", "still"):
        chosen = [i for i, motion in enumerate(motions) if motion.startswith(family)]
        last = videos[0].shape[1] - 1
        for frame in sorted({0, last // 3, 2 * last // 3, last}):
            figures = []
            for i in chosen:
                true, inside = move_camera(images[i], motions[i], 1.0, stride, videos[i].shape[1])
                figures.append(psnr(videos[i][:, frame][:, inside[frame]], true[:, frame][:, inside[frame]]))
            result.setdefault(family, {})[f"frame_{frame}"] = fmean(figures)
    return result


ROWS: Mapping[str, Callable[[Bench], dict[str, Any]]] = {
    "autoencoder": autoencoder,
    "directions": directions,
    "classes": classes,
    "turning": turning,
    "four_prompts": four_prompts,
    "interpolation": interpolation,
    "loops": loops,
    "photographs": photographs,
}


def _kinds(bench: Bench, scenes: list[Scene], truth: list[Tensor], wrong: list[str]) -> dict[str, list[Tensor]]:
    """The videos that a measurement compares; the controls are made of the first scenes only."""
    pipe, settings, control = bench.pipe, bench.settings, len(wrong)
    return {
        "truth": truth,
        "autoencoder": round_trip(pipe, truth),
        "frozen first frame": [video[:, :1].expand_as(video) for video in truth],
        "generated": animate(pipe, truth, scenes, [caption(scene) for scene in scenes], settings),
        "wrong prompt": animate(pipe, truth[:control], scenes[:control], wrong, settings) if control else [],
        "empty prompt": animate(pipe, truth[:control], scenes[:control], [""] * control, settings) if control else [],
    }


def direction_row(
    videos: Sequence[Tensor], truth: Sequence[Tensor], scenes: Sequence[Scene], space: ProceduralConfig
) -> dict[str, Any]:
    if not videos:
        return {"n": 0}
    measured = [direction_error(video, scene, space) for video, scene in zip(videos, scenes, strict=False)]
    return {
        "n": len(videos),
        "within_45": fmean(error <= 45 for error, _ in measured),
        "within_22": fmean(error <= 22.5 for error, _ in measured),
        "moved": fmean(math.isfinite(error) for error, _ in measured),
        "speed_ratio": fmean(ratio for _, ratio in measured),
        "first_frame_psnr": fmean(psnr(v[:, 0], own[:, 0]) for v, own in zip(videos, truth, strict=False)),
        "psnr": fmean(psnr(v, own) for v, own in zip(videos, truth, strict=False)),
    }


def _class_row(
    videos: Sequence[Tensor], motions: Sequence[str], scenes: Sequence[Scene], space: ProceduralConfig
) -> dict[str, Any]:
    """Shares, confusion and speed; the speed is that of videos of the right class."""
    if not videos:
        return {"n": 0}
    shown = scenes[: len(videos)]
    counted = Counter(zip((scene.motion for scene in shown), motions, strict=True))
    confusion: dict[str, dict[str, int]] = {motion: {} for motion in MOTIONS}
    for (motion, other), count in sorted(counted.items()):
        confusion[motion][other] = count
    hits = [(scene.motion, motion == scene.motion) for scene, motion in zip(shown, motions, strict=True)]
    speeds: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for video, scene, (_, hit) in zip(videos, shown, hits, strict=True):
        if hit and scene.motion != "still":
            speeds[FAMILY_OF[scene.motion]].append(speed_ratio(video, scene, space))
    by_family = {f: [hit for motion, hit in hits if FAMILY_OF[motion] == f] for f in FAMILIES}
    everything = [ratio for ratios in speeds.values() for ratio in ratios]
    return {
        "n": len(videos),
        "right": fmean(hit for _, hit in hits),
        "right_by_family": {f: {"n": len(some), "right": fmean(some)} for f, some in by_family.items() if some},
        "speed_ratio": fmean(everything) if everything else None,
        "speed_by_family": {f: {"n": len(some), "ratio": fmean(some)} for f, some in speeds.items() if some},
        "confusion": {motion: row for motion, row in confusion.items() if row},
    }


def _cross_fade(video: Tensor) -> Tensor:
    """The first frame fading into the last."""
    count = video.shape[1]
    weight = video.new_tensor([i / (count - 1) for i in range(count)])[:, None, None]
    return video[:, :1] * (1 - weight) + video[:, -1:] * weight


def _reach(video: Tensor) -> float:
    """Distance of the frame that is farthest from frame 0."""
    return max(distance(video[:, i], video[:, 0]) for i in range(1, video.shape[1]))

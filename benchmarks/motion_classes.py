"""The classes of motion that the embedded model is measured on, and held-out scenes that show them."""

from __future__ import annotations

import dataclasses
import itertools

from lvdm.data.procedural import ProceduralConfig, Scene, caption, sample_scene
from lvdm.data.procedural_scene import BACKGROUNDS, CAMERA_MOTIONS, DIRECTIONS, MOTIONS, NO_SPRITE, PANS

HELD_OUT = ProceduralConfig(split="test", backgrounds=BACKGROUNDS, sprite_probability=0.5)
"""Unseen combinations of shape, colour and background, and unseen images."""
TELLING_BACKGROUNDS = ("checkered", "noisy", "dotted", "collage", "cloudy")
"""On the others a sprite that moves left may look like a camera that pans right."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "move": tuple(DIRECTIONS),
    "turn": ("clockwise", "counterclockwise"),
    "scale": ("grow", "shrink"),
    "pan": tuple(PANS),
    "zoom": ("zoom in", "zoom out"),
    "still": ("still",),
}
SPREAD = tuple(motion for turn in itertools.zip_longest(*FAMILIES.values()) for motion in turn if motion)
"""All motions, neighbours of different families, so that few scenes already show most of them."""
MOVING = tuple(motion for motion in SPREAD if motion != "still")
FAMILY_OF = {motion: family for family, motions in FAMILIES.items() for motion in motions}

_PAIRS = (
    ("right", "left"),
    ("up", "down"),
    ("upper right", "lower left"),
    ("upper left", "lower right"),
    ("clockwise", "counterclockwise"),
    ("grow", "shrink"),
    ("pan right", "pan left"),
    ("pan up", "pan down"),
    ("zoom in", "zoom out"),
)
OPPOSITE = {name: other for pair in _PAIRS for name, other in (pair, pair[::-1])}


def held_out_scenes(motions: tuple[str, ...], count: int, seed: int, space: ProceduralConfig = HELD_OUT) -> list[Scene]:
    """`count` scenes of `space`, whose motions are those of `motions` in turn."""
    turns = [dataclasses.replace(space, motions=(motion,)) for motion in motions]
    return [sample_scene(turns[i % len(turns)], seed * 100_003 + i) for i in range(count)]


def opposite(scene: Scene) -> Scene:
    """The same scene under the opposite motion; that of stillness is a move, or a pan where there is no sprite."""
    if scene.motion == "still":
        return dataclasses.replace(scene, motion="pan left" if scene.shape == NO_SPRITE else "right")
    return dataclasses.replace(scene, motion=OPPOSITE[scene.motion])


def wrong_caption(scene: Scene) -> str:
    """The caption of the same scene under the opposite motion."""
    return caption(opposite(scene))


def candidates(scene: Scene) -> list[Scene]:
    """The same scene under every class of motion that it can show; all have the same frame 0."""
    motions = (*CAMERA_MOTIONS, "still") if scene.shape == NO_SPRITE else MOTIONS
    return [dataclasses.replace(scene, motion=motion) for motion in motions]

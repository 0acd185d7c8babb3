"""What one procedural clip is: a `Scene` of plain numbers and words, the space it is drawn from, and its motion law.

Coordinates: x runs right and y runs down. Positions are fractions of the width and height; radii and travel are
fractions of the *side*, the smaller of the two. The amount of motion per frame is `velocity(speed word) * frame_stride`
and nothing else, so that a clip is determined by its frame 0, its caption and its frame stride.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lvdm.data.picture_files import glyph_names
from lvdm.declaration.ranges import Frames, Probability, Side, StepsOrNone, Stride

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "diamond",
    "ring",
    "cross",
    "hexagon",
    "moon",
    "flower",
    "drop",
)
NO_SPRITE = "none"
"""The shape of a scene that shows its background only."""

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.14),
    "orange": (0.98, 0.53, 0.08),
    "yellow": (0.98, 0.86, 0.16),
    "green": (0.13, 0.62, 0.22),
    "cyan": (0.16, 0.80, 0.86),
    "blue": (0.15, 0.30, 0.88),
    "purple": (0.55, 0.20, 0.72),
    "pink": (0.98, 0.52, 0.72),
    "white": (0.97, 0.97, 0.97),
    "black": (0.07, 0.07, 0.08),
}

TEXTURES = ("solid", "striped", "spotted", "marked")
PATTERNS = ("plain", "gradient", "striped", "checkered", "noisy", "dotted")
"""Backgrounds of two colours."""
IMAGES = ("collage", "cloudy")
"""Backgrounds of many colours, cut from the images of `lvdm.data.procedural_images`."""
BACKGROUNDS = (*PATTERNS, *IMAGES)
PHOTOGRAPH = "photograph"
"""A background cut from the photographs of `lvdm.data.picture_files`: drawn only where a configuration names it."""
NUM_IMAGES = 20
"""Images of each kind; the last `NUM_HELD_OUT_IMAGES` are shown by the test split only."""
NUM_HELD_OUT_IMAGES = 4

_DIAGONAL = math.sqrt(0.5)
DIRECTIONS: dict[str, tuple[float, float]] = {
    "right": (1.0, 0.0),
    "upper right": (_DIAGONAL, -_DIAGONAL),
    "up": (0.0, -1.0),
    "upper left": (-_DIAGONAL, -_DIAGONAL),
    "left": (-1.0, 0.0),
    "lower left": (-_DIAGONAL, _DIAGONAL),
    "down": (0.0, 1.0),
    "lower right": (_DIAGONAL, _DIAGONAL),
}
"""Unit vectors of the eight directions in which a sprite moves, y down."""

PANS: dict[str, tuple[float, float]] = {f"pan {name}": DIRECTIONS[name] for name in ("left", "right", "up", "down")}
"""Unit vectors of the camera's own motion; the image moves the other way."""

CAMERA_MOTIONS = (*PANS, "zoom in", "zoom out")

MOTIONS = (
    *DIRECTIONS,
    "clockwise",
    "counterclockwise",
    "grow",
    "shrink",
    *CAMERA_MOTIONS,
    "still",
)

SPEEDS: dict[str, float] = {"slowly": 0.6, "normal": 1.0, "quickly": 1.4}
"""Velocity by speed word, relative to the normal speed, which captions do not mention."""

# What one unit of progress does. Progress reaches 1 after 16 frames at normal speed and frame stride 2.
TRAVEL = 0.26  # fraction of the side
TURN = math.radians(120.0)
GROWTH = math.log(1.5)  # of the sprite's radius, or of the camera's magnification
PROGRESS_PER_FRAME = 1.0 / (15 * 2)

NUM_TEMPLATES = 6
"""Number of caption templates, see `lvdm.data.procedural_captions`."""

Color = tuple[float, float, float]


@dataclass(frozen=True)
class ProceduralConfig:
    """The space of clips. Narrow any tuple for a curriculum, for example `motions=("left", "right", "still")`.

    A name that is repeated is drawn as often: `motions=("left", "left", "still")` shows two moves for each stillness.

    A (shape, colour, background) triple belongs to the test split when its hash falls into the first `holdout` part of
    the hash range, whatever the seed: `split="train"` never shows a sprite of such a triple, `split="test"` shows no
    other. The two cut their `IMAGES` backgrounds from different images.

    When only the camera may move or nothing does, the scene has its sprite with `sprite_probability`. With
    `return_probability` a motion goes half-way and back: such clips end as they began, and can be looped. With
    `glyph_probability` a sprite is an emoji instead of a coloured shape; a part of `holdout` of them, by the hash of
    their names, is shown by the test split only.
    """

    height: Side = 64
    width: Side = 64
    num_frames: Frames = 16
    shapes: tuple[str, ...] = SHAPES
    colors: tuple[str, ...] = tuple(COLORS)
    textures: tuple[str, ...] = TEXTURES
    backgrounds: tuple[str, ...] = PATTERNS
    motions: tuple[str, ...] = MOTIONS
    speeds: tuple[str, ...] = tuple(SPEEDS)
    frame_strides: tuple[Stride, ...] = (1, 2, 3)
    templates: tuple[StepsOrNone, ...] = tuple(range(NUM_TEMPLATES))
    min_radius: Probability = 0.14
    max_radius: Probability = 0.24
    sprite_probability: Probability = 1.0
    return_probability: Probability = 0.0
    glyph_probability: Probability = 0.0
    split: Literal["train", "test", "all"] = "all"
    holdout: Probability = 0.1

    def __post_init__(self) -> None:
        """Raise `ValueError` for an empty or unknown choice, or a split that no clip can belong to."""
        if min(self.height, self.width) < 8 or self.num_frames < 1:
            raise ValueError(
                f"a clip needs at least 8x8 pixels and 1 frame, not {self.num_frames} of {self.height}x{self.width}"
            )
        known = {
            "shapes": SHAPES,
            "colors": COLORS,
            "textures": TEXTURES,
            "backgrounds": (*BACKGROUNDS, PHOTOGRAPH),
            "motions": MOTIONS,
            "speeds": SPEEDS,
            "templates": range(NUM_TEMPLATES),
        }
        for name, options in known.items():
            chosen = getattr(self, name)
            unknown = [item for item in chosen if item not in options]
            if unknown or not chosen:
                raise ValueError(f"{name} = {chosen!r}: choose one or more of {', '.join(map(str, options))}")
        if not self.frame_strides or min(self.frame_strides) < 1:
            raise ValueError(f"frame_strides = {self.frame_strides!r} should be one or more numbers from 1")
        if not 0.0 < self.min_radius <= self.max_radius <= 0.5:
            raise ValueError(
                f"radii {self.min_radius}..{self.max_radius} should satisfy 0 < min_radius <= max_radius <= 0.5"
            )
        triples = itertools.product(self.shapes, self.colors, self.backgrounds)
        if not any(self.accepts(*triple) for triple in triples):
            raise ValueError(
                f"no (shape, colour, background) triple belongs to split {self.split!r} at holdout {self.holdout}"
            )

    @property
    def side(self) -> int:
        """The unit of radii and travel in pixels."""
        return min(self.height, self.width)

    @property
    def images(self) -> range:
        """Numbers of the images that the configured split may show."""
        first_held_out = NUM_IMAGES - NUM_HELD_OUT_IMAGES
        return range(
            first_held_out if self.split == "test" else 0, first_held_out if self.split == "train" else NUM_IMAGES
        )

    def accepts(self, shape: str, color: str, background: str) -> bool:
        """Whether clips of this triple belong to the configured split."""
        if self.split == "all":
            return True
        return self._is_ours(f"{shape}|{color}|{background}")

    @property
    def glyphs(self) -> Sequence[str]:
        """Names of the emoji that the configured split may show."""
        return [name for name in glyph_names() if self.split == "all" or self._is_ours(f"emoji|{name}")]

    def _is_ours(self, name: str) -> bool:
        held_out = zlib.crc32(name.encode()) < self.holdout * 2**32
        return held_out == (self.split == "test")


@dataclass(frozen=True)
class Scene:
    """All attributes of one clip: plain words and numbers, so that `dataclasses.asdict` gives JSON."""

    shape: str  # NO_SPRITE for none, whatever its other attributes say
    color: str
    texture: str
    background: str
    motion: str
    speed: str
    frame_stride: int
    template: int
    wording: int  # which synonyms the caption uses
    x: float  # sprite centre in frame 0, fraction of the width
    y: float  # fraction of the height
    radius: float  # fraction of the side
    angle: float  # radians, clockwise
    background_colors: tuple[Color, Color]
    background_angle: float  # radians, of gradients, stripes and images
    background_cell: float  # period of the pattern, fraction of the side; the part of an image that a side shows
    background_phase: tuple[float, float]  # offset of the pattern, in periods; centre of the view of an image
    background_image: int  # which of the NUM_IMAGES
    background_contrast: float  # of an image, around the first background colour
    background_saturation: float  # of an image
    returns: bool = False  # half the way there, and back in the last frame
    glyph: str = ""  # the emoji that stands for the shape, if any; colour and texture are then its own


def sample_scene(config: ProceduralConfig, rng: random.Random | int) -> Scene:
    """Draw one scene from a seeded generator, or a seed. What frame 0 shows does not depend on the direction."""
    if isinstance(rng, int):
        rng = random.Random(rng)
    motion = rng.choice(config.motions)
    while True:  # ends: the configuration checked that some triple is accepted
        shape, color, background = (rng.choice(names) for names in (config.shapes, config.colors, config.backgrounds))
        if config.accepts(shape, color, background):
            break
    if motion in (*CAMERA_MOTIONS, "still") and rng.random() >= config.sprite_probability:
        shape = NO_SPRITE
    texture = rng.choice(config.textures)
    if motion in ("clockwise", "counterclockwise") and shape in ("circle", "ring") and texture == "solid":
        texture = "marked"  # the rotation of a plain disc cannot be seen
    frame_stride = rng.choice(config.frame_strides)
    speed = rng.choice(config.speeds)
    travel = TRAVEL * PROGRESS_PER_FRAME * 15 * SPEEDS[speed] * frame_stride
    # A fast sprite starts nearer to the centre, whatever its direction, and so mostly ends inside the frame.
    spread = min(max(0.42 - travel, 0.06), 0.2)
    scene = Scene(
        shape=shape,
        color=color,
        texture=texture,
        background=background,
        motion=motion,
        speed=speed,
        frame_stride=frame_stride,
        template=rng.choice(config.templates),
        wording=rng.randrange(2**16),
        x=0.5 + rng.uniform(-spread, spread),
        y=0.5 + rng.uniform(-spread, spread),
        radius=rng.uniform(config.min_radius, config.max_radius),
        angle=rng.uniform(-0.35, 0.35),
        background_colors=_background_colors(COLORS[color], rng),
        background_angle=rng.uniform(0.0, 2 * math.pi),
        background_cell=rng.uniform(0.2, 0.36),
        background_phase=(rng.random(), rng.random()),
        background_image=rng.choice(config.images),
        background_contrast=rng.uniform(0.5, 1.2),
        background_saturation=rng.uniform(0.2, 1.2),
        returns=rng.random() < config.return_probability and motion != "still",
    )
    # Drawn last, and only if asked for: scenes without emoji are what they were before there were any.
    if config.glyph_probability and shape != NO_SPRITE and rng.random() < config.glyph_probability:
        scene = dataclasses.replace(scene, glyph=rng.choice(config.glyphs))
    return scene


def displacement(scene: Scene, config: ProceduralConfig) -> tuple[float, float]:
    """(dx, dy) of the sprite per frame in pixels, y down. Zero for motions that do not move its centre along a line.

    Of a scene that returns, that of the one that does not.
    """
    if scene.motion in DIRECTIONS:
        direction = DIRECTIONS[scene.motion]
    elif scene.motion in PANS:
        direction = (-PANS[scene.motion][0], -PANS[scene.motion][1])
    else:
        return 0.0, 0.0
    length = TRAVEL * PROGRESS_PER_FRAME * SPEEDS[scene.speed] * scene.frame_stride * config.side
    return direction[0] * length, direction[1] * length


def _background_colors(sprite: Color, rng: random.Random) -> tuple[Color, Color]:
    """Two colours that differ from each other a little and from the sprite a lot."""
    while True:  # most draws pass: a sprite colour excludes a small ball of the RGB cube
        base = tuple(rng.uniform(0.08, 0.95) for _ in range(3))
        # Pull towards grey: muted backgrounds keep the sprite the most colourful thing of the image.
        grey = sum(base) / 3
        first = tuple(grey + 0.7 * (channel - grey) for channel in base)
        shift = rng.choice((-1, 1)) * rng.uniform(0.18, 0.3)
        second = tuple(channel + shift * rng.uniform(0.6, 1.0) for channel in first)
        inside = all(0.02 <= channel <= 0.98 for channel in second)
        if inside and min(math.dist(sprite, first), math.dist(sprite, second)) > 0.5:
            return (first[0], first[1], first[2]), (second[0], second[1], second[2])

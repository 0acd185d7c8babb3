"""The script of a story as `story.yaml` holds it: every field declared once, like the parameters of a request.

Lengths are in seconds of the film, boxes in shares of the frame, files relative to the script.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from lvdm.declaration.parameter import Parameter, declared
from lvdm.declaration.values import INPUT, MAX_FPS, MAX_SEED, MAX_SIDE, MIN_SIDE, MOTION, OUTPUT, SAMPLING, File, Prompt
from lvdm.documents import short_text
from lvdm.errors import UserError

ShotMode = Literal["animate", "interpolate", "loop", "structure", "text-to-video"]
Transition = Literal["cut", "crossfade", "interpolated"]
Captions = Literal["burned", "subtitles", "none"]

MAX_SHOTS = 500
"""Longer stories are several stories."""
MAX_SECONDS = 600.0
PREVIOUS = "previous"
"""In `from`: the shot before this one in the film."""


class StoryError(UserError):
    """A story that cannot be made; the message names the shot and the field."""


def _size(value: Any) -> Any:
    """(width, height) of text such as 512x320, or of a list of two."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,6})\s*[xX]\s*(\d{1,6})", value.strip())
        if match is None:
            raise ValueError(f"size {short_text(value)} is not possible; use WIDTHxHEIGHT, such as 512x320")
        return int(match[1]), int(match[2])
    return tuple(value) if isinstance(value, list) else value


def _box(value: Any) -> Any:
    """(left, top, right, bottom) that has an area and touches the frame."""
    box = tuple(value) if isinstance(value, list) else value
    numbers = isinstance(box, tuple) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in box)
    if not numbers or len(box) != 4:
        raise ValueError("box should be [left, top, right, bottom], each from 0 to 1; what lies outside is cut off")
    left, top, right, bottom = map(float, box)
    if not all(-2 <= side <= 3 for side in (left, top, right, bottom)):
        raise ValueError(f"box {list(box)} is in shares of the frame: 0 is left or top, 1 is right or bottom")
    if left >= right or top >= bottom:
        raise ValueError(f"box {list(box)} has no area; give [left, top, right, bottom]")
    if right <= 0 or bottom <= 0 or left >= 1 or top >= 1:
        raise ValueError(f"box {list(box)} lies outside of the frame, which goes from 0 to 1")
    return left, top, right, bottom


Size = Annotated[
    tuple[Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)], Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]],
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "pattern": r"^\d+x\d+$"}),
]
Box = Annotated[
    tuple[float, float, float, float],
    BeforeValidator(_box),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
Name = Annotated[str, Field(min_length=1, max_length=60)]
SECONDS = Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)
VOLUME = Field(ge=0, le=10, allow_inf_nan=False)


def _parameter(help: str, group: str = INPUT, unit: str = "") -> Parameter:
    return Parameter(help, group, unit, flag="")


@declared
class Character:
    """Somebody or something that shots are to show alike."""

    image: Annotated[File, _parameter("The reference image, with transparency around the character, or with `mask`.")]
    mask: Annotated[File | None, _parameter("White where the character is, as large as the image.")] = None
    description: Annotated[Prompt, _parameter("What the name stands for in prompts, such as: the purple ring.")] = ""


@declared
class StoryPlace:
    """A background."""

    image: Annotated[File, _parameter("The background image; it is cropped to the size of the story.")]
    description: Annotated[Prompt, _parameter("What the name stands for in prompts.")] = ""


@declared
class Placement:
    """Where a character stands in a first frame."""

    character: Annotated[Name, _parameter("The name of the character.")]
    box: Annotated[
        Box, _parameter("[left, top, right, bottom], 0 to 1 of the frame; it stands on the bottom, as large as fits.")
    ]
    flip: Annotated[bool, _parameter("Mirror it.")] = False


@declared
class Composition:
    """A first frame that is laid out: characters over a place, the later ones in front."""

    place: Annotated[Name, _parameter("The name of the place.")]
    characters: Annotated[tuple[Placement, ...], _parameter("The characters with their boxes.")] = ()
    feather: Annotated[
        float, Field(ge=0, le=100), _parameter("Width of the soft edge inside of characters.", unit="pixels")
    ] = 1.0


@declared
class FrameSource:
    """Where a single frame comes from: one of these."""

    image: Annotated[File | None, _parameter("An image.")] = None
    from_shot: Annotated[Name | None, _parameter("`from`: the last frame of another shot: its name, or previous.")] = (
        None
    )
    compose: Annotated[Composition | None, _parameter("A place with characters in boxes.")] = None
    text_to_image: Annotated[Prompt | None, _parameter("A prompt for the image generator that is given.")] = None

    @property
    def kinds(self) -> list[str]:
        """The fields that are given, as the script calls them."""
        named = {"image": self.image, "from": self.from_shot, "compose": self.compose}
        named["text_to_image"] = self.text_to_image or None
        return [name for name, value in named.items() if value is not None]


@declared
class Shot(FrameSource):
    """One shot: its first frame, what happens in it, and how the film goes on to the next one."""

    name: Annotated[Name, _parameter("Its name, which files and `from` have; left out, its number.")] = ""
    mode: Annotated[ShotMode, _parameter("How the video is made.")] = "animate"
    prompt: Annotated[
        Prompt, _parameter("What happens; names of characters and places stand for their descriptions.")
    ] = ""
    end: Annotated[
        FrameSource | None, _parameter("The last frame of an `interpolate` shot: image, from, compose, text_to_image.")
    ] = None
    depth: Annotated[File | None, _parameter("The depth of a `structure` shot: video, folder of images or NPZ.")] = None
    driving_video: Annotated[File | None, _parameter("A video whose depth a `structure` shot follows.")] = None
    seconds: Annotated[
        float | None, SECONDS, _parameter("Its length; left out, that of the training.", MOTION, "s")
    ] = None
    motion: Annotated[float | None, Field(ge=0, le=1), _parameter("0 (calm) to 1 (lively).", MOTION)] = None
    camera: Annotated[str | None, _parameter("A camera move, such as zoom_in:amount=0.3.", MOTION)] = None
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED), _parameter("Its own seed.", SAMPLING)] = None
    settings: Annotated[Mapping[str, Any], _parameter("Further parameters of its video, by name.", SAMPLING)] = field(
        default_factory=dict
    )
    transition: Annotated[Transition, _parameter("How the film goes on to the next shot.", OUTPUT)] = "cut"
    transition_seconds: Annotated[
        float | None, SECONDS, _parameter("How long both shots overlap; 0.5 when left out.", OUTPUT, "s")
    ] = None
    caption: Annotated[Prompt, _parameter("Text that the film shows with the shot.", OUTPUT)] = ""
    audio: Annotated[File | None, _parameter("Sound that begins with the shot and runs to its own end.", OUTPUT)] = None
    volume: Annotated[float, VOLUME, _parameter("Loudness of `audio`; 1 leaves it.", OUTPUT)] = 1.0


@declared
class Story:
    """A whole script."""

    title: Annotated[str, Field(max_length=200), _parameter("The title; it names the film.")] = "story"
    size: Annotated[
        Size | None, _parameter("WIDTHxHEIGHT; left out, that of the model's training.", MOTION, "pixels")
    ] = None
    fps: Annotated[
        float | None,
        Field(ge=1, le=min(MAX_FPS, 240)),
        _parameter("Frames per second; left out, the model's.", MOTION, "frames per second"),
    ] = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), _parameter("The seed of shots without their own.", SAMPLING)] = 123
    style: Annotated[Prompt, _parameter("Words after each prompt; with {prompt} in it, the prompt is put there.")] = ""
    settings: Annotated[
        Mapping[str, Any], _parameter("Parameters of all shots, by name, such as preset or checkpoint.", SAMPLING)
    ] = field(default_factory=dict)
    transition_settings: Annotated[
        Mapping[str, Any],
        _parameter("Parameters of interpolated transitions, by name, such as preset: interp.", SAMPLING),
    ] = field(default_factory=dict)
    characters: Annotated[Mapping[str, Character], _parameter("Characters by name.")] = field(default_factory=dict)
    places: Annotated[Mapping[str, StoryPlace], _parameter("Places by name.")] = field(default_factory=dict)
    shots: Annotated[tuple[Shot, ...], _parameter("The shots, in the order of the film.")]
    captions: Annotated[
        Captions, _parameter("burned into the frames, subtitles (a track and an .srt), or none.", OUTPUT)
    ] = "burned"
    font: Annotated[File | None, _parameter("The font of captions that are burned in (TTF or OTF).", OUTPUT)] = None
    font_size: Annotated[
        int | None,
        Field(ge=6, le=500),
        _parameter("Its size; left out, a twelfth of the height, at least 12.", OUTPUT, "pixels"),
    ] = None
    audio: Annotated[File | None, _parameter("Sound under the whole film.", OUTPUT)] = None
    volume: Annotated[float, VOLUME, _parameter("Loudness of `audio`; 1 leaves it.", OUTPUT)] = 1.0

    def expanded(self, prompt: str) -> str:
        """`prompt` with descriptions in the place of names, in the style of the story."""
        known = {name: place.description for name, place in self.places.items() if place.description}
        known |= {name: character.description for name, character in self.characters.items() if character.description}
        if known:
            names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
            prompt = re.sub(rf"(?<!\w)(?:{names})(?!\w)", lambda match: known[match[0]], prompt)
        if not self.style:
            return prompt
        return self.style.replace("{prompt}", prompt) if "{prompt}" in self.style else f"{prompt}, {self.style}"

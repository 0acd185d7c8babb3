"""The kinds of values that parameters have: their bounds, their choices, and how they are read from text."""

from __future__ import annotations

import math
import os
import re
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from lvdm.documents import short_text

INPUT, MODEL, MOTION, SAMPLING, OUTPUT, MACHINE = "Input", "Model", "Size and motion", "Sampling", "Output", "Machine"
"""Groups of parameters, as `lvdm.declaration.parameter.GROUPS` has them."""

MAX_SIDE = 8192
"""Pixels of the longest side of a video or an image."""
MIN_SIDE = 16
"""Smaller videos are not made: encoders refuse them and there is nothing to see (pixels)."""
MAX_FRAMES = 1024
"""Frames of the longest video whose latents are all held."""
MIN_FPS, MAX_FPS = 0.01, 1000.0
"""Frames per second of a file; what says otherwise is a mistake."""
MAX_STREAMED_FRAMES = 1_000_000
"""Frames of the longest video that goes to its file frame by frame: more is taken for a mistake."""
MAX_PROMPT = 2000
"""Characters of the longest prompt; the text encoder reads 77 tokens, so that more is taken for a mistake."""
MAX_SEED = 2**63 - 1
MAX_VIDEOS = 1000
MAX_DEVICES = 4096
MIN_TILE = 8
"""Smaller tiles hold too little for the VAE to tell tone from texture (latent pixels)."""

Sampler = Literal["ddim", "dpm++", "unipc"]
Spacing = Literal["uniform", "uniform_trailing", "quad"]
Fit = Literal["crop", "pad", "stretch"]
TokenPolicy = Literal["exact16", "nearest", "linear", "broadcast"]
LongVideo = Literal["plain", "freenoise", "freelong", "cyclic", "fifo"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
ListMode = Literal["animate", "interpolate", "loop", "text-to-video", "structure"]
Engine = Literal["lightning", "ray"]
Format = Literal["mp4", "webm", "gif", "webp", "apng", "png"]
Effort = Literal["draft", "normal", "best"]
Attention = Literal["auto", "sdpa", "xformers", "plain", "flash", "sage"]
WeightOffload = Literal["none", "model", "group", "sequential"]
Storage = Literal["full", "fp8"]
Schedule = Literal["config", "file"]
Reader = Literal["pyav", "torchcodec", "decord", "imageio"]
Preset = Literal[
    "tiny",
    "small",
    "tiny-structure",
    "256",
    "512",
    "1024",
    "interp",
    "loop",
    "vc1",
    "vc2",
    "vc1024",
    "vc-i2v",
    "myv",
    "toon",
]


def one_of(choices: Any) -> str:
    """The choices of a Literal as a help text, such as "ddim, dpm++ or unipc."."""
    *names, last = typing.get_args(choices)
    return f"{', '.join(names)} or {last}."


def as_path(value: Any) -> Any:
    """Text as a path; anything else as it is."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"{value[:60]!r} has a zero byte, which no path has; correct it")
        return Path(value)
    return value


def check_prompt(prompt: str, name: str = "prompt") -> None:
    """Raise `ValueError` for a prompt that is no text, or longer than any model reads; `name` is what it is called."""
    if not isinstance(prompt, str):
        raise ValueError(f"the {name} should be text, it is {short_text(prompt)}")
    if len(prompt) > MAX_PROMPT:
        raise ValueError(
            f"the {name} has {len(prompt)} characters and the model reads about 70 words; shorten it to {MAX_PROMPT} "
            "characters or fewer"
        )
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the {name} is no UTF-8 text, at its character {error.start + 1}; write that character again"
        ) from None


def _prompt(value: Any) -> Any:
    """A prompt, checked; anything else as it is."""
    if isinstance(value, str):
        check_prompt(value)
    return value


def frame_pairs(flag: str, example: str, what: str) -> Any:
    """From FRAME=VALUE texts, or a mapping, to pairs of a frame and a value, ascending, each frame once."""

    def read(items: Any) -> Any:
        found: dict[int, Any] = {}
        pairs = tuple(items.items()) if isinstance(items, dict) else items
        for item in pairs if isinstance(pairs, list | tuple) else [pairs]:
            if isinstance(item, str):
                frame, equals, value = item.partition("=")
                if not equals or not frame.strip().isdecimal() or not value.strip():
                    raise ValueError(f"{flag} {short_text(item)} should be {example}")
                pair: Any = int(frame), value
            elif isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], int):
                pair = item
            else:
                raise ValueError(f"{flag} {short_text(item)} should be {example}")
            if pair[0] in found:
                raise ValueError(f"{flag} gives frame {pair[0]} twice; give one {what} for each frame")
            found[pair[0]] = pair[1]
        return tuple(sorted(found.items(), key=lambda pair: pair[0]))

    return BeforeValidator(read)


def lora_pairs(items: Any) -> Any:
    """From FILE or FILE:SCALE to pairs of a path and a scale."""
    found = []
    for item in items if isinstance(items, list | tuple) else [items]:
        if not isinstance(item, str | os.PathLike):
            found.append((as_path(item[0]), item[1]) if isinstance(item, list | tuple) and len(item) == 2 else item)
            continue
        text = os.fspath(item)
        file, colon, scale = text.rpartition(":")
        if not colon or not _is_number(scale):
            found.append((Path(text), 1.0))
        elif not file:
            raise ValueError(f"--lora {text!r} names no file; give FILE or FILE:SCALE, such as style.safetensors:0.8")
        else:
            found.append((Path(file), float(scale)))
    return tuple(found)


MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(GB|MB)", re.IGNORECASE)


def memory_bytes(text: str) -> int:
    """The bytes that a text such as 6GB or 900MB names. Raises `ValueError`."""
    found = MEMORY.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError(f"max_memory {text[:60]!r} is no amount of memory; give it as in 6GB or 900MB")
    return round(float(found[1]) * {"GB": 1e9, "MB": 1e6}[found[2].upper()])


def _memory(value: Any) -> Any:
    if isinstance(value, str):
        memory_bytes(value)
    return value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


File = Annotated[Path, BeforeValidator(as_path)]
ImageFile = Annotated[
    File,
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "file", "type": "string", "format": "path", "pattern": "^(?!data:)"},
                {
                    "title": "data URL",
                    "type": "string",
                    "pattern": "^data:image/[a-z0-9.+-]+;base64,",
                    "contentEncoding": "base64",
                },
            ]
        }
    ),
]
"""A file here; an HTTP interface also takes the image itself, as a data URL, and puts it into one."""
Memory = Annotated[str, BeforeValidator(_memory)]
"""An amount of memory, see `memory_bytes`."""
Prompt = Annotated[str, BeforeValidator(_prompt), Field(max_length=MAX_PROMPT)]
Frame = Annotated[int, Field(ge=0, le=MAX_STREAMED_FRAMES)]

"""Every parameter of a generation, declared once; see `lvdm.declaration.parameter` for what is made from it.

A parameter that reaches the sampler is a field here and the line that reads it there. The parameters of methods
(plug-ins) are in `lvdm/plugins/methods/`, those that the pipeline is called with in `lvdm.request.settings`.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from lvdm.declaration.parameter import GENERATED, STILL, WITH_IMAGE, Parameter, declared

INPUT, MODEL, MOTION, SAMPLING, OUTPUT, MACHINE = "Input", "Model", "Size and motion", "Sampling", "Output", "Machine"

MAX_SIDE = 8192
"""Pixels of the longest side of a video or an image."""
MIN_SIDE = 16
"""Smaller videos are not made: encoders refuse them and there is nothing to see (pixels)."""
MAX_FRAMES = 1024
"""Frames of the longest video whose latents are all held."""
MAX_STREAMED_FRAMES = 1_000_000
"""Frames of the longest video that goes to its file frame by frame: more is taken for a mistake."""
MAX_PROMPT = 2000
"""Characters of the longest prompt; the text encoder reads 77 tokens, so that more is taken for a mistake."""
MAX_SEED = 2**63 - 1
MAX_VIDEOS = 1000
MIN_TILE = 8
"""Smaller tiles hold too little for the VAE to tell tone from texture (latent pixels)."""

Sampler = Literal["ddim", "dpm++", "unipc"]
Spacing = Literal["uniform", "uniform_trailing", "quad"]
Fit = Literal["crop", "pad", "stretch"]
TokenPolicy = Literal["exact16", "nearest", "linear", "broadcast"]
LongVideo = Literal["plain", "freenoise", "freelong", "ring", "fifo"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Format = Literal["mp4", "webm", "gif", "webp", "apng", "png"]
Effort = Literal["draft", "normal", "best"]
Preset = Literal["tiny", "256", "512", "1024", "interp", "loop", "vc1", "vc2", "vc1024", "vc-i2v"]


def _path(value: Any) -> Any:
    """Text as a path; anything else as it is."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"{value[:60]!r} has a zero byte, which no path has; correct it")
        return Path(value)
    return value


def _prompt(value: Any) -> Any:
    """A prompt without white space around it. Raises `ValueError` for one longer than any model reads."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_PROMPT:
        raise ValueError(
            f"the prompt has {len(value)} characters and the model reads about 70 words; shorten it to {MAX_PROMPT} "
            "characters or fewer"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the prompt is no UTF-8 text, at its character {error.start + 1}; write that character again"
        ) from None
    return value


def _pairs(flag: str, example: str, what: str) -> Any:
    """From FRAME=VALUE texts, or a mapping, to pairs of a frame and a value, ascending, each frame once."""

    def read(given: Any) -> Any:
        if isinstance(given, dict):
            return tuple(sorted((frame, value) for frame, value in given.items()))
        found: dict[int, Any] = {}
        for item in given if isinstance(given, list | tuple) else [given]:
            if isinstance(item, str):
                frame, equals, value = item.partition("=")
                if not equals or not frame.strip().isdecimal() or not value.strip():
                    raise ValueError(f"{flag} {item!r} should be {example}")
                pair: Any = int(frame), value
            elif isinstance(item, list | tuple) and len(item) == 2:
                pair = item
            else:
                raise ValueError(f"{flag} {str(item)[:60]!r} should be {example}")
            if pair[0] in found:
                raise ValueError(f"{flag} gives frame {pair[0]} twice; give one {what} for each frame")
            found[pair[0]] = pair[1]
        return tuple(sorted(found.items(), key=lambda pair: pair[0]))

    return BeforeValidator(read)


def _loras(given: Any) -> Any:
    """From FILE or FILE:SCALE to pairs of a path and a scale."""
    found = []
    for item in given if isinstance(given, list | tuple) else [given]:
        if not isinstance(item, str | os.PathLike):
            found.append((_path(item[0]), item[1]) if isinstance(item, list | tuple) and len(item) == 2 else item)
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


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


File = Annotated[Path, BeforeValidator(_path)]
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
Prompt = Annotated[str, BeforeValidator(_prompt), Field(max_length=MAX_PROMPT)]
Frame = Annotated[int, Field(ge=0, le=MAX_STREAMED_FRAMES)]


@declared
class InputParameters:
    """What the video shows: its images and its prompts. Images may also be in memory, see `lvdm.pipeline`."""

    image: Annotated[
        ImageFile | None, Parameter("The image that the video begins with.", INPUT, modes=STILL, flag="")
    ] = None
    end_image: Annotated[
        ImageFile | None, Parameter("The image that it ends with.", INPUT, modes=("interpolate",), flag="")
    ] = None
    prompt: Annotated[Prompt, Parameter("What should happen in the video.", INPUT, aliases=("-p",))] = ""
    negative_prompt: Annotated[Prompt, Parameter("What to move away from.", INPUT)] = ""
    prompts_at: Annotated[
        tuple[tuple[Frame, Prompt], ...],
        _pairs("--prompt-at", "FRAME=PROMPT, such as 32='the ball stops'", "prompt"),
        Parameter(
            "Another prompt from a frame on: FRAME=PROMPT, such as 32='it stops'. May be given often.",
            INPUT,
            modes=GENERATED,
            flag="--prompt-at",
        ),
    ] = ()
    keyframes: Annotated[
        tuple[tuple[Frame, ImageFile], ...],
        _pairs("--keyframe", "FRAME=FILE, such as 15=b.png", "image"),
        Parameter(
            "An image that the video shows at a frame: FRAME=FILE, several after each other or each with --keyframe. "
            "Frame 0 is the image.",
            INPUT,
            modes=("keyframes",),
            flag="--keyframe",
        ),
    ] = ()
    keep_mask: Annotated[
        ImageFile | None,
        Parameter(
            "An image as large as the first one: where it is white, nothing changes.", INPUT, modes=("animate", "loop")
        ),
    ] = None


@declared
class ModelParameters:
    """Which model: its files and what is added to them."""

    preset: Annotated[Preset | None, Parameter("A released model, or tiny, the embedded one.", MODEL, row=False)] = None
    checkpoint: Annotated[
        File | None,
        Parameter("A weight file, or a folder with config.yaml and weights.", MODEL, row=False, original="--ckpt_path"),
    ] = None
    config: Annotated[File | None, Parameter("The YAML for --checkpoint.", MODEL, row=False, original="--config")] = (
        None
    )
    towers: Annotated[
        File | None,
        Parameter("A checkpoint that supplies missing text and image encoders.", MODEL, row=False),
    ] = None
    loras: Annotated[
        tuple[tuple[File, Annotated[float, Field(allow_inf_nan=False)]], ...],
        BeforeValidator(_loras),
        Parameter(
            "A LoRA to add to the weights: FILE or FILE:SCALE. May be given often.", MODEL, flag="--lora", row=False
        ),
    ] = ()
    schedule: Annotated[
        Literal["config", "file"],
        Parameter("Where file and YAML have different noise schedules: config or file.", MODEL, row=False),
    ] = "config"


@declared
class SizeParameters:
    """How large and long the video is, and how much moves."""

    height: Annotated[
        int | None,
        Field(ge=MIN_SIDE, le=MAX_SIDE),
        Parameter("Height; left out, it follows the image.", MOTION, "pixels", original="--height"),
    ] = None
    width: Annotated[
        int | None,
        Field(ge=MIN_SIDE, le=MAX_SIDE),
        Parameter("Width; left out, it follows the image.", MOTION, "pixels", original="--width"),
    ] = None
    fit: Annotated[Fit, Parameter("An image of another shape: crop, pad or stretch.", MOTION, modes=WITH_IMAGE)] = (
        "crop"
    )
    num_frames: Annotated[
        int,
        Field(ge=1, le=MAX_STREAMED_FRAMES),
        Parameter(
            "Length of the video; of `extend`: new frames.",
            MOTION,
            "frames",
            aliases=("--frames",),
            original="--video_length",
            card=True,
        ),
    ] = 16
    long_video: Annotated[
        LongVideo,
        Parameter(
            "Beyond the trained length: freenoise (the default), fifo (any length), freelong, plain; ring: loops.",
            MOTION,
            modes=GENERATED,
            aliases=("--long",),
        ),
    ] = "plain"
    image_token_policy: Annotated[
        TokenPolicy,
        Parameter(
            "For other lengths than the trained one: exact16, nearest, linear, broadcast.",
            MOTION,
            modes=GENERATED,
            card=True,
        ),
    ] = "linear"
    motion: Annotated[
        float | None,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 (calm) to 1 (lively), the same direction for every checkpoint.", MOTION),
    ] = None
    fps: Annotated[
        float | None,
        Field(ge=1, le=1000, allow_inf_nan=False),
        Parameter("The model's fs input, where it means frames per second.", MOTION, flag="--condition-fps"),
    ] = None
    frame_stride: Annotated[
        float | None,
        Field(ge=1, le=1000, allow_inf_nan=False),
        Parameter("The model's fs input, where it means a frame stride.", MOTION),
    ] = None
    fs: Annotated[
        float | None,
        Field(ge=1, le=1000, allow_inf_nan=False),
        Parameter(
            "The model's fs input, in the unit that the model reads.", MOTION, flag="", original="--frame_stride"
        ),
    ] = None


@declared
class SamplingParameters:
    """How the video is sampled."""

    num_inference_steps: Annotated[
        int,
        Field(ge=1, le=1000),
        Parameter("Sampling steps.", SAMPLING, aliases=("--steps",), original="--ddim_steps", card=True),
    ] = 50
    guidance_scale: Annotated[
        float,
        Field(ge=0, le=100, allow_inf_nan=False),
        Parameter(
            "Strength of the prompt; 1 is off.",
            SAMPLING,
            aliases=("--guidance",),
            original="--unconditional_guidance_scale",
            card=True,
        ),
    ] = 7.5
    image_guidance_scale: Annotated[
        float | None,
        Field(ge=0, le=100, allow_inf_nan=False),
        Parameter(
            "Strength of the image, apart from the prompt's; left out, both are one.",
            SAMPLING,
            modes=WITH_IMAGE,
            aliases=("--image-guidance",),
            original="--cfg_img",
        ),
    ] = None
    guidance_rescale: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter(
            "Share of the contrast of the conditional output that guidance gives back.",
            SAMPLING,
            original="--guidance_rescale",
            card=True,
        ),
    ] = 0.0
    eta: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter(
            "0 (deterministic) to 1 (as much noise as DDPM); for ddim.", SAMPLING, original="--ddim_eta", card=True
        ),
    ] = 1.0
    sampler: Annotated[Sampler, Parameter("ddim, dpm++ or unipc.", SAMPLING, card=True)] = "ddim"
    timestep_spacing: Annotated[
        Spacing,
        Parameter(
            "Which time steps are visited: uniform, uniform_trailing or quad.",
            SAMPLING,
            original="--timestep_spacing",
            card=True,
        ),
    ] = "uniform"
    fix_final_step: Annotated[
        bool, Parameter("End at the clean latents: mends a loss of contrast at few steps.", SAMPLING, card=True)
    ] = False


@declared
class SeedParameters:
    """Which of the possible videos."""

    seed: Annotated[
        int,
        Field(ge=0, le=MAX_SEED),
        Parameter("The same seed gives the same video.", SAMPLING, original="--seed"),
    ] = 123


@declared
class MemoryParameters:
    """How much is computed at once: other memory and time, the same numbers up to rounding."""

    chunk_frames: Annotated[
        int | None,
        Field(ge=1, le=MAX_FRAMES),
        Parameter(
            "Frames of a long video that the network works on at once; left out, all of them.",
            MACHINE,
            "frames",
            changes="nothing",
            modes=GENERATED,
        ),
    ] = None
    decode_chunk_size: Annotated[
        int | None,
        Field(ge=1, le=MAX_FRAMES),
        Parameter("Frames decoded at once.", MACHINE, "frames", changes="nothing"),
    ] = 4
    vae_tile: Annotated[
        int | None,
        Field(ge=MIN_TILE, le=MAX_SIDE),
        Parameter("Decode in tiles of this side, to save memory.", MACHINE, "latent pixels", changes="nothing"),
    ] = None
    num_videos_per_prompt: Annotated[
        int,
        Field(ge=1, le=MAX_VIDEOS),
        Parameter(
            "Videos for each image and prompt, with different noise.",
            SAMPLING,
            changes="nothing",
            modes=GENERATED,
            aliases=("--num-videos",),
            original="--n_samples",
            row=False,
        ),
    ] = 1


@declared
class OutputParameters:
    """What is written."""

    output: Annotated[
        File | None,
        Parameter(
            "File to write; a folder for --prompts.",
            OUTPUT,
            changes="nothing",
            aliases=("-o",),
            original="--savedir",
            row=False,
        ),
    ] = None
    overwrite: Annotated[
        bool,
        Parameter(
            "Replace files there that were not made here.", OUTPUT, changes="nothing", row=False, original="--overwrite"
        ),
    ] = False
    format: Annotated[
        Format | None,
        Parameter("mp4, webm, gif, webp, apng, or png for single frames.", OUTPUT, changes="file", row=False),
    ] = None
    playback_fps: Annotated[
        float | None,
        Field(gt=0, le=1000, allow_inf_nan=False),
        Parameter(
            "Speed of the file, not of the motion.", OUTPUT, "frames per second", changes="file", card=True, row=False
        ),
    ] = None
    contact_sheet: Annotated[
        bool, Parameter("Also write all frames as one PNG.", OUTPUT, changes="nothing", row=False)
    ] = False
    keep: Annotated[
        Literal["all", "best"],
        Parameter(
            "Of several videos: all, or best, which removes the others.",
            OUTPUT,
            changes="nothing",
            modes=GENERATED,
            row=False,
        ),
    ] = "all"


@declared
class MachineParameters:
    """Where and how the video is computed."""

    device: Annotated[
        str,
        Parameter("auto, cpu, or what `doctor` lists.", MACHINE, changes="nothing", row=False, original="--device"),
    ] = "auto"
    dtype: Annotated[Precision, Parameter("auto, fp32, bf16 or fp16.", MACHINE, row=False, original="--dtype")] = "auto"
    low_memory: Annotated[
        bool,
        Parameter("Slower, with less memory.", MACHINE, changes="nothing", row=False, original="--low_memory"),
    ] = False


@declared
class RunParameters:
    """What a command makes its videos of, and whether it makes them."""

    prompts: Annotated[
        File | None,
        Parameter(
            "Many videos: a folder of images with a prompt file, a CSV or a JSONL; for text-to-video a .txt or a "
            "table. Finished ones are skipped.",
            INPUT,
            changes="nothing",
            modes=GENERATED,
            row=False,
            original="--prompt_dir",
        ),
    ] = None
    replay: Annotated[
        File | None,
        Parameter(
            "Make a video again from the .json beside it; further options change it.",
            INPUT,
            changes="nothing",
            row=False,
        ),
    ] = None
    effort: Annotated[
        Effort | None,
        Parameter(
            "draft (10 steps), normal (as the checkpoint's card says) or best (50 steps, the best of 4 videos); other "
            "options go before it.",
            SAMPLING,
            changes="nothing",
            row=False,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        Parameter("Say what would be made, with which memory, and stop.", OUTPUT, changes="nothing", row=False),
    ] = False


@declared
class ExtendParameters:
    """What `extend` reads besides."""

    video: Annotated[
        File | None, Parameter("The video to go on with.", INPUT, modes=("extend",), flag="", row=False)
    ] = None
    overlap: Annotated[
        int | None,
        Field(ge=1, le=MAX_FRAMES),
        Parameter(
            "Last frames of the video that each segment begins with; a quarter of it when left out.",
            MOTION,
            "frames",
            modes=("extend",),
            row=False,
        ),
    ] = None

"""The options that all generating commands share, declared once."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.commands.plugin_options import PluginOptions

Option = typer.Option
MODEL, MOTION, SAMPLING, OUTPUT, MACHINE = "Model", "Size and motion", "Sampling", "Output", "Machine"


@dataclass(frozen=True)
class GenerationOptions(PluginOptions):
    """Options of the commands that make videos. None means: as the checkpoint's card says."""

    prompt: Annotated[str | None, Option("--prompt", "-p", help="What should happen in the video.")] = None
    prompt_at: Annotated[
        list[str] | None,
        Option(help="Another prompt from a frame on: FRAME=PROMPT, such as 32='it stops'. May be given often."),
    ] = None
    keyframe: Annotated[
        list[str] | None,
        Option(
            help="A picture that the video shows at a frame: FRAME=FILE, several after each other or each with "
            "--keyframe. Frame 0 is the image."
        ),
    ] = None
    negative_prompt: Annotated[str, Option(help="What to move away from.")] = ""
    keep_mask: Annotated[
        Path | None, Option(help="An image as large as the first one: where it is white, nothing changes.")
    ] = None
    prompts: Annotated[
        Path | None,
        Option(
            help="Many videos: a folder of images with a prompt file, a CSV or a JSONL; for text-to-video a .txt or a "
            "table. Finished ones are skipped."
        ),
    ] = None
    replay: Annotated[Path | None, Option(help="Make a video again from the .json beside it.")] = None

    preset: Annotated[
        str | None,
        Option(
            help="A released model: tiny, 256, 512, 1024, interp or loop; vc1, vc2, vc1024, vc-i2v.",
            rich_help_panel=MODEL,
        ),
    ] = None
    checkpoint: Annotated[
        Path | None, Option(help="A weight file, or a folder with config.yaml and weights.", rich_help_panel=MODEL)
    ] = None
    config: Annotated[Path | None, Option(help="The YAML for --checkpoint.", rich_help_panel=MODEL)] = None
    towers: Annotated[
        Path | None, Option(help="A checkpoint that supplies missing text and image towers.", rich_help_panel=MODEL)
    ] = None

    lora: Annotated[
        list[str] | None,
        Option(help="A LoRA to add to the weights: FILE or FILE:SCALE. May be given often.", rich_help_panel=MODEL),
    ] = None

    schedule: Annotated[
        str,
        Option(help="Where file and YAML have different noise schedules: config or file.", rich_help_panel=MODEL),
    ] = "config"

    height: Annotated[int | None, Option(help="Pixels; left out, it follows the image.", rich_help_panel=MOTION)] = None
    width: Annotated[int | None, Option(help="Pixels; left out, it follows the image.", rich_help_panel=MOTION)] = None
    fit: Annotated[
        str | None, Option(help="An image of another shape: crop, pad or stretch.", rich_help_panel=MOTION)
    ] = None
    frames: Annotated[int | None, Option(help="Number of frames.", rich_help_panel=MOTION)] = None
    long: Annotated[
        str | None,
        Option(
            help="Beyond the trained length: freenoise (the default), fifo (any length), freelong, plain; ring: loops.",
            rich_help_panel=MOTION,
        ),
    ] = None
    image_token_policy: Annotated[
        str | None,
        Option(
            help="For other lengths than the trained one: exact16, nearest, linear, broadcast.", rich_help_panel=MOTION
        ),
    ] = None
    motion: Annotated[
        float | None, Option(help="0 (calm) to 1 (lively), for every checkpoint.", rich_help_panel=MOTION)
    ] = None
    condition_fps: Annotated[
        float | None, Option(help="The model's fs input, where it means frames per second.", rich_help_panel=MOTION)
    ] = None
    frame_stride: Annotated[
        float | None, Option(help="The model's fs input, where it means a frame stride.", rich_help_panel=MOTION)
    ] = None

    steps: Annotated[int | None, Option(help="Sampling steps, 1 to 1000.", rich_help_panel=SAMPLING)] = None
    guidance: Annotated[float | None, Option(help="Strength of the prompt; 1 is off.", rich_help_panel=SAMPLING)] = None
    image_guidance: Annotated[
        float | None, Option(help="Strength of the image, apart from the prompt's.", rich_help_panel=SAMPLING)
    ] = None
    guidance_rescale: Annotated[
        float | None, Option(help="0 to 1: contrast that guidance gives back.", rich_help_panel=SAMPLING)
    ] = None
    eta: Annotated[float | None, Option(help="0 (deterministic) to 1.", rich_help_panel=SAMPLING)] = None
    sampler: Annotated[str | None, Option(help="ddim, dpm++ or unipc.", rich_help_panel=SAMPLING)] = None
    timestep_spacing: Annotated[
        str | None, Option(help="uniform, uniform_trailing or quad.", rich_help_panel=SAMPLING)
    ] = None
    fix_final_step: Annotated[
        bool | None, Option(help="Mend the original's loss of contrast at few steps.", rich_help_panel=SAMPLING)
    ] = None
    seed: Annotated[int, Option(help="The same seed gives the same video.", rich_help_panel=SAMPLING)] = 123
    num_videos: Annotated[int, Option(help="Videos for each image and prompt.", rich_help_panel=SAMPLING)] = 1
    keep: Annotated[
        str, Option(help="Of --num-videos: all, or best, which removes the others.", rich_help_panel=SAMPLING)
    ] = "all"

    output: Annotated[
        Path | None, Option("--output", "-o", help="File to write; a folder for --prompts.", rich_help_panel=OUTPUT)
    ] = None
    format: Annotated[
        str | None, Option(help="mp4, webm, gif, webp, apng, or png for single frames.", rich_help_panel=OUTPUT)
    ] = None
    playback_fps: Annotated[
        float | None, Option(help="Speed of the file, not of the motion.", rich_help_panel=OUTPUT)
    ] = None
    contact_sheet: Annotated[bool, Option(help="Also write all frames as one PNG.", rich_help_panel=OUTPUT)] = False
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace files there that were not made here.", rich_help_panel=OUTPUT)
    ] = False

    device: Annotated[str, Option(help="auto, cpu, or what `doctor` lists.", rich_help_panel=MACHINE)] = "auto"
    dtype: Annotated[str, Option(help="auto, fp32, bf16 or fp16.", rich_help_panel=MACHINE)] = "auto"
    low_memory: Annotated[bool, Option("--low-memory", help="Slower, with less memory.", rich_help_panel=MACHINE)] = (
        False
    )
    chunk_frames: Annotated[
        int | None, Option(help="Frames of a long video that the network works on at once.", rich_help_panel=MACHINE)
    ] = None
    decode_chunk_size: Annotated[int | None, Option(help="Frames decoded at once.", rich_help_panel=MACHINE)] = None
    vae_tile: Annotated[
        int | None,
        Option(help="Decode in tiles of this many latent pixels, to save memory.", rich_help_panel=MACHINE),
    ] = None

    def loras(self) -> list[tuple[Path, float]]:
        """The files and scales of `--lora`. Raises `ValueError` for one that is not there."""
        from lvdm.checkpoint.lora import parse_lora_option  # torch takes a second to import

        return [parse_lora_option(text) for text in self.lora or ()]

    def prompts_at(self) -> tuple[tuple[int, str], ...]:
        """Frames and sentences of `--prompt-at`, ascending. Raises `ValueError` for one that cannot be read."""
        found = {}
        for text in self.prompt_at or ():
            frame, equals, prompt = text.partition("=")
            if not equals or not frame.strip().isdecimal() or not prompt.strip():
                raise ValueError(f"--prompt-at {text!r} should be FRAME=PROMPT, such as 32='the ball stops'")
            found[int(frame)] = prompt
        return tuple(sorted(found.items()))

    def keyframes(self) -> tuple[tuple[int, Path], ...]:
        """Frames and pictures of `--keyframe`, ascending. Raises `ValueError` for one that cannot be read."""
        found: dict[int, Path] = {}
        for text in self.keyframe or ():
            frame, equals, path = text.partition("=")
            if not equals or not frame.strip().isdecimal() or not path.strip():
                raise ValueError(f"--keyframe {text!r} should be FRAME=FILE, such as 15=b.png")
            if int(frame) in found:
                raise ValueError(f"--keyframe gives frame {int(frame)} twice; give one picture for each frame")
            found[int(frame)] = Path(path)
        return tuple(sorted(found.items()))

    def settings(self) -> dict[str, Any]:
        """The options that are fields of `lvdm.generation.GenerationSettings`, by their names there."""
        same = ["height", "width", "fit", "image_token_policy", "motion", "frame_stride", "guidance_rescale", "eta"]
        same += ["sampler", "timestep_spacing", "fix_final_step", "decode_chunk_size", "vae_tile", "chunk_frames"]
        return {name: getattr(self, name) for name in same} | {
            "num_frames": self.frames,
            "long_video": self.long,
            "fps": self.condition_fps,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "image_guidance_scale": self.image_guidance,
            "num_videos_per_prompt": self.num_videos,
            **self.plugin_settings(),
        }


def with_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command`, whose last parameter is `options: GenerationOptions`, every field of it as an option."""
    hints = typing.get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "options"
    ]
    option_hints = typing.get_type_hints(GenerationOptions, include_extras=True)
    fields = dataclasses.fields(GenerationOptions)
    added = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=option_hints[f.name])
        for f in fields
    ]

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        options = GenerationOptions(**{f.name: kwargs.pop(f.name) for f in fields})
        command(*args, **kwargs, options=options)

    wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return wrapped

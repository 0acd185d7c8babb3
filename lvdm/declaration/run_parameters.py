"""Parameters of how a video is computed, written and run; `lvdm.declaration.parameters` has those of the video."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvdm.declaration.parameter import GENERATED, Parameter, declared
from lvdm.declaration.values import (
    INPUT,
    MACHINE,
    MAX_DEVICES,
    MAX_FPS,
    MAX_FRAMES,
    MAX_SIDE,
    MAX_VIDEOS,
    MIN_FPS,
    MIN_TILE,
    MOTION,
    OUTPUT,
    SAMPLING,
    Attention,
    Effort,
    Engine,
    File,
    Format,
    ListMode,
    Memory,
    Precision,
    Reader,
    Storage,
    WeightOffload,
    one_of,
)


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
        Parameter(f"{one_of(Format)} Single frames for png.", OUTPUT, changes="file", row=False),
    ] = None
    playback_fps: Annotated[
        float | None,
        Field(ge=MIN_FPS, le=MAX_FPS, allow_inf_nan=False),
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
    dtype: Annotated[Precision, Parameter(one_of(Precision), MACHINE, row=False, original="--dtype")] = "auto"
    low_memory: Annotated[
        bool,
        Parameter("Slower, with less memory.", MACHINE, changes="nothing", row=False, original="--low_memory"),
    ] = False
    offload: Annotated[
        WeightOffload,
        Parameter(
            "Where weights wait on an accelerator: none, model (in host memory, part by part), group (the network "
            "layer by layer, fetched while others compute) or sequential (each layer when it is needed).",
            MACHINE,
            changes="nothing",
            row=False,
        ),
    ] = "none"
    storage: Annotated[
        Storage,
        Parameter("The network's weights in memory: full, or fp8, half of bf16, which rounds.", MACHINE, row=False),
    ] = "full"
    max_memory: Annotated[
        Memory | None,
        Parameter(
            "Memory that may be used, such as 6GB: pieces and tiles are chosen so that it is enough, or it is refused.",
            MACHINE,
            changes="nothing",
            row=False,
        ),
    ] = None
    attention: Annotated[
        Attention,
        Parameter(
            f"What computes the network's attention: {one_of(Attention)} Other numbers with sage; `doctor` says which "
            "run here.",
            MACHINE,
            changes="nothing",
            row=False,
        ),
    ] = "auto"


@declared
class RunParameters:
    """What a command makes its videos of, and whether it makes them."""

    prompts: Annotated[
        File | None,
        Parameter(
            "Many videos: a folder of images with a prompt file, a CSV or a JSONL; for text-to-video a .txt or a "
            "table, for structure a table. Finished ones are skipped.",
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
            "draft (a fifth of the card's steps), normal (as the card says) or best (50 steps, the best of 4 videos); "
            "other options go before it.",
            SAMPLING,
            changes="nothing",
            row=False,
        ),
    ] = None
    fast: Annotated[
        int | None,
        Field(ge=1, le=3),
        Parameter(
            "1 (as good to the eye), 2 or 3 (the fastest): less work for each video by reused features and fewer "
            "steps, see docs/speed.md; other options go before it.",
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
    reader: Annotated[
        Reader,
        Parameter(
            f"What decodes the video: {one_of(Reader)} `doctor` says which run here.",
            MACHINE,
            modes=("extend",),
            row=False,
        ),
    ] = "pyav"


BATCH = ("batch",)
"""Where the parameters of `BatchParameters` are read: by the command of that name, in no single request."""


@declared
class BatchParameters:
    """How the videos of a long list are made and shared among devices."""

    list_mode: Annotated[
        ListMode | None,
        Parameter(
            "What is made of rows without a mode of their own: animate, interpolate, loop, text-to-video or structure; "
            "left out, what their files say.",
            INPUT,
            changes="nothing",
            modes=BATCH,
            flag="--mode",
            row=False,
        ),
    ] = None
    engine: Annotated[
        Engine,
        Parameter(
            "lightning: the devices of this machine, or what torchrun and SLURM started. ray: a Ray cluster.",
            MACHINE,
            changes="nothing",
            modes=BATCH,
            row=False,
        ),
    ] = "lightning"
    devices: Annotated[
        int | None,
        Field(ge=1, le=MAX_DEVICES),
        Parameter(
            "Devices that share the list, each with a process of its own; left out, every GPU there is, or one CPU.",
            MACHINE,
            changes="nothing",
            modes=BATCH,
            row=False,
        ),
    ] = None
    batch_size: Annotated[
        int,
        Field(ge=1, le=MAX_VIDEOS),
        Parameter(
            "Videos of one size and the same settings that a device makes at once; more than 1 changes rounding.",
            MACHINE,
            changes="nothing",
            modes=BATCH,
            row=False,
        ),
    ] = 1
    retry_failed: Annotated[
        bool,
        Parameter(
            "Make what failed in an earlier run again; without it, it is only reported.",
            OUTPUT,
            changes="nothing",
            modes=BATCH,
            row=False,
        ),
    ] = False

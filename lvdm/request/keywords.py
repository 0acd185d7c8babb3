"""Keyword arguments by name, type and meaning, for editors and type checkers. None is as good as left out.

Made by `python -m scripts.write_parameters` from the declarations in `lvdm.request`: change those and run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict


class SharedSettings(TypedDict, total=False):
    """Settings of a generation by a loaded model, and of a video that goes on."""

    height: int | None
    """Height; left out, it follows the image. [16 to 8192 pixels]"""
    width: int | None
    """Width; left out, it follows the image. [16 to 8192 pixels]"""
    fit: Literal["crop", "pad", "stretch"] | None
    """An image or depth of another shape: crop, pad or stretch."""
    num_frames: int | None
    """Length of the video; of `extend`: new frames. [1 to 1000000 frames]"""
    motion: float | None
    """0 (calm) to 1 (lively), the same direction for every checkpoint. [0 to 1]"""
    fps: float | None
    """The model's fs input, where it means frames per second. [1 to 1000]"""
    frame_stride: float | None
    """The model's fs input, where it means a frame stride. [1 to 1000]"""
    fs: float | None
    """The model's fs input, in the unit that the model reads. [1 to 1000]"""
    num_inference_steps: int | None
    """Sampling steps. [1 to 1000]"""
    guidance_scale: float | None
    """Strength of the prompt; 1 is off. [0 to 100]"""
    image_guidance_scale: float | None
    """Strength of the image, apart from the prompt's; left out, both are one. [0 to 100]"""
    guidance_rescale: float | None
    """Share of the contrast of the conditional output that guidance gives back. [0 to 1]"""
    eta: float | None
    """0 (deterministic) to 1 (as much noise as DDPM); for ddim. [0 to 1]"""
    sampler: Literal["ddim", "dpm++", "unipc"] | None
    """ddim, dpm++ or unipc."""
    timestep_spacing: Literal["uniform", "uniform_trailing", "quad"] | None
    """Which time steps are visited: uniform, uniform_trailing or quad."""
    fix_final_step: bool | None
    """End at the clean latents: avoids a loss of contrast at few steps."""
    anchor: Literal["free", "soft", "exact"] | None
    """Is frame 0 the image? free, soft (its latents) or exact (its pixels)."""
    camera: str | None
    """hold, pan_left, pan_right, tilt_up, tilt_down, zoom_in or zoom_out, as in zoom_in:amount=0.5; or a path, as in
    'path:points=0.2 0 1; 0.2 0.1 1.5'.
    """
    carry: str | None
    """Show the network the image carried along: by a camera, such as pan_left:amount=0.3, or with a region that is
    dragged, such as drag:x=0.5,y=0.6,radius=0.2,right=0.3.
    """
    carry_flow: str | Path | None
    """The same by an NPZ file with flow (frames, height, width, 2): from each pixel to where the image shows it, in
    pixels to the right and down, NaN where it does not; 0 in frame 0.
    """
    color_lock: float | None
    """0 to 1: hold all frames to the colours of the image. [0 to 1]"""
    deep_cache: str | None
    """Faster: reuse what deep blocks made for some steps: interval=2,blocks=2."""
    free_init: str | None
    """Sample again from the low frequencies: iterations=2,level=0.9."""
    free_u: str | None
    """Weigh features against skips: b1=1.1,b2=1.2,s1=0.9,s2=0.9."""
    guidance_steps: str | None
    """Faster: guidance in some of the steps: after=0,until=0.5,interval=2."""
    low_pass: float | None
    """0 to 1: blur the image in the first steps, for more motion. [0 to 1]"""
    low_pass_until: float | None
    """The share of the steps that see it blurred. [0 to 1]"""
    perturbed_guidance: str | None
    """Guide away from the network with layers switched off: stg or pag, as in stg:scale=1,blocks=middle+output.3."""
    scale: str | None
    """Beyond the trained size: auto, off, scalecrafter or freescale, or freescale:level=0.7 and so on."""
    second_stage_unet: str | Path | None
    """A checkpoint of the same architecture whose network takes the late steps."""
    second_stage_below: float | None
    """0 to 1: from which time step on it does, as a share of all. [0 to 1]"""
    truncated_start: float | None
    """Begin below the last time step, such as 0.94, for more motion. [0 to 1]"""
    start_statistics: str | Path | None
    """A file of `stats analytic-init`, for that beginning."""
    decode_chunk_size: int | None
    """Frames decoded at once. [1 to 1024 frames]"""
    vae_tile: int | None
    """Decode in tiles of this side, to save memory. [8 to 8192 latent pixels]"""


class GenerationKeywords(SharedSettings, total=False):
    """Settings of a generation by a loaded model."""

    depth_range: Literal["clip", "frame"] | None
    """Stretch depth over its range in the whole clip, or in each frame as the original does, which flickers."""
    depth_stride: int | None
    """Frame interval: every how many frames of --depth or --driving-video one is taken. [1 to 1000 frames]"""
    long_video: Literal["plain", "freenoise", "freelong", "cyclic", "fifo"] | None
    """Beyond the trained length: freenoise (the default), fifo (any length), freelong, plain; cyclic: loops."""
    image_token_policy: Literal["exact16", "nearest", "linear", "broadcast"] | None
    """For other lengths than the trained one: exact16, nearest, linear or broadcast."""
    between: str | None
    """From image to image with a model for one: vibid or trf."""
    between_prompt: str | None
    """The prompt for --between on its backward pass, seen in reverse."""
    keep_feather: int | None
    """What --keep-mask keeps is the image pixel by pixel, from this many pixels to its edge on. [0 to 256 pixels]"""
    chunk_frames: int | None
    """Frames of a long video that the network works on at once; left out, all of them. [1 to 1024 frames]"""
    num_videos_per_prompt: int | None
    """Videos for each image and prompt, with different noise. [1 to 1000]"""


class SharedParameters(TypedDict, total=False):
    """Parameters of videos that are planned and made, or that go on."""

    prompt: str | None
    """What should happen in the video."""
    negative_prompt: str | None
    """What to move away from."""
    replay: str | Path | None
    """Make a video again from the .json beside it; further options change it."""
    effort: Literal["draft", "normal", "best"] | None
    """draft (a fifth of the card's steps), normal (as the card says) or best (50 steps, the best of 4 videos); other
    options go before it.
    """
    fast: int | None
    """1 (as good to the eye), 2 or 3 (the fastest): less work for each video by reused features and fewer steps, see
    docs/speed.md; other options go before it. [1 to 3]
    """
    dry_run: bool | None
    """Say what would be made, with which memory, and stop."""
    preset: (
        Literal[
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
        | None
    )
    """A released model, or the embedded one: tiny, or small for 128 pixels, as when no model is named."""
    checkpoint: str | Path | None
    """A weight file, or a folder with config.yaml and weights."""
    config: str | Path | None
    """The YAML for --checkpoint."""
    encoders: str | Path | None
    """A checkpoint that supplies missing text and image encoders."""
    loras: Sequence[str | Path | tuple[str | Path, float]] | None
    """A LoRA to add to the weights: FILE or FILE:SCALE. May be given often."""
    schedule: Literal["config", "file"] | None
    """Where file and YAML have different noise schedules: config or file."""
    seed: int | None
    """The same seed gives the same video. [0 to 9223372036854775807]"""
    output: str | Path | None
    """File to write; a folder for --prompts."""
    overwrite: bool | None
    """Replace files there that were not made here."""
    format: Literal["mp4", "webm", "gif", "webp", "apng", "png"] | None
    """mp4, webm, gif, webp, apng or png. Single frames for png."""
    playback_fps: float | None
    """Speed of the file, not of the motion. [0.01 to 1000 frames per second]"""
    contact_sheet: bool | None
    """Also write all frames as one PNG."""
    device: str | None
    """auto, cpu, or what `doctor` lists."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] | None
    """auto, fp32, bf16 or fp16."""
    low_memory: bool | None
    """Slower, with less memory."""
    offload: Literal["none", "model", "group", "sequential"] | None
    """Where weights wait on an accelerator: none, model (in host memory, part by part), group (the network layer by
    layer, fetched while others compute) or sequential (each layer when it is needed).
    """
    storage: Literal["full", "fp8"] | None
    """The network's weights in memory: full, or fp8, half of bf16, which rounds."""
    max_memory: str | None
    """Memory that may be used, such as 6GB: pieces and tiles are chosen so that it is enough, or it is refused."""
    attention: Literal["auto", "sdpa", "xformers", "plain", "flash", "sage"] | None
    """What computes the network's attention: auto, sdpa, xformers, plain, flash or sage. Other numbers with sage;
    `doctor` says which run here.
    """


class RequestKeywords(GenerationKeywords, SharedParameters, total=False):
    """Parameters of videos that are planned and made."""

    image: str | Path | None
    """The image that the video begins with."""
    end_image: str | Path | None
    """The image that it ends with."""
    prompts_at: Mapping[int, str] | Sequence[str | tuple[int, str]] | None
    """Another prompt from a frame on: FRAME=PROMPT, such as 32='it stops'. May be given often."""
    keyframes: Mapping[int, str | Path] | Sequence[str | tuple[int, str | Path]] | None
    """An image that the video shows at a frame: FRAME=FILE, several after each other or each with --keyframe. Frame 0
    is the image.
    """
    keep_mask: str | Path | None
    """An image as large as the first one: where it is white, nothing changes."""
    guide_video: str | Path | None
    """A video whose first frames are shown to the network in the place of the still image, such as a rendered camera
    path (ViewCrafter).
    """
    depth: str | Path | None
    """The depth of every frame, near is large: a video, a folder of images, or an NPZ with an array `depth`."""
    driving_video: str | Path | None
    """A video whose depth is estimated, in the place of --depth."""
    depth_model: str | Path | None
    """Weights of a depth estimator (MiDaS, DPT-Hybrid), for checkpoints without one."""
    prompts: str | Path | None
    """Many videos: a folder of images with a prompt file, a CSV or a JSONL; for text-to-video a .txt or a table, for
    structure a table. Finished ones are skipped.
    """
    keep: Literal["all", "best"] | None
    """Of several videos: all, or best, which removes the others."""


class ExtensionKeywords(SharedSettings, SharedParameters, total=False):
    """Parameters of a video that goes on."""

    overlap: int | None
    """Last frames of the video that each segment begins with; a quarter of it when left out. [1 to 1024 frames]"""
    reader: Literal["pyav", "torchcodec", "decord", "imageio"] | None
    """What decodes the video: pyav, torchcodec, decord or imageio. `doctor` says which run here."""


class BatchKeywords(RequestKeywords, total=False):
    """Parameters of the videos of a list, and how they are shared among devices."""

    list_mode: Literal["animate", "interpolate", "loop", "text-to-video", "structure"] | None
    """What is made of rows without a mode of their own: animate, interpolate, loop, text-to-video or structure; left
    out, what their files say.
    """
    engine: Literal["lightning", "ray"] | None
    """lightning: the devices of this machine, or what torchrun and SLURM started. ray: a Ray cluster."""
    devices: int | None
    """Devices that share the list, each with a process of its own; left out, every GPU there is, or one CPU. [1 to
    4096]
    """
    batch_size: int | None
    """Videos of one size and the same settings that a device makes at once; more than 1 changes rounding. [1 to 1000]
    """
    retry_failed: bool | None
    """Make what failed in an earlier run again; without it, it is only reported."""

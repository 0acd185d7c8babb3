"""Every parameter of a generation, declared once; see `lvdm.declaration.parameter` for what is made from it.

A parameter that reaches the sampler is a field here and the line that reads it there. The parameters of methods
(plug-ins) are in `lvdm/plugins/methods/`, those that the pipeline is called with in `lvdm.request.settings`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from lvdm.declaration.parameter import FROM_IMAGE_OR_TEXT, GENERATED, STILL, WITH_IMAGE, Parameter, declared
from lvdm.declaration.values import (
    INPUT,
    MAX_SEED,
    MAX_SIDE,
    MAX_STREAMED_FRAMES,
    MIN_SIDE,
    MODEL,
    MOTION,
    SAMPLING,
    File,
    Fit,
    Frame,
    ImageFile,
    LongVideo,
    Preset,
    Prompt,
    Sampler,
    Schedule,
    Spacing,
    TokenPolicy,
    frame_pairs,
    lora_pairs,
    one_of,
)


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
        frame_pairs("--prompt-at", "FRAME=PROMPT, such as 32='the ball stops'", "prompt"),
        Parameter(
            "Another prompt from a frame on: FRAME=PROMPT, such as 32='it stops'. May be given often.",
            INPUT,
            modes=GENERATED,
            flag="--prompt-at",
        ),
    ] = ()
    keyframes: Annotated[
        tuple[tuple[Frame, ImageFile], ...],
        frame_pairs("--keyframe", "FRAME=FILE, such as 15=b.png", "image"),
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
    guide_video: Annotated[
        File | None,
        Parameter(
            "A video whose first frames are shown to the network in the place of the still image, such as a rendered "
            "camera path (ViewCrafter).",
            INPUT,
            modes=("animate",),
        ),
    ] = None
    depth: Annotated[
        File | None,
        Parameter(
            "The depth of every frame, near is large: a video, a folder of images, or an NPZ with an array `depth`.",
            INPUT,
            modes=("structure",),
        ),
    ] = None
    driving_video: Annotated[
        File | None,
        Parameter("A video whose depth is estimated, in the place of --depth.", INPUT, modes=("structure",)),
    ] = None
    depth_model: Annotated[
        File | None,
        Parameter(
            "Weights of a depth estimator (MiDaS, DPT-Hybrid), for checkpoints without one.",
            INPUT,
            modes=("structure",),
        ),
    ] = None


FRAMES_OF_FILES = ("guide_video", "depth", "driving_video")
"""Inputs that are one frame for each of the video's."""


@declared
class StructureParameters:
    """How depth becomes what the network reads."""

    depth_range: Annotated[
        Literal["clip", "frame"],
        Parameter(
            "Stretch depth over its range in the whole clip, or in each frame as the original does, which flickers.",
            INPUT,
            modes=("structure",),
        ),
    ] = "clip"
    depth_stride: Annotated[
        int,
        Field(ge=1, le=1000),
        Parameter(
            "Frame interval: every how many frames of --depth or --driving-video one is taken.",
            INPUT,
            "frames",
            modes=("structure",),
        ),
    ] = 1


@declared
class ModelParameters:
    """Which model: its files and what is added to them."""

    preset: Annotated[
        Preset | None,
        Parameter(
            "A released model, or the embedded one: tiny, or small for 128 pixels, as when no model is named.",
            MODEL,
            row=False,
        ),
    ] = None
    checkpoint: Annotated[
        File | None,
        Parameter("A weight file, or a folder with config.yaml and weights.", MODEL, row=False, original="--ckpt_path"),
    ] = None
    config: Annotated[File | None, Parameter("The YAML for --checkpoint.", MODEL, row=False, original="--config")] = (
        None
    )
    encoders: Annotated[
        File | None,
        Parameter("A checkpoint that supplies missing text and image encoders.", MODEL, row=False, former=("towers",)),
    ] = None
    loras: Annotated[
        tuple[tuple[File, Annotated[float, Field(allow_inf_nan=False)]], ...],
        BeforeValidator(lora_pairs),
        Parameter(
            "A LoRA to add to the weights: FILE or FILE:SCALE. May be given often.", MODEL, flag="--lora", row=False
        ),
    ] = ()
    schedule: Annotated[
        Schedule,
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
    fit: Annotated[
        Fit,
        Parameter(f"An image or depth of another shape: {one_of(Fit)}", MOTION, modes=(*WITH_IMAGE, "structure")),
    ] = "crop"
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
            "Beyond the trained length: freenoise (the default), fifo (any length), freelong, plain; cyclic: loops.",
            MOTION,
            modes=FROM_IMAGE_OR_TEXT,
            aliases=("--long",),
            former_values=(("ring", "cyclic"),),
        ),
    ] = "plain"
    image_token_policy: Annotated[
        TokenPolicy,
        Parameter(
            f"For other lengths than the trained one: {one_of(TokenPolicy)}",
            MOTION,
            modes=FROM_IMAGE_OR_TEXT,
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
    sampler: Annotated[Sampler, Parameter(one_of(Sampler), SAMPLING, card=True)] = "ddim"
    timestep_spacing: Annotated[
        Spacing,
        Parameter(
            f"Which time steps are visited: {one_of(Spacing)}",
            SAMPLING,
            original="--timestep_spacing",
            card=True,
        ),
    ] = "uniform"
    fix_final_step: Annotated[
        bool, Parameter("End at the clean latents: avoids a loss of contrast at few steps.", SAMPLING, card=True)
    ] = False


@declared
class SeedParameters:
    """Which of the possible videos."""

    seed: Annotated[
        int,
        Field(ge=0, le=MAX_SEED),
        Parameter("The same seed gives the same video.", SAMPLING, original="--seed"),
    ] = 123

"""Videos for the measurements: generated, or passed through the autoencoder, in the order of the scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from rich.progress import track
from torch import Tensor

from lvdm.data.procedural import Scene
from lvdm.pipeline import DynamiCrafterPipeline

Ends = Literal["first", "both", "loop"]
"""What the model is given: the first frame, the first and the last, or one frame to begin and end with."""


@dataclass(frozen=True)
class Settings:
    """How videos are made; None is the model's own value."""

    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 16
    seed: int = 2024


def load_pipeline(model: str, checkpoint: str | None) -> DynamiCrafterPipeline:
    """The model, allowed to do what its card does not claim: the measurements are what a card rests on."""
    pipe = DynamiCrafterPipeline.from_pretrained(model, checkpoint)
    pipe.card = dataclasses.replace(pipe.card, capabilities=("i2v", "interpolation"))
    return pipe


def generate(
    pipe: DynamiCrafterPipeline,
    images: Sequence[Tensor],
    strides: Sequence[int],
    prompts: Sequence[str],
    settings: Settings,
    ends: Sequence[Tensor] | None = None,
    loop: bool = False,
) -> list[Tensor]:
    """One video (3, t, H, W) for each image (3, H, W), which ends at the image of `ends` or at its own with `loop`."""
    videos: dict[int, Tensor] = {}
    batches = []
    for stride in sorted(set(strides)):  # one value for a whole batch
        chosen = [i for i, own in enumerate(strides) if own == stride]
        batches += [chosen[start : start + settings.batch_size] for start in range(0, len(chosen), settings.batch_size)]
    for chosen in track(batches, description=f"{len(images)} videos"):
        result = pipe(
            [images[i] for i in chosen],
            [prompts[i] for i in chosen],
            end_image=None if ends is None else [ends[i] for i in chosen],
            loop=loop,
            seed=[settings.seed + i for i in chosen],
            frame_stride=strides[chosen[0]],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
        )
        videos |= {i: video.float().cpu() for i, video in zip(chosen, result.video, strict=True)}
    return [videos[i] for i in range(len(images))]


def animate(
    pipe: DynamiCrafterPipeline,
    truth: Sequence[Tensor],
    scenes: Sequence[Scene],
    prompts: Sequence[str],
    settings: Settings,
) -> list[Tensor]:
    """One video for the first frame of each true one."""
    return generate(pipe, [video[:, 0] for video in truth], [s.frame_stride for s in scenes], prompts, settings)


def round_trip(pipe: DynamiCrafterPipeline, videos: Sequence[Tensor]) -> list[Tensor]:
    """The videos through the autoencoder and back: the best that the model can do."""
    model = pipe.runtime.model
    device, dtype = pipe.runtime.device, pipe.runtime.precision.vae
    with torch.inference_mode():
        latents = [model.encode_first_stage(video[None].to(device, dtype)) for video in videos]
        return [model.decode_first_stage(latent)[0].float().cpu() for latent in latents]

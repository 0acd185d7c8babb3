"""Decoding with a decoder that takes the frames of a clip together, and their first and last image (ToonCrafter)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lvdm.models.autoencoder import DualReferenceAutoencoder
from lvdm.pipeline.residence import Residence
from lvdm.progress import ProgressCallback, report_progress
from lvdm.request.settings import GenerationSettings


def check_decoding(autoencoder: Any, settings: GenerationSettings) -> None:
    """Raise `ValueError` for settings that a decoder of whole clips cannot follow."""
    if isinstance(autoencoder, DualReferenceAutoencoder) and settings.vae_tile is not None:
        raise ValueError("this checkpoint decodes all frames of a clip together, and not in tiles; leave out vae_tile")


def decode_whole_clips(
    residence: Residence,
    latents: Iterable[Tensor],
    num_frames: int,
    ends: Tensor | None,
    on_progress: ProgressCallback | None,
) -> Iterator[Tensor]:
    """Videos (b, 3, t, H, W) of latents in parts (b, c, k, h, w), in one part, float32 on the CPU.

    ends: the images of the first and the last frame, (b, 3, 2, H, W) in [-1, 1]; None where there is no last one
    """
    autoencoder, dtype = residence.model.first_stage_model, residence.precision.vae
    whole = torch.cat(list(latents), dim=2) / residence.model.config.scale_factor
    report_progress(on_progress, "decode", 0, num_frames)
    clips = []
    with residence.resident(autoencoder):
        for number, clip in enumerate(whole.split(1)):
            images = None if ends is None else ends[number : number + 1].to(residence.device, dtype)
            references = None if images is None else autoencoder.references(images)
            clips.append(autoencoder.decode_clips(clip.to(dtype), references).to("cpu", torch.float32))
    yield torch.cat(clips)
    report_progress(on_progress, "decode", num_frames, num_frames)

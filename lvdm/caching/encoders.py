"""The frozen encoders of a video model alone, filled from its checkpoints: what makes a latent cache."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lvdm.caching.latent_index import EncoderHashes
from lvdm.checkpoint import CheckpointError, CheckpointFile, Part, part_of
from lvdm.checkpoint.filling import fill
from lvdm.checkpoint.hashing import hash_of_tensors
from lvdm.checkpoint.parts import AUTOENCODER, IMAGE_ENCODER, TEXT_ENCODER
from lvdm.config import Component
from lvdm.models.video_config import LatentVisualDiffusionConfig

UNUSED_OPTIONS = ("freeze", "version", "device", "lossconfig", "monitor")
"""Options of the encoders that change nothing in what they compute."""


class FrozenEncoders(nn.Module):
    """The autoencoder's encoder and both of CLIP, under the keys of a whole model. Without weights: on `meta`."""

    def __init__(self, config: LatentVisualDiffusionConfig) -> None:
        super().__init__()
        with torch.device("meta"):
            self.first_stage_model = config.first_stage_config.build()
            self.cond_stage_model = config.cond_stage_config.build()
            self.embedder = config.img_cond_stage_config.build()
        del self.first_stage_model.decoder, self.first_stage_model.post_quant_conv
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def moments(self, frames: Tensor) -> Tensor:
        """Frames (n, 3, H, W) in [-1, 1] -> mean and log-variance (n, 2c, h, w)."""
        posterior = self.first_stage_model.encode(frames)
        return torch.cat([posterior.mean, posterior.logvar], dim=1)

    @torch.no_grad()
    def tokens(self, frames: Tensor) -> Tensor:
        """Frames (n, 3, H, W) in [-1, 1] -> image encoder tokens (n, m, e)."""
        return self.embedder(frames)

    @torch.no_grad()
    def text(self, captions: Sequence[str]) -> Tensor:
        """Captions -> (n, k, d)."""
        return self.cond_stage_model(list(captions))


def load_encoders(
    config: LatentVisualDiffusionConfig, files: Sequence[CheckpointFile], device: torch.device | str = "cpu"
) -> FrozenEncoders:
    """The encoders in float32 on `device`, from the last of `files` that holds each tensor.

    Raises `CheckpointError` if none of them does.
    """
    return _filled(FrozenEncoders(config), files, device)


def load_first_stage(
    config: LatentVisualDiffusionConfig, files: Sequence[CheckpointFile], device: torch.device | str = "cpu"
) -> FrozenEncoders:
    """The same with the encoder of the autoencoder alone: only `moments` can be used."""
    encoders = FrozenEncoders(config)
    del encoders.cond_stage_model, encoders.embedder
    return _filled(encoders, files, device)


def _filled(encoders: FrozenEncoders, files: Sequence[CheckpointFile], device: torch.device | str) -> FrozenEncoders:
    tensors = _find(encoders, files)
    fill(encoders, ((key, file[key].to(device, torch.float32, copy=True)) for key, file in tensors.items()), device)
    return encoders


def encoder_hashes(config: LatentVisualDiffusionConfig, files: Sequence[CheckpointFile]) -> EncoderHashes:
    """Hashes of the weights that `load_encoders` would take and of the options that go with them."""
    tensors = _find(FrozenEncoders(config), files)

    def of(part: Part, component: Component) -> str:
        keys = sorted(key for key in tensors if part_of(key) == part)
        return hash_of_tensors(((key, tensors[key][key]) for key in keys), _options(component))

    return EncoderHashes(
        of(AUTOENCODER, config.first_stage_config),
        of(TEXT_ENCODER, config.cond_stage_config),
        of(IMAGE_ENCODER, config.img_cond_stage_config),
    )


def _find(encoders: FrozenEncoders, files: Sequence[CheckpointFile]) -> Mapping[str, CheckpointFile]:
    """Which file holds each tensor. Raises `CheckpointError` for the first one that none holds in its shape."""
    found = {}
    for key, value in encoders.state_dict().items():
        holders = [file for file in files if key in file and file.shape(key) == tuple(value.shape)]
        if not holders:
            raise CheckpointError(
                f"no weights for the {part_of(key).name}: {', '.join(str(file.path) for file in files) or 'no file'} "
                f"holds {key} as {tuple(value.shape)}; name a checkpoint that does in model.pretrained_checkpoint"
            )
        found[key] = holders[-1]
    return found


def _options(component: Component) -> str:
    options: dict[str, Any] = asdict(component.params)
    kept = {name: value for name, value in options.items() if name not in UNUSED_OPTIONS}
    return json.dumps([component.target.rpartition(".")[2], kept], sort_keys=True, default=str)

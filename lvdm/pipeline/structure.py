"""The depth that a network follows: fitted like an image, or estimated from a driving video, and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.filling import fill
from lvdm.conditioning import depth_condition
from lvdm.errors import CheckpointError
from lvdm.media.geometry import PaddedSize, covering_size, fit_box
from lvdm.models.training_inputs import LeftOut
from lvdm.modules.encoders.depth import DepthEstimator, DepthEstimatorConfig
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.runtime import Runtime
from lvdm.request.settings import GenerationSettings

MARK = "pretrained.model.cls_token"
"""The end of a key that every file of the estimator has; what comes before it is the prefix of all."""
CHUNK = 4
"""Frames whose depth is estimated at once."""


def with_depth_maps(
    runtime: Runtime, requests: Sequence[GenerationRequest], settings: GenerationSettings, size: PaddedSize
) -> tuple[GenerationRequest, ...]:
    """The requests with the depth that the network reads, `depth_maps` (t, h, w) in [-1, 1]; others as they are."""
    return tuple(replace(request, depth_maps=_depth_maps(runtime, request, settings, size)) for request in requests)


def _depth_maps(
    runtime: Runtime, request: GenerationRequest, settings: GenerationSettings, size: PaddedSize
) -> Tensor | None:
    factor = runtime.model.vae_factor
    latent = size.height // factor, size.width // factor
    if request.depth is not None:
        fitted = size.pad(fit_frames(request.depth[:, None].float(), size.inner.height, size.inner.width, settings.fit))
        raw = F.interpolate(fitted, latent, mode="bilinear", antialias=True)[:, 0]
    elif request.driving_video is not None:
        fitted = size.pad(fit_video(request.driving_video, size, settings))
        raw = estimate_depth(runtime, fitted, request.depth_model_path)
    else:
        return None
    return depth_condition(raw[None, None], latent, settings.depth_range == "clip")[0, 0]


def fit_video(video: Tensor, size: PaddedSize, settings: GenerationSettings) -> Tensor:
    """Bytes (t, H, W, 3) of any size at that of the video, (t, 3, H, W) in [-1, 1]."""
    frames = video.permute(0, 3, 1, 2).float() / 127.5 - 1
    return fit_frames(frames, size.inner.height, size.inner.width, settings.fit).clamp(-1, 1)


def fit_frames(frames: Tensor, height: int, width: int, fit: str) -> Tensor:
    """Frames (t, c, H, W) at another size, with antialiasing, as `fit_image` does; `pad` repeats the border."""
    source = frames.shape[2], frames.shape[3]
    if fit == "crop":
        scaled = _resized(frames, covering_size(source, (height, width)))
        top, left = (scaled.shape[2] - height) // 2, (scaled.shape[3] - width) // 2
        return scaled[:, :, top : top + height, left : left + width]
    if fit == "stretch":
        return _resized(frames, (height, width))
    box = fit_box(source, (height, width), "pad")
    inside = _resized(frames, (box.height, box.width))
    right, bottom = width - box.left - box.width, height - box.top - box.height
    return F.pad(inside, (box.left, right, box.top, bottom), mode="replicate")


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(frames.shape[2:]) == size:
        return frames
    return F.interpolate(frames, size, mode="bilinear", antialias=True, align_corners=False)


def estimate_depth(runtime: Runtime, frames: Tensor, weights: Path | None) -> Tensor:
    """Relative inverse depth (t, S, S) in float32 on the CPU, near is large, of frames (t, 3, H, W) in [-1, 1].

    By the estimator of the model, or by one with the `weights` of another file. Raises `ValueError` without either.
    """
    estimator = runtime.model.depth_stage_model if weights is None else read_estimator(weights)
    if isinstance(estimator, LeftOut):
        raise ValueError(f"the checkpoint has no {estimator.name}; {estimator.hint}")
    with runtime.resident(estimator):
        parts = [estimator(part.to(runtime.device)).to("cpu", torch.float32) for part in frames.split(CHUNK)]
    return torch.cat(parts)


def read_estimator(path: Path) -> DepthEstimator:
    """The depth estimator of a file: of MiDaS's own, or of a whole checkpoint. Raises `CheckpointError`."""
    file = read_checkpoint(path)
    prefix = next((key.removesuffix(MARK) for key in file if key.endswith(MARK)), None)
    if prefix is None:
        raise CheckpointError(f"{path} holds no depth estimator (DPT-Hybrid); name dpt_hybrid-midas-501f0c75.pt")
    with torch.device("meta"):
        estimator = DepthEstimator(DepthEstimatorConfig())
    names = {key: prefix + key.removeprefix("model.") for key in estimator.state_dict()}
    fill(estimator, ((key, file[name].float()) for key, name in names.items() if name in file))
    return estimator.eval().requires_grad_(False)

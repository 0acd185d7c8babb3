"""What a generation gives back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvdm.device import synchronize
from lvdm.media.geometry import PaddedSize
from lvdm.media.video_writer import to_uint8
from lvdm.modules.encoders.condition import PromptReading
from lvdm.pipeline.requests import GenerationRequest
from lvdm.request.settings import GenerationSettings

OUTPUT_TYPES = ("pt", "np", "pil", "uint8")

FrameConsumer = Callable[[Iterator[Tensor]], object]
"""Takes a video as its parts (3, k, H, W) in [-1, 1], in order, such as `lvdm.media.video_writer.write_video` does."""


def stacked_depth(requests: Sequence[GenerationRequest]) -> Tensor:
    """The depth of a batch as the network reads it beside the noise, (b, 1, t, h, w). Raises `ValueError` for none."""
    maps = [request.depth_maps for request in requests if request.depth_maps is not None]
    if len(maps) < len(requests):
        raise ValueError("structure needs the depth of every frame; give depth, or driving_video")
    return torch.stack(maps)[:, None]


@dataclass
class Stopwatch:
    """Wall-clock seconds per stage; waits for the device at both ends of a stage."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage `name`."""
        synchronize(self.device)
        begin = time.perf_counter()
        try:
            yield
            synchronize(self.device)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True)
class GenerationResult:
    """The videos of one call, in the order of `requests`.

    video             (n, 3, t, H, W) float32 on the CPU, in [-1, 1]; no frames where they were streamed
    latents           (n, 4, t, h, w) float32 on the CPU, before decoding
    frames            `video` in the output type that was asked for, see `convert_frames`
    seconds           wall clock per stage
    fs                the model's `fs` input
    scale             how the network was re-dilated, as the setting `scale` says it with every value; or off
    peak_memory       bytes, see `lvdm.device.peak_memory`
    depth             for structure, (t, h, w) in [-1, 1] of each video: what the network was given
    readings          how much of each prompt the text encoder reads
    first_frame_psnr  of frame 0 against the fitted input image, decibels, one for each video; None without an image
    """

    video: Tensor
    latents: Tensor
    frames: Any
    requests: tuple[GenerationRequest, ...]
    settings: GenerationSettings
    size: PaddedSize
    fs: int
    scale: str
    seconds: dict[str, float]
    peak_memory: int | None
    first_frame_psnr: tuple[float | None, ...]
    depth: tuple[Tensor | None, ...] = ()
    readings: Mapping[str, PromptReading] = field(default_factory=dict)


def in_chunks(parts: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Parts (b, c, k, h, w) of a video as parts of `size` frames, the last one of what is left."""
    waiting: list[Tensor] = []
    for frame in itertools.chain.from_iterable(part.split(1, dim=2) for part in parts):
        waiting.append(frame)
        if len(waiting) == size:
            yield torch.cat(waiting, dim=2)
            waiting.clear()
    if waiting:
        yield torch.cat(waiting, dim=2)


def gather_frames(parts: Iterable[Tensor], num_frames: int) -> Tensor:
    """Parts (b, 3, k, H, W) of videos as a whole (b, 3, num_frames, H, W), without holding all of them twice."""
    video, begin = torch.empty(0), 0
    for part in parts:
        if part.shape[2] == num_frames:
            return part
        if not begin:
            video = torch.empty(*part.shape[:2], num_frames, *part.shape[3:])
        video[:, :, begin : begin + part.shape[2]] = part
        begin += part.shape[2]
    return video


def convert_frames(video: Tensor, output_type: str) -> Any:
    """Videos (n, 3, t, H, W) in [-1, 1] as `output_type`.

    pt: unchanged. np: float32 array (n, t, H, W, 3) in [0, 1]. uint8: bytes (n, t, H, W, 3). pil: a list of images
    for each video.
    """
    if output_type == "pt":
        return video
    if output_type == "np":
        return rearrange((video.clamp(-1, 1) + 1) / 2, "n c t h w -> n t h w c").numpy()
    pixels = torch.stack([to_uint8(clip) for clip in video])
    if output_type == "uint8":
        return pixels
    return [[Image.fromarray(frame) for frame in clip.numpy()] for clip in pixels]

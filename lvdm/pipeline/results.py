"""What a generation gives back, and the requests it was made from."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvdm.content_hash import content_hash, hash_bytes
from lvdm.device import synchronize
from lvdm.media.geometry import PaddedSize
from lvdm.media.video_writer import to_uint8
from lvdm.modules.encoders.condition import PromptReading
from lvdm.request.digest import InputFile, files_of_methods
from lvdm.request.settings import GenerationSettings

OUTPUT_TYPES = ("pt", "np", "pil", "uint8")

FrameConsumer = Callable[[Iterator[Tensor]], object]
"""Takes a video as its parts (3, k, H, W) in [-1, 1], in order, such as `lvdm.media.video_writer.write_video` does."""


@dataclass(frozen=True)
class GenerationRequest:
    """One video that is asked for. The same (seed, index) gives the same noise on any device and in any batch.

    image      None for text-to-video
    end_image  the image of the last frame
    keyframes  frames from 1 and their images
    prompts_at  frames from 1 and the prompts that take over there, ascending; `prompt` is that of the beginning
    keep_mask  grey images of the size of `image`, one for all frames or one for each: white stays as in the image
    depth      (t, H, W) of any size and unit, near is large; for structure, or in its place
    driving_video  (t, H, W, 3) bytes, whose depth is estimated, with the weights at `depth_model_path` if there are any
    depth_maps  (t, h, w) in [-1, 1], what the network reads; the pipeline makes them
    """

    image: Image.Image | None
    prompt: str
    negative_prompt: str = ""
    end_image: Image.Image | None = None
    seed: int = 0
    index: int = 0
    image_path: Path | None = None
    end_image_path: Path | None = None
    keep_mask: tuple[Image.Image, ...] = ()
    keep_mask_path: Path | None = None
    prompts_at: tuple[tuple[int, str], ...] = ()
    keyframes: tuple[tuple[int, Image.Image], ...] = ()
    keyframe_paths: tuple[tuple[int, Path], ...] = ()
    depth: Tensor | None = field(default=None, compare=False)
    depth_path: Path | None = None
    driving_video: Tensor | None = field(default=None, compare=False)
    driving_video_path: Path | None = None
    depth_model_path: Path | None = None
    depth_maps: Tensor | None = field(default=None, compare=False)

    @property
    def source_shape(self) -> tuple[int, int] | None:
        """Height and width of the image, or of the frames whose depth is given; None without either."""
        if self.image is not None:
            return self.image.height, self.image.width
        frames = self.depth if self.depth is not None else self.driving_video
        return None if frames is None else (frames.shape[1], frames.shape[2])

    def prompts(self) -> list[str]:
        """All prompts of the video."""
        return [self.prompt, self.negative_prompt, *(prompt for _, prompt in self.prompts_at)]

    def files(self, settings: GenerationSettings) -> tuple[InputFile, ...]:
        """What the video is made of besides the model, with hashes: files, and images in memory. Raises `OSError`."""
        named: list[tuple[str, Image.Image | None, Path | None, int | None]] = [
            ("image", self.image, self.image_path, None),
            ("end_image", self.end_image, self.end_image_path, None),
            *((("keep_mask", mask, self.keep_mask_path, None)) for mask in self.keep_mask),
        ]
        tensors = (
            ("depth", self.depth, self.depth_path),
            ("driving_video", self.driving_video, self.driving_video_path),
        )
        paths = dict(self.keyframe_paths)
        named += [("keyframes", image, paths.get(frame), frame) for frame, image in self.keyframes]
        found = [
            InputFile(name, hash_of_image(image) if path is None else content_hash(path), path, frame)
            for name, image, path, frame in named
            if image is not None
        ]
        found += [
            InputFile(name, hash_of_tensor(tensor) if path is None else content_hash(path), path)
            for name, tensor, path in tensors
            if tensor is not None
        ]
        if self.depth_model_path is not None:
            found.append(InputFile("depth_model", content_hash(self.depth_model_path), self.depth_model_path))
        return (*found, *files_of_methods(settings))

    def later_images(self, settings: GenerationSettings) -> dict[int, Image.Image]:
        """The images after that of frame 0 by the number of their frame, ascending."""
        last = settings.num_frames - 1
        found = dict(self.keyframes)
        if settings.mode == "loop" and self.image is not None:
            found[last] = self.image
        elif self.end_image is not None:
            found[last] = self.end_image
        return dict(sorted(found.items()))


def stacked_depth(requests: Sequence[GenerationRequest]) -> Tensor:
    """The depth of a batch as the network reads it beside the noise, (b, 1, t, h, w). Raises `ValueError` for none."""
    maps = [request.depth_maps for request in requests if request.depth_maps is not None]
    if len(maps) < len(requests):
        raise ValueError("structure needs the depth of every frame; give depth, or driving_video")
    return torch.stack(maps)[:, None]


def hash_of_image(image: Image.Image) -> str:
    """SHA-256 of the mode, size and pixels of an image in memory, in hexadecimal."""
    return hash_bytes(f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes())


def hash_of_tensor(tensor: Tensor) -> str:
    """SHA-256 of the shape and values of a tensor in memory, in hexadecimal."""
    return hash_bytes(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())


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

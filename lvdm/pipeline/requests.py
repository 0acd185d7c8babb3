"""The request of one video: its images, prompts and conditions, checked before weights are loaded.

It imports no torch: what can be refused without a model is refused without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from lvdm.content_hash import content_hash, hash_bytes
from lvdm.declaration.parameter import IMAGELESS
from lvdm.declaration.values import check_prompt
from lvdm.errors import counted
from lvdm.media.geometry import PaddedSize
from lvdm.media.masks import fit_masks
from lvdm.model_card import ModelCard
from lvdm.plugins.conflicts import check_methods
from lvdm.plugins.methods.prompt_travel import check_starts
from lvdm.request.digest import InputFile, files_of_methods
from lvdm.request.layers import all_parameters
from lvdm.request.settings import MAX_FRAMES, GenerationSettings

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.carry import GivenFrames


@dataclass(frozen=True)
class GenerationRequest:
    """One video that is asked for. The same (seed, index) gives the same noise on any device and in any batch.

    image      None for text-to-video
    end_image  the image of the last frame
    keyframes  frames from 1 and their images
    prompts_at  frames from 1 and the prompts that take over there, ascending; `prompt` is that of the beginning
    keep_mask  grey images of the size of `image`, one for all frames or one for each: white stays as in the image
    guide_video  (t, H, W, 3) bytes, whose latents are shown in the place of those of `image`, but for frame 0
    depth      (t, H, W) of any size and unit, near is large; for structure, or in its place
    driving_video  (t, H, W, 3) bytes, whose depth is estimated, with the weights at `depth_model_path` if there are any
    depth_maps  (t, h, w) in [-1, 1], what the network reads; the pipeline makes them
    given_frames  the image as `carry` moves it, or the guide video, at the size of the network; the pipeline makes them
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
    guide_video: Tensor | None = field(default=None, compare=False)
    guide_video_path: Path | None = None
    depth: Tensor | None = field(default=None, compare=False)
    depth_path: Path | None = None
    driving_video: Tensor | None = field(default=None, compare=False)
    driving_video_path: Path | None = None
    depth_model_path: Path | None = None
    depth_maps: Tensor | None = field(default=None, compare=False)
    given_frames: GivenFrames | None = field(default=None, compare=False)

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
            ("guide_video", self.guide_video, self.guide_video_path),
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


def hash_of_image(image: Image.Image) -> str:
    """SHA-256 of the mode, size and pixels of an image in memory, in hexadecimal."""
    return hash_bytes(f"{image.mode} {image.width}x{image.height} ".encode() + image.tobytes())


def hash_of_tensor(tensor: Tensor) -> str:
    """SHA-256 of the shape and values of a tensor in memory, in hexadecimal."""
    return hash_bytes(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + tensor.contiguous().numpy().tobytes())


def check_requests(
    requests: Sequence[GenerationRequest],
    settings: GenerationSettings,
    card: ModelCard,
    by_frame: bool,
    streamed: bool,
) -> None:
    """Raise `ValueError` for what cannot be generated. by_frame: with FIFO; streamed: to `frames_to`."""
    if streamed and len(requests) != 1:
        raise ValueError(f"frames_to takes the frames of one video; {len(requests)} were asked for")
    if by_frame and not streamed and settings.num_frames > MAX_FRAMES:
        raise ValueError(f"{settings.num_frames} frames are too many to hold; give frames_to, which takes them")
    if len({request.guide_video is None for request in requests}) > 1:
        raise ValueError("some requests have a guide_video and others none; make these one after the other")
    for request in requests:
        if (request.image is None) != (settings.mode in IMAGELESS):
            raise ValueError(f"mode {settings.mode} {'needs an' if request.image is None else 'takes no'} image")
        check_structure(request, settings)
        check_request(request, settings, card)


def check_request(request: GenerationRequest, settings: GenerationSettings, card: ModelCard) -> None:
    """Raise `ValueError` for what a video of `settings` cannot be made of; depth is left aside."""
    all_parameters()["seed"].check(request.seed)
    check_prompt(request.prompt)
    check_prompt(request.negative_prompt, "negative prompt")
    check_keep_mask(request.keep_mask, request.image, settings, card)
    if not card.keeps_image and (settings.carry is not None or settings.carry_flow is not None):
        raise ValueError(f"checkpoint {card.name} is not shown the image's latents; leave out carry, or use another")
    check_prompts_at(request.prompts_at, settings)
    check_keyframes([frame for frame, _ in request.keyframes], settings)
    check_guide(request, settings, card)


def check_structure(request: GenerationRequest, settings: GenerationSettings) -> None:
    """Raise `ValueError` unless the depth of every frame is there, for structure only, and can be read."""
    sources = {"depth": request.depth, "driving_video": request.driving_video}
    check_structure_sources([name for name, tensor in sources.items() if tensor is not None], settings.mode)
    for name, tensor in sources.items():
        _check_count(name, tensor, settings)
    depth = request.depth
    if depth is None:
        return
    if depth.ndim != 3 or not bool(depth.isfinite().all()):
        raise ValueError(f"depth should be finite numbers (frames, height, width), it is {tuple(depth.shape)}")
    if bool(depth.min() == depth.max()):
        raise ValueError("the depth is the same everywhere, which shows no structure; give another")


def check_guide(request: GenerationRequest, settings: GenerationSettings, card: ModelCard) -> None:
    """Raise `ValueError` unless the guide video, if there is one, can be shown."""
    guide = request.guide_video
    if guide is None and request.guide_video_path is None:
        return
    if settings.mode != "animate":
        raise ValueError(f"mode {settings.mode} reads no guide_video; leave it out, or use animate")
    if not card.keeps_image:
        raise ValueError(f"checkpoint {card.name} is not shown an image's latents; leave out guide_video")
    if settings.carry is not None or settings.carry_flow is not None:
        raise ValueError("guide_video and carry both say what the network is shown; give one of them")
    if settings.long_video == "fifo":
        raise ValueError("long_video fifo shows the network windows of its own; leave out guide_video, or long_video")
    if guide is not None and (guide.ndim != 4 or guide.shape[3] != 3 or guide.dtype.itemsize != 1):
        raise ValueError(f"guide_video should be bytes (frames, height, width, 3), it is {tuple(guide.shape)}")
    _check_count("guide_video", guide, settings)


def _check_count(name: str, frames: Tensor | None, settings: GenerationSettings) -> None:
    if frames is not None and len(frames) != settings.num_frames:
        raise ValueError(
            f"{name} has {counted(len(frames), 'frame')} and the video {settings.num_frames}; give as many"
        )


def check_prompts_at(prompts_at: Sequence[tuple[int, str]], settings: GenerationSettings) -> None:
    """Raise `ValueError` unless the prompts of later frames can be used in a video of `settings`."""
    if prompts_at:
        check_starts([0, *(frame for frame, _ in prompts_at)], settings.num_frames)
        check_methods(settings, settings.mode, {"prompts_at"})
    for frame, prompt in prompts_at:
        check_prompt(prompt, f"prompt at frame {frame}")


def check_keyframes(frames: Sequence[int], settings: GenerationSettings) -> None:
    """Raise `ValueError` unless images can be shown at these frames besides 0, in the mode for that only."""
    if bool(frames) != (settings.mode == "keyframes"):
        raise ValueError(f"mode {settings.mode} takes {'no key frames' if frames else 'key frames: give one or more'}")
    last = settings.num_frames - 1
    for frame in frames:
        if not 1 <= frame <= last:
            raise ValueError(
                f"key frame {frame} is not among frames 1 to {last} that follow the first; choose another, or more "
                "frames (num_frames, --frames)"
            )
    if len(set(frames)) < len(frames):
        raise ValueError(f"key frames {list(frames)} name a frame twice; give one image for each")


def check_structure_sources(sources: Sequence[str], mode: str) -> None:
    """Raise `ValueError` unless depth or a driving video is given, one of them, and for structure only."""
    if mode != "structure" and sources:
        raise ValueError(f"mode {mode} reads no {' and no '.join(sources)}; leave it out, or use structure")
    if mode == "structure" and len(sources) != 1:
        raise ValueError(
            "give depth or driving_video, one of them"
            if sources
            else "structure follows the depth of every frame: give it (depth, --depth), or a video to estimate it from "
            "(driving_video, --driving-video)"
        )


def check_keep_mask(
    masks: Sequence[Image.Image], image: Image.Image | None, settings: GenerationSettings, card: ModelCard
) -> None:
    """Raise `ValueError` unless `masks` (none, one, or one for each frame) can keep regions of `image`."""
    if not masks:
        if settings.keep_feather:
            raise ValueError("keep_feather is for the edge of a mask; give a mask too (keep_mask, --keep-mask)")
        return
    if image is None:
        raise ValueError("there is no image of which a region could be kept; leave out the mask")
    check_methods(settings, settings.mode, {"keep_mask"})
    if not card.keeps_image:
        raise ValueError(f"checkpoint {card.name} does not show the image itself; leave out the mask, or use another")
    if len(masks) not in (1, settings.num_frames):
        raise ValueError(f"there are {len(masks)} masks for {settings.num_frames} frames; give one, or one for each")
    for mask in masks:
        if mask.size != image.size:
            raise ValueError(
                f"the mask is {mask.width}x{mask.height} and its image {image.width}x{image.height}; "
                "make the mask as large as the image"
            )


def kept_regions(
    requests: Sequence[GenerationRequest], size: PaddedSize, settings: GenerationSettings
) -> Tensor | None:
    """(b, 1 or t, H, W) in [0, 1] at the size of the network, 1 where the image stays; None if it may change all over.

    1: for all frames.
    """
    import torch

    if not any(request.keep_mask for request in requests):
        return None
    kept, fit = [], settings.fit
    for request in requests:
        assert request.image is not None, "masks without an image are refused beforehand"
        masks = request.keep_mask or (Image.new("L", request.image.size),)
        kept.append(size.pad(fit_masks(masks, size.inner.height, size.inner.width, fit)))  # type: ignore[arg-type]
    count = max(len(masks) for masks in kept)
    return torch.stack([masks.expand(count, -1, -1)[: settings.num_frames] for masks in kept])

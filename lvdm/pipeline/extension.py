"""Going on with a video from its last frames, segment by segment.

Each segment begins with the last frames of what is there. They are shown to the network at every step (as in RePaint,
arXiv 2201.09865), so that the segment takes over position and speed; their first one is its image. Segments wander off
in tone and contrast: each new frame gets back those of the video that was given, and how far it was off is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from lvdm.diffusion.noise import initial_noise
from lvdm.diffusion.samplers import Inpainting
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.diffusion.timesteps import make_timesteps
from lvdm.errors import counted
from lvdm.media.images import fit_image
from lvdm.media.video_writer import to_uint8
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.carried_start import carried_step
from lvdm.pipeline.extension_request import Drift, Extension
from lvdm.pipeline.requests import GenerationRequest
from lvdm.plugins.methods.color_lock import ColorStatistics, lock_colors
from lvdm.progress import ProgressCallback
from lvdm.request.settings import GenerationSettings

LEVELS = 127.5
"""Grey levels (0 to 255) in one unit of a video in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Segment:
    """New frames (3, t, H, W) in [-1, 1], and their drift."""

    frames: Tensor
    drift: Drift


def extend_video(
    pipe: DynamiCrafterPipeline,
    video: Tensor,
    prompt: str,
    extension: Extension,
    settings: GenerationSettings,
    seed: int = 123,
    negative_prompt: str = "",
    on_progress: ProgressCallback | None = None,
) -> Iterator[Segment]:
    """Segments that go on from `video` (3, t, H, W) in [-1, 1], which has the size of `settings`.

    Each is given as soon as it is made. Segment i has the noise of sample i of `seed`. Raises `ValueError`.
    """
    extension.check(settings)
    if video.shape[1] < extension.overlap:
        raise ValueError(
            f"the video has {counted(video.shape[1], 'frame')}, fewer than the overlap of {extension.overlap}"
        )
    known, reference, missing, index = video[:, -extension.overlap :], video, extension.num_frames, 0
    statistics = ColorStatistics.of(reference)
    while missing > 0:
        request = GenerationRequest(_image(known[:, 0]), prompt, negative_prompt, seed=seed, index=index)
        size = pipe.size_for(request.image, settings)
        latents = pipe.runtime.encode_video(size.pad(known.transpose(0, 1)).transpose(0, 1)[None])
        model = pipe.runtime.model
        callback = show_known_frames(latents, settings, model.schedule, request, carried_step(model, settings))
        made = pipe.generate([request], settings, "pt", callback, on_progress).video[0]
        new = made[:, extension.overlap :][:, :missing]
        locked = lock_colors(new, statistics, extension.color_lock)
        yield Segment(locked, measure_drift(reference, known[:, -1], new, locked))
        known = torch.cat([known, locked], dim=1)[:, -extension.overlap :]
        missing -= new.shape[1]
        index += 1


def show_known_frames(
    known: Tensor,
    settings: GenerationSettings,
    schedule: NoiseSchedule,
    request: GenerationRequest,
    first: int | None = None,
) -> Callable[[int, int, Tensor, Tensor], Tensor]:
    """An on-step callback: the first frames stay at the latents `known` (1, 4, k, h, w), noisy as the step asks.

    first: the time step at which sampling begins, if not the last one.
    """
    count = schedule.num_train_timesteps if first is None else first + 1
    steps = make_timesteps(settings.timestep_spacing, settings.num_inference_steps, count)
    shape = (known.shape[1], settings.num_frames, *known.shape[3:])
    noise = initial_noise(shape, [request.seed], [request.index])[:, :, : known.shape[2]].to(known)
    keep = Inpainting(torch.ones_like(known[:, :1]), known, noise)

    def after_step(step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> Tensor:
        count = known.shape[2]
        begin = x_t[:, :, :count]
        last = step == len(steps) - 1
        shown = keep.finish(begin) if last else keep.apply(begin, steps[step + 1 : step + 2].to(begin.device), schedule)
        return torch.cat([shown.to(x_t), x_t[:, :, count:]], dim=2)

    return after_step


def fitted_video(frames: Tensor, height: int, width: int, fit: str) -> Tensor:
    """Frames uint8 (t, H, W, 3) of any size as a video (3, t, height, width) in [-1, 1]."""
    images = [Image.fromarray(frame.numpy()) for frame in frames]
    return torch.stack([fit_image(image, height, width, fit) for image in images], dim=1)  # type: ignore[arg-type]


def measure_drift(reference: Tensor, last: Tensor, new: Tensor, locked: Tensor) -> Drift:
    """Drift of a segment's frames `new`, and `locked`, from `reference`; all (3, t, H, W), `last` (3, H, W)."""
    wanted, own = ColorStatistics.of(reference), ColorStatistics.of(new)
    steps = torch.cat([last[:, None], locked], dim=1).diff(dim=1).abs().mean(dim=(0, 2, 3)).tolist()
    return Drift(
        brightness=LEVELS * (own.mean - wanted.mean).abs().max().item(),
        contrast=(own.deviation / wanted.deviation.clamp(min=1e-6)).mean().item(),
        sharpness=_roughness(locked) / max(_roughness(reference), 1e-6),
        seam=steps[0] / max(median(steps), 1e-6),
    )


def segment_settings(settings: GenerationSettings, height: int, width: int) -> GenerationSettings:
    """`settings` for segments of a video of this size, whose colours are locked to the whole video's afterwards."""
    return replace(settings, height=height, width=width, num_videos_per_prompt=1, color_lock=0.0)


def _roughness(video: Tensor) -> float:
    return (video.diff(dim=2).abs().mean() + video.diff(dim=3).abs().mean()).item()


def _image(frame: Tensor) -> Image.Image:
    """A frame (3, H, W) in [-1, 1] as an image."""
    return Image.fromarray(to_uint8(frame[:, None])[0].numpy())

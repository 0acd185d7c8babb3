"""What a model will be given in the first steps of a training: the clips and all that is drawn for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from lvdm.data.clips import ClipDataset, ClipSource
from lvdm.data.sampling import BatchSchedule
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.training_draws import TrainingDraws, draw_training_numbers, dropped_conditions
from lvdm.models.training_inputs import is_cached


@dataclass(frozen=True)
class SeenDraws:
    """What is drawn for a clip of a video model.

    fs, fs_meaning     the number that the network reads, and what it means: fps or frame stride
    t                  time step, 0 to 999
    conditioning_frame which frame is the image
    interpolation      whether the first and the last frame are both given
    """

    fs: int
    fs_meaning: str
    t: int
    conditioning_frame: int
    interpolation: bool
    caption_dropped: bool
    image_dropped: bool


@dataclass(frozen=True)
class SeenClip:
    """One sample of a batch. `frames` (3, t, h, w) in [-1, 1] are its pixels, or latents as colours if it is cached."""

    batch: int
    number: int
    path: str
    caption: str
    fps: float
    frame_stride: int
    size: tuple[int, ...]
    cached: bool
    failures: str
    draws: SeenDraws | None
    frames: Tensor


def first_batches(
    source: ClipSource, plan: BatchSchedule, seed: int, count: int, world_size: int = 1
) -> Iterator[list[dict[str, Any]]]:
    """The first `count` global batches of a training: the batch of each device, as its data loader makes it."""
    dataset = ClipDataset(source, seed)
    share = plan.global_batch // world_size
    for number in range(count):
        draws = plan.batch(number)
        yield [default_collate(dataset.__getitems__(draws[i : i + share])) for i in range(0, len(draws), share)]


def seen_clips(model: Any, batch: dict[str, Any], batch_number: int) -> list[SeenClip]:
    """The samples of one device's batch, with what `model`, on whatever device, draws for them."""
    draws: TrainingDraws | None = None
    if isinstance(model, LatentVisualDiffusion):
        numbers = torch.as_tensor(batch["number"]).tolist()
        draws = draw_training_numbers(model.latent_shape(batch), numbers, model.training_seed, model.draw_rules())
    return [
        SeenClip(
            batch=batch_number,
            number=int(batch["number"][i]),
            path=batch["path"][i],
            caption=batch["caption"][i],
            fps=float(batch["fps"][i]),
            frame_stride=int(batch["frame_stride"][i]),
            size=tuple(_frames(batch, i).shape[1:]),
            cached=is_cached(batch),
            failures=batch["failures"][i] if "failures" in batch else "",
            draws=None if draws is None else _drawn(model, batch, draws, i),
            frames=_frames(batch, i),
        )
        for i in range(len(batch["caption"]))
    ]


def _drawn(model: LatentVisualDiffusion, batch: dict[str, Any], draws: TrainingDraws, i: int) -> SeenDraws:
    meaning = model.config.fps_condition_type
    drop_text, drop_image = dropped_conditions(draws.condition_drop, model.config.uncond_prob)
    return SeenDraws(
        fs=int(batch["fps" if meaning == "fps" else "frame_stride"][i]),
        fs_meaning="fps" if meaning == "fps" else "frame stride",
        t=int(draws.t[i]),
        conditioning_frame=int(draws.cond_frame[i]),
        interpolation=bool(draws.interpolate[i]),
        caption_dropped=bool(drop_text[i]),
        image_dropped=bool(drop_image[i]),
    )


def _frames(batch: dict[str, Any], i: int) -> Tensor:
    """Pixels, or the first three channels of the latents' means stretched to [-1, 1]."""
    if not is_cached(batch):
        return batch["video"][i]
    means = batch["moments"][i, :3].float()
    return means / means.abs().amax().clamp(min=1e-6)

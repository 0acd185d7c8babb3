"""What a frame carrier learns from: the pixels of the other frames, and the true motion where a batch holds it.

The carrier has a loss of its own and takes none from the UNet, which sees what it makes as given. A batch of plain
videos trains it by the pixels alone, one of cached latents by what they decode to. The keys `flow` and `mask`, which
`lvdm.data.procedural` can make, tell it more:

flow  (b, 2, t, H, W) where frame 0 shows what a pixel shows, less where the pixel is, x and y in sides
mask  (b, 1, t, H, W) in [0, 1]: coverage by what moves on its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.conditioning import interpolation, repeat_frame
from lvdm.diffusion.noise import sample_generator
from lvdm.models.training_draws import TrainingDraws, dropped_conditions
from lvdm.models.training_inputs import is_cached, pick_frames
from lvdm.modules.carrier import PROGRESS, Carried, FrameCarrier
from lvdm.modules.carrying import places, points

FLOW_WEIGHT = 5.0
"""Against the error of the pixels, in [-1, 1], of an error of the flow in sides per unit of progress."""
NEAR = 0.05
"""Such errors below this count by their square: with the plain error motions that are few stay at none."""
MIN_PROGRESS = 0.1

CARRIER_LOSSES = ("carrier_pixels", "carrier_flow", "carrier_mask")
"""Names of the parts of the loss, as the logs have them."""


@dataclass(frozen=True)
class MotionTargets:
    """True motion, in cells of pixels, and the mask of frame 0 in pixels.

    flow   (b, 2, t, h, w) in sides
    mask   (b, 1, t, h, w)
    first  (b, 1, H, W)
    """

    flow: Tensor
    mask: Tensor
    first: Tensor


def pick(video: Tensor, frames: Tensor) -> Tensor:
    """Frames (b, k) of each clip of a batch (b, c, t, ...): (b, c, k, ...)."""
    return torch.stack([clip[:, own] for clip, own in zip(video, frames, strict=True)])


def motion_targets(batch: Mapping[str, Any], size: tuple[int, int]) -> MotionTargets | None:
    """The true motion of a batch, brought to (h, w) cells; None for a batch that does not know it.

    Raises `ValueError` for a batch that holds one of `flow` and `mask` without the other.
    """
    if ("flow" in batch) != ("mask" in batch):
        raise ValueError("a batch with motion targets holds both `flow` and `mask`, this one lacks one of them")
    if "flow" not in batch:
        return None

    def small(video: Tensor) -> Tensor:
        frames = F.adaptive_avg_pool2d(video.transpose(1, 2).flatten(0, 1).float(), size)
        return frames.unflatten(0, (len(video), -1)).transpose(1, 2)

    return MotionTargets(small(batch["flow"]), small(batch["mask"]), batch["mask"][:, :, 0].float())


def carrier_losses(
    carried: Carried, video: Tensor, targets: MotionTargets | None, fs: Tensor | None = None
) -> dict[str, Tensor]:
    """Losses of each sample, (b,) each, to be added: `pixels`, and with `targets` and `fs` (b,) `flow` and `mask`.

    video: (b, 3, k, H, W), the true pixels of the carried frames. Errors of the flow count relative to the progress of
    their frame. Early frames say which way a thing turns; of late ones, when it has turned by half, the best guess is
    that it shrinks to a point.
    """
    error = (carried.pixels.float() - video.float()).abs()
    weight = carried.visible.detach().float()
    losses = {"pixels": _mean(error * weight, weight * error.shape[1])}
    if targets is None or fs is None:
        return losses
    height, width = targets.flow.shape[-2:]
    here = points(height, width, video.device)[:, None]  # 2 1 h w
    progress = torch.arange(targets.flow.shape[2], device=fs.device) * fs.float()[:, None] * PROGRESS  # b t
    progress = progress.clamp(min=MIN_PROGRESS)[:, None, 1:, None, None]

    def distance(maps: Tensor) -> Tensor:  # b 2 t-1 h w; frame 0 has no flow
        error = places(maps, height, width).transpose(1, 2) - here - targets.flow
        error = error[:, :, 1:] / progress
        return F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=NEAR)

    camera, thing = distance(carried.camera), distance(carried.thing)
    moving, first = targets.mask[:, :, 1:], targets.mask[:, :, 0]
    # With nothing that moves on its own, the thing's map is the camera's.
    alone = (first.amax((1, 2, 3)) < 0.5)[:, None, None, None, None].float()
    # Pixels half of one and half of the other have a flow of neither.
    behind, own = (1 - 2 * moving).clamp(min=0), torch.maximum(alone, (2 * moving - 1).clamp(min=0))
    losses["flow"] = FLOW_WEIGHT * (_mean(camera * behind, 2 * behind) + _mean(thing * own, 2 * own))
    logits = carried.mask.float()
    losses["mask"] = F.binary_cross_entropy_with_logits(logits, targets.first, reduction="none").flatten(1).mean(1)
    return losses


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The sum of each sample of `values` over that of `weights`, which may be broadcast channels of it."""
    return values.flatten(1).sum(1) / weights.flatten(1).sum(1).clamp(min=1e-3)


def trains_carrier(carrier: FrameCarrier | None) -> bool:
    """Whether a training is that of the carrier."""
    return carrier is not None and any(parameter.requires_grad for parameter in carrier.parameters())


def full_text(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """Tokens of all captions of a batch (b, n, d), of those too that the UNet does not get."""
    if is_cached(batch):
        return batch["text_emb"].float()
    with torch.no_grad():
        return model.embed_text(batch["caption"])


def first_frame(model: Any, batch: Mapping[str, Any], latents: Tensor) -> Tensor:
    """Frame 0 of all clips (b, 3, H, W) in [-1, 1]; of cached latents (b, c, t, h, w), what they decode to."""
    if is_cached(batch):
        return model.decode_first_stage(latents[:, :, :1])[:, :, 0].clamp(-1, 1)
    return batch["video"][:, :, 0]


def training_concat(model: Any, latents: Tensor, draws: TrainingDraws, batch: Mapping[str, Any], fs: Tensor) -> Tensor:
    """What stands beside the noisy latents (b, c, t, h, w) in a training of the UNet, as in sampling.

    The conditioning frame at every frame, of some clips both of their ends alone; with a carrier frame 0 carried along,
    of those clips with their last frame as it is.
    """
    num_frames, carrier = latents.shape[2], model.frame_carrier
    if carrier is None:
        concat = repeat_frame(pick_frames(latents, draws.cond_frame), num_frames)
        ends = interpolation(latents[:, :, 0], latents[:, :, -1], num_frames) if num_frames > 1 else concat
    else:
        text = full_text(model, batch).to(latents.dtype)
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):  # as precise as it was trained
            image = first_frame(model, batch, latents)
            concat = carrier.concat(image, text, fs, num_frames, model.encode_first_stage).to(latents.dtype)
            concat[:, :, 0] = carrier.all_visible(latents[:, :, 0])
        ends = torch.cat([concat[:, :, :-1], carrier.all_visible(latents[:, :, -1:])], dim=2)
    if not draws.interpolate.any() or num_frames == 1:  # a still has no second end
        return concat
    return torch.where(draws.interpolate[:, None, None, None, None], ends, concat)


def choose_frames(num_frames: int, count: int, numbers: Sequence[int], seed: int, stream: str) -> Tensor:
    """(b, count): for each sample `count` frames of 1 to num_frames - 1, none of them twice."""
    chosen = []
    for number in numbers:
        generator = sample_generator(seed, number, f"{stream}/carried frames")
        chosen.append(1 + torch.randperm(num_frames - 1, generator=generator)[:count])
    return torch.stack(chosen)


def carrier_step(
    model: Any, batch: Mapping[str, Any], draws: TrainingDraws, numbers: Sequence[int], stream: str
) -> dict[str, Tensor]:
    """One step of a training of the carrier of a video `model`: what its `training_step` returns.

    Captions are dropped as often as in the training of the UNet: to the empty one the carrier answers with the mean.
    """
    carrier, config = model.frame_carrier, model.config
    num_frames = draws.posterior.shape[2]
    frames = choose_frames(num_frames, config.carried_frames, numbers, model.training_seed, stream)
    frames = frames.to(draws.t.device)
    wanted = torch.cat([torch.zeros_like(frames[:, :1]), frames], dim=1)
    with torch.no_grad():
        text = full_text(model, batch)
        if is_cached(batch):
            means, _ = pick(batch["moments"], wanted).float().chunk(2, dim=1)
            video = model.decode_first_stage(means * config.scale_factor).clamp(-1, 1)
            null = batch["null_text"].float()
        else:
            video, null = pick(batch["video"], wanted), model.embed_text([""])
    dropped, _ = dropped_conditions(draws.condition_drop, config.uncond_prob)
    text = torch.where(dropped[:, None, None], null, text)
    fs = torch.as_tensor(batch["frame_stride"], device=video.device)
    carried = carrier(video[:, :, 0], text, fs, num_frames, frames)
    height, width = (side // carrier.config.patch for side in video.shape[-2:])
    parts = carrier_losses(carried, video[:, :, 1:], motion_targets(batch, (height, width)), fs)
    losses = torch.stack(list(parts.values())).sum(0)
    logged = {f"carrier_{name}": value.detach().mean() for name, value in parts.items()}
    return {"loss": losses.mean(), "losses": losses.detach(), "t": draws.t, **logged}

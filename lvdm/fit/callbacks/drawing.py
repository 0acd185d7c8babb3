"""Samples of the model while it is in training, without a trace in the training."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from lvdm.device import Precision, empty_cache
from lvdm.fit.callbacks.gradients import weights_are_sharded
from lvdm.fit.callbacks.weights import AveragedWeights
from lvdm.media.atomic import OutputError
from lvdm.media.video_writer import to_uint8
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.results import gather_frames
from lvdm.pipeline.runtime import Runtime
from lvdm.plugins.settings import Mode
from lvdm.request.settings import GenerationSettings

log = logging.getLogger(__name__)


def can_be_sampled(trainer: pl.Trainer, model: pl.LightningModule, who: str) -> bool:
    """Whether `model` is a video model that this process holds whole; reports why not where that may surprise."""
    if not isinstance(model, LatentVisualDiffusion):
        return False
    if weights_are_sharded(trainer):
        log.warning(
            "%s draws nothing: the weights are spread over processes; export a checkpoint and use "
            "`dynamicrafter animate`",
            who,
        )
        return False
    if model.config.drop_encoders:
        log.warning(
            "%s draws nothing: drop_encoders left the autoencoder and the CLIP encoders out of this training; export a "
            "checkpoint and use `dynamicrafter animate`",
            who,
        )
        return False
    if not model.config.reads_images:
        log.warning("%s draws nothing: the model reads no image; export a checkpoint and use `dynamicrafter`", who)
        return False
    return True


@contextmanager
def undisturbed(trainer: pl.Trainer, model: pl.LightningModule, averaged: bool) -> Iterator[None]:
    """Evaluation for the block, under the averaged weights if there are any and `averaged`; then all is as it was.

    Weights, the mode of every module and the random states of Python, NumPy, torch and the model's device come back
    bit for bit. Nothing in it waits for other processes, so that one may sample while the others do not.
    """
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()
    devices = [model.device] if model.device.type == "cuda" else []
    callbacks: list[pl.Callback] = getattr(trainer, "callbacks", [])
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.no_grad())
        for callback in callbacks if averaged else ():
            if isinstance(callback, AveragedWeights):
                stack.enter_context(callback.in_place(model))
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def forgiving(trainer: pl.Trainer, model: pl.LightningModule, what: str) -> Iterator[None]:
    """Images are not worth a training: what fails in the block is logged, and training goes on.

    That is memory that does not suffice, and images that cannot be written or hold values that are not numbers.
    """
    try:
        yield
    except OutputError as error:
        log.warning("%s of step %d: %s", what, trainer.global_step, error)
    except torch.OutOfMemoryError:
        empty_cache(model.device)
        log.warning("%s of step %d: not enough memory; draw fewer or smaller clips, or none", what, trainer.global_step)


class Drawer:
    """Draws clips with the library's own sampling path, one after the other, in the precision of the training."""

    def __init__(self, trainer: pl.Trainer, model: LatentVisualDiffusion, settings: GenerationSettings) -> None:
        weights = next(model.unet.parameters()).dtype
        vae = next(model.first_stage_model.parameters()).dtype
        self.model = model
        self.settings = settings
        self._autocast = trainer.precision_plugin.forward_context
        self._runtime = Runtime(model, model.device, Precision(weights, vae))

    def sample(self, clip: Mapping[str, Any], seed: int, index: int) -> Tensor:
        """A video (3, t, H, W) from the first frame of `clip`, its caption and its speed, and (seed, index).

        In mode `interpolate` from its last frame, too.
        """
        video = clip["video"].to(self.model.device).float()  # 3 t H W
        request = GenerationRequest(_image(video), clip["caption"], seed=seed, index=index)
        last = {video.shape[1] - 1: video[None, :, -1]} if self.settings.mode == "interpolate" else {}
        with self._autocast():
            images = {0: video[None, :, 0], **last}
            conditions = self._runtime.conditions([request], self.settings, images, self._fs(clip))
            latents = self._runtime.sample([request], self.settings, conditions, None, None)
        num_frames = latents.shape[2]
        return gather_frames(self._runtime.decode([latents], num_frames, self.settings, None), num_frames)[0]

    def reconstruct(self, video: Tensor) -> Tensor:
        """video (3, t, H, W) through the autoencoder and back, frame by frame, in float32 on the CPU."""
        dtype = self._runtime.precision.vae
        frames = []
        for frame in video.to(self.model.device, dtype).unbind(1):
            latents = self.model.encode_first_stage(frame[None, :, None])  # 1 c 1 h w
            frames.append(self.model.decode_first_stage(latents)[0].float().cpu())
        return torch.cat(frames, dim=1)

    def _fs(self, clip: Mapping[str, Any]) -> int:
        return int(clip["fps"] if self.model.config.fps_condition_type == "fps" else clip["frame_stride"])


def mode_of(model: LatentVisualDiffusion) -> Mode:
    """What the model is trained for: `interpolate` or `animate`."""
    return "interpolate" if model.config.interp_mode else "animate"


def with_video(clip: Mapping[str, Any], model: LatentVisualDiffusion) -> dict[str, Any]:
    """`clip` with its `video` (3, t, H, W) in [-1, 1] on the CPU; that of precomputed latents is decoded."""
    if "video" in clip:
        video = clip["video"].float()
    else:
        mean = clip["moments"].to(model.device).float().chunk(2, dim=0)[0]  # c t h w
        video = model.decode_first_stage(mean[None] * model.config.scale_factor, chunk_size=1)[0].float()
    return {**clip, "video": video.clamp(-1, 1).cpu()}


def clips_of(batch: Mapping[str, Any], model: LatentVisualDiffusion, count: int) -> list[dict[str, Any]]:
    """The first `count` clips of a collated batch, with their videos."""
    pixels = "video" if "video" in batch else "moments"
    return [
        with_video(
            {
                pixels: item,
                "caption": batch["caption"][i],
                "fps": float(batch["fps"][i]),
                "frame_stride": int(batch["frame_stride"][i]),
            },
            model,
        )
        for i, item in enumerate(batch[pixels][:count])
    ]


def _image(video: Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(video[:, :1])[0].cpu().numpy())

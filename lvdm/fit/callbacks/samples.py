"""Samples of fixed clips, and what they measure: whether training freezes the motion or ruins the likeness."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lvdm.declaration.ranges import Count, Probability, Seed, StepsOrNone, Weight, with_ranges
from lvdm.diffusion.timesteps import Spacing
from lvdm.fit.callbacks.cadence import EveryNSteps
from lvdm.fit.callbacks.drawing import Drawer, can_be_sampled, forgiving, mode_of, undisturbed, with_video
from lvdm.fit.callbacks.media_logging import log_text, log_video, step_folder
from lvdm.fit.loggers import log_values
from lvdm.media.atomic import write_json
from lvdm.media.contact_sheet import write_contact_sheet
from lvdm.media.video_writer import write_video
from lvdm.model_card import ModelCard
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.psnr import psnr
from lvdm.quality.flicker import flicker, temporal_flickering
from lvdm.quality.motion import motion
from lvdm.request.settings import GenerationSettings

log = logging.getLogger(__name__)


@with_ranges
@dataclass(frozen=True)
class SampleLoggerConfig:
    """When, of how many clips, and how.

    every_n_steps        optimizer steps between two times; 0 for never
    clips                the first so many of data.validation, or of data.train without it
    seed                 of the noise, and of where the clips are cut
    use_average          sample under the averaged weights, where a run has them
    num_inference_steps  and the others as in `dynamicrafter animate`; None takes the value of the YAML's `sampling:`
                         block, or without one what suits the model's noise schedule
    fix_final_step       None ends at the clean latents, which few steps need
    """

    every_n_steps: StepsOrNone = 1000
    clips: Count = 4
    seed: Seed = 0
    use_average: bool = True
    num_inference_steps: Count | None = 25
    guidance_scale: Weight | None = None
    guidance_rescale: Probability | None = None
    eta: Weight | None = None
    timestep_spacing: Spacing | None = None
    fix_final_step: bool | None = None

    def __post_init__(self) -> None:
        GenerationSettings(**self._overrides())

    def settings(self, model: LatentVisualDiffusion, card: ModelCard | None, num_frames: int) -> GenerationSettings:
        """The settings that `model` is sampled with."""
        trailing = model.config.rescale_betas_zero_snr
        values: dict[str, Any] = {
            "timestep_spacing": "uniform_trailing" if trailing else "uniform",
            "guidance_rescale": 0.7 if trailing else 0.0,
            "fix_final_step": True,
        }
        if card is not None:
            names = ("num_inference_steps", "guidance_scale", "guidance_rescale", "eta", "timestep_spacing")
            values |= {name: getattr(card, name) for name in names}
        return GenerationSettings(**values | self._overrides() | {"mode": mode_of(model), "num_frames": num_frames})

    def _overrides(self) -> dict[str, Any]:
        names = (
            "num_inference_steps",
            "guidance_scale",
            "guidance_rescale",
            "eta",
            "timestep_spacing",
            "fix_final_step",
        )
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class SampleLogger(pl.Callback):
    """Every so many steps, samples fixed clips from fixed noise, next to the true ones, and measures both.

    Into `samples/step-000123/` of the run's folder go, for each clip, an mp4 and a contact sheet (the true frame above
    the sampled one) and `metrics.json`; to the loggers the videos and, as means over the clips,

    samples/frame0_psnr             of the first frame against the given one, dB; `true`: of the autoencoder alone
    samples/motion_diagonals_per_s  mean length of the optical flow, see `lvdm.quality.motion`
    samples/flicker                 mean absolute second difference in time, grey levels
    samples/temporal_flickering     VBench's: 1 is a still

    and the same of the true clips under `samples_true/`. Only the first process draws, and training goes on as if
    nothing had been drawn: the others wait at their next exchange of gradients, so drawing must take less than their
    time limit (30 minutes by default).
    """

    Config = SampleLoggerConfig

    def __init__(self, config: SampleLoggerConfig, card: ModelCard | None = None) -> None:
        self.config = config
        self.card = card
        self._clock = EveryNSteps(config.every_n_steps)
        self._clips: list[dict[str, Any]] = []
        self._true: list[dict[str, float]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the clips, so that what is wrong with them shows before the first step."""
        self._clock.begin(trainer.global_step)
        self._clips, self._true = [], []
        if not self.config.every_n_steps or not trainer.is_global_zero:
            return
        if can_be_sampled(trainer, pl_module, "SampleLogger"):
            assert isinstance(pl_module, LatentVisualDiffusion)
            with undisturbed(trainer, pl_module, averaged=False):
                clips = fixed_clips(trainer, self.config.clips, self.config.seed)
                self._clips = [with_video(clip, pl_module) for clip in clips]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sample, when it is time."""
        if not self._clock.due(trainer.global_step) or not self._clips:
            return
        assert isinstance(pl_module, LatentVisualDiffusion)
        with (
            forgiving(trainer, pl_module, "samples"),
            undisturbed(trainer, pl_module, self.config.use_average),
        ):
            self._sample_all(trainer, pl_module)

    def _sample_all(self, trainer: pl.Trainer, model: LatentVisualDiffusion) -> None:
        records = []
        for number, clip in enumerate(self._clips):
            drawer = Drawer(trainer, model, self.config.settings(model, self.card, clip["video"].shape[1]))
            if number == len(self._true):
                likeness = drawer.reconstruct(clip["video"][:, :1])
                self._true.append(measure(clip["video"], likeness, clip["video"], clip["fps"]))
            video = drawer.sample(clip, self.config.seed, number)
            values = measure(video, video, clip["video"], clip["fps"])
            self._show(trainer, number, clip, video)
            records.append({"caption": clip["caption"], "path": clip.get("path", ""), "sampled": values})
        true = self._true[: len(records)]
        whole = [{**record, "true": values} for record, values in zip(records, true, strict=True)]
        write_json(step_folder(trainer, "samples") / "metrics.json", _without_infinity(whole))
        log_values(trainer, means("samples", [record["sampled"] for record in records]) | means("samples_true", true))

    def _show(self, trainer: pl.Trainer, number: int, clip: dict[str, Any], video: Tensor) -> None:
        pair = torch.cat([clip["video"].float(), video], dim=2)  # the true frame above the sampled one
        path, fps = step_folder(trainer, "samples") / f"{number}", max(float(clip["fps"]), 1.0)
        write_video(pair, path.with_suffix(".mp4"), fps)
        write_contact_sheet(pair, path.with_suffix(".png"), columns=min(8, pair.shape[1]))
        log_video(trainer, f"samples/{number}", pair, fps)
        log_text(trainer, f"samples/{number}/caption", clip["caption"])


def measure(video: Tensor, likeness: Tensor, true: Tensor, fps: float) -> dict[str, float]:
    """The measures of one video (3, t, H, W); `likeness` is what is compared with the first frame of `true`."""
    return {
        "frame0_psnr": psnr(likeness[:, 0].cpu(), true[:, 0].cpu()),
        "motion_diagonals_per_s": motion(video.cpu(), max(float(fps), 1.0)),
        "flicker": flicker(video),
        "temporal_flickering": temporal_flickering(video),
    }


def means(prefix: str, records: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every measure over the clips, under `prefix`/name."""
    return {f"{prefix}/{name}": fmean(record[name] for record in records) for name in records[0]}


def fixed_clips(trainer: pl.Trainer, count: int, seed: int) -> list[dict[str, Any]]:
    """The first `count` clips of the validation data, or of the training data without it, always cut alike.

    None, with a warning, from data that is not a training YAML's.
    """
    data: Any = getattr(trainer, "datamodule", None)
    if data is None or not hasattr(data, "source"):
        log.warning("SampleLogger draws nothing: it takes its clips from the data of a training YAML")
        return []
    source = data.source("train" if data.config.validation is None else "validation")
    return [source.clip(i, random.Random(f"{seed}/{i}/sample")) for i in range(min(count, len(source)))]


def _without_infinity(value: Any) -> Any:
    """JSON has no infinity and no NaN: null stands for them."""
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

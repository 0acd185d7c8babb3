"""The original's image logger."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from lvdm.config import LegacyOption
from lvdm.declaration.ranges import Count, Probability, Steps, Weight, with_ranges
from lvdm.diffusion.timesteps import Spacing
from lvdm.fit.callbacks.cadence import EveryNSteps
from lvdm.fit.callbacks.drawing import Drawer, can_be_sampled, clips_of, forgiving, mode_of, undisturbed
from lvdm.fit.callbacks.media_logging import log_text, log_video, step_folder
from lvdm.media.atomic import atomic_path
from lvdm.media.video_writer import write_video
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.plugins.settings import Mode
from lvdm.request.settings import GenerationSettings


@with_ranges
@dataclass(frozen=True)
class LogImagesConfig:
    """How the image logger samples, under the original's names. `sample` False leaves the samples out."""

    ddim_steps: Count = 50
    ddim_eta: Weight = 1.0
    unconditional_guidance_scale: Weight = 1.0
    timestep_spacing: Spacing = "uniform"
    guidance_rescale: Probability = 0.0
    sample: bool = True

    def __post_init__(self) -> None:
        self.settings("animate", 2)

    def settings(self, mode: Mode, num_frames: int) -> GenerationSettings:
        """The same as the library's settings."""
        return GenerationSettings(
            mode=mode,
            num_frames=num_frames,
            num_inference_steps=self.ddim_steps,
            guidance_scale=self.unconditional_guidance_scale,
            guidance_rescale=self.guidance_rescale,
            eta=self.ddim_eta,
            timestep_spacing=self.timestep_spacing,
        )


@with_ranges
@dataclass(frozen=True)
class ImageLoggerConfig:
    """Every `batch_frequency` steps, up to `max_images` samples of the batch; to files instead with `to_local`."""

    batch_frequency: Steps
    max_images: Count = 8
    to_local: bool = False
    log_images_kwargs: LogImagesConfig = field(default_factory=LogImagesConfig)

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = types.MappingProxyType(
        {
            "clamp": LegacyOption((True,), "images are clamped to the range that can be shown"),
            "rescale": LegacyOption((True,), "images are brought from [-1, 1] to what can be shown"),
            "save_dir": LegacyOption((None,), "images go to the run's folder"),
        }
    )


class ImageLogger(pl.Callback):
    """Shows clips of a training batch: as they are, their conditioning frame and caption, through the autoencoder, and
    sampled by the model as it is. They go to TensorBoard or wandb, or with `to_local` to `images/` in the run's folder.

    Only the first process draws; training goes on as if nothing had been drawn.
    """

    Config = ImageLoggerConfig

    def __init__(self, config: ImageLoggerConfig) -> None:
        self.config = config
        self._clock = EveryNSteps(config.batch_frequency)
        self._active = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See whether this process draws."""
        self._clock.begin(trainer.global_step)
        self._active = trainer.is_global_zero and can_be_sampled(trainer, pl_module, "ImageLogger")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, when it is time."""
        if not self._clock.due(trainer.global_step) or not self._active:
            return
        assert isinstance(pl_module, LatentVisualDiffusion)
        with forgiving(trainer, pl_module, "images"), undisturbed(trainer, pl_module, averaged=False):
            for number, clip in enumerate(clips_of(batch, pl_module, self.config.max_images)):
                self._show(trainer, number, clip["caption"], self._images(trainer, pl_module, clip, number), clip)

    def _images(
        self, trainer: pl.Trainer, model: LatentVisualDiffusion, clip: dict[str, Any], number: int
    ) -> dict[str, Tensor]:
        video = clip["video"]
        config = self.config.log_images_kwargs
        drawer = Drawer(trainer, model, config.settings(mode_of(model), video.shape[1]))
        images = {
            "inputs": video,
            "image_condition": video[:, :1],
            "reconst": drawer.reconstruct(video).clamp(-1, 1),
        }
        if config.sample:
            images["samples"] = drawer.sample(clip, seed=trainer.global_step, index=number).clamp(-1, 1)
        return {name: image for name, image in images.items() if bool(torch.isfinite(image).all())}

    def _show(
        self, trainer: pl.Trainer, number: int, caption: str, images: dict[str, Tensor], clip: dict[str, Any]
    ) -> None:
        if not self.config.to_local:
            log_text(trainer, f"train/condition/{number}", caption)
            for name, image in images.items():
                log_video(trainer, f"train/{name}/{number}", image, max(clip["fps"], 1.0))
            return
        folder = step_folder(trainer, "images")
        for name, image in images.items():
            suffix = "mp4" if image.shape[1] > 1 else "png"
            write_video(image, folder / f"{number}-{name}.{suffix}", max(clip["fps"], 1.0))
        with atomic_path(folder / f"{number}-condition.txt") as temporary:
            temporary.write_text(caption + "\n", encoding="utf-8")

"""The options of a whole video model: what `model.params` of a YAML may hold."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from lvdm.config import Component, LegacyOption
from lvdm.diffusion.schedule import Parameterization, ScheduleConfig
from lvdm.models.condition_noise import TimeNoiseConfig


@dataclass(frozen=True)
class LatentVisualDiffusionConfig:
    """Keys of `model.params`. The last group is ours; its defaults are the original's behaviour.

    interpolation_probability  share of clips that are given their first and last frame; `interp_mode` gives it to all
    high_noise_probability     share of clips whose time step is drawn from `high_noise_start` on only
    moving_region_weight       weight of the loss where the clip moves, see `training_draws.moving_region_weight`
    noise_strength             offset noise, the original's option: shared by all pixels of a channel of a frame
    min_snr_gamma              weight time steps by min-SNR-gamma; left out, all alike
    time_noise                 noise on the image condition, see `condition_noise`
    drop_encoders              build neither autoencoder nor towers: for training from cached latents. The state dict
                               then lacks them; `dynamicrafter convert --encoders` puts them back. Left out, a training
                               decides: it drops them if all of its data is cached
    """

    unet_config: Component
    first_stage_config: Component
    cond_stage_config: Component
    img_cond_stage_config: Component
    image_proj_stage_config: Component
    image_size: tuple[int, int]
    channels: int = 4
    linear_start: float = 0.00085
    linear_end: float = 0.012
    timesteps: int = 1000
    parameterization: Parameterization = "eps"
    rescale_betas_zero_snr: bool = False
    use_dynamic_rescale: bool = False
    base_scale: float = 0.7
    turning_step: int = 400
    scale_factor: float = 1.0
    perframe_ae: bool = False
    fps_condition_type: Literal["fs", "fps"] = "fs"
    cond_stage_trainable: bool = False
    image_proj_model_trainable: bool = True
    uncond_prob: float = 0.2
    rand_cond_frame: bool = False
    interp_mode: bool = False
    log_every_t: int = 100

    interpolation_probability: float = 0.0
    high_noise_probability: float = 0.0
    high_noise_start: int = 500
    moving_region_weight: float = 1.0
    noise_strength: float = 0.0
    min_snr_gamma: float | None = None
    time_noise: TimeNoiseConfig | None = None
    drop_encoders: bool | None = None

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = types.MappingProxyType(
        {
            "num_timesteps_cond": LegacyOption((1, None), "conditions are not noised"),
            "first_stage_key": LegacyOption(("video",), "batches name the clip `video`"),
            "cond_stage_key": LegacyOption(("caption",), "batches name the sentence `caption`"),
            "conditioning_key": LegacyOption(("hybrid",), "the model takes tokens and concatenated latents"),
            "scale_by_std": LegacyOption((False,), "set scale_factor instead"),
            "use_ema": LegacyOption((False,), "averaging weights is a callback: see configs/training_tiny"),
            "uncond_type": LegacyOption(("empty_seq",), "the null condition is the empty prompt and a grey image"),
            "freeze_embedder": LegacyOption((True,), "the image tower is never trained with the video model"),
            "loss_type": LegacyOption(("l2",), "the released models use the squared error"),
            "beta_schedule": LegacyOption(("linear",), "the released models use the linear schedule"),
            "monitor": LegacyOption((None, "val/loss_simple_ema"), "set it on the checkpoint callback"),
            "encoder_type": LegacyOption(("2d",), "the autoencoder works frame by frame"),
        }
    )

    def __post_init__(self) -> None:
        if not 0 <= self.uncond_prob <= 1 / 3:
            raise ValueError(f"uncond_prob is used three times and must be in [0, 1/3], it is {self.uncond_prob}")
        if not 0 <= self.high_noise_start < self.timesteps:
            raise ValueError(f"high_noise_start must lie in 0..{self.timesteps - 1}, it is {self.high_noise_start}")
        if self.noise_strength < 0 or (self.min_snr_gamma is not None and self.min_snr_gamma <= 0):
            raise ValueError(
                f"noise_strength {self.noise_strength} and min_snr_gamma {self.min_snr_gamma} must be positive"
            )
        if self.drop_encoders and self.cond_stage_trainable:
            raise ValueError("drop_encoders leaves out the text tower: it cannot be trained, cond_stage_trainable")
        self.schedule_config()

    def schedule_config(self) -> ScheduleConfig:
        """The fields that define the noise schedule."""
        return ScheduleConfig(
            self.linear_start,
            self.linear_end,
            self.timesteps,
            self.parameterization,
            self.rescale_betas_zero_snr,
            self.use_dynamic_rescale,
            self.base_scale,
            self.turning_step,
        )

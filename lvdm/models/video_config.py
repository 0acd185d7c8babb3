"""The options of a whole video model: what `model.params` of a YAML may hold."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from lvdm.config import Component, LegacyOption, Nothing
from lvdm.declaration.ranges import (
    Channels,
    Frames,
    PositiveWeight,
    Probability,
    Side,
    Steps,
    StepsOrNone,
    TimeSteps,
    Weight,
    with_ranges,
)
from lvdm.diffusion.schedule import FinalScale, Parameterization, ScheduleConfig
from lvdm.models.autoencoder import DualReferenceAutoencoder
from lvdm.models.condition_noise import TimeNoiseConfig
from lvdm.models.videocrafter import from_videocrafter

NO_IMAGES: Mapping[str, Any] = types.MappingProxyType(
    {name: {"target": "torch.nn.Identity"} for name in ("img_cond_stage_config", "image_proj_stage_config")}
)
"""What stands in the place of the image's networks in a model that has none."""


@with_ranges
@dataclass(frozen=True)
class LatentVisualDiffusionConfig:
    """Keys of `model.params`. The last group is ours; its defaults are the original's behaviour.

    conditioning_key           hybrid: context tokens, and the image's latents beside the noise. crossattn: tokens
                               alone, as in VideoCrafter, whose keys are then understood as well
    fix_scale_bug, final_scale  see `lvdm.diffusion.schedule.ScheduleConfig`
    interpolation_probability  share of clips that are given their first and last frame; `interp_mode` gives it to all
    high_noise_probability     share of clips whose time step is drawn from `high_noise_start` on only
    moving_region_weight       weight of the loss where the clip moves, see `training_draws.moving_region_weight`
    noise_strength             offset noise, the original's option: shared by all pixels of a channel of a frame
    min_snr_gamma              weight time steps by min-SNR-gamma; left out, all alike
    time_noise                 noise on the image condition, see `condition_noise`
    frame_carrier_config       carry frame 0's latents along instead of repeating them, see `lvdm.modules.carrier`. No
                               released model has one. Its UNet has one more input channel with `visibility`
    carried_frames             frames of a clip that train the carrier in one step, besides frame 0
    drop_encoders              build neither autoencoder nor CLIP encoders: for training from cached latents. The state
                               dict then lacks them; `dynamicrafter convert --encoders` puts them back. Left out, a
                               training decides: it drops them if all of its data is cached
    """

    unet_config: Component
    first_stage_config: Component
    cond_stage_config: Component
    img_cond_stage_config: Component
    image_proj_stage_config: Component
    image_size: tuple[Side, Side]
    channels: Channels = 4
    linear_start: Probability = 0.00085
    linear_end: Probability = 0.012
    timesteps: TimeSteps = 1000
    parameterization: Parameterization = "eps"
    rescale_betas_zero_snr: bool = False
    use_dynamic_rescale: bool = False
    base_scale: Probability = 0.7
    turning_step: TimeSteps = 400
    fix_scale_bug: bool = False
    conditioning_key: Literal["hybrid", "crossattn"] = "hybrid"
    scale_factor: PositiveWeight = 1.0
    perframe_ae: bool = False
    fps_condition_type: Literal["fs", "fps"] = "fs"
    cond_stage_trainable: bool = False
    image_proj_model_trainable: bool = True
    uncond_prob: Probability = 0.2
    rand_cond_frame: bool = False
    interp_mode: bool = False
    log_every_t: Steps = 100

    interpolation_probability: Probability = 0.0
    high_noise_probability: Probability = 0.0
    high_noise_start: StepsOrNone = 500
    moving_region_weight: Weight = 1.0
    noise_strength: Weight = 0.0
    min_snr_gamma: PositiveWeight | None = None
    time_noise: TimeNoiseConfig | None = None
    frame_carrier_config: Component | None = None
    carried_frames: Frames = 3
    drop_encoders: bool | None = None
    final_scale: FinalScale = "visited"

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = types.MappingProxyType(
        {
            "num_timesteps_cond": LegacyOption((1, None), "conditions are not noised"),
            "first_stage_key": LegacyOption(("video",), "batches name the clip `video`"),
            "cond_stage_key": LegacyOption(("caption",), "batches name the caption `caption`"),
            "scale_by_std": LegacyOption((False,), "set scale_factor instead"),
            "use_ema": LegacyOption((False,), "averaging weights is a callback: see configs/training_tiny"),
            "uncond_type": LegacyOption(("empty_seq",), "the null condition is the empty prompt and a grey image"),
            "freeze_embedder": LegacyOption((True,), "the image encoder is never trained with the video model"),
            "loss_type": LegacyOption(("l2",), "the released models use the squared error"),
            "beta_schedule": LegacyOption(("linear",), "the released models use the linear schedule"),
            "monitor": LegacyOption((None, "val/loss_simple_ema"), "set it on the checkpoint callback"),
            "encoder_type": LegacyOption(("2d",), "the autoencoder works frame by frame"),
            "scale_a": LegacyOption((1,), "the dynamic rescale begins at 1"),
            "loop_video": LegacyOption((True, False, "Flase"), "its authors never read it"),
            "fix_temporal": LegacyOption((True, False), "`tuning` says what is trained"),
            "random_cond": LegacyOption((False,), "no released model was trained on it"),
        }
    )

    def __post_init__(self) -> None:
        if not 0 <= self.uncond_prob <= 1 / 3:
            raise ValueError(f"uncond_prob is used three times and must be in [0, 1/3], it is {self.uncond_prob}")
        if not 0 <= self.high_noise_start < self.timesteps:
            raise ValueError(f"high_noise_start must lie in 0..{self.timesteps - 1}, it is {self.high_noise_start}")
        if self.drop_encoders and self.cond_stage_trainable:
            raise ValueError("drop_encoders leaves out the text encoder: it cannot be trained, cond_stage_trainable")
        self._check_conditioning()
        self._check_carrier()
        self.schedule_config()

    def _check_conditioning(self) -> None:
        """Raise `ValueError` for a network that does not read what it is to be given."""
        if self.conditioning_key == "crossattn" and self.unet_config.params.in_channels != self.channels:
            raise ValueError(
                f"conditioning_key crossattn gives the network {self.channels} channels, its in_channels are "
                f"{self.unet_config.params.in_channels}; use hybrid for a network that reads the image's latents"
            )
        if not self.reads_images and self.conditioning_key == "hybrid":
            raise ValueError("conditioning_key hybrid needs an image encoder; use crossattn for text alone")

    def _check_carrier(self) -> None:
        """Raise `ValueError` for a frame carrier that does not go with the rest of the model."""
        if self.frame_carrier_config is None:
            return
        if self.conditioning_key != "hybrid" or self.rand_cond_frame or self.fps_condition_type != "fs":
            raise ValueError(
                "a frame carrier carries frame 0 by the frame stride: it needs conditioning_key hybrid, "
                "rand_cond_frame false and fps_condition_type fs"
            )
        carrier = self.frame_carrier_config.params
        wanted = 2 * self.channels + carrier.visibility
        if self.unet_config.params.in_channels != wanted:
            raise ValueError(
                f"with a frame carrier (visibility {carrier.visibility}) and latents of {self.channels} channels, "
                f"unet_config needs in_channels {wanted}, not {self.unet_config.params.in_channels}"
            )
        factor = self.first_stage_config.params.ddconfig.downsample_factor
        if factor % carrier.patch:
            raise ValueError(
                f"patch {carrier.patch} of the frame carrier must divide the {factor} pixels of a latent's side"
            )
        if carrier.details and issubclass(self.first_stage_config.resolve(), DualReferenceAutoencoder):
            raise ValueError(
                "an autoencoder of whole clips has references for details; leave out details of the frame carrier"
            )

    @staticmethod
    def translate(params: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """`params` with the keys of VideoCrafter's YAMLs replaced by ours, where they are for such a model."""
        return from_videocrafter(params, where) if params.get("conditioning_key") == "crossattn" else params

    @property
    def reads_images(self) -> bool:
        """Whether there is an image encoder; text-to-video models have none."""
        return self.img_cond_stage_config.resolve() is not Nothing

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
            self.fix_scale_bug,
            self.final_scale,
        )


@with_ranges
@dataclass(frozen=True)
class TextToVideoConfig(LatentVisualDiffusionConfig):
    """Keys of `model.params` of a text-to-video model, which has neither image encoder nor query transformer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reads_images:
            raise ValueError("a LatentDiffusion reads no images; use lvdm.models.ddpm3d.LatentVisualDiffusion")

    @staticmethod
    def translate(params: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """As the other's; what text-to-video models do not have need not be named."""
        without: dict[str, Any] = {"conditioning_key": "crossattn", **NO_IMAGES}
        if "cond_img_config" in params:
            del without["img_cond_stage_config"]
        return from_videocrafter({**without, **params}, where)

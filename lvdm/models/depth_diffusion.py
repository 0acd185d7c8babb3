"""Make-Your-Video (arXiv:2306.00943): text and the depth of every frame to video; its YAML keys in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor

from lvdm.conditioning import Conditioning, depth_condition
from lvdm.config import Component, ConfigError
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.training_draws import TrainingDraws, dropped_conditions
from lvdm.models.training_inputs import LeftOut
from lvdm.models.video_config import NO_IMAGES, LatentVisualDiffusionConfig

ATTENTION_WINDOW = 16
"""Frames that causal attention sees, the frame itself included. The original's code fixes it, its YAML has no key."""
DEPTH_CHANNELS = 1
FLAT_DEPTH = -1.0
"""What the network reads where depth shows nothing."""


@dataclass(frozen=True)
class LatentDepthDiffusionConfig(LatentVisualDiffusionConfig):
    """Keys of `model.params`; there is no image encoder, and the network reads depth beside the noise.

    depth_stage_config  the depth estimator; None for a model to which depth is always given
    depth_range         what depth is stretched over in training: each frame, as the original does, or the clip
    drop_depth          flat depth for clips that would lose their image, had they one: see `dropped_conditions`
    """

    depth_stage_config: Component | None = None
    depth_range: Literal["frame", "clip"] = "frame"
    drop_depth: bool = False

    @staticmethod
    def translate(params: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """`params` with what Make-Your-Video's YAML means by its UNet options, and without what it does not name."""
        translated = {**NO_IMAGES, **params}
        unet = params.get("unet_config")
        if isinstance(unet, Mapping) and isinstance(unet.get("params"), Mapping):
            options = _unet_options(unet["params"], f"{where}.unet_config.params")
            translated["unet_config"] = {**unet, "params": options}
        return translated

    def _check_conditioning(self) -> None:
        if self.conditioning_key != "hybrid" or self.reads_images:
            raise ValueError("a LatentDepthDiffusion reads no images: it needs conditioning_key hybrid for its depth")
        given, read = self.channels + DEPTH_CHANNELS, self.unet_config.params.in_channels
        if given != read:
            raise ValueError(f"noise and depth give the network {given} channels, its in_channels are {read}")


def _unet_options(params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The UNet's options in our words. `tempspatial_aware` and `real_3dconv` are about one stage of a block here."""
    options = {"shared_context": True, **params}
    aware, volume = options.pop("tempspatial_aware", False), options.pop("real_3dconv", False)
    if options.pop("causal_block_size", 1) != 1:
        raise ConfigError(
            f"{where}.causal_block_size should be 1: with larger blocks some frames attend to nothing, which is no mask"
        )
    if options.get("temporal_conv"):
        options.setdefault("staged_temporal_conv", "frames" if not aware else "volume" if volume else "pixels")
    if options.get("use_causal_attention"):
        options.setdefault("attention_window", ATTENTION_WINDOW)
    return options


class LatentDepthDiffusion(LatentVisualDiffusion):
    """Autoencoder, text encoder, UNet and depth estimator; keys and registration order are the released ones."""

    Config = LatentDepthDiffusionConfig
    config: LatentDepthDiffusionConfig

    def __init__(self, config: LatentDepthDiffusionConfig) -> None:
        super().__init__(config)
        estimator = config.depth_stage_config
        self.depth_stage_model = (
            LeftOut("depth estimator", "give depth, or the estimator's own weights (--depth-model)")
            if estimator is None
            else estimator.build().eval().requires_grad_(False)
        )

    @property
    def reads_latents(self) -> bool:
        """No: beside the noise there is depth."""
        return False

    def training_batch(self, batch: Mapping[str, Any], draws: TrainingDraws) -> tuple[Tensor, Conditioning]:
        """Clean latents and their condition. `batch` may hold `depth` (b, 1, t, H, W), else depth is estimated.

        Raises `ValueError` where there is neither depth nor an estimator.
        """
        drop_text, drop_depth = dropped_conditions(draws.condition_drop, self.config.uncond_prob)
        captions = ["" if drop else text for drop, text in zip(drop_text.tolist(), batch["caption"], strict=True)]
        with torch.no_grad():
            latents = self.encode_first_stage(batch["video"], draws.posterior)
            raw = batch["depth"] if "depth" in batch else self._estimated_depth(batch["video"])
        size = latents.shape[-2], latents.shape[-1]
        depth = depth_condition(raw, size, over_clip=self.config.depth_range == "clip")
        if self.config.drop_depth:
            depth = depth.masked_fill(drop_depth[:, None, None, None, None], FLAT_DEPTH)
        text = self.embed_text(captions).to(latents.dtype)
        fs = torch.as_tensor(batch["fps"], device=latents.device).long()
        return latents, Conditioning(text=text, image=text[:, :0], concat=depth.to(latents.dtype), fps=fs)

    def _estimated_depth(self, video: Tensor) -> Tensor:
        """Depth (b, 1, t, S, S) of clips (b, 3, t, H, W) in [-1, 1]."""
        frames = self.depth_stage_model(rearrange(video, "b c t h w -> (b t) c h w"))
        return rearrange(frames, "(b t) h w -> b 1 t h w", b=len(video))

"""What a plan needs to know of a model's networks, without building or importing them: numbers of their configuration.

Those of the YAML files that come with the package are in `lvdm.model_outlines`, by the hash of their `model:` node, so
that requests of these models are planned without torch. Of another YAML the configuration is read and checked.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvdm.models.video_config import LatentVisualDiffusionConfig


@dataclass(frozen=True)
class UNetOutline:
    """Those fields of `lvdm.modules.networks.openaimodel3d.UNetConfig` that decide on its memory."""

    in_channels: int
    model_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    channel_mult: tuple[int, ...]
    num_head_channels: int
    init_attn_heads: int
    addition_attention: bool


@dataclass(frozen=True)
class AutoencoderOutline:
    """The same of `lvdm.modules.networks.ae_modules.AutoencoderNetworkConfig`.

    whole_clips  whether the decoder takes all frames of a clip together, with the encoder's features of both ends
    """

    downsample_factor: int
    widths: tuple[int, ...]
    whole_clips: bool = False


@dataclass(frozen=True)
class ModelOutline:
    """What a plan reads of a model.

    size_multiple  the sides that the network runs at are multiples of this (pixels)
    reads_images   whether there is an image encoder
    timesteps      of the training
    """

    size_multiple: int
    reads_images: bool
    timesteps: int
    unet: UNetOutline
    autoencoder: AutoencoderOutline

    @classmethod
    def of(cls, config: LatentVisualDiffusionConfig) -> ModelOutline:
        """The outline of a checked configuration."""
        unet, autoencoder = config.unet_config.params, config.first_stage_config.params.ddconfig
        multiple = autoencoder.downsample_factor * unet.size_multiple
        networks = AutoencoderOutline(
            autoencoder.downsample_factor,
            autoencoder.widths,
            config.first_stage_config.resolve().__name__ == "DualReferenceAutoencoder",
        )
        return cls(multiple, config.reads_images, config.timesteps, _part(UNetOutline, unet), networks)


def _part(kind: type, config: Any) -> Any:
    return kind(**{field.name: getattr(config, field.name) for field in fields(kind)})

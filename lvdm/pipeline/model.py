"""What the pipeline asks of a model: any object with these parts and methods can be sampled from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.carrier import FrameCarrier
from lvdm.modules.networks.openaimodel3d import UNetModel


class VideoModel(Protocol):
    """A latent video diffusion model; `lvdm.models.ddpm3d.LatentVisualDiffusion` is one.

    config           its typed configuration: channels, scale_factor, reads_images and so on
    model            the module that holds the network alone, which is moved to the device to sample
    first_stage_model, cond_stage_model, embedder, image_proj_model  autoencoder, text encoder, image encoder, and what
                     makes tokens of the latter's features
    frame_carrier    what carries frame 0's latents along; None in released models
    depth_stage_model  the depth estimator of a model that follows depth; None in others
    trained_frames, temporal_length  frames of the trained clips, and those that it has image tokens for
    vae_factor, size_multiple        image pixels of a latent pixel, and what sides are multiples of
    reads_latents    whether the image's latents are concatenated to the noise
    """

    config: Any
    first_stage_model: Any
    cond_stage_model: Any
    embedder: Any
    image_proj_model: Any
    frame_carrier: FrameCarrier | None
    depth_stage_model: Any

    @property
    def model(self) -> nn.Module: ...

    @property
    def unet(self) -> UNetModel: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def trained_frames(self) -> int: ...

    @property
    def temporal_length(self) -> int: ...

    @property
    def vae_factor(self) -> int: ...

    @property
    def size_multiple(self) -> int: ...

    @property
    def reads_latents(self) -> bool: ...

    def branches(self, conditions: Sequence[Conditioning], batched: bool = True) -> Branches:
        """The network under each of the conditions; in one call if `batched`."""
        ...

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        """(b, n, d)."""
        ...

    def embed_image(self, image: Tensor) -> Tensor:
        """(b, 3, H, W) in [-1, 1] -> tokens (b, t x l, d)."""
        ...

    def encode_first_stage(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """(b, 3, t, H, W) in [-1, 1] -> latents (b, c, t, h, w), scaled; the posterior's mode without noise."""
        ...

    def decode_first_stage(self, latents: Tensor, chunk_size: int | None = None, tile: int | None = None) -> Tensor:
        """Latents (b, c, t, h, w), scaled -> video (b, 3, t, H, W), about [-1, 1]."""
        ...

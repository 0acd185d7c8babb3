"""The image autoencoder: frames in [-1, 1] to latents and back, one frame at a time, without any scale factor."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lvdm.config import Component
from lvdm.modules.distributions import DiagonalGaussian
from lvdm.modules.networks.ae_modules import AutoencoderNetworkConfig, Decoder, Encoder


class AutoencoderKL(nn.Module):
    """A variational autoencoder with a Gaussian posterior (Kingma and Welling 2014; Rombach et al. 2022).

    Every image of a batch is treated alone: frames may be folded into the batch and processed in chunks of any size.
    """

    @dataclass(frozen=True)
    class Config:
        """embed_dim: channels of a latent; ddconfig: the networks.

        `lossconfig` and `monitor` configured the training of the autoencoder in the code the YAMLs come from. They are
        read so that those files load, and have no effect: an autoencoder in a diffusion model is not trained.
        """

        embed_dim: int
        ddconfig: AutoencoderNetworkConfig
        lossconfig: Component | None = None
        monitor: str | None = None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        networks = config.ddconfig
        self.encoder = Encoder(networks)
        self.decoder = Decoder(networks)
        self.quant_conv = nn.Conv2d(2 * networks.z_channels, 2 * config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, networks.z_channels, 1)

    @property
    def downsample_factor(self) -> int:
        """Image pixels per latent pixel, along one side; 8 in the released models."""
        return self.config.ddconfig.downsample_factor

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Posterior of images (n, 3, H, W) in [-1, 1], over latents (n, embed_dim, H // f, W // f)."""
        return DiagonalGaussian.from_moments(self.quant_conv(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, 3, f h, f w), about [-1, 1] but not clamped, of latents (n, embed_dim, h, w)."""
        return self.decoder(self.post_quant_conv(z))

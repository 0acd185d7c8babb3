"""The image autoencoder: frames in [-1, 1] to latents and back, one frame at a time, without any scale factor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from lvdm.config import Component
from lvdm.declaration.ranges import Channels, with_ranges
from lvdm.modules.distributions import DiagonalGaussian
from lvdm.modules.networks.ae_modules import AutoencoderNetworkConfig, Decoder, Encoder
from lvdm.modules.networks.dual_reference import DualReferenceDecoder, References, encode_references


class AutoencoderKL(nn.Module):
    """A variational autoencoder with a Gaussian posterior (Kingma and Welling 2014; Rombach et al. 2022).

    Every image of a batch is treated alone: frames may be folded into the batch and processed in chunks of any size.
    """

    @with_ranges
    @dataclass(frozen=True)
    class Config:
        """embed_dim: channels of a latent; ddconfig: the networks.

        `lossconfig` and `monitor` configured the training of the autoencoder in the code the YAMLs come from. They are
        read so that those files load, and have no effect: an autoencoder in a diffusion model is not trained.
        """

        embed_dim: Channels
        ddconfig: AutoencoderNetworkConfig
        lossconfig: Component | None = None
        monitor: str | None = None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        networks = config.ddconfig
        self.encoder = Encoder(networks)
        self.decoder = self.make_decoder(networks)
        self.quant_conv = nn.Conv2d(2 * networks.z_channels, 2 * config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, networks.z_channels, 1)

    def make_decoder(self, networks: AutoencoderNetworkConfig) -> nn.Module:
        """The decoder, which is made between the encoder and the two 1x1 convolutions."""
        return Decoder(networks)

    @property
    def downsample_factor(self) -> int:
        """Image pixels per latent pixel, along one side; 8 in the released models."""
        return self.config.ddconfig.downsample_factor

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.quant_conv.weight.dtype

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Posterior of images (n, 3, H, W) in [-1, 1], over latents (n, embed_dim, H // f, W // f)."""
        return DiagonalGaussian.from_moments(self.quant_conv(self.encoder(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, 3, f h, f w), about [-1, 1] but not clamped, of latents (n, embed_dim, h, w)."""
        return self.decoder(self.post_quant_conv(z))


class DualReferenceAutoencoder(AutoencoderKL):
    """ToonCrafter's autoencoder: the same encoder, and a decoder of whole clips that reads their first and last image.

    Latents are those of the other models, so that it decodes any clip between two images. `post_quant_conv` is in its
    file and unused.
    """

    def make_decoder(self, networks: AutoencoderNetworkConfig) -> nn.Module:
        """See `DualReferenceDecoder`."""
        return DualReferenceDecoder(networks)

    def references(self, images: Tensor) -> References:
        """What the decoder reads of the first and last images (b, 3, 2, H, W) in [-1, 1]."""
        return encode_references(self.encoder, images)

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, 3, f h, f w) of latents (n, embed_dim, h, w), the frames of one clip without references."""
        return self.decoder(z, None)

    def decode_clips(self, z: Tensor, references: References | None, twice: bool = True) -> Tensor:
        """Videos (b, 3, t, f h, f w) of latents (b, embed_dim, t, h, w), clip by clip, all frames of one together.

        With `twice`, the frames in the middle come from a second decoding, without the second and the last but one,
        as in the original's script; clips of fewer than 5 frames have none.
        """
        clips = []
        for number, clip in enumerate(rearrange(z, "b c t h w -> b t c h w")):
            of_clip = None if references is None else references.of_clip(number)
            video, count = self.decoder(clip, of_clip), len(clip)
            middle = range((count - 1) // 2, count // 2 + 1)  # one frame, or two
            if twice and references is not None and middle[0] >= 2:
                again = self.decoder(torch.cat([clip[:1], clip[2:-2], clip[-1:]]), of_clip)
                video[middle.start : middle.stop] = again[middle.start - 1 : middle.stop - 1]
            clips.append(video)
        return rearrange(torch.stack(clips), "b t c h w -> b c t h w")

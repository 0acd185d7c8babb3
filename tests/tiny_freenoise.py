"""The reference's small VideoCrafter 2 network, which FreeNoise's vectors were made with."""

from __future__ import annotations

from dataclasses import replace

from golden_vectors import fill_module
from tiny_models import unet_config

from lvdm.modules.networks.openaimodel3d import UNetModel


def videocrafter_unet() -> UNetModel:
    """Text to video: no concatenated latents, no image tokens; trained on 16 frames. In eval mode."""
    config = replace(unet_config("512", 16, default_fs=16), in_channels=4, image_cross_attention=False)
    unet = UNetModel(config)
    fill_module(unet, "model.diffusion_model.", "vc/")
    return unet

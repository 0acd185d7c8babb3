"""Configurations of the reference's small networks, and builders that fill them with the reference weights."""

from __future__ import annotations

from golden_vectors import fill_module

from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel


def unet_config(style: str, num_frames: int = 4, default_fs: int = 24) -> UNetConfig:
    """The released UNet of `style` ("256", "512", "1024") in the reference's small dimensions."""
    return UNetConfig(
        in_channels=8,
        out_channels=4,
        model_channels=32,
        attention_resolutions=(4, 2, 1),
        num_res_blocks=2,
        channel_mult=(1, 2, 4, 4),
        dropout=0.1,
        num_head_channels=16,
        context_dim=64,
        use_linear=True,
        use_checkpoint=True,
        temporal_conv=True,
        use_relative_position=False,
        temporal_length=num_frames,
        addition_attention=True,
        image_cross_attention=True,
        image_cross_attention_scale_learnable=style == "256",
        default_fs=default_fs,
        fs_condition=True,
    )


def reference_unet(style: str, num_frames: int = 4, default_fs: int = 24) -> UNetModel:
    """`unet_config` built and filled by the reference's rule, in eval mode."""
    unet = UNetModel(unet_config(style, num_frames, default_fs))
    fill_module(unet, "model.diffusion_model.")
    return unet

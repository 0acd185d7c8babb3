"""The layers of the image autoencoder by their names here and in diffusers' AutoencoderKL, which is the same network.

Only the attention is stored differently: its projections are 1x1 convolutions (c, c, 1, 1) here and linear layers
(c, c) there, with the same numbers in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

BLOCK = {"nin_shortcut": "conv_shortcut", **{name: name for name in ("norm1", "conv1", "norm2", "conv2")}}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
ENDS = {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}
PROJECTION = re.compile(r"\.mid\.attn_1\.(q|k|v|proj_out)\.weight$")
"""Weights that have two more dimensions here."""


def fits_autoencoder_kl(params: Any) -> bool:
    """Whether diffusers' class computes the autoencoder of this configuration: no attention inside its levels."""
    networks = params.ddconfig
    attends = any(networks.has_attention(level) for level in range(len(networks.widths)))
    return networks.z_channels == params.embed_dim and not attends


def autoencoder_kl_config(params: Any, scale_factor: float) -> dict[str, Any]:
    """The configuration of diffusers' class for the autoencoder of `params`."""
    networks = params.ddconfig
    levels = len(networks.widths)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": networks.in_channels,
        "out_channels": networks.out_ch,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(networks.widths),
        "layers_per_block": networks.num_res_blocks,
        "act_fn": "silu",
        "latent_channels": networks.z_channels,
        "norm_num_groups": networks.norm_num_groups,
        "sample_size": networks.resolution,
        "scaling_factor": scale_factor,
    }


def their_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Layer here -> layer there, of a network with diffusers' `config`."""
    levels, blocks = len(config["block_out_channels"]), config["layers_per_block"]
    names = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for side, (ours, theirs, resample, count) in {
        "encoder": ("down", "down_blocks", "downsample", blocks),
        "decoder": ("up", "up_blocks", "upsample", blocks + 1),
    }.items():
        for level in range(levels):
            place = level if side == "encoder" else levels - 1 - level  # there in the order of execution
            here, there = f"{side}.{ours}.{level}", f"{side}.{theirs}.{place}"
            names |= {f"{here}.{resample}.conv": f"{there}.{resample}rs.0.conv"}
            for block in range(count):
                names |= dict(_prefixed(BLOCK, f"{here}.block.{block}", f"{there}.resnets.{block}"))
        for block in range(2):
            names |= dict(_prefixed(BLOCK, f"{side}.mid.block_{block + 1}", f"{side}.mid_block.resnets.{block}"))
        names |= dict(_prefixed(ATTENTION, f"{side}.mid.attn_1", f"{side}.mid_block.attentions.0"))
        names |= dict(_prefixed(ENDS, side, side))
    return names


def _prefixed(names: Mapping[str, str], here: str, there: str) -> Iterator[tuple[str, str]]:
    return ((f"{here}.{ours}", f"{there}.{theirs}") for ours, theirs in names.items())


def shape_there(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the tensor `key` (its name here) has in diffusers' files."""
    return shape[:2] if PROJECTION.search(key) else shape


def shape_here(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape here of the tensor `key` (its name here) that has `shape` in diffusers' files."""
    return (*shape, 1, 1) if PROJECTION.search(key) else shape

"""VideoCrafter's YAML keys in the words of this program: the same networks with other options (arXiv:2310.19512)."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from lvdm.config import ConfigError

MODEL_KEYS: Mapping[str, str] = types.MappingProxyType(
    {
        "use_scale": "use_dynamic_rescale",
        "scale_b": "base_scale",
        "mid_step": "turning_step",
        "cond_img_config": "img_cond_stage_config",
    }
)
UNET_KEYS: Mapping[str, str] = types.MappingProxyType(
    {
        "fps_cond": "fs_condition",
        "use_image_attention": "image_cross_attention",
        "tempspatial_aware": "temporal_conv_spans_pixels",
    }
)
"""VideoCrafter's name of an option -> ours. DynamiCrafter's own `tempspatial_aware` is another option."""

SCALE_B = 0.3
"""What `scale_b` is where `use_scale` stands alone."""

RESAMPLER: Mapping[str, Any] = types.MappingProxyType(
    {
        "target": "lvdm.modules.encoders.resampler.Resampler",
        "params": {
            "dim": 1024,
            "depth": 4,
            "dim_head": 64,
            "heads": 12,
            "num_queries": 16,
            "embedding_dim": 1280,
            "output_dim": 1024,
            "ff_mult": 4,
        },
    }
)
"""The query transformer that `finegrained: true` stands for: 16 tokens of the image as a whole."""


def from_videocrafter(params: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`model.params` of a VideoCrafter YAML with our keys, and with the values that its code does not read from there.

    Keys that are ours already stay. Raises `ConfigError` for options that are not implemented.
    """
    translated = _renamed(params, MODEL_KEYS, where)
    if "use_scale" in params:
        translated.setdefault("base_scale", SCALE_B)
    translated.setdefault("final_scale", "first")
    if translated.pop("finegrained", True) is not True and "img_cond_stage_config" in translated:
        raise ConfigError(
            f"{where}.finegrained should be true: the other way needs a pooled image feature, which the image encoder "
            "of the released models does not give"
        )
    if "img_cond_stage_config" in translated:
        translated.setdefault("image_proj_stage_config", dict(RESAMPLER))
    unet = translated.get("unet_config")
    if isinstance(unet, Mapping) and isinstance(unet.get("params"), Mapping):
        options = _renamed(unet["params"], UNET_KEYS, f"{where}.unet_config.params")
        if options.get("use_causal_attention"):
            raise ConfigError(
                f"{where}.unet_config.params.use_causal_attention should be false: no model of VideoCrafter has it; "
                "that of Make-Your-Video does, as a LatentDepthDiffusion"
            )
        translated["unet_config"] = {**unet, "params": {"default_fs": 16, "shared_context": True, **options}}
    return translated


def _renamed(params: Mapping[str, Any], names: Mapping[str, str], where: str) -> dict[str, Any]:
    for old, new in names.items():
        if old in params and new in params:
            raise ConfigError(f"{where}: {old} and {new} are the same option; leave one of them out")
    return {names.get(key, key): value for key, value in params.items()}

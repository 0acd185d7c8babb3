"""The components of a checkpoint, known by the first words of the keys."""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.deprecation import renamed_names

SCHEDULE_KEYS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "scale_arr",
)
"""The noise schedule in the state dict. It follows from the configuration, and stays in float32 in every file."""


@dataclass(frozen=True)
class Part:
    """A component: what people call it, and how its keys begin ("" for the schedule)."""

    name: str
    prefix: str


SCHEDULE = Part("schedule", "")
UNET = Part("UNet", "model.diffusion_model.")
AUTOENCODER = Part("autoencoder", "first_stage_model.")
TEXT_ENCODER = Part("text encoder", "cond_stage_model.")
IMAGE_ENCODER = Part("image encoder", "embedder.")
QUERY_TRANSFORMER = Part("query transformer", "image_proj_model.")
FRAME_CARRIER = Part("frame carrier", "frame_carrier.")
"""Not in the released models."""
DEPTH_ESTIMATOR = Part("depth estimator", "depth_stage_model.")
"""In Make-Your-Video's checkpoint alone, which does without it where depth is given."""
OTHER = Part("other", "")

PARTS = (
    SCHEDULE,
    UNET,
    AUTOENCODER,
    TEXT_ENCODER,
    IMAGE_ENCODER,
    QUERY_TRANSFORMER,
    FRAME_CARRIER,
    DEPTH_ESTIMATOR,
    OTHER,
)
"""All components, in the order of the released state dicts."""

CLIP_ENCODERS = (TEXT_ENCODER, IMAGE_ENCODER)
"""The frozen parts that are the same in every released checkpoint, and that pruned files leave out."""


def part_of(key: str) -> Part:
    """The component that a key belongs to."""
    if key in SCHEDULE_KEYS:
        return SCHEDULE
    return next((part for part in PARTS if part.prefix and key.startswith(part.prefix)), OTHER)


__getattr__ = renamed_names(
    __name__, {"IMAGE_TOWER": "IMAGE_ENCODER", "TEXT_TOWER": "TEXT_ENCODER", "TOWERS": "CLIP_ENCODERS"}
)

"""What is done for videos larger than those of the training: the setting `scale`, and the methods behind it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

from lvdm.plugins.freescale import FreeScale, FreeScaleOptions, FreeScalePlan
from lvdm.plugins.hooks import Plugin
from lvdm.plugins.scalecrafter import MAX_FACTOR, ScaleCrafter, ScaleOptions, ScalePlan, recommended
from lvdm.plugins.scaled_attention import ScaledAttention
from lvdm.plugins.specs import parse_spec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Off:
    """No options: the network runs as it was trained."""


@dataclass(frozen=True)
class Auto:
    """No options: ScaleCrafter with the settings recommended for the size."""


Options = ScaleOptions | FreeScaleOptions | Off | Auto
Plan = ScalePlan | FreeScalePlan
KINDS = {"auto": Auto, "off": Off, "scalecrafter": ScaleOptions, "freescale": FreeScaleOptions}


def parse_scale(text: str) -> Options:
    """The setting `scale`: auto, off, or a method, alone or with options as in scalecrafter:factor=2,until=0.4.

    Raises `ValueError`.
    """
    options: Options = parse_spec(text, KINDS, "scale")
    return options


def plan_scale(text: str, size: tuple[int, int], trained_size: tuple[int, int]) -> Plan | None:
    """What the setting `text` means for a video of `size` from a checkpoint of `trained_size`; None: nothing to do.

    Sizes are (height, width). The factor is the root of the ratio of the areas in steps of 1/2.
    """
    options = parse_scale(text)
    if isinstance(options, Off):
        return None
    ratio = math.sqrt(size[0] * size[1] / (trained_size[0] * trained_size[1]))
    factor = min(max(math.floor(2 * ratio + 0.5) / 2, 1.0), MAX_FACTOR)
    if isinstance(options, Auto):
        return recommended(factor) if factor > 1 else None
    nearest, factor = factor, factor if options.factor is None else options.factor
    plan: Plan
    if isinstance(options, FreeScaleOptions):
        window = None  # as the factor says, where it is not that of the sizes
        if factor == nearest:
            window = (min(trained_size[0] / size[0], 1.0), min(trained_size[1] / size[1], 1.0))
        plan = FreeScalePlan(factor, options.level, options.until, options.fuse, window)
        nothing = factor == 1
    else:
        plan = recommended(factor)
        given = {name: getattr(options, name) for name in ScaleOptions.__dataclass_fields__}
        plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
        nothing = plan.factor == 1 and not plan.dispersed and not plan.attention
    if nothing:
        logger.info("the video is not larger than in the training: scale %s changes nothing", text)
        return None
    return plan


def scale_plugins(plan: Plan | None, latent_size: tuple[int, int]) -> list[Plugin]:
    """The methods of a plan for latents of that height and width; none without a plan."""
    if plan is None:
        return []
    if isinstance(plan, FreeScalePlan):
        return [FreeScale(plan, latent_size)]
    return [ScaleCrafter(plan), *([ScaledAttention(plan.factor)] if plan.attention else [])]

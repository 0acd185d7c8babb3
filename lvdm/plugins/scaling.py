"""What is done for videos larger than those of the training: what the parameter `scale` comes to for a size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lvdm.declaration.options import Spec, write_options
from lvdm.plugins.methods.scale import MAX_FACTOR, Auto, FreeScaleOptions, Off, Options, ScaleOptions, parse_scale

if TYPE_CHECKING:
    from lvdm.plugins.hooks import Plugin


@dataclass(frozen=True)
class ScalePlan:
    """`ScaleOptions` with every value chosen."""

    factor: float
    until: float
    progressive: bool
    damped: bool
    dispersed: bool
    attention: bool

    @property
    def text(self) -> str:
        """The setting that gives this plan at any size."""
        return f"scalecrafter:{write_options(self)}"


@dataclass(frozen=True)
class FreeScalePlan:
    """`FreeScaleOptions` with every value chosen.

    window  height and width of the training as shares of those of the video, at most 1; None: 1 / factor, both
    """

    factor: float
    level: float
    until: float
    fuse: bool
    window: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The setting that gives this plan at the same size."""
        return str(Spec("freescale", FreeScaleOptions(self.factor, self.level, self.until, self.fuse)))

    @property
    def cascades(self) -> bool:
        """Whether a smaller video comes first."""
        return self.level < 1

    def before(self, size: tuple[int, int]) -> tuple[tuple[int, int], Spec[Options]]:
        """Height and width of the smaller video that comes before one of `size`, and its setting `scale`.

        The sides grow to no more than twice in one go, and the area of the first is that of the training.
        """
        ratio = self.factor if self.window is None else 1 / math.sqrt(self.window[0] * self.window[1])
        times = min(ratio, 2.0)
        again = Spec("freescale", FreeScaleOptions(None, self.level, self.until, self.fuse))
        return (round(size[0] / times), round(size[1] / times)), again


Plan = ScalePlan | FreeScalePlan


def recommended(factor: float) -> ScalePlan:
    """The settings of ScaleCrafter that were published for sides `factor` times those of the training."""
    until = 0.4 if factor <= 2 else 0.6 if factor <= 2.5 else 0.74
    return ScalePlan(factor, until, factor > 2.5, factor > 2.5, False, False)


def plan_scale(scale: Spec[Options] | str, size: tuple[int, int], trained_size: tuple[int, int]) -> Plan | None:
    """What `scale` means for a video of `size` from a checkpoint of `trained_size`; None: nothing to do.

    Sizes are (height, width). The factor is the root of the ratio of the areas in steps of 1/2.
    """
    options = (parse_scale(scale) if isinstance(scale, str) else scale).options
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
    return None if nothing else plan


def scale_plugins(plan: Plan | None, latent_size: tuple[int, int]) -> Sequence[Plugin]:
    """The methods of a plan for latents of that height and width; none without a plan."""
    from lvdm.plugins.freescale import FreeScale
    from lvdm.plugins.scalecrafter import ScaleCrafter
    from lvdm.plugins.scaled_attention import ScaledAttention

    if plan is None:
        return []
    if isinstance(plan, FreeScalePlan):
        return [FreeScale(plan, latent_size)]
    return [ScaleCrafter(plan), *([ScaledAttention(plan.factor)] if plan.attention else [])]

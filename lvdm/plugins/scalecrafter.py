"""ScaleCrafter (arXiv 2310.07702): images larger than a checkpoint was trained on, without training.

In the first part of the steps, where the layout of a video is decided, the convolutions of the UNet are re-dilated by
how much longer the sides are than in training. Which layers get how much, and for how long, follows the settings that
its authors published for Stable Diffusion at 2, 2.5 and 4 times the trained side, as a rule by depth:

    side       levels, the first being full resolution                           steps            guidance
    up to 2    all but the first: the factor                                     40 %             plain
    up to 2.5  all but the first: the factor                                     60 %             plain
    beyond     encoder, from the deepest up: the factor, 3/4 of it, 1, 1;        74 %,            noise-damped
               decoder: the factor, the factor, 3/4 of it, and half in the first  progressive

The middle counts with the deepest level, and a convolution that changes the resolution with the deeper one of its two.
Convolutions over frames, and those at both ends of the network, stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches, noise_damped
from lvdm.modules.layers import Downsample, ResBlock, Upsample
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.dispersion import DispersedKernels
from lvdm.plugins.hooks import Hooks, Samples, StepClock
from lvdm.plugins.redilation import progressive_factor, redilated
from lvdm.plugins.scaling import ScalePlan


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution of the UNet, its level (0 is full resolution, `deepest` the last) and its side of the network."""

    module: nn.Conv2d
    level: int
    deepest: int
    decodes: bool

    def factor(self, plan: ScalePlan) -> float:
        """How far apart the taps of this layer are under `plan`."""
        if plan.factor <= 2.5:
            return plan.factor if self.level else 1.0
        if self.level == 0:
            return max(plan.factor / 2, 1.0) if self.decodes else 1.0
        above = self.deepest - self.level
        shares = (1.0, 1.0, 0.75) if self.decodes else (1.0, 0.75, 0.0)
        return max(plan.factor * shares[min(above, 2)], 1.0)

    def base_factor(self, plan: ScalePlan) -> float:
        """The same in the weaker network of noise-damped guidance."""
        stays = self.level > 0 if plan.factor > 2.5 else self.level == self.deepest
        return self.factor(plan) if stays else 1.0


def layers_of(unet: UNetModel) -> Iterator[Layer]:
    """The 3x3 convolutions of the UNet over pixels, without those at both ends."""
    deepest = len(unet.config.channel_mult) - 1
    level = 0
    encoder = cast(Sequence[nn.Sequential], [*unet.input_blocks[1:], unet.middle_block])
    for block in encoder:
        for layer in block:
            level += isinstance(layer, Downsample)
            yield from (Layer(module, level, deepest, False) for module in _convolutions(layer))
    for block in cast(Sequence[nn.Sequential], unet.output_blocks):
        for layer in block:
            yield from (Layer(module, level, deepest, True) for module in _convolutions(layer))
            level -= isinstance(layer, Upsample)


def _convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    if isinstance(layer, ResBlock):
        return [m for part in (layer.in_layers, layer.out_layers) for m in part if isinstance(m, nn.Conv2d)]
    if isinstance(layer, Downsample):
        return [layer.op]
    return [layer.conv] if isinstance(layer, Upsample) else []


@dataclass(frozen=True)
class ScaleCrafter:
    """The method as a plug-in: the convolutions are re-dilated in each evaluation, and plain in between."""

    plan: ScalePlan

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Re-dilate `unet` in the first steps; see `Plugin`."""
        layers, kernels = list(layers_of(unet)), DispersedKernels() if self.plan.dispersed else None

        def patched(conditions: Sequence[Conditioning], base: bool) -> Branches:
            plain = hooks.branches(conditions)

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                with redilated(self.factors(layers, hooks.clock, base), kernels):
                    return plain(x_t, t)

            return branches

        def make(conditions: Sequence[Conditioning]) -> Branches:
            strong = patched(conditions, base=False)
            if not self.plan.damped or len(conditions) == 1:
                return strong
            weak = patched(conditions[1:2], base=True)
            damped = noise_damped(strong, lambda x_t, t: weak(x_t, t)[0])

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                found = [self.factors(layers, hooks.clock, base) for base in (False, True)]
                return strong(x_t, t) if found[0] == found[1] else damped(x_t, t)

            return branches

        return replace(hooks, branches=make)

    def factors(self, layers: Sequence[Layer], clock: StepClock, base: bool = False) -> dict[nn.Conv2d, float]:
        """How far apart the taps of `layers` are now, where it is not 1; `base`: in the weaker network."""
        if not clock.before(self.plan.until):
            return {}
        last, found = round(self.plan.until * clock.total), {}
        for layer in layers:
            factor = layer.base_factor(self.plan) if base else layer.factor(self.plan)
            if factor > 1 and self.plan.progressive:
                factor = progressive_factor(factor, clock.step, last)
            if factor > 1:
                found[layer.module] = max(factor / 2, 1.0) if self.plan.dispersed else factor
        return found

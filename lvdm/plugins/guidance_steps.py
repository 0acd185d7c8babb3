"""Guidance that does not cost an evaluation of every branch in every step.

Interval of guidance (arXiv 2404.07724): outside of it there is none, and the conditional output alone is computed.

Reused differences (CFG cache, arXiv 2410.19355, without its weighting of frequencies): how the other branches differ
from the conditional one changes slowly. It is computed in every `interval`-th of these steps, and added to the
conditional output in the steps between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.hooks import Hooks, Samples
from lvdm.plugins.methods.guidance_steps import GuidanceStepsOptions


@dataclass(frozen=True)
class GuidanceSteps:
    """The method as a plug-in."""

    options: GuidanceStepsOptions

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
        """Evaluate the conditional branch alone in some steps; see `Plugin`.

        Without guidance every branch has the conditional output, the same tensor: any guidance gives that then.
        """
        options, clock = self.options, hooks.clock

        def make(conditions: Sequence[Conditioning]) -> Branches:
            every = hooks.branches(conditions)
            if len(conditions) == 1:
                return every
            alone = hooks.branches(conditions[:1])
            differences: list[Tensor] = []

            def branches(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
                if clock.before(options.after) or not clock.before(options.until):
                    return alone(x_t, t) * len(conditions)
                first = round(options.after * clock.total)
                if differences and (clock.step - first) % options.interval:
                    cond = alone(x_t, t)[0].to(x_t.dtype)
                    return cond, *(cond + difference for difference in differences)
                outputs = every(x_t, t)
                cond = outputs[0].to(x_t.dtype)
                differences[:] = [output.to(x_t.dtype) - cond for output in outputs[1:]]
                return outputs

            return branches

        return replace(hooks, branches=make)

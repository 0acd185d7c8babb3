"""Guidance away from a perturbed network (STG, PAG): see `lvdm.plugins.perturbed_guidance`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_spec
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Circumstances, Hold, Idle, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

MAX_SCALE = 20.0
"""The papers use 1 to 3."""
BLOCK = re.compile(r"init|middle|(input|output)(\.\d+)?")


@dataclass(frozen=True)
class PerturbationOptions:
    """What the two ways have in common.

    scale    s, 0 (off) to `MAX_SCALE`
    blocks   the blocks that are perturbed, joined by +: init (the attention over frames before all others), input.3,
             middle, output.4 and so on, as numbered in the checkpoint; input and output are all of one side
    after    share of the steps before it sets in, 0 to 1
    until    share of the steps after which it ends, 0 to 1
    rescale  0 to 1: how much of the conditional output's deviation the result gets back (arXiv 2305.08891, eq. 15-16)
    """

    scale: float = 1.0
    blocks: str = "middle"
    after: float = 0.0
    until: float = 1.0
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and 0 <= self.scale <= MAX_SCALE):
            raise ValueError(f"scale {self.scale:g} is not possible; use a number from 0 to {MAX_SCALE:g}")
        for name in ("after", "until", "rescale"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g} is not possible; use a number from 0 to 1")
        if self.after >= self.until:
            raise ValueError(f"no step is after {self.after:g} and before {self.until:g}; use after below until")
        if not self.names:
            raise ValueError("no block is chosen; use blocks=middle, or several as in middle+output.3")
        for name in self.names:
            if not BLOCK.fullmatch(name):
                raise ValueError(f"block {name!r} is not known; use init, middle, input.N, output.N, input or output")

    @property
    def names(self) -> tuple[str, ...]:
        """The chosen blocks, as they were written."""
        return tuple(filter(None, (name.strip() for name in self.blocks.split("+"))))

    @property
    def every_step(self) -> bool:
        """Whether it is at work from the first step to the last."""
        return self.after == 0 and self.until == 1


KINDS: Mapping[str, type[PerturbationOptions]] = MappingProxyType(
    {"stg": PerturbationOptions, "pag": PerturbationOptions}
)


def parse_perturbed_guidance(text: str) -> Spec[PerturbationOptions]:
    """The parameter `perturbed_guidance`: stg or pag, alone or with options as in pag:scale=2,blocks=middle+output.3.

    Raises `ValueError`.
    """
    return parse_spec(text, KINDS, "perturbed_guidance")


@declared
class PerturbedGuidanceParameters:
    """How the network is perturbed."""

    perturbed_guidance: Annotated[
        Annotated[Spec[PerturbationOptions], FromText(parse_perturbed_guidance, "stg:scale=1")] | None,
        Parameter(
            "Guide away from the network with layers switched off: stg or pag, as in "
            "stg:scale=1,blocks=middle+output.3.",
            GROUP,
            former=("weak",),
        ),
    ] = None


def _in_some_steps(settings: MethodSettings) -> bool:
    return settings.perturbed_guidance is not None and not settings.perturbed_guidance.options.every_step


def _off(settings: MethodSettings, around: Circumstances) -> bool:
    if settings.perturbed_guidance is None:
        return False
    options = settings.perturbed_guidance.options
    return options.scale == 0 or settings.steps_before(options.until) <= settings.steps_before(options.after)


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.perturbed_guidance import PerturbedGuidance

    assert context.settings.perturbed_guidance is not None
    return [PerturbedGuidance(context.settings.perturbed_guidance, context.conditions[0])]


METHOD = Method(
    name="perturbed_guidance",
    label="perturbed_guidance",
    place=Place.GUIDANCE,  # before those of the size, which may ask for the unconditional branch alone
    parameters=PerturbedGuidanceParameters,
    active=lambda settings: settings.perturbed_guidance is not None,
    needs=(When(Need.WHOLE_CLIP, _in_some_steps, "after and until of perturbed_guidance"),),
    holds=(Hold.BRANCHES, Hold.GUIDANCE),
    make=_make,
    idle=(Idle("perturbed_guidance", None, _off, "its scale is 0, or no step lies between after and until"),),
)

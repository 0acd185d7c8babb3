"""Guidance away from a weakened network (STG, PAG): see `lvdm.plugins.weak_guidance`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_spec
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place, When

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

MAX_SCALE = 20.0
"""The papers use 1 to 3."""
BLOCK = re.compile(r"init|middle|(input|output)(\.\d+)?")


@dataclass(frozen=True)
class WeakOptions:
    """What the two ways have in common.

    scale    s, 0 (off) to `MAX_SCALE`
    blocks   the blocks that are weakened, joined by +: init (the attention over frames before all others), input.3,
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


WEAK: Mapping[str, type[WeakOptions]] = MappingProxyType({"stg": WeakOptions, "pag": WeakOptions})


def parse_weak(text: str) -> Spec[WeakOptions]:
    """The parameter `weak`: stg or pag, alone or with `WeakOptions` as in pag:scale=2,blocks=middle+output.3.

    Raises `ValueError`.
    """
    return parse_spec(text, WEAK, "weak")


@declared
class WeakParameters:
    """How the network is weakened."""

    weak: Annotated[
        Annotated[Spec[WeakOptions], FromText(parse_weak, "stg:scale=1")] | None,
        Parameter(
            "Guide away from the network with layers switched off: stg or pag, as in "
            "stg:scale=1,blocks=middle+output.3.",
            GROUP,
        ),
    ] = None


def _in_some_steps(settings: MethodSettings) -> bool:
    return settings.weak is not None and not settings.weak.options.every_step


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.weak_guidance import WeakGuidance

    assert context.settings.weak is not None
    return [WeakGuidance(context.settings.weak, context.conditions[0])]


METHOD = Method(
    name="weak",
    label="weak",
    place=Place.GUIDANCE,  # before those of the size, which may ask for the unconditional branch alone
    parameters=WeakParameters,
    active=lambda settings: settings.weak is not None,
    needs=(When(Need.WHOLE_CLIP, _in_some_steps, "after and until of weak"),),
    holds=(Hold.BRANCHES, Hold.GUIDANCE),
    make=_make,
)

"""Steadier over time: sample again from the low frequencies (FreeInit), see `lvdm.plugins.free_init`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_options
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Idle, Method, Need, Place, When

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@dataclass(frozen=True)
class FreeInitOptions:
    """How often, and from where.

    iterations         samplings in all; 1 is the plain one
    level              where later samplings begin, as a share of the time steps: above 0 and below 1
    spatial, temporal  how much of the frequencies is taken over, 0 (none) to 1
    """

    iterations: int = 2
    level: float = 0.9
    spatial: float = 0.25
    temporal: float = 0.25

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= 10:
            raise ValueError(f"iterations {self.iterations} is not possible; use 1 to 10")
        if not 0 < self.level < 1:
            raise ValueError(
                f"level {self.level:g} is not possible; use a number between 0 and 1: at the last time step nothing "
                "of the first sampling is left"
            )
        for name in ("spatial", "temporal"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g} is not possible; use a number from 0 to 1")


def parse_free_init(text: str) -> Spec[FreeInitOptions]:
    """The parameter `free_init`, such as iterations=3,level=0.9. Raises `ValueError`."""
    return parse_options(text, FreeInitOptions, "free_init")


@declared
class FreeInitParameters:
    """How often it is sampled."""

    free_init: Annotated[
        Annotated[Spec[FreeInitOptions], FromText(parse_free_init, "iterations=2,level=0.9")] | None,
        Parameter("Sample again from the low frequencies: iterations=2,level=0.9.", GROUP),
    ] = None


def _repeats(settings: MethodSettings) -> bool:
    return settings.free_init is not None and settings.free_init.options.iterations > 1


def _repeat(settings: MethodSettings) -> Sequence[Callable[[Tensor], Plugin]]:
    from lvdm.plugins.free_init import FreeInit

    assert settings.free_init is not None
    options = settings.free_init.options
    return [partial(FreeInit, options, iteration) for iteration in range(1, options.iterations)]


METHOD = Method(
    name="free_init",
    label="free_init",
    place=Place.NOISE,
    parameters=FreeInitParameters,
    active=lambda settings: settings.free_init is not None,
    needs=(Need.WHOLE_CLIP,),
    holds=(When(Hold.INITIAL_NOISE, _repeats, "free_init"), When(Hold.START, _repeats, "free_init")),
    repeat=_repeat,
    idle=(Idle("free_init", None, lambda settings, _: not _repeats(settings), "one iteration is the plain sampling"),),
)

"""Other weights of features and skips in the decoder (FreeU): see `lvdm.plugins.free_u`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_options
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Circumstances, Hold, Idle, Method, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings


@dataclass(frozen=True)
class FreeUOptions:
    """With every factor 1 nothing changes.

    b1, b2  strength of the features from below, in the deepest level and in the one above it
    s1, s2  what is left of the lowest frequencies of the skips there
    """

    b1: float = 1.1
    b2: float = 1.2
    s1: float = 0.9
    s2: float = 0.9

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "s1", "s2"):
            if not 0 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} {getattr(self, name):g} is not possible; use a number from 0 to 2")


def parse_free_u(text: str) -> Spec[FreeUOptions]:
    """The parameter `free_u`, such as b1=1.1,s1=0.9. Raises `ValueError`."""
    return parse_options(text, FreeUOptions, "free_u")


@declared
class FreeUParameters:
    """The factors."""

    free_u: Annotated[
        Annotated[Spec[FreeUOptions], FromText(parse_free_u, "b1=1.1,s1=0.9")] | None,
        Parameter("Weigh features against skips: b1=1.1,b2=1.2,s1=0.9,s2=0.9.", GROUP),
    ] = None


def _is_neutral(settings: MethodSettings, around: Circumstances) -> bool:
    return settings.free_u is not None and set(astuple(settings.free_u.options)) == {1.0}


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.free_u import FreeU

    assert context.settings.free_u is not None
    return [FreeU(**asdict(context.settings.free_u.options))]


METHOD = Method(
    name="free_u",
    label="free_u",
    place=Place.FEATURES,
    parameters=FreeUParameters,
    active=lambda settings: settings.free_u is not None,
    holds=(Hold.FEATURES,),
    make=_make,
    idle=(Idle("free_u", None, _is_neutral, "all its factors are 1"),),
)

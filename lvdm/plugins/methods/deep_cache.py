"""Deep features of the network are reused between steps (DeepCache): see `lvdm.plugins.deep_cache`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_options
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Idle, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin

MAX_INTERVAL = 20


@dataclass(frozen=True)
class DeepCacheOptions:
    """When the whole network is evaluated, and what is evaluated in the steps between.

    interval  steps from one evaluation of all blocks to the next, 2 to `MAX_INTERVAL`
    blocks    first blocks of the encoder, and as many last ones of the decoder, that are evaluated in every step; of a
              network that has fewer, all of them
    """

    interval: int = 2
    blocks: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.interval <= MAX_INTERVAL:
            raise ValueError(f"interval {self.interval} is not possible; use 2 to {MAX_INTERVAL}")
        if self.blocks < 1:
            raise ValueError(f"blocks {self.blocks} is not possible; use 1 or more")


def parse_deep_cache(text: str) -> Spec[DeepCacheOptions]:
    """The parameter `deep_cache`, such as interval=2,blocks=2. Raises `ValueError`."""
    return parse_options(text, DeepCacheOptions, "deep_cache")


@declared
class DeepCacheParameters:
    """How often, and how deep."""

    deep_cache: Annotated[
        Annotated[Spec[DeepCacheOptions], FromText(parse_deep_cache, "interval=2,blocks=2")] | None,
        Parameter("Faster: reuse what deep blocks made for some steps: interval=2,blocks=2.", GROUP, later=True),
    ] = None


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.deep_cache import DeepCache

    assert context.settings.deep_cache is not None
    return [DeepCache(context.settings.deep_cache.options)]


METHOD = Method(
    name="deep_cache",
    label="deep_cache",
    place=Place.PIECES,
    parameters=DeepCacheParameters,
    active=lambda settings: settings.deep_cache is not None,
    needs=(Need.WHOLE_CLIP, Need.WHOLE_LAYERS),
    holds=(Hold.FORWARD,),
    make=_make,
    idle=(
        Idle(
            "deep_cache",
            None,
            lambda settings, _: settings.num_inference_steps == 1,
            "a single step has none before it whose features it could reuse",
        ),
    ),
)

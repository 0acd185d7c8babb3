"""How much work goes into a video, by one word or number: named bundles of the parameters that are declared.

A bundle lies over the card of the model and under everything that is given, so that a single value of it can still be
chosen otherwise.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from typing import Any

from lvdm.declaration.run_parameters import RunParameters
from lvdm.declaration.values import Effort
from lvdm.model_card import ModelCard
from lvdm.request.layers import all_parameters, shown_name
from lvdm.request.settings import GenerationSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfCard:
    """A share of what the card of the model says, a whole number of at least 1."""

    share: float


EFFORTS: Mapping[Effort, Mapping[str, Any]] = types.MappingProxyType(
    {
        "draft": {"num_inference_steps": OfCard(0.2), "fix_final_step": True},
        "normal": {},
        "best": {"num_inference_steps": 50, "fix_final_step": True, "num_videos_per_prompt": 4, "keep": "best"},
    }
)
"""draft: a fifth of the steps, which also end at the clean latents. normal: as the card says. best: of four."""

FAST: Mapping[int, Mapping[str, Any]] = types.MappingProxyType(
    {
        1: {"deep_cache": "interval=3,blocks=2"},
        2: {
            "sampler": "unipc",
            "num_inference_steps": OfCard(0.375),
            "deep_cache": "interval=3,blocks=2",
            "guidance_steps": "interval=2",
        },
        3: {"sampler": "unipc", "num_inference_steps": OfCard(0.15)},
    }
)
"""What each costs and keeps is measured, see docs/speed.md. A share of the steps, as models differ in their number."""

BUNDLES: Mapping[str, Mapping[Any, Mapping[str, Any]]] = types.MappingProxyType({"effort": EFFORTS, "fast": FAST})
"""By the parameter that chooses one."""


def check_bundles(run: RunParameters) -> None:
    """Raise `ValueError` for two bundles, or one beside a record."""
    chosen = [shown_name(name) for name, bundles in BUNDLES.items() if bundles.get(getattr(run, name))]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} both say how much work goes into a video; leave out one of them")
    names = [shown_name(name) for name in BUNDLES if getattr(run, name) is not None]
    if names and run.replay is not None:
        raise ValueError(f"a record has the values that {names[0]} stands for; leave out {names[0]}, or --replay")


def say_unused_bundle(
    run: RunParameters,
    bundle: Mapping[str, Any],
    chosen: Container[str],
    settings: Collection[GenerationSettings],
    card: ModelCard,
) -> None:
    """Log where no value of the `bundle` of `run` came into any `settings`, or all are as they were without it.

    chosen: names of what goes before it
    """
    declared = all_parameters()

    def counts(name: str, value: Any, one: GenerationSettings) -> bool:
        came = value if name == "num_videos_per_prompt" else getattr(one, name, value)  # settings are those of each
        return name not in chosen and came != getattr(card, name, declared[name].default)

    if bundle and not any(counts(name, value, one) for one in settings for name, value in bundle.items()):
        name = next(name for name, bundles in BUNDLES.items() if bundles.get(getattr(run, name)))
        logger.warning("%s has no effect: what it stands for is so anyway, or does nothing here", shown_name(name))


def bundle_values(
    run: RunParameters, mode: str, chosen: Container[str] = (), card: ModelCard | None = None
) -> dict[str, Any]:
    """The values that the bundles of `run` stand for in `mode`, which need not read all of them.

    chosen: names of what goes before them. Who says how many videos there are also says which are kept.
    card: of the model; without one, what is a share of its values is left out.
    """
    declared, found = all_parameters(), dict[str, Any]()
    for name, bundles in BUNDLES.items():
        found |= values_for(bundles.get(getattr(run, name), {}), card)
    if "num_videos_per_prompt" in chosen:
        found.pop("keep", None)
    return {name: value for name, value in found.items() if mode in declared[name].parameter.modes}


def values_for(bundle: Mapping[str, Any], card: ModelCard | None) -> dict[str, Any]:
    """A bundle whose shares are those of `card`; without one they are left out."""
    values = {name: value for name, value in bundle.items() if not isinstance(value, OfCard)}
    if card is not None:
        shares = {name: value.share for name, value in bundle.items() if isinstance(value, OfCard)}
        values |= {name: max(1, round(share * getattr(card, name))) for name, share in shares.items()}
    return values

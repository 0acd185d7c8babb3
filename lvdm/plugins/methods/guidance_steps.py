"""Guidance in a part of the steps, and branches that are reused: see `lvdm.plugins.guidance_steps`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_options
from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Circumstances, Hold, Idle, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

MAX_INTERVAL = 20


@dataclass(frozen=True)
class GuidanceStepsOptions:
    """In which steps there is guidance, and in which of these all branches are evaluated.

    after     share of the steps before it sets in, 0 to 1
    until     share of the steps after which it ends, 0 to 1
    interval  steps from one evaluation of all branches to the next, 1 (in every step) to `MAX_INTERVAL`
    """

    after: float = 0.0
    until: float = 1.0
    interval: int = 1

    def __post_init__(self) -> None:
        for name in ("after", "until"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name):g} is not possible; use a number from 0 to 1")
        if self.after >= self.until:
            raise ValueError(f"no step is after {self.after:g} and before {self.until:g}; use after below until")
        if not 1 <= self.interval <= MAX_INTERVAL:
            raise ValueError(f"interval {self.interval} is not possible; use 1 to {MAX_INTERVAL}")


def parse_guidance_steps(text: str) -> Spec[GuidanceStepsOptions]:
    """The parameter `guidance_steps`, such as until=0.5,interval=2. Raises `ValueError`."""
    return parse_options(text, GuidanceStepsOptions, "guidance_steps")


@declared
class GuidanceStepsParameters:
    """Which steps."""

    guidance_steps: Annotated[
        Annotated[Spec[GuidanceStepsOptions], FromText(parse_guidance_steps, "until=0.5,interval=2")] | None,
        Parameter("Faster: guidance in some of the steps: after=0,until=0.5,interval=2.", GROUP, later=True),
    ] = None


def _idle(settings: MethodSettings, around: Circumstances) -> bool:
    return settings.num_branches == 1


def _covers_all(settings: MethodSettings, around: Circumstances) -> bool:
    options = None if settings.guidance_steps is None else settings.guidance_steps.options
    return (
        options is not None
        and 1 in (options.interval, settings.num_inference_steps)
        and settings.steps_before(options.after) == 0
        and settings.steps_before(options.until) == settings.num_inference_steps
    )


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.guidance_steps import GuidanceSteps

    assert context.settings.guidance_steps is not None
    return [GuidanceSteps(context.settings.guidance_steps.options)]


METHOD = Method(
    name="guidance_steps",
    label="guidance_steps",
    place=Place.GUIDANCE,  # around what asks for branches one by one, inside of what adds one
    parameters=GuidanceStepsParameters,
    active=lambda settings: settings.guidance_steps is not None,
    needs=(Need.WHOLE_CLIP,),
    holds=(Hold.BRANCHES,),
    make=_make,
    idle=(
        Idle("guidance_steps", None, _idle, "there is no guidance at guidance_scale 1"),
        Idle("guidance_steps", None, _covers_all, "guidance is evaluated in every step anyway"),
    ),
)

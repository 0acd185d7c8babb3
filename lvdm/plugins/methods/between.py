"""From image to image with a model that animates one (ViBiDSampler, TRF): see `lvdm.plugins.bidirectional`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

from lvdm.declaration.options import FromText, Spec, parse_spec
from lvdm.declaration.parameter import Parameter, declared
from lvdm.declaration.values import Prompt
from lvdm.plugins.method import GROUP, Hold, Idle, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.conditioning import Conditioning
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

MAX_REPEATS = 10


@dataclass(frozen=True)
class Fusion:
    """trf. `repeats`: how often each of the first steps is taken, which are the share `until` (0 to 1) of all."""

    repeats: int = 1
    until: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.repeats <= MAX_REPEATS:
            raise ValueError(f"repeats {self.repeats} is not possible; use a whole number from 1 to {MAX_REPEATS}")
        if not 0 <= self.until <= 1:
            raise ValueError(f"until {self.until:g} is not possible; use a number from 0 to 1")

    def views(self, step: int, total: int) -> list[str]:
        """What is done in a step: the views that `Views` knows, one after the other, with new noise between two."""
        return ["both"] * (self.repeats if step < round(self.until * total) else 1)


@dataclass(frozen=True)
class ForwardBackward:
    """vibid. `first`: the pass that comes first in a step, forward or backward; the other one has the last word."""

    first: str = "forward"

    def __post_init__(self) -> None:
        former = {"there": "forward", "back": "backward"}  # of earlier versions
        object.__setattr__(self, "first", former.get(self.first, self.first))
        if self.first not in ("forward", "backward"):
            raise ValueError(f"first {self.first!r} is not known; use forward or backward")

    def views(self, step: int, total: int) -> list[str]:
        """As of `Fusion`."""
        return ["forward", "backward"] if self.first == "forward" else ["backward", "forward"]


Between = Fusion | ForwardBackward
BETWEEN: Mapping[str, type] = MappingProxyType({"vibid": ForwardBackward, "trf": Fusion})


def parse_between(text: str) -> Spec[Between]:
    """The parameter `between`: trf or vibid, alone or with options as in trf:repeats=3. Raises `ValueError`."""
    return parse_spec(text, BETWEEN, "between")


def takes_steps_once(method: Between) -> bool:
    """Whether no noise is added again: any sampler can do that."""
    return isinstance(method, Fusion) and method.repeats == 1


@declared
class BetweenParameters:
    """How forward and backward pass are joined."""

    between: Annotated[
        Annotated[Spec[Between], FromText(parse_between, "vibid")] | None,
        Parameter(
            "From image to image with a model for one: vibid or trf.", GROUP, modes=("interpolate", "loop", "keyframes")
        ),
    ] = None
    between_prompt: Annotated[
        Prompt | None,
        Parameter(
            "The prompt for --between on its backward pass, seen in reverse.",
            GROUP,
            modes=("interpolate", "loop", "keyframes"),
        ),
    ] = None


def _check(settings: MethodSettings) -> None:
    if settings.between is None:
        if settings.between_prompt is not None:
            raise ValueError("between_prompt is for the backward pass of between; give that as well, such as vibid")
    elif settings.sampler != "ddim" and not takes_steps_once(settings.between.options):
        raise ValueError(
            f"between {settings.between} adds noise again, which sampler {settings.sampler!r} cannot; use ddim"
        )


def _make(context: MethodContext) -> Sequence[Plugin]:
    """The stretches between images, under the conditions of clips that animate one of them."""
    from lvdm.plugins.bidirectional import Bidirectional, make_passes

    settings, images, requests = context.settings, context.images_by_frame, context.requests
    assert settings.between is not None
    frames, back = sorted(images), settings.between_prompt
    clip = replace(settings, mode="animate", between=None, between_prompt=None)
    reversed_requests = requests if back is None else [replace(request, prompt=back) for request in requests]

    def conditions(number: int, length: int, backwards: bool) -> tuple[Conditioning, ...]:
        shown = reversed_requests if backwards else requests
        return context.clip_conditions(shown, replace(clip, num_frames=length), {0: images[frames[number]]})

    passes = make_passes(frames, settings.num_frames, conditions)
    return [Bidirectional(settings.between.options, passes, context.conditions)]


METHOD = Method(
    name="between",
    label="between",
    place=Place.IMAGES,
    parameters=BetweenParameters,
    active=lambda settings: settings.between is not None,
    needs=(Need.LATER_IMAGE,),
    holds=(Hold.IMAGE_LATENTS, Hold.IMAGE_TOKENS, Hold.PROMPT, Hold.BRANCHES, Hold.SAMPLER),
    make=_make,
    check=_check,
    idle=(
        Idle(
            "between_prompt",
            None,
            lambda settings, around: settings.between_prompt == around.prompt,
            "it is the prompt",
        ),
    ),
)

"""More motion from a first look at a blurred image (ALG): see `lvdm.plugins.low_pass`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.parameter import WITH_IMAGE, Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Idle, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


@declared
class LowPassParameters:
    """How blurred the image is, and how long."""

    low_pass: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("0 to 1: blur the image in the first steps, for more motion.", GROUP, modes=WITH_IMAGE),
    ] = 0.0
    low_pass_until: Annotated[
        float,
        Field(ge=0, le=1, allow_inf_nan=False),
        Parameter("The share of the steps that see it blurred.", GROUP, modes=WITH_IMAGE),
    ] = 0.1


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.low_pass import LowPass, without_details

    settings = context.settings
    if settings.low_pass_until == 0:
        return []
    soft = {frame: without_details(image, settings.low_pass) for frame, image in context.images_by_frame.items()}
    return [LowPass(context.image_latents(soft), settings.low_pass_until)]


METHOD = Method(
    name="low_pass",
    label="low_pass",
    place=Place.LATENTS,
    parameters=LowPassParameters,
    active=lambda settings: settings.low_pass > 0,
    needs=(Need.IMAGE, Need.WHOLE_CLIP),
    holds=(Hold.IMAGE_LATENTS, Hold.BRANCHES),
    make=_make,
    idle=(
        Idle("low_pass_until", 0.1, lambda settings, _: settings.low_pass == 0, "low_pass is 0"),
        Idle(
            "low_pass",
            0.0,
            lambda settings, _: settings.steps_before(settings.low_pass_until) == 0,
            "no step lies before low_pass_until; use more steps, or a larger share",
            along=(("low_pass_until", 0.1),),
        ),
    ),
)

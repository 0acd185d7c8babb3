"""A masked region that is the image pixel by pixel, with a soft edge: see `lvdm.plugins.kept_pixels`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lvdm.declaration.parameter import Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.context import Finishing

MAX_FEATHER = 256
"""Pixels; a wider edge is a mask of its own."""


@declared
class KeepFeatherParameters:
    """How soft the edge of a masked region is."""

    keep_feather: Annotated[
        int,
        Field(ge=0, le=MAX_FEATHER),
        Parameter(
            "What --keep-mask keeps is the image pixel by pixel, from this many pixels to its edge on.",
            GROUP,
            "pixels",
            modes=("animate", "loop"),
        ),
    ] = 0


def _finish(context: Finishing, parts: Iterator[Tensor]) -> Iterator[Tensor]:
    from lvdm.plugins.kept_pixels import KeptPixels, feather

    if context.kept is None:
        return parts
    return map(KeptPixels(context.images_by_frame[0], feather(context.kept, context.settings.keep_feather)), parts)


METHOD = Method(
    name="keep_feather",
    label="keep_feather",
    place=Place.REGION,
    parameters=KeepFeatherParameters,
    active=lambda settings: settings.keep_feather > 0,
    needs=(Need.IMAGE, Need.ONE_IMAGE),
    holds=(Hold.FRAMES,),
    finish=_finish,
)

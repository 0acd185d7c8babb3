"""A video that begins with its image: see `lvdm.plugins.anchor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from lvdm.declaration.parameter import WITH_IMAGE, Parameter, declared
from lvdm.plugins.method import GROUP, Hold, Method, Need, Place, When

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.context import Finishing

Anchor = Literal["free", "soft", "exact"]
"""free: as the network makes it. soft: frame 0 has the image's latents. exact: it is the image, pixel for pixel."""


@declared
class AnchorParameters:
    """How frame 0 is held."""

    anchor: Annotated[
        Anchor,
        Parameter("Is frame 0 the image? free, soft (its latents) or exact (its pixels).", GROUP, modes=WITH_IMAGE),
    ] = "free"


def _finish(context: Finishing, parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """Videos that are exact at later frames too are made whole first: what such a frame lacks, only it can say."""
    import torch

    from lvdm.plugins.anchor import PixelCorrection, correct_pixels

    if context.settings.anchor != "exact":
        yield from parts
    elif list(context.images_by_frame) == [0]:
        yield from map(PixelCorrection(context.images_by_frame[0]), parts)
    else:
        yield correct_pixels(torch.cat(list(parts), dim=2), context.images_by_frame, context.settings.anchor)


METHOD = Method(
    name="anchor",
    label="anchor",
    place=Place.FIRST_FRAME,
    parameters=AnchorParameters,
    active=lambda settings: settings.anchor != "free",
    needs=(Need.IMAGE, When(Need.WHOLE_CLIP, lambda settings: settings.anchor == "soft", "anchor soft")),
    holds=(Hold.FRAMES,),
    finish=_finish,
)

"""Seamless loops of any length, without a network that was trained between images: see `lvdm.plugins.cyclic`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.choosing import trained_window
    from lvdm.plugins.cyclic import CyclicLoop

    return [CyclicLoop(*trained_window(context.model.trained_frames))]


METHOD = Method(
    name="cyclic",
    label="long_video cyclic",
    place=Place.FRAMES,
    active=lambda settings: settings.long_video == "cyclic",
    needs=(Need.RETURN,),
    holds=(Hold.FRAME_NOISE, Hold.TEMPORAL_ATTENTION, Hold.IMAGE_TOKENS),
    make=_make,
)

"""Videos longer than the trained clips by FreeNoise: see `lvdm.plugins.freenoise`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.choosing import trained_window
    from lvdm.plugins.freenoise import FreeNoise

    return [FreeNoise(*trained_window(context.model.trained_frames))]


METHOD = Method(
    name="freenoise",
    label="long_video freenoise",
    place=Place.FRAMES,
    active=lambda settings: settings.long_video == "freenoise",
    holds=(Hold.FRAME_NOISE, Hold.TEMPORAL_ATTENTION),
    make=_make,
)

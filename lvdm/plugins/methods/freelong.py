"""Videos longer than the trained clips by FreeLong: see `lvdm.plugins.freelong`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.choosing import trained_window
    from lvdm.plugins.freelong import FreeLong

    return [FreeLong(*trained_window(context.model.trained_frames))]


METHOD = Method(
    name="freelong",
    label="long_video freelong",
    place=Place.FRAMES,
    active=lambda settings: settings.long_video == "freelong",
    needs=(Need.WHOLE_LAYERS,),
    holds=(Hold.TEMPORAL_ATTENTION,),
    make=_make,
)

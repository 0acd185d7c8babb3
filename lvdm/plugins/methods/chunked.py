"""The network in pieces, so that memory hardly grows with the length of the video: see `lvdm.plugins.chunked`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, Place

if TYPE_CHECKING:
    from lvdm.plugins.context import MethodContext
    from lvdm.plugins.hooks import Plugin


def _make(context: MethodContext) -> Sequence[Plugin]:
    from lvdm.plugins.chunked import Chunked

    assert context.settings.chunk_frames is not None
    return [Chunked(context.settings.chunk_frames, context.offload)]


METHOD = Method(
    name="chunked",
    label="chunk_frames",
    place=Place.PIECES,
    active=lambda settings: settings.chunk_frames is not None,
    denies=(Need.WHOLE_LAYERS,),
    holds=(Hold.FORWARD,),
    make=_make,
)

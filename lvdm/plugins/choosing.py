"""From settings to the methods that they ask for."""

from __future__ import annotations

from types import MappingProxyType

from lvdm.plugins.chunked import Chunked
from lvdm.plugins.freelong import FreeLong
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Plugin
from lvdm.plugins.ring import Ring

LONG_VIDEO = MappingProxyType({"plain": None, "freenoise": FreeNoise, "freelong": FreeLong, "ring": Ring, "fifo": None})
"""How videos longer than the trained clips are made, by the name that settings give, and the plug-in for windows.

plain: as if they were not. ring: loops of any length. fifo: see `lvdm.plugins.fifo`, which samples in another way.
"""


SKIPS_AT_HOME = 4
"""Times the frames at work: beside what these take, the skips of longer videos would show, and wait elsewhere."""


def choose_shelf(num_frames: int, chunk_frames: int | None, low_memory: bool, on_cpu: bool) -> str:
    """Where skips wait, see `lvdm.plugins.shelves`: of short videos on the device, of others in the host or a file."""
    if not low_memory and num_frames <= SKIPS_AT_HOME * (chunk_frames or num_frames):
        return "device"
    return "disk" if on_cpu else "host"


def long_video_plugins(method: str, trained_frames: int, chunk_frames: int | None, shelf: str) -> list[Plugin]:
    """The methods for a long video.

    method          a name in `LONG_VIDEO`
    trained_frames  frames of the trained clips: the length of attention windows, of which four overlap
    chunk_frames    frames that the network works on at once, None for all
    shelf           where skips wait then, see `lvdm.plugins.shelves`
    """
    plugins: list[Plugin] = []
    make = LONG_VIDEO[method]
    if make is not None:
        plugins.append(make(trained_frames, max(1, trained_frames // 4)))
    if chunk_frames is not None:
        plugins.append(Chunked(chunk_frames, shelf))
    return plugins

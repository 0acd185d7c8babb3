"""Which encoders the installed video library has."""

from __future__ import annotations

import av

ENCODERS = ("libx264", "libvpx-vp9")


def available_encoders() -> dict[str, bool]:
    """Whether the encoders that mp4 and webm need are there."""
    return {name: name in av.codecs_available for name in ENCODERS}

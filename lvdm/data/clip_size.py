"""How large a clip is; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClipSize:
    """Frames, and height and width in pixels, of the clips of one batch."""

    num_frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.num_frames, self.height, self.width) < 1:
            raise ValueError(f"a clip has at least one frame and one pixel, not {self}")

    def __str__(self) -> str:
        return f"{self.num_frames}x{self.height}x{self.width}"

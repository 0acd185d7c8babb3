"""What is added to a video, and how far new frames were from it; `lvdm.pipeline.extension` makes them."""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.errors import counted
from lvdm.plugins.conflicts import claims_of
from lvdm.plugins.method import Hold
from lvdm.request.settings import GenerationSettings


@dataclass(frozen=True)
class Extension:
    """What is added to a video.

    num_frames  new frames
    overlap     frames at the end of the video that a segment begins with, at least 1
    color_lock  0 (as the network makes them) to 1 (mean and contrast of each channel as in the given video)
    """

    num_frames: int
    overlap: int = 4
    color_lock: float = 1.0

    def check(self, settings: GenerationSettings) -> None:
        """Raise `ValueError` for what cannot be made with segments of `settings`."""
        if self.num_frames < 1:
            raise ValueError(f"{self.num_frames} new frames are not possible; use 1 or more")
        if not 1 <= self.overlap < settings.num_frames:
            raise ValueError(
                f"an overlap of {self.overlap} is not possible with segments of {settings.num_frames} frames; "
                f"use 1 to {settings.num_frames - 1}"
            )
        if not 0 <= self.color_lock <= 1:
            raise ValueError(f"color lock {self.color_lock} is not possible; use a number from 0 to 1")
        for claim in claims_of(settings):
            if claim.what is Hold.START:
                raise ValueError(f"known frames are shown at the usual steps and size only; leave out {claim.label}")
        if settings.mode != "animate":
            raise ValueError(f"a video goes on from its end: mode {settings.mode!r} is not possible, use 'animate'")

    def check_source(self, num_frames: int) -> None:
        """Raise `ValueError` for a video of `num_frames` that is shorter than the overlap."""
        if num_frames < self.overlap:
            raise ValueError(
                f"the video has {counted(num_frames, 'frame')}, fewer than the overlap of {self.overlap}; "
                "give a smaller --overlap"
            )


@dataclass(frozen=True)
class Drift:
    """How far the new frames of a segment were from the given video, before colours were locked.

    brightness  difference of the means of the channels, the largest, in grey levels (0 to 255)
    contrast    ratio of the standard deviations, mean over channels
    sharpness   ratio of the mean differences between neighbouring pixels, after locking
    seam        step from the last frame to the first new one, over the median step of the segment, after locking
    """

    brightness: float
    contrast: float
    sharpness: float
    seam: float

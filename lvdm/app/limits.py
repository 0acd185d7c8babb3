"""How much a visitor of the page may ask for; checked on the server, whatever the browser sends."""

from __future__ import annotations

from dataclasses import dataclass

from lvdm.jobs.extend import ExtensionPlan
from lvdm.jobs.plan import Plan


@dataclass(frozen=True)
class PageLimits:
    """upload: bytes of a file. pixels: of an image that is given. The others are those of one request.

    side    pixels of the longer side of a video
    frames, steps, videos  of one request
    queue   requests that wait; further ones are turned away
    """

    upload: int = 20_000_000
    pixels: int = 50_000_000
    side: int = 2048
    frames: int = 512
    steps: int = 250
    videos: int = 8
    queue: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"the limit of {name} should be at least 1, it is {value}")

    def check(self, plan: Plan | ExtensionPlan) -> None:
        """Raise `ValueError` for a plan that asks for more."""
        if isinstance(plan, ExtensionPlan):
            self._check("num_frames", plan.extension.num_frames, self.frames)
            self._check("num_inference_steps", plan.settings.num_inference_steps, self.steps)
            return
        self._check("num_videos_per_prompt", len(plan.videos), self.videos)
        for request in (video.request for video in plan.videos):
            self._check("num_frames", request.settings.num_frames, self.frames)
            self._check("num_inference_steps", request.settings.num_inference_steps, self.steps)
            self._check("height", request.size.inner.height, self.side)
            self._check("width", request.size.inner.width, self.side)

    def _check(self, name: str, value: int, most: int) -> None:
        if value > most:
            raise ValueError(f"{name} {value} is more than this page makes ({most}); use less, or the command line")

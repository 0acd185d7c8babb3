"""How much one request may ask for, over HTTP and on the page; checked on the server, whatever a client sends."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lvdm.declaration.parameter import Parameter, declared
from lvdm.declaration.values import MACHINE, MAX_STREAMED_FRAMES, MAX_VIDEOS


def _limit(help: str, unit: str = "", *aliases: str) -> Parameter:
    return Parameter(help, MACHINE, unit, changes="nothing", row=False, aliases=aliases)


@declared
class Limits:
    """The most that one request may ask for; each field is an option of the commands that let others in."""

    max_upload: Annotated[
        float,
        Field(gt=0, le=100_000),
        _limit("Largest request with its files; on the page, largest file.", "MB", "--max-upload-mb"),
    ] = 32.0
    max_image_megapixels: Annotated[
        float, Field(gt=0, le=10_000), _limit("All images of a request together.", "megapixels")
    ] = 50.0
    max_megapixels: Annotated[float, Field(gt=0, le=10_000), _limit("Largest frame of a video.", "megapixels")] = 4.2
    max_frames: Annotated[
        int,
        Field(ge=1, le=MAX_STREAMED_FRAMES),
        _limit("Longest video, with those that it goes on from.", "frames"),
    ] = 512
    max_steps: Annotated[int, Field(ge=1, le=1000), _limit("Most sampling steps.", "steps")] = 250
    max_videos: Annotated[int, Field(ge=1, le=MAX_VIDEOS), _limit("Most videos of one request.", "videos")] = 8
    max_queue: Annotated[
        int, Field(ge=1, le=100_000), _limit("Most requests that wait; further ones are turned away.", "requests")
    ] = 100

    @property
    def most(self) -> dict[str, int]:
        """The largest values of parameters that are limited, by their names."""
        return {
            "num_frames": self.max_frames,
            "num_inference_steps": self.max_steps,
            "num_videos_per_prompt": self.max_videos,
        }

    @property
    def upload_bytes(self) -> int:
        """`max_upload` in bytes."""
        return round(self.max_upload * 1e6)

    @property
    def image_pixels(self) -> int:
        """`max_image_megapixels` in pixels."""
        return round(self.max_image_megapixels * 1e6)

    def allows_size(self, height: int, width: int) -> bool:
        """Whether frames may be so large (pixels)."""
        return height * width <= self.max_megapixels * 1e6

"""What was sent and what is planned, held against the limits."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from lvdm.declaration.parameters import FRAMES_OF_FILES
from lvdm.hosting.limits import Limits
from lvdm.jobs.extend import ExtensionPlan
from lvdm.jobs.plan import Plan
from lvdm.media.images import load_image
from lvdm.media.video_reader import VideoReader
from lvdm.request.layers import file_inputs, shown_name

VIDEOS = ("video", *FRAMES_OF_FILES)
"""Parameters whose value is a video."""
IMAGES = tuple(name for name in file_inputs() if name not in (*VIDEOS, "depth_model"))
"""Parameters whose value is one image; key frames are several, and weights are not sent."""


def check_plan(plan: Plan | ExtensionPlan, limits: Limits) -> None:
    """Raise `ValueError` for a plan of more than `limits`. A video that goes on is opened, for its frames."""
    request = plan.request if isinstance(plan, ExtensionPlan) else plan.videos[0].request
    settings, size = request.settings, request.size.inner
    _check_most("num_inference_steps", settings.num_inference_steps, limits.max_steps)
    if isinstance(plan, ExtensionPlan):
        _check_most("num_frames", plan.extension.num_frames, limits.max_frames - check_video(plan.source, limits))
    else:
        _check_most("num_videos_per_prompt", len(plan.videos), limits.max_videos)
        _check_most("num_frames", settings.num_frames, limits.max_frames)
    _check_pixels("the video", size.height, size.width, limits)


def check_video(video: Path, limits: Limits) -> int:
    """The number of frames of a video that was sent. Raises `ValueError` for a larger one, and for no video."""
    with VideoReader(video) as reader:
        _check_pixels("video", reader.height, reader.width, limits)
        if reader.num_frames >= limits.max_frames:
            raise ValueError(
                f"video has {reader.num_frames} frames, and with new ones at most {limits.max_frames} are made here; "
                "cut it"
            )
        return reader.num_frames


@dataclass(eq=False)
class UploadIntake:
    """Opens the files of one request; its images have together no more pixels than `limits` says."""

    limits: Limits
    pixels: int = 0

    def check(self, parameter: str, upload: Path) -> None:
        """Raise `ValueError` for what is no image or video, as `parameter` needs one, and for one too many."""
        if parameter in VIDEOS:
            if not zipfile.is_zipfile(upload):  # depth may be an NPZ, which is checked when it is read
                check_video(upload, self.limits)
            return
        image = load_image(upload, self.limits.image_pixels)
        self.pixels += image.width * image.height
        if self.pixels > self.limits.image_pixels:
            raise ValueError(
                f"the images have more than {self.limits.max_image_megapixels:g} megapixels together; scale them down"
            )


def _check_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise ValueError(f"{shown_name(name)} {value} is more than is made here; use at most {most}")


def _check_pixels(what: str, height: int, width: int, limits: Limits) -> None:
    if not limits.allows_size(height, width):
        raise ValueError(
            f"{what} is {width}x{height}, {height * width / 1e6:.2f} megapixels, more than is made here; use a "
            f"smaller height and width, at most {limits.max_megapixels:g}"
        )

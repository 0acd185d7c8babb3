"""What whoever starts a server decides: who may reach it, how much one request may ask for, where jobs lie."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvdm.errors import UserError
from lvdm.jobs.extend import ExtensionPlan
from lvdm.jobs.plan import Plan
from lvdm.media.video_reader import VideoReader
from lvdm.request.layers import shown_name
from lvdm.serving.models import ListedModel

MIN_KEY = 8
"""Characters of the shortest key: less is guessed."""
KEY_VARIABLE = "DYNAMICRAFTER_API_KEY"
"""Environment variable that holds the key: a flag is seen by everyone who lists the processes."""


class SettingsError(UserError):
    """A server that cannot be started like this; the message says what to give instead."""


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for, checked before it is taken.

    upload_bytes  of the whole body of a request
    image_pixels  of the images that are sent, together
    pixels        of a frame of a video, made or sent
    frames        of a video; of `extend`, the ones before included
    steps         of sampling
    videos        of one request
    queue         jobs that wait
    """

    upload_bytes: int = 32_000_000
    image_pixels: int = 50_000_000
    pixels: int = 2_100_000
    frames: int = 256
    steps: int = 100
    videos: int = 8
    queue: int = 100

    def check_plan(self, plan: Plan) -> None:
        """Raise `ValueError` for a plan of more than that."""
        request = plan.videos[0].request
        _check_most("num_videos_per_prompt", len(plan.videos), self.videos)
        _check_most("num_frames", request.settings.num_frames, self.frames)
        _check_most("num_inference_steps", request.settings.num_inference_steps, self.steps)
        self._check_pixels("the video", request.size.inner.height, request.size.inner.width)

    def check_video(self, video: Path) -> int:
        """The number of frames of a video that was sent. Raises `ValueError` for a larger one, and for no video."""
        with VideoReader(video) as reader:
            self._check_pixels("video", reader.height, reader.width)
            if reader.num_frames >= self.frames:
                raise ValueError(
                    f"video has {reader.num_frames} frames, and with new ones this server makes at most {self.frames}; "
                    "cut it"
                )
            return reader.num_frames

    def check_extension(self, plan: ExtensionPlan, frames: int) -> None:
        """Raise `ValueError` for more than that after a video of so many frames."""
        _check_most("num_frames", plan.extension.num_frames, self.frames - frames)
        _check_most("num_inference_steps", plan.settings.num_inference_steps, self.steps)
        if plan.settings.height and plan.settings.width:
            self._check_pixels("the video", plan.settings.height, plan.settings.width)

    def _check_pixels(self, what: str, height: int, width: int) -> None:
        if height * width > self.pixels:
            raise ValueError(
                f"{what} is {width}x{height}, {height * width / 1e6:.1f} megapixels, more than this server takes; use "
                f"a smaller height and width, at most {self.pixels / 1e6:.1f}"
            )


@dataclass(frozen=True)
class Settings:
    """One server.

    jobs       folder of the jobs and their files, of this server alone
    models     those that a request may name, the usual one first
    api_key    what every request has to show; None: none, and only this machine can reach the server
    machine    values of `device`, `dtype`, `low_memory` and `attention` for requests that give none
    keep_days  how long the files of a finished job stay
    """

    jobs: Path
    models: Mapping[str, ListedModel]
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    limits: Limits = Limits()
    machine: Mapping[str, Any] = field(default_factory=dict)
    keep_days: float = 7.0

    def __post_init__(self) -> None:
        if self.api_key is None and not is_loopback(self.host):
            raise SettingsError(
                f"--host {self.host} lets other machines in, and anyone on them; give --api-key too, or set "
                f"{KEY_VARIABLE}"
            )
        if self.api_key is not None and (len(self.api_key) < MIN_KEY or not self.api_key.isascii()):
            raise SettingsError(f"--api-key is too short or not ASCII; give at least {MIN_KEY} letters or digits")
        if not self.models:
            raise SettingsError("a server needs a model; give --model NAME=PATH")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise ValueError(f"{shown_name(name)} {value} is more than this server takes; use at most {most}")

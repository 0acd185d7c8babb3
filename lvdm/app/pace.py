"""How long a video takes on this machine, by those that were made since the start."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from statistics import median
from typing import Any

from lvdm.declaration.run_parameters import RunParameters
from lvdm.errors import counted
from lvdm.model_card import ModelCard
from lvdm.progress import in_words
from lvdm.request.effort import EFFORTS, bundle_values

REMEMBERED = 20


class VideoTimes:
    """Seconds for each frame, pixel, step and branch, by the hash of the checkpoint; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates: dict[str, list[float]] = {}
        self._seconds: list[float] = []

    def learn(self, card: str, record: Mapping[str, Any]) -> None:
        """Take in a video of the model `card` by its record; that of an extended one tells no seconds."""
        if "measured" not in record:
            return
        settings, output = record["settings"], record["output"]
        scales = settings["guidance_scale"], settings["image_guidance_scale"]
        pixels = output["network_height"] * output["network_width"]
        work = settings["num_frames"] * pixels * settings["num_inference_steps"] * _branches(*scales)
        with self._lock:
            rates = self._rates.setdefault(card, [])
            self._seconds.append(sum(record["measured"]["seconds"].values()))
            rates.append(self._seconds[-1] / work)
            del rates[:-REMEMBERED], self._seconds[:-REMEMBERED]

    def usual_seconds(self) -> float | None:
        """What a video took, as a rule; None where nothing was made yet."""
        with self._lock:
            return median(self._seconds) if self._seconds else None

    def seconds(self, card: ModelCard, effort: Any) -> float | None:
        """What a video of the trained size takes at this effort; None where nothing was made yet."""
        with self._lock:
            rates = list(self._rates.get(card.name, ()))
        if not rates:
            return None
        values = bundle_values(RunParameters(effort=effort), "animate", card=card)
        steps = values.get("num_inference_steps", card.num_inference_steps)
        videos = values.get("num_videos_per_prompt", 1)
        work = card.num_frames * card.height * card.width * steps * _branches(card.guidance_scale, None)
        return float(median(rates) * work * videos)

    def line(self, card: ModelCard) -> str:
        """All efforts with their seconds, in words."""
        known = {effort: self.seconds(card, effort) for effort in EFFORTS}
        estimates = [f"{effort} about {in_words(seconds)}" for effort, seconds in known.items() if seconds is not None]
        size = f"{counted(card.num_frames, 'frame')} at {card.width} x {card.height}"
        if not estimates:
            return f"{size}; times are known after the first video"
        return f"{size} on this machine: {', '.join(estimates)}"


def _branches(scale: float, image_scale: float | None) -> int:
    if scale == 1 and image_scale in (None, 1):
        return 1
    return 2 if image_scale in (None, scale) else 3

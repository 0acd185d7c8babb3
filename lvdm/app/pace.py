"""How long a video takes on this machine, by those that were made since the start."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from statistics import median
from typing import Any

from lvdm.declaration.run_parameters import RunParameters
from lvdm.errors import counted
from lvdm.jobs.expected import num_branches, work_of_record
from lvdm.model_card import ModelCard
from lvdm.progress import in_words
from lvdm.request.effort import EFFORTS, bundle_values

REMEMBERED = 20


class VideoTimes:
    """Seconds of sampling for each frame, pixel, step and branch, and of the rest for each frame and pixel.

    By the name of the card; used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates: dict[str, list[tuple[float, float]]] = {}
        self._seconds: list[float] = []

    def learn(self, card: str, record: Mapping[str, Any]) -> None:
        """Take in a video of the model `card` by its record; that of an extended one tells no seconds of sampling."""
        if "measured" not in record or "segments" in record["output"]:
            return
        output, stages = record["output"], record["measured"]["seconds"]
        frame_pixels = record["settings"]["num_frames"] * output["network_height"] * output["network_width"]
        seconds, sampling = sum(stages.values()), stages.get("sample", 0.0)
        with self._lock:
            rates = self._rates.setdefault(card, [])
            self._seconds.append(seconds)
            rates.append((sampling / work_of_record(record), (seconds - sampling) / frame_pixels))
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
        sampling, rest = (median(kind) for kind in zip(*rates, strict=True))
        each = sampling * steps * num_branches(card.guidance_scale, None) + rest
        return float(each * card.num_frames * card.height * card.width * videos)

    def line(self, card: ModelCard) -> str:
        """All efforts with their seconds, in words."""
        known = {effort: self.seconds(card, effort) for effort in EFFORTS}
        estimates = [f"{effort} about {in_words(seconds)}" for effort, seconds in known.items() if seconds is not None]
        size = f"{counted(card.num_frames, 'frame')} at {card.width} x {card.height}"
        if not estimates:
            return f"{size}; times are known after the first video"
        return f"{size} on this machine: {', '.join(estimates)}"

"""How long a plan will take, by the records of videos that the same model made on the same device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lvdm.documents import read_json
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.plan import Plan, PlannedVideo
from lvdm.jobs.resolved import ResolvedRequest

MAX_RECORDS = 200


def expected_seconds(plan: Plan, videos: Sequence[PlannedVideo]) -> float | None:
    """Seconds that `videos` will take, from the records beside them; None where there are none to go by."""
    folders = {video.output.parent for video in videos}
    return seconds_for(sum(work_of(video.request) for video in videos), folders, plan.model)


def seconds_for(work: float, folders: Iterable[Path], model: ChosenModel) -> float | None:
    """Seconds that `model` takes for as much `work`, see `work_of`, by the records in `folders`; None without any."""
    rates = [rate for folder in folders for rate in _rates(folder, model)]
    return work * median(rates) if rates else None


def work_of(request: ResolvedRequest) -> float:
    """Frames x pixels x steps x branches of guidance: what the time of a video is taken to be in proportion to."""
    size, settings = request.size, request.settings
    return float(settings.num_frames * size.height * size.width * settings.num_inference_steps * settings.num_branches)


def work_of_record(record: Mapping[str, Any]) -> float:
    """The same of the video that a record describes."""
    settings, output = record["settings"], record["output"]
    branches = num_branches(settings["guidance_scale"], settings["image_guidance_scale"])
    pixels = output["network_height"] * output["network_width"]
    return float(
        output.get("segments", 1) * settings["num_frames"] * pixels * settings["num_inference_steps"] * branches
    )


def num_branches(scale: float, image_scale: float | None) -> int:
    """Branches of guidance at these scales."""
    if scale == 1 and image_scale in (None, 1):
        return 1
    return 2 if image_scale in (None, scale) else 3


def _rates(folder: Path, model: ChosenModel) -> list[float]:
    """Seconds for each frame, pixel, step and branch of the records in `folder`."""
    found = []
    for path in sorted(folder.glob("*.json"))[:MAX_RECORDS]:
        try:
            rate = _rate(read_json(path), model)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # some other file
        if rate is not None:
            found.append(rate)
    return found


def _rate(record: Mapping[str, Any], model: ChosenModel) -> float | None:
    same = (
        record["model"]["checkpoint_sha256"] == model.identity().checkpoint
        and record["runtime"]["device"] == model.device_name
        and record["runtime"]["dtype"] == model.precision().weights
    )
    if not same:
        return None
    work = work_of_record(record)
    seconds = sum(record["measured"]["seconds"].values())
    return seconds * record["runtime"]["batch"] / work if work else None

"""The record beside each video: everything that is needed to make it again, and what was measured on the way."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lvdm.checkpoint import checkpoint_hash
from lvdm.content_hash import content_hash
from lvdm.data.atomic import Together, together, write_json
from lvdm.data.ownership import VIDEO_FORMAT, record_path
from lvdm.data.video_writer import WrittenVideo, write_video
from lvdm.device import device_name
from lvdm.documents import read_json
from lvdm.generation import GenerationSettings
from lvdm.model_loading import Schedule
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.quality.report import QualityReport
from lvdm.results import GenerationResult

PACKAGES = ("dynamicrafter", "torch", "open_clip_torch", "pillow", "av")


@dataclass(frozen=True)
class Recipe:
    """What a record says about how its video was made.

    keyframes  frame, picture and SHA-256 of each
    loras    file, scale and SHA-256 of each
    scale    what the setting `scale` came to; off in records from before there was one
    best_of  of how many videos this one was kept as the best; 1 if it had no rival
    quality  None where it was not measured
    """

    video: str
    image: Path | None
    end_image: Path | None
    image_sha256: str | None
    keep_mask: Path | None
    keep_mask_sha256: str | None
    start_statistics_sha256: str | None
    late_weights_sha256: str | None
    prompt: str
    negative_prompt: str
    prompts_at: tuple[tuple[int, str], ...]
    keyframes: tuple[tuple[int, Path, str], ...]
    seed: int
    index: int
    settings: GenerationSettings
    scale: str
    config: Path
    checkpoint: Path
    checkpoint_sha256: str
    loras: tuple[tuple[Path, float, str], ...]
    device: str
    dtype: str
    low_memory: bool
    schedule: Schedule
    threads: int
    playback_fps: float
    drop_last_frame: bool
    best_of: int
    quality: QualityReport | None


def versions() -> dict[str, str | None]:
    """Those of Python and of the packages that decide on the numbers of a video."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in PACKAGES}}


def image_hash(path: Path) -> str:
    """SHA-256 of an image or another input, in hexadecimal."""
    return content_hash(path)


def save_video(
    pipeline: DynamiCrafterPipeline,
    result: GenerationResult,
    number: int,
    path: Path,
    playback_fps: float,
    drop_last_frame: bool = False,
    quality: QualityReport | None = None,
) -> Path:
    """Write video `number` of `result` to `path` and its record to `record_path(path)`; returns the latter.

    `drop_last_frame` leaves out the last frame, which in a loop is the first one again. `quality` goes into the record.
    Both appear, or neither. Raises `OutputError`.
    """
    clip = result.video[number]
    with together() as files:
        written = write_video(clip[:, :-1] if drop_last_frame else clip, path, playback_fps, files=files)
        return save_record(pipeline, result, number, written, playback_fps, drop_last_frame, quality, files)


def save_record(
    pipeline: DynamiCrafterPipeline,
    result: GenerationResult,
    number: int,
    written: WrittenVideo,
    playback_fps: float,
    drop_last_frame: bool,
    quality: QualityReport | None,
    files: Together,
) -> Path:
    """Write the record of a video that was `written` with the same `files`; see `save_video`."""
    beside = record_path(written.path)
    record = describe_video(pipeline, result, number, written.path, playback_fps, drop_last_frame)
    record["output"]["bytes"] = written.bytes
    if quality is not None:
        record["quality"] = quality.as_dict()
    write_json(beside, record, files)
    return beside


def describe_video(
    pipeline: DynamiCrafterPipeline,
    result: GenerationResult,
    number: int,
    path: Path,
    playback_fps: float,
    drop_last_frame: bool,
) -> dict[str, Any]:
    """The record of video `number` of `result`, ready for JSON."""
    request, runtime, size = result.requests[number], pipeline.runtime, result.size
    psnr, statistics = result.first_frame_psnr[number], result.settings.start_statistics
    late = result.settings.late_weights
    return {
        "format": VIDEO_FORMAT,
        "video": path.name,
        "input": {
            "image": _absolute(request.image_path),
            "image_sha256": image_hash(request.image_path) if request.image_path else None,
            "end_image": _absolute(request.end_image_path),
            "end_image_sha256": image_hash(request.end_image_path) if request.end_image_path else None,
            "keep_mask": _absolute(request.keep_mask_path),
            "keep_mask_sha256": image_hash(request.keep_mask_path) if request.keep_mask_path else None,
            "start_statistics_sha256": image_hash(Path(statistics)) if statistics else None,
            "late_weights_sha256": checkpoint_hash(Path(late)) if late else None,
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "prompts_at": request.prompts_at,
            "keyframes": [
                {"frame": frame, "image": _absolute(path), "sha256": image_hash(path)}
                for frame, path in request.keyframe_paths
            ],
            "seed": request.seed,
            "index": request.index,
        },
        "settings": result.settings.as_dict(),
        "output": {
            "height": size.inner.height,
            "width": size.inner.width,
            "network_height": size.height,
            "network_width": size.width,
            "num_frames": result.settings.num_frames - drop_last_frame,
            "playback_fps": playback_fps,
            "drop_last_frame": drop_last_frame,
            "fs": result.fs,
            "scale": result.scale,
        },
        "model": {
            "config": _absolute(pipeline.files.config),
            "checkpoint": _absolute(pipeline.files.checkpoint),
            "checkpoint_sha256": checkpoint_hash(pipeline.files.checkpoint),
            "loras": [
                {"file": _absolute(path), "scale": scale, "sha256": checkpoint_hash(path)}
                for path, scale in pipeline.loras
            ],
        },
        "runtime": {
            "device": str(runtime.device),
            "device_name": device_name(runtime.device),
            "dtype": runtime.precision.name,
            "low_memory": runtime.low_memory,
            "schedule": pipeline.schedule,
            "threads": torch.get_num_threads(),
            "batch": len(result.requests),
        },
        "versions": versions(),
        "measured": {
            "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
            "peak_memory_bytes": result.peak_memory,
            "first_frame_psnr_db": round(psnr, 2) if psnr is not None and math.isfinite(psnr) else None,
        },
    }


def read_record(path: str | Path) -> Recipe:
    """Read the record beside a video. Raises `ValueError` for a file that is not one."""
    path = Path(path)
    try:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != VIDEO_FORMAT:
            raise ValueError("it does not say so in its `format`")
        given, model, runtime, output = (record[name] for name in ("input", "model", "runtime", "output"))
        settings = GenerationSettings(**record["settings"])
        if settings.mode == "keyframes" and not given.get("keyframes"):
            raise ValueError("its key frames came from memory, not from files")
        if given["image"] is None and settings.mode != "text-to-video":
            raise ValueError("its image came from memory, not from a file")
        return Recipe(
            video=str(record["video"]),
            image=Path(given["image"]) if given["image"] else None,
            end_image=Path(given["end_image"]) if given["end_image"] else None,
            image_sha256=given["image_sha256"],
            keep_mask=Path(given["keep_mask"]) if given.get("keep_mask") else None,
            keep_mask_sha256=given.get("keep_mask_sha256"),
            start_statistics_sha256=given.get("start_statistics_sha256"),
            late_weights_sha256=given.get("late_weights_sha256"),
            prompt=given["prompt"],
            negative_prompt=given["negative_prompt"],
            prompts_at=tuple((frame, prompt) for frame, prompt in given.get("prompts_at", ())),
            keyframes=tuple((key["frame"], Path(key["image"]), key["sha256"]) for key in given.get("keyframes", ())),
            seed=given["seed"],
            index=given["index"],
            settings=settings,
            scale=output.get("scale", "off"),
            config=Path(model["config"]),
            checkpoint=Path(model["checkpoint"]),
            checkpoint_sha256=model["checkpoint_sha256"],
            loras=tuple((Path(lora["file"]), lora["scale"], lora["sha256"]) for lora in model.get("loras", ())),
            device=runtime["device"],
            dtype=runtime["dtype"],
            low_memory=runtime["low_memory"],
            schedule=runtime.get("schedule", "config"),
            threads=runtime["threads"],
            playback_fps=output["playback_fps"],
            drop_last_frame=output["drop_last_frame"],
            best_of=record.get("chosen", {}).get("of", 1),
            quality=_quality(record),
        )
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not the record of a video made here ({error}); give the .json beside a video"
        ) from error


def _quality(record: dict[str, Any]) -> QualityReport | None:
    """The measures of a record; None where there are none, or those of another version."""
    try:
        return QualityReport.from_dict(record["quality"])
    except (KeyError, TypeError, ValueError):
        return None


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def installed_version(package: str) -> str | None:
    """Version of a package, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None

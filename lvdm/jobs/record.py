"""The record beside each video: the request as it was resolved, its digest, and what was measured on the way.

Format 2 adds the digest, the hash of the configuration and the supplied encoders to format 1, which is still read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvdm.declaration.parameter import IMAGELESS, current_names
from lvdm.declaration.parameters import FRAMES_OF_FILES
from lvdm.declaration.values import MAX_SIDE, MAX_STREAMED_FRAMES
from lvdm.jobs.record_parts import (
    absolute,
    describe_model,
    describe_runtime,
    file_of,
    files_of_model,
    hashed_files,
    items,
    located,
    of_type,
    part,
    present_keys,
    read_as,
    require,
    threads_of,
    values_of_parts,
    whole,
)
from lvdm.media.atomic import Together, together, write_json
from lvdm.media.depth import write_depth
from lvdm.media.geometry import PaddedSize
from lvdm.media.ownership import VIDEO_FORMAT, VIDEO_FORMATS, depth_path, record_path
from lvdm.media.video_formats import WrittenVideo
from lvdm.media.video_writer import write_video
from lvdm.model_files import ModelIdentity
from lvdm.plugins.registry import method_files
from lvdm.request.digest import FileSpec, InputFile, digest_of, file_facts, setting_facts
from lvdm.request.layers import DERIVED, Values, checked, file_inputs
from lvdm.request.settings import GenerationSettings
from lvdm.versions import versions

if TYPE_CHECKING:
    from lvdm.pipeline import DynamiCrafterPipeline
    from lvdm.pipeline.requests import GenerationRequest
    from lvdm.pipeline.results import GenerationResult
    from lvdm.quality.report import QualityReport

SELDOM = (*FRAMES_OF_FILES, "depth_model")
"""Inputs that a record names only where they are given."""
MAX_INDEX = 1_000_000_000
"""Videos of a list are counted; more is taken for a mistake."""


@dataclass(frozen=True)
class Record:
    """What a record says about how its video was made.

    parameters  by name, checked
    files    what was read, with hashes; the model's files among them
    size     height and width of the video
    scale    what the setting `scale` came to; off in records from before there was one
    digest   None in format 1
    best_of  of how many videos this one was kept as the best; 1 if there was no other candidate
    measures  of its quality, as they are stored
    """

    path: Path
    video: str
    parameters: Mapping[str, Any]
    settings: GenerationSettings
    files: tuple[InputFile, ...]
    index: int
    size: tuple[int, int]
    scale: str
    drop_last_frame: bool
    threads: int
    digest: str | None
    best_of: int
    measures: Mapping[str, Any] | None = field(repr=False)

    @property
    def quality(self) -> QualityReport | None:
        """The measures; None where there are none, or those of another version."""
        from lvdm.quality.report import QualityReport  # it measures with torch, which a record is read without

        try:
            return None if self.measures is None else QualityReport.from_dict(self.measures)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def values(self) -> Values:
        """The layer of parameters that a replay begins with. Files that were moved with the record are found there."""
        settings = {name: getattr(self.settings, name) for name in self.settings.as_dict()} | {"scale": self.scale}
        for name in ("mode", "num_videos_per_prompt"):
            del settings[name]
        found = {name: value for name, value in {**settings, **self.parameters}.items() if value is not None}
        for name in file_inputs():
            if name in found:
                found[name] = located(self.path, found[name])
        found["keyframes"] = tuple((frame, located(self.path, path)) for frame, path in found.get("keyframes", ()))
        return Values().under(checked(found, f"{self.path}: "), "record", [name for name in DERIVED if name in found])


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
    depth = result.depth[number] if result.depth else None
    if depth is not None:
        write_depth(depth_path(beside), depth.numpy(), files)
    write_json(beside, record, files)
    return beside


def request_facts(
    settings: GenerationSettings,
    prompts: tuple[str, str, Sequence[tuple[int, str]]],
    files: Sequence[InputFile],
    noise: tuple[int, int],
    size: PaddedSize,
    fs: int,
    scale: str,
    model: ModelIdentity,
    file: FileSpec,
) -> dict[str, Any]:
    """What decides on the pixels and the file of a video, for `digest_of`.

    prompts: prompt, negative prompt and those of later frames; noise: seed and index
    """
    return {
        "settings": setting_facts(settings),
        "prompts": prompts,
        "files": file_facts(files),
        "noise": noise,
        "size": [size.inner.height, size.inner.width, size.height, size.width],
        "fs": fs,
        "scale": scale,
        "model": [model.config, model.checkpoint, model.encoders, model.loras, model.schedule, model.dtype],
        "file": [file.suffix, file.playback_fps, file.num_frames],
    }


def describe_video(
    pipeline: DynamiCrafterPipeline,
    result: GenerationResult,
    number: int,
    path: Path,
    playback_fps: float,
    drop_last_frame: bool,
) -> dict[str, Any]:
    """The record of video `number` of `result`, ready for JSON."""
    request, size = result.requests[number], result.size
    psnr, identity, settings = result.first_frame_psnr[number], pipeline.identity(), result.settings
    files = request.files(settings)
    num_frames = settings.num_frames - drop_last_frame
    file = FileSpec(path.suffix.lower(), float(playback_fps), num_frames)
    prompts = request.prompt, request.negative_prompt, request.prompts_at
    noise = request.seed, request.index
    facts = request_facts(settings, prompts, files, noise, size, result.fs, result.scale, identity, file)
    return {
        "format": VIDEO_FORMAT,
        "video": path.name,
        "digest": digest_of(facts),
        "input": _describe_input(request, files) | {"tokens": _tokens(request, result)},
        "settings": settings.as_dict(),
        "output": {
            "height": size.inner.height,
            "width": size.inner.width,
            "network_height": size.height,
            "network_width": size.width,
            "num_frames": num_frames,
            "playback_fps": playback_fps,
            "drop_last_frame": drop_last_frame,
            "fs": result.fs,
            "scale": result.scale,
        },
        "model": describe_model(pipeline),
        "runtime": describe_runtime(pipeline) | {"batch": len(result.requests)},
        "versions": versions(),
        "measured": {
            "seconds": {stage: round(seconds, 3) for stage, seconds in result.seconds.items()},
            "peak_memory_bytes": result.peak_memory,
            "first_frame_psnr_db": round(psnr, 2) if psnr is not None and math.isfinite(psnr) else None,
        },
    }


def _tokens(request: GenerationRequest, result: GenerationResult) -> dict[str, int] | None:
    """Tokens of the prompt, and how many of them the text encoder reads."""
    reading = result.readings.get(request.prompt)
    return None if reading is None else {"prompt": reading.tokens, "read": min(reading.tokens, reading.limit)}


def _describe_input(request: GenerationRequest, files: Sequence[InputFile]) -> dict[str, Any]:
    hashes = {file.parameter: file.sha256 for file in files if file.frame is None}
    paths = {name: getattr(request, f"{name}_path") for name in file_inputs()}
    named = [name for name in paths if name not in SELDOM or paths[name] is not None or name in hashes]
    return {
        **{name: absolute(paths[name]) for name in named},
        **{f"{name}_sha256": hashes.get(name) for name in (*named, *method_files())},
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "prompts_at": request.prompts_at,
        "keyframes": [
            {"frame": file.frame, "image": absolute(file.path), "sha256": file.sha256}
            for file in files
            if file.parameter == "keyframes" and file.path is not None
        ],
        "seed": request.seed,
        "index": request.index,
    }


def read_record(path: str | Path) -> Record:
    """Read the record beside a video. Raises `ValueError` for a file that is not one, and for what cannot be true."""
    refusal = "{path} is not the record of a video made here ({reason}); give the .json beside a video"
    return read_as(Path(path), VIDEO_FORMATS, _parse, refusal)


def _parse(path: Path, record: Mapping[str, Any]) -> Record:
    given, model = (present_keys(part(record, name)) for name in ("input", "model"))
    runtime, output = part(record, "runtime"), part(record, "output")
    settings = GenerationSettings(**current_names(GenerationSettings, part(record, "settings")))
    if settings.mode == "keyframes" and not given.get("keyframes"):
        raise ValueError("its key frames came from memory, not from files")
    if settings.mode == "structure" and not (given.get("depth") or given.get("driving_video")):
        raise ValueError("its depth came from memory, not from a file")
    if given.get("guide_video_sha256") and not given.get("guide_video"):
        raise ValueError("its guide video came from memory, not from a file")
    if given["image"] is None and settings.mode not in IMAGELESS:
        raise ValueError("its image came from memory, not from a file")
    values = {name: given.get(name) for name in (*file_inputs(), "prompt", "negative_prompt", "seed", "prompts_at")}
    values["keyframes"] = [_keyframe(key) for key in items(given, "keyframes")]
    values |= values_of_parts(model, runtime) | {"playback_fps": output["playback_fps"]}
    require(values, "prompt", "seed", "config", "checkpoint", "dtype")
    digest = record.get("digest")
    return Record(
        path=path,
        video=of_type(record["video"], str, "video"),
        parameters=checked(values),
        settings=settings,
        files=tuple(_files(given, model, settings)),
        index=whole(given["index"], "index", 0, MAX_INDEX),
        size=(whole(output["height"], "height", 1, MAX_SIDE), whole(output["width"], "width", 1, MAX_SIDE)),
        scale=of_type(output.get("scale", "off"), str, "scale"),
        drop_last_frame=of_type(output["drop_last_frame"], bool, "drop_last_frame"),
        threads=threads_of(runtime),
        digest=None if digest is None else of_type(digest, str, "digest"),
        best_of=whole(part({"chosen": {}, **record}, "chosen").get("of", 1), "chosen.of", 1, MAX_INDEX),
        measures=record.get("quality"),
    )


def _files(source: Mapping[str, Any], model: Mapping[str, Any], settings: GenerationSettings) -> list[InputFile]:
    """All files that the parts `input` and `model` of a record name with a hash."""
    places = {name: (source.get(name), source.get(f"{name}_sha256")) for name in file_inputs()}
    places |= {name: (getattr(settings, name), source.get(f"{name}_sha256")) for name in method_files()}
    found = hashed_files(places)
    for key in items(source, "keyframes"):
        frame, image = _keyframe(key)
        found.append(InputFile("keyframes", of_type(key["sha256"], str, "keyframes.sha256"), image, frame))
    return found + files_of_model(model)


def _keyframe(key: Mapping[str, Any]) -> tuple[int, Path]:
    return whole(key["frame"], "keyframes.frame", 0, MAX_STREAMED_FRAMES), file_of(key["image"], "keyframes.image")

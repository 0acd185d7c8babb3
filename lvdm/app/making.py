"""From the values of a tab to files in a folder of their own: uploads in, a video and what belongs to it out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.app.work import Work
from lvdm.documents import read_json
from lvdm.errors import counted
from lvdm.hosting.checks import IMAGES, VIDEOS, UploadIntake, check_plan
from lvdm.hosting.data_urls import decoded_file
from lvdm.hosting.limits import Limits
from lvdm.hosting.records import public_record
from lvdm.jobs.extend import plan_extension, run_extension
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.outputs import SUFFIXES
from lvdm.jobs.plan import Plan, plan_videos
from lvdm.jobs.preview import LatentColors, fit_colors
from lvdm.jobs.record import read_record
from lvdm.jobs.run import FinishedVideo, Load, SelectedVideo, run
from lvdm.media.images import load_image
from lvdm.media.ownership import record_path, sheet_path
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import write_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.extension import Drift

PAINTED = "painted_mask"
"""A mask that was painted on the page, as a data URL, in the place of `keep_mask`."""
PLAYED = (".mp4", ".webm")
"""What browsers show as a video."""
MAX_CONVERTED = 128
"""Frames of the longest video that is also given as an animation."""


@dataclass(frozen=True)
class Result:
    """What a tab shows at the end.

    video      to be played
    downloads  the video in each format, the contact sheet and the settings
    report     what was measured, in words
    record     the settings, without the names of folders of the server
    seed       to make it again with
    seconds    from the start to the end
    """

    video: Path
    sheet: Path | None
    downloads: tuple[Path, ...]
    report: str
    record: Mapping[str, Any]
    seed: int
    seconds: float


class Maker:
    """Makes videos with one model in memory. Its methods are called while the device is held.

    files: the weight files that visitors may name, as records call them
    """

    def __init__(self, limits: Limits, files: Mapping[str, Path] | None = None) -> None:
        self.limits, self._files = limits, files or {}
        self._loaded = LoadedModel()
        self._colors: tuple[DynamiCrafterPipeline, LatentColors] | None = None

    def make(self, work: Work[Any], mode: str, values: Mapping[str, Any], folder: Path) -> Result:
        """The video of `values` in `folder`. Raises `ValueError`, `SamplingCancelled`."""
        began = time.monotonic()
        work.say("checking what was given")
        values = self.receive(values, folder)
        main, report = (self._extend if mode == "extend" else self._generate)(work, mode, values, folder)
        work.say("writing files")
        record = record_path(main)
        written = sheet_path(record)
        stored = public_record(read_json(record), self._files)
        settings = folder / "settings.json"
        settings.write_text(json.dumps(stored, indent=1), encoding="utf-8")
        sheet = written if written.is_file() else None
        videos = self._formats(main, folder)
        extra = [path for path in (sheet, settings) if path is not None]
        seed = stored["input"]["seed"] if "input" in stored else stored["seed"]
        played = next(path for path in videos if path.suffix in PLAYED)
        return Result(played, sheet, (*videos, *extra), report, stored, seed, time.monotonic() - began)

    @property
    def load(self) -> Load:
        """Makes the pipeline of a model; the last one stays loaded."""
        return self._loaded.load

    def plan(self, mode: str, values: Mapping[str, Any]) -> Plan:
        """What would be made, within the limits. Raises `ValueError`."""
        plan = plan_videos(mode, **values)  # type: ignore[arg-type]
        check_plan(plan, self.limits)
        return plan

    def receive(self, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """`values` with each upload as a file of ours, to the byte. Raises `ValueError`, with the names of uploads."""
        values, intake = dict(values), UploadIntake(self.limits)
        for name in (*IMAGES, *VIDEOS):
            if name in values:
                own = f"given_{name}" if name in VIDEOS else name  # what is made is a video, too
                values[name] = _received(intake, name, values[name], folder / own)
        if "keyframes" in values:
            values["keyframes"] = [
                (frame, _received(intake, "keyframes", path, folder / f"keyframe_{frame}"))
                for frame, path in values["keyframes"]
            ]
        if PAINTED in values:
            if "keep_mask" in values:
                raise ValueError("the mask is given twice, as a file and painted; take one of them away")
            painted = folder / f"{PAINTED}.png"
            content = decoded_file(PAINTED, values.pop(PAINTED))
            if len(content) > self.limits.upload_bytes:
                raise ValueError(f"the painted mask is larger than {self.limits.max_upload:g} MB; upload one")
            painted.write_bytes(content)
            values["keep_mask"] = _received(intake, "keep_mask", painted, folder / "keep_mask")
        return values

    def _generate(self, work: Work[Any], mode: str, values: dict[str, Any], folder: Path) -> tuple[Path, str]:
        suffix = SUFFIXES.get(values.get("format") or "mp4", f".{values.get('format') or 'mp4'}")
        values |= {"output": folder / f"video{suffix}", "contact_sheet": True}
        plan = self.plan(mode, values)
        self._prepare(work, plan.model)
        finished, selected = list[FinishedVideo](), list[SelectedVideo]()
        for event in run(plan, progress=work.progress, load=self._loaded.load, on_step=work.on_step):
            (finished if isinstance(event, FinishedVideo) else selected).append(event)  # type: ignore[arg-type]
        kept = [event for event in finished if event.output.exists() or "%" in event.output.name]
        if not kept:
            report = read_record(record_path(selected[0].output)).quality
            reason = selected[0].messages[0].partition("  ")[2].strip("()")
            return selected[0].output, "; ".join([*([report.line()] if report else []), reason])
        ranking = [line for event in selected for line in event.messages]
        return kept[0].output, "; ".join([kept[0].quality.line(), *ranking])

    def _extend(self, work: Work[Any], mode: str, values: dict[str, Any], folder: Path) -> tuple[Path, str]:
        suffix = SUFFIXES.get(values.get("format") or "mp4", f".{values.get('format') or 'mp4'}")
        video = values.pop("video", None)
        if video is None:
            raise ValueError("give a video to go on with")
        plan = plan_extension(video, **values, output=folder / f"video{suffix}", contact_sheet=True)
        check_plan(plan, self.limits)
        self._prepare(work, plan.model)
        made = run_extension(plan, work.progress, self._loaded.load)
        drifts = "; ".join(_drift(number, drift) for number, drift in enumerate(made.drifts, 1))
        return made.output, f"{counted(made.before, 'frame')}, now {made.after}; {drifts}"

    def _prepare(self, work: Work[Any], model: Any) -> None:
        """Load the model, and fit the map of previews where the autoencoder is another one than the last."""
        work.say("loading the model")
        pipeline = self._loaded.load(model)
        if self._colors is None or self._colors[0] is not pipeline:
            self._colors = pipeline, fit_colors(pipeline)
        work.show_colors(self._colors[1])

    def _formats(self, main: Path, folder: Path) -> list[Path]:
        """The video as it was asked for, then as what plays in a browser, and as animations where it is short."""
        if "%" in main.name:
            frames = sorted(folder.glob(main.name.replace("%05d", "[0-9]*")))
            inside = folder / "frames"
            inside.mkdir()
            for frame in frames:
                shutil.copyfile(frame, inside / frame.name)
            packed = Path(shutil.make_archive(str(folder / "frames"), "zip", inside))
            record = read_json(record_path(main))["output"]
            mp4 = folder / "video.mp4"
            write_video(_stacked(frames), mp4, record["playback_fps"])
            return [packed, mp4]
        found = [main]
        with VideoReader(main) as reader:
            pixels, fps = reader.read(range(reader.num_frames)), reader.fps
        wanted = [".mp4"] if main.suffix not in PLAYED else []
        wanted += [".gif", ".webp"] if len(pixels) <= MAX_CONVERTED else []
        for suffix in wanted:
            if suffix != main.suffix:
                path = folder / f"video{suffix}"
                write_video(pixels, path, fps)
                found.append(path)
        return found


def _received(intake: UploadIntake, parameter: str, upload: Path, to: Path) -> Path:
    """A copy of an upload, which is opened once; one that is refused is removed. Raises `ValueError`."""
    with _own_words(upload):
        intake.check(parameter, upload)
        to = to.with_name(f"{to.name}{upload.suffix.lower()}")
        shutil.copyfile(upload, to)
    return to


def _stacked(frames: list[Path]) -> Any:
    import numpy as np
    import torch

    return torch.stack([torch.from_numpy(np.array(load_image(frame))) for frame in frames])


def _drift(number: int, drift: Drift) -> str:
    return f"segment {number}: brightness {drift.brightness:.1f} levels, seam {drift.seam:.1f} x"


@contextmanager
def _own_words(upload: Path) -> Iterator[None]:
    """In messages of the block the upload has its name alone; where it is refused nothing of it stays."""
    try:
        yield
    except (ValueError, OSError) as error:
        upload.unlink(missing_ok=True)
        raise ValueError(str(error).replace(str(upload), upload.name)) from error

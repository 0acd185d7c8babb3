"""A video that is made and held, to be looked at, worked on, and written later: as nodes of other programs want it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from torch import Tensor

from lvdm.device import computing_threads
from lvdm.diffusion.samplers import StepCallback
from lvdm.documents import read_json
from lvdm.errors import counted
from lvdm.jobs.extend import ExtensionPlan, run_extension
from lvdm.jobs.fitting import fit_plan
from lvdm.jobs.memory import announce_memory
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.plan import Plan
from lvdm.jobs.record import save_video
from lvdm.jobs.run import Load, ProgressOf
from lvdm.media.atomic import together, write_json
from lvdm.media.ownership import check_video_replaceable, record_path
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import check_output, write_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.results import GenerationResult
from lvdm.plugins.perturbed_guidance import check_blocks
from lvdm.quality.generated import assess_videos
from lvdm.quality.report import QualityReport


class HeldVideo(Protocol):
    """What both kinds have."""

    @property
    def fps(self) -> float:
        """The usual speed of its file."""
        ...

    @property
    def report(self) -> str:
        """What was measured of it, in words."""
        ...

    def frames(self) -> Tensor:
        """Its frames (t, H, W, 3), float32 in [0, 1]."""
        ...

    def latents(self) -> Tensor | None:
        """Those of its frames (t, c, h, w), without the scale of the model; None: not held."""
        ...

    def save(self, path: Path, fps: float | None = None) -> Path:
        """Write it and its record, which is returned. Raises `ValueError`, `OutputError`."""
        ...


@dataclass(frozen=True, eq=False)
class GeneratedVideo:
    """A video of a request, as `HeldVideo`."""

    plan: Plan
    pipeline: DynamiCrafterPipeline
    result: GenerationResult
    quality: QualityReport

    @property
    def fps(self) -> float:
        """See `HeldVideo`."""
        return self.plan.playback_fps

    @property
    def report(self) -> str:
        """See `HeldVideo`."""
        return self.quality.line()

    def frames(self) -> Tensor:
        """See `HeldVideo`."""
        kept = self._without_last(self.result.video[0])
        return ((kept.clamp(-1, 1) + 1) / 2).permute(1, 2, 3, 0).contiguous()

    def latents(self) -> Tensor | None:
        """See `HeldVideo`."""
        held = self.result.latents[0]
        if held.shape[1] == 0:
            return None
        return self._without_last(held).transpose(0, 1) / self.pipeline.runtime.model.config.scale_factor

    def save(self, path: Path, fps: float | None = None) -> Path:
        """See `HeldVideo`."""
        _check_place(path)
        speed = self.fps if fps is None else fps
        with computing_threads(self.plan.threads):  # a record names those that it was made with
            return save_video(self.pipeline, self.result, 0, path, speed, self.plan.drop_last_frame, self.quality)

    def _without_last(self, clip: Tensor) -> Tensor:
        """Of a loop (c, t, h, w), what its file has: the last frame is the first one again."""
        return clip[:, :-1] if self.plan.drop_last_frame else clip


@dataclass(frozen=True, eq=False)
class ExtendedFrames:
    """A longer video, as `HeldVideo`. pixels: its frames as bytes (t, H, W, 3). record: that of a file of it."""

    pixels: Tensor
    record: Mapping[str, Any]
    report: str

    @property
    def fps(self) -> float:
        """See `HeldVideo`."""
        return float(self.record["playback_fps"])

    def frames(self) -> Tensor:
        """See `HeldVideo`."""
        return self.pixels.float() / 255

    def latents(self) -> Tensor | None:
        """None: they are those of segments that overlap."""
        return None

    def save(self, path: Path, fps: float | None = None) -> Path:
        """See `HeldVideo`."""
        _check_place(path)
        speed, record = self.fps if fps is None else fps, record_path(path)
        with together() as files:
            written = write_video(self.pixels, path, speed, files=files)
            output = {"num_frames": written.num_frames, "bytes": written.bytes}
            write_json(record, {**self.record, "video": path.name, "playback_fps": speed, "output": output}, files)
        return record


def hold_video(
    plan: Plan,
    progress: ProgressOf | None = None,
    load: Load = ChosenModel.load,
    on_step: StepCallback | None = None,
) -> GeneratedVideo:
    """Make the one video of a plan; see `lvdm.jobs.run.run`, which writes it at once. Raises `ValueError`."""
    plan = fit_plan(plan)
    (video,) = plan.videos
    settings = video.request.settings
    check_blocks(settings.perturbed_guidance, plan.model.config.unet_config.params)
    announce_memory(plan.model, video.request, 1)
    pipeline = load(plan.model)
    heard = None if settings.long_video == "fifo" else on_step  # there each frame is at a step of its own
    with (progress or (lambda title: nullcontext()))(video.output.name) as show, computing_threads(plan.threads):
        request = video.request.load(plan.store)
        result = pipeline.generate([request], settings, callback_on_step_end=heard, on_progress=show)
        report = assess_videos(pipeline, result, plan.playback_fps)[0]
    return GeneratedVideo(plan, pipeline, result, report)


def hold_extension(
    plan: ExtensionPlan, progress: ProgressOf | None = None, load: Load = ChosenModel.load
) -> ExtendedFrames:
    """Make the longer video of a plan; see `lvdm.jobs.extend.run_extension`. Raises `ValueError`."""
    with TemporaryDirectory(prefix="dynamicrafter-") as name:
        made = run_extension(replace(plan, output=Path(name) / "longer.apng"), progress, load)  # without a loss
        with VideoReader(made.output) as reader:
            pixels = reader.read(range(reader.num_frames))
        record = read_json(made.record)
    return ExtendedFrames(pixels, record, f"{counted(made.before, 'frame')}, now {made.after}")


def _check_place(path: Path) -> None:
    check_output(path)
    check_video_replaceable(path)

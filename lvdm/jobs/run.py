"""A plan at work: videos are made, measured and written; of several, the best is named or kept."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.device import computing_threads
from lvdm.diffusion.samplers import StepCallback
from lvdm.errors import UserError
from lvdm.jobs.best_of import Candidates
from lvdm.jobs.finished import is_finished, say_skipped
from lvdm.jobs.fitting import fit_plan
from lvdm.jobs.memory import announce_memory
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.outputs import check_places
from lvdm.jobs.plan import Plan, PlannedVideo, plan_videos
from lvdm.jobs.record import save_record, save_video
from lvdm.jobs.resolved import alike
from lvdm.media.atomic import together
from lvdm.media.contact_sheet import write_contact_sheet
from lvdm.media.geometry import PaddedSize
from lvdm.media.masks import fit_masks
from lvdm.media.ownership import record_path, sheet_path
from lvdm.media.video_formats import WrittenVideo
from lvdm.media.video_writer import to_uint8, write_video
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.process_group import ProcessGroup
from lvdm.pipeline.process_memory import give_back_what_is_freed
from lvdm.pipeline.requests import GenerationRequest
from lvdm.pipeline.results import GenerationResult
from lvdm.plugins.perturbed_guidance import check_blocks
from lvdm.progress import ProgressCallback
from lvdm.quality.generated import StreamAssessment, assess_videos
from lvdm.quality.report import QualityReport
from lvdm.request.keywords import RequestKeywords
from lvdm.request.settings import GenerationSettings

logger = logging.getLogger(__name__)

ProgressOf = Callable[[str], AbstractContextManager[ProgressCallback | None]]
"""From the title of a batch to a block in which its progress is reported."""
Load = Callable[[ChosenModel], DynamiCrafterPipeline]
"""From a model to its pipeline; one that makes many videos may keep it."""


@dataclass(frozen=True)
class FinishedVideo:
    """A video that lies at its place.

    seconds     of all stages
    quality     what was measured of it
    candidates  the other videos of its request, of which one will be kept; None: it stays where it is
    """

    output: Path
    record: Path
    sheet: Path | None
    seconds: float
    quality: QualityReport
    candidates: Candidates | None

    def lines(self) -> list[str]:
        """What there is to say of it."""
        measured = f"({self.seconds:.1f} s, {self.quality.line()})"
        if self.candidates is not None:  # its files will not stay where they are
            return [f"{self.candidates.place(self.output)}  {measured}"]
        return [f"{self.output}  {measured}", *(str(path) for path in (self.record, self.sheet) if path is not None)]


@dataclass(frozen=True)
class SelectedVideo:
    """The best of several videos was named or kept."""

    output: Path
    messages: tuple[str, ...]

    def lines(self) -> list[str]:
        """What there is to say of it."""
        return list(self.messages)


Event = FinishedVideo | SelectedVideo


def make_videos(
    mode: str, *, batch_size: int = 1, progress: ProgressOf | None = None, **keywords: Unpack[RequestKeywords]
) -> list[Event]:
    """Plan and make videos in one call: what `dynamicrafter MODE` does, with the parameters of `lvdm.request`."""
    return list(run(plan_videos(mode, **keywords), batch_size, progress))


def run(
    plan: Plan,
    batch_size: int = 1,
    progress: ProgressOf | None = None,
    load: Load = ChosenModel.load,
    on_step: StepCallback | None = None,
    processes: ProcessGroup | None = None,
) -> Iterator[Event]:
    """Load the model and make the videos, `batch_size` at a time; each is given when it lies at its place.

    load     makes the pipeline, where it is not to be loaded anew, see `lvdm.jobs.loaded`
    on_step  sees the latents after each step, see `StepCallback`; not those of a video that is made frame by frame
    processes  that make each video together; all but the first write nothing and give no events

    In batches of one, each can be made again alone to the byte; in larger ones, up to rounding. While a replay
    computes, torch's number of threads is that of its record, for all that computes in the process. Raises
    `ValueError`.
    """
    todo = [video for video in plan.videos if not (plan.skip_finished and is_finished(video))]
    finished = set(plan.videos) - set(todo)
    say_skipped([video.place for video in finished], len(plan.videos), plan.output.contact_sheet)
    if processes is not None:
        if plan.model.machine.max_memory is not None:
            raise UserError("--max-memory is for one process; leave it out, or torchrun")
        processes.check_same(repr([(video.output.name, video.request.settings) for video in todo]), plan.model.device)
        plan = plan if processes.writes else replace(plan, skip_finished=False)
    waiting = waiting_candidates(todo, plan)
    check_places([*todo, *(video for video in plan.videos if video.candidates in waiting)], plan.output)
    yield from select(waiting)
    if not todo:
        return
    for perturbed in {video.request.settings.perturbed_guidance for video in todo} - {None}:
        check_blocks(perturbed, plan.model.config.unet_config.params)
    at_once = min(batch_size, len(todo))
    fitted = fit_plan(replace(plan, videos=tuple(todo)), at_once)  # again: now the libraries are in memory
    plan, todo = replace(plan, model=fitted.model), list(fitted.videos)
    announce_memory(plan.model, todo[0].request, at_once)
    if plan.model.machine.max_memory is not None and plan.model.device_name == "cpu":
        give_back_what_is_freed()
    pipeline = load(plan.model)
    if processes is not None:
        pipeline.runtime = replace(pipeline.runtime, processes=processes)
    work = PlanWork(plan, pipeline, waiting, len(todo), progress or (lambda title: nullcontext()), on_step)
    for batch in batches(todo, batch_size):
        yield from work.make(batch)


def batches(videos: Sequence[PlannedVideo], batch_size: int) -> Iterator[list[PlannedVideo]]:
    """Runs of at most `batch_size` videos of one size under the same settings."""
    for _, same in itertools.groupby(videos, key=lambda video: alike(video.request)):
        rest = list(same)
        for begin in range(0, len(rest), batch_size):
            groups: dict[PaddedSize, list[PlannedVideo]] = {}
            for video in rest[begin : begin + batch_size]:
                groups.setdefault(video.request.size, []).append(video)
            yield from groups.values()


@dataclass(eq=False)
class PlanWork:
    """The pipeline of a plan, and how far it is; `waiting` as `waiting_candidates` gives it for all that is made."""

    plan: Plan
    pipeline: DynamiCrafterPipeline
    waiting: dict[Candidates, set[Path]]
    total: int
    progress: ProgressOf
    on_step: StepCallback | None = None
    done: int = 0

    def make(self, videos: Sequence[PlannedVideo]) -> Iterator[Event]:
        """Make the videos of one batch, write them, and choose among those that are all there."""
        requests = [video.request.load(self.plan.store) for video in videos]
        title = videos[0].output.name
        title = title if self.total == 1 else f"{self.done + 1}/{self.total} {title}"
        processes = self.pipeline.runtime.processes
        with self.progress(title) as show, computing_threads(self.plan.threads):
            make = self._streamed if self._is_streamed(videos) else self._whole
            if processes is not None and not processes.writes:
                make = self._unwritten
            finished = make(videos, requests, show)
        self.done += len(videos)
        for video, event in zip(videos, finished, strict=bool(finished)):
            yield event
            yield from select(self.waiting, video)

    def _unwritten(
        self, videos: Sequence[PlannedVideo], requests: Sequence[GenerationRequest], show: ProgressCallback | None
    ) -> list[FinishedVideo]:
        """Take part in videos that another process writes."""
        settings = videos[0].request.settings
        streamed = (lambda parts: deque(parts, maxlen=0)) if self._is_streamed(videos) else None
        self.pipeline.generate(requests, settings, on_progress=show, frames_to=streamed)
        return []

    def _heard(self, settings: GenerationSettings) -> StepCallback | None:
        """Who sees the latents; nobody where each frame is at a step of its own."""
        return None if settings.long_video == "fifo" else self.on_step

    def _is_streamed(self, videos: Sequence[PlannedVideo]) -> bool:
        """Whether frames go to the file as they are decoded: those of one video longer than the trained ones."""
        return len(videos) == 1 and videos[0].request.settings.num_frames > self.plan.model.card.num_frames

    def _whole(
        self, videos: Sequence[PlannedVideo], requests: Sequence[GenerationRequest], show: ProgressCallback | None
    ) -> list[FinishedVideo]:
        plan = self.plan
        settings = videos[0].request.settings
        result = self.pipeline.generate(
            requests, settings, callback_on_step_end=self._heard(settings), on_progress=show
        )
        reports = assess_videos(self.pipeline, result, plan.playback_fps)
        finished = []
        for number, (video, report) in enumerate(zip(videos, reports, strict=True)):
            record = save_video(
                self.pipeline, result, number, video.output, plan.playback_fps, plan.drop_last_frame, report
            )
            clip = _sheet_of(result, number) if plan.output.contact_sheet else None
            finished.append(_finish(video, record, result, report, clip, requests[number]))
        return finished

    def _streamed(
        self, videos: Sequence[PlannedVideo], requests: Sequence[GenerationRequest], show: ProgressCallback | None
    ) -> list[FinishedVideo]:
        """The same for a single long video, of which a few frames are held at a time."""
        plan, (request,), (video,) = self.plan, requests, videos
        num_frames, sheet_frames = video.request.settings.num_frames, list[Tensor]()
        assessment = StreamAssessment(self.pipeline, request, num_frames, plan.playback_fps)
        written = list[WrittenVideo]()

        def write(parts: Iterator[Tensor]) -> None:
            seen = assessment.watch(parts)
            if plan.output.contact_sheet:
                seen = also_kept(seen, sheet_frames)
            shown = _up_to(seen, num_frames - plan.drop_last_frame)
            written.append(write_video(shown, video.output, plan.playback_fps, files=files))

        with together() as files:
            settings = video.request.settings
            heard = self._heard(settings)
            result = self.pipeline.generate(
                requests, settings, callback_on_step_end=heard, on_progress=show, frames_to=write
            )
            report = assessment.report(result.first_frame_psnr[0])
            record = save_record(
                self.pipeline, result, 0, written[0], plan.playback_fps, plan.drop_last_frame, report, files
            )
        sheet = torch.cat(sheet_frames) if sheet_frames else None
        depth = result.depth[0] if result.depth else None
        if sheet is not None and depth is not None:
            sheet = torch.cat([to_uint8(shown_depth(depth, (sheet.shape[1], sheet.shape[2]))), sheet], dim=1)
        return [_finish(video, record, result, report, sheet, request)]


def waiting_candidates(todo: Sequence[PlannedVideo], plan: Plan) -> dict[Candidates, set[Path]]:
    """The candidates of which none is chosen yet, with the files that they wait for."""
    waiting: dict[Candidates, set[Path]] = {}
    for video in plan.videos if plan.skip_finished else ():
        others = video.candidates
        if others and others.best and all(record_path(entry).is_file() for entry in others.entries):
            waiting[others] = set()  # the last run ended between making the last one and choosing
    for video in todo:
        if video.candidates:
            waiting.setdefault(video.candidates, set()).add(video.output)
    return waiting


def select(waiting: dict[Candidates, set[Path]], finished: PlannedVideo | None = None) -> Iterator[SelectedVideo]:
    """Choose among the candidates that wait for nothing, now that `made` is there."""
    if finished and finished.candidates:
        waiting[finished.candidates].discard(finished.output)
    for candidates in [candidates for candidates, files in waiting.items() if not files]:
        del waiting[candidates]
        lines = candidates.select()
        if lines:
            yield SelectedVideo(candidates.output, tuple(lines))


def also_kept(parts: Iterator[Tensor], kept: list[Tensor]) -> Iterator[Tensor]:
    """The parts (3, k, H, W), of which `kept` gets the bytes (k, H, W, 3)."""
    for part in parts:
        kept.append(to_uint8(part))
        yield part


def _sheet_of(result: GenerationResult, number: int) -> Tensor:
    """The frames (3, t, H, W) of a contact sheet: those of a video, and above each the depth that it follows."""
    clip = result.video[number]
    depth = result.depth[number] if result.depth else None
    return clip if depth is None else torch.cat([shown_depth(depth, (clip.shape[2], clip.shape[3])), clip], dim=2)


def shown_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth (t, h, w) in [-1, 1] as a grey video (3, t, H, W), near is white."""
    return F.interpolate(depth[:, None], size, mode="bilinear").transpose(0, 1).expand(3, -1, -1, -1)


def _up_to(parts: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """The first `count` frames of a video in parts (3, k, H, W), all of which are taken."""
    for part in parts:
        if count > 0:
            yield part[:, :count]
        count -= part.shape[1]


def _finish(
    video: PlannedVideo,
    record: Path,
    result: GenerationResult,
    report: QualityReport,
    sheet_of: Tensor | None,
    request: GenerationRequest,
) -> FinishedVideo:
    """Write the contact sheet of `sheet_of`, if it is given, with the mask of the request over its first frame."""
    sheet = None
    if sheet_of is not None:
        sheet, mask, size = sheet_path(record), None, video.request.size.inner
        if request.keep_mask:
            mask = fit_masks(request.keep_mask[:1], size.height, size.width, video.request.settings.fit)[0]
        write_contact_sheet(sheet_of, sheet, mask=mask)
    candidates = video.candidates if video.candidates and video.candidates.best else None
    return FinishedVideo(video.output, record, sheet, sum(result.seconds.values()), report, candidates)

"""Jobs at work: videos are made, measured and written; of several, the best is told or kept."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from lvdm.checkpoint import checkpoint_hash
from lvdm.config import load_model_config
from lvdm.data.atomic import together
from lvdm.data.contact_sheet import write_contact_sheet
from lvdm.data.geometry import PaddedSize
from lvdm.data.images import load_image
from lvdm.data.masks import to_masks
from lvdm.data.ownership import record_path, sheet_path
from lvdm.data.prompts import Request
from lvdm.data.video_writer import WrittenVideo, to_uint8, write_video
from lvdm.generation import GenerationSettings
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.weak_guidance import check_blocks
from lvdm.provenance import image_hash, read_record, save_record, save_video
from lvdm.quality.generated import StreamAssessment, assess_videos
from lvdm.quality.report import QualityReport
from lvdm.results import GenerationRequest, GenerationResult
from lvdm.runtime import ProgressCallback
from scripts.commands.contests import Contest
from scripts.commands.jobs import Job, Video, check_places, load_if_given
from scripts.commands.memory import announce_memory
from scripts.commands.options import GenerationOptions
from scripts.commands.progress import progress_bar

logger = logging.getLogger(__name__)


def run(job: Job, batch_size: int = 1) -> None:
    """Load the model and make the videos, `batch_size` at a time.

    In batches of one, each can be made again alone to the byte; in larger ones, up to rounding.
    """
    options = job.options
    todo = [video for video in job.videos if not (job.skip_finished and _is_finished(video, job))]
    if len(todo) < len(job.videos):
        logger.warning("%d of %d videos are finished already and skipped", len(job.videos) - len(todo), len(job.videos))
    waiting = _waiting(todo, job)
    check_places([*todo, *(video for video in job.videos if video.contest in waiting)], options)
    _settle(waiting)
    if not todo:
        return
    first = todo[0]
    for weak in {video.settings.weak for video in todo} - {None}:
        check_blocks(weak, load_model_config(job.files.config).params.unet_config.params)
    announce_memory(job.files, options, first.settings, load_if_given(first.asked.image), min(batch_size, len(todo)))
    pipeline = DynamiCrafterPipeline.from_pretrained(
        job.files.config,
        job.files.checkpoint,
        options.device,
        options.dtype,
        options.low_memory,
        options.towers,
        options.schedule,
    )
    for path, scale in options.loras():
        pipeline.load_lora(path, scale)
    done = 0
    for batch in _batches(todo, batch_size):
        requests = [_request(video.asked, options, video.index) for video in batch]
        for group in _same_size(pipeline, requests, batch[0].settings):
            title = batch[group[0]].output.name
            title = title if len(todo) == 1 else f"{done + 1}/{len(todo)} {title}"
            chosen = [batch[i] for i in group]
            with progress_bar(title) as show:
                make = _make_streamed if _is_streamed(chosen, pipeline) else _make
                make(pipeline, [requests[i] for i in group], chosen, job, waiting, show)
            done += len(group)


def _batches(videos: Sequence[Video], batch_size: int) -> Iterator[list[Video]]:
    """Runs of at most `batch_size` videos under the same settings."""
    for _, same in itertools.groupby(videos, key=lambda video: video.settings):
        rest = list(same)
        for begin in range(0, len(rest), batch_size):
            yield rest[begin : begin + batch_size]


def _same_size(
    pipeline: DynamiCrafterPipeline, requests: Sequence[GenerationRequest], settings: GenerationSettings
) -> list[list[int]]:
    """The numbers of the requests, those whose videos have the same size together."""
    groups: dict[PaddedSize, list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault(pipeline.size_for(request.image, settings), []).append(number)
    return list(groups.values())


def _waiting(todo: Sequence[Video], job: Job) -> dict[Contest, set[Path]]:
    """The contests that are not decided yet, with the files that they wait for."""
    waiting: dict[Contest, set[Path]] = {}
    for video in job.videos if job.skip_finished else ():
        rivals = video.contest
        if rivals and rivals.best and all(record_path(entry).is_file() for entry in rivals.entries):
            waiting[rivals] = set()  # the last run ended between making the last one and choosing
    for video in todo:
        if video.contest:
            waiting.setdefault(video.contest, set()).add(video.output)
    return waiting


def _settle(waiting: dict[Contest, set[Path]], made: Video | None = None) -> None:
    """Decide the contests that wait for nothing, now that `made` is there."""
    if made and made.contest:
        waiting[made.contest].discard(made.output)
    for rivals in [rivals for rivals, files in waiting.items() if not files]:
        del waiting[rivals]
        _print(rivals.settle())


def _print(lines: Sequence[str]) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in lines:
        console.print(line)


def _is_streamed(videos: Sequence[Video], pipeline: DynamiCrafterPipeline) -> bool:
    """Whether frames go to the file as they are decoded: those of one video that is longer than the trained ones."""
    return len(videos) == 1 and videos[0].settings.num_frames > pipeline.card.num_frames


def _make(
    pipeline: DynamiCrafterPipeline,
    requests: Sequence[GenerationRequest],
    videos: Sequence[Video],
    job: Job,
    waiting: dict[Contest, set[Path]],
    show: ProgressCallback,
) -> None:
    """Make the videos of one batch, write them, and decide the contests that they end."""
    result = pipeline.generate(requests, videos[0].settings, on_progress=show)
    reports = assess_videos(pipeline, result, job.playback_fps)
    for number, (video, report) in enumerate(zip(videos, reports, strict=True)):
        output = video.output
        record = save_video(pipeline, result, number, output, job.playback_fps, job.drop_last_frame, report)
        _finish(video, record, result, report, result.video[number] if job.options.contact_sheet else None)
        _settle(waiting, video)


def _make_streamed(
    pipeline: DynamiCrafterPipeline,
    requests: Sequence[GenerationRequest],
    videos: Sequence[Video],
    job: Job,
    waiting: dict[Contest, set[Path]],
    show: ProgressCallback,
) -> None:
    """The same for a single long video, of which a few frames are held at a time."""
    (request,), (video,) = requests, videos
    num_frames, shown = video.settings.num_frames, list[Tensor]()
    assessment = StreamAssessment(pipeline, request, num_frames, job.playback_fps)
    written = list[WrittenVideo]()

    def write(parts: Iterator[Tensor]) -> None:
        seen = assessment.watch(parts)
        if job.options.contact_sheet:
            seen = _also_kept(seen, shown)
        kept = _up_to(seen, num_frames - job.drop_last_frame)
        written.append(write_video(kept, video.output, job.playback_fps, files=files))

    with together() as files:
        result = pipeline.generate(requests, video.settings, on_progress=show, frames_to=write)
        report = assessment.report(result.first_frame_psnr[0])
        record = save_record(pipeline, result, 0, written[0], job.playback_fps, job.drop_last_frame, report, files)
    _finish(video, record, result, report, torch.cat(shown) if shown else None)
    _settle(waiting, video)


def _also_kept(parts: Iterator[Tensor], kept: list[Tensor]) -> Iterator[Tensor]:
    """The parts (3, k, H, W), of which `kept` gets the bytes (k, H, W, 3)."""
    for part in parts:
        kept.append(to_uint8(part))
        yield part


def _up_to(parts: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    """The first `count` frames of a video in parts (3, k, H, W), all of which are taken."""
    for part in parts:
        if count > 0:
            yield part[:, :count]
        count -= part.shape[1]


def _finish(
    video: Video, record: Path, result: GenerationResult, report: QualityReport, sheet_of: Tensor | None
) -> None:
    """Write the contact sheet of `sheet_of`, if it is given, and tell of the video."""
    output, written = video.output, [video.output, record]
    if sheet_of is not None:
        sheet = sheet_path(record)
        write_contact_sheet(sheet_of, sheet)
        written.append(sheet)
    told = f"({sum(result.seconds.values()):.1f} s, {report.line()})"
    if video.contest and video.contest.best:  # its files will not stay where they are
        _print([f"{video.contest.place(output)}  {told}"])
    else:
        _print([f"{output}  {told}", *map(str, written[1:])])


def _request(asked: Request, options: GenerationOptions, index: int) -> GenerationRequest:
    return GenerationRequest(
        load_if_given(asked.image),
        asked.prompt,
        options.negative_prompt if asked.negative_prompt is None else asked.negative_prompt,
        load_if_given(asked.end_image),
        options.seed if asked.seed is None else asked.seed,
        index,
        asked.image,
        asked.end_image,
        () if options.keep_mask is None else to_masks(options.keep_mask),
        options.keep_mask,
        options.prompts_at(),
        tuple((frame, load_image(path)) for frame, path in options.keyframes()),
        options.keyframes(),
    )


def _is_finished(video: Video, job: Job) -> bool:
    """Whether the video lies there as it is asked for, or has lost to one that does."""
    rivals = video.contest
    if rivals and rivals.best and _lies_there(video, rivals.output, rivals.indices, len(rivals.entries), job):
        return True
    return _lies_there(video, video.output, (video.index,), None, job)


def _lies_there(video: Video, output: Path, indices: Sequence[int], best_of: int | None, job: Job) -> bool:
    """Whether the video is `output`, with one of `indices`. A record is written last, and so tells of a whole file."""
    record, options = record_path(output), job.options
    first_file = output.with_name(re.sub(r"%\d*d", lambda counter: counter[0] % 0, output.name))
    if not (record.is_file() and first_file.exists()):
        return False
    try:
        made, asked = read_record(record), video.asked
    except ValueError as error:
        logger.warning("%s; the video is made again", error)
        return False
    seed = options.seed if asked.seed is None else asked.seed
    mask = None if options.keep_mask is None else options.keep_mask.resolve()
    negative = options.negative_prompt if asked.negative_prompt is None else asked.negative_prompt
    return (
        made.video == output.name
        and made.best_of == (best_of or made.best_of)
        and (made.prompt, made.negative_prompt, made.keep_mask) == (asked.prompt, negative, mask)
        and made.prompts_at == options.prompts_at()
        and made.index in indices
        and (made.seed, made.settings) == (seed, video.settings)
        and made.image_sha256 == (image_hash(asked.image) if asked.image else None)
        and made.checkpoint_sha256 == checkpoint_hash(job.files.checkpoint)
        and made.loras == tuple((path.resolve(), scale, checkpoint_hash(path)) for path, scale in options.loras())
    )

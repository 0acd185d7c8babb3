"""From a video file to a longer one: everything is checked first, only then the weights are loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lvdm.content_hash import content_hash
from lvdm.declaration.parameter import parameters_of
from lvdm.declaration.parameters import InputParameters, ModelParameters, SeedParameters
from lvdm.declaration.run_parameters import ExtendParameters, MachineParameters, OutputParameters, RunParameters
from lvdm.jobs.extension_record import ExtensionRecord, read_extension_record
from lvdm.jobs.fitting import describe_choice, fit_memory
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.outputs import check_suffix, suffix_of
from lvdm.jobs.record_parts import (
    describe_model,
    describe_runtime,
)
from lvdm.jobs.replay import changed_values, check_files, same_files
from lvdm.jobs.resolved import ResolvedRequest
from lvdm.media.atomic import together, write_json
from lvdm.media.ownership import EXTENSION_FORMAT, check_video_replaceable, record_path, record_stem, sheet_path
from lvdm.media.video_backends import Backend, check_reader, open_video
from lvdm.media.video_writer import check_output
from lvdm.pipeline.extension_request import Drift, Extension
from lvdm.plugins.scaling import plan_scale
from lvdm.regular_files import real_path, unreadable_reason
from lvdm.request.digest import FileSpec, InputFile, digest_of, files_of_methods
from lvdm.request.effects import effective, say_idle
from lvdm.request.effort import bundle_values, check_bundles, say_unused_bundle
from lvdm.request.keywords import ExtensionKeywords
from lvdm.request.layers import Values, check_mode, checked
from lvdm.request.settings import GenerationSettings, choose_fs
from lvdm.sizes import choose_size
from lvdm.versions import versions

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.jobs.run import Load, ProgressOf
    from lvdm.pipeline import DynamiCrafterPipeline

logger = logging.getLogger(__name__)

HELD_BYTES = 3 * 4 * 2
"""Of a pixel of all frames of the source: as float32, and again while its colours are measured."""
NOT_OF_SEGMENTS = ("num_frames", "color_lock")
"""Parameters that are about the whole video: new frames, and the colours of all of them."""


@dataclass(frozen=True, eq=False)
class ExtensionPlan:
    """One video to go on with.

    source        the video, which has `frames` frames
    request       its first segment, whose files are the source and those of methods
    playback_fps  frames per second of the longer video
    reader        what decodes the source
    threads       of a replay: sums are rounded in an order that depends on it; None: as it is
    changes       of a replay: what is different from its record
    """

    source: Path
    frames: int
    request: ResolvedRequest
    extension: Extension
    model: ChosenModel
    output: Path
    written: OutputParameters
    playback_fps: float
    reader: Backend = "pyav"
    threads: int | None = None
    changes: tuple[str, ...] = ()

    @property
    def segments(self) -> int:
        """How many are made one after the other."""
        return -(-self.extension.num_frames // (self.request.settings.num_frames - self.extension.overlap))

    @property
    def digest(self) -> str:
        """The same for the same longer video; see `lvdm.request.digest`."""
        file = FileSpec(self.output.suffix.lower(), self.playback_fps, self.frames + self.extension.num_frames)
        return digest_of({**self.request.facts(file), "extension": asdict(self.extension), "reader": self.reader})

    @property
    def held(self) -> int:
        """Bytes of the source, which lies in memory while segments are made."""
        return HELD_BYTES * self.frames * self.request.size.inner.height * self.request.size.inner.width


@dataclass(frozen=True)
class ExtendedVideo:
    """A video that lies at its place, how many frames it had and has, and the drift of each segment."""

    output: Path
    record: Path
    before: int
    after: int
    drifts: tuple[Drift, ...]


def plan_extension(video: Path | None = None, **keywords: Unpack[ExtensionKeywords]) -> ExtensionPlan:
    """The plan of `video` with new frames after its own, or of one made again (`replay`), or so with another `video`.

    given: parameters of `lvdm.request` that `extend` reads, by name. Raises `ValueError`.
    """
    typed = checked({"video": video, **keywords})
    check_mode(typed, "extend")
    run = RunParameters(**{name: typed.pop(name) for name in parameters_of(RunParameters) if name in typed})
    check_bundles(run)
    record = None if run.replay is None else read_extension_record(run.replay)
    if video is None and record is None:
        raise ValueError("give a video to go on with, or --replay and the record of one")
    base = Values() if record is None else record.located_values()
    values = base.under(typed, "typed")
    source: Path = values.values["video"]
    if not values.make(InputParameters).prompt.strip():
        raise ValueError('the prompt is empty; say how the video goes on, e.g. --prompt "the ball rolls on"')
    model = choose_model(
        values.make(ModelParameters), values.make(MachineParameters), values.values.get("second_stage_unet")
    )
    bundle = checked(bundle_values(run, "extend", typed, model.card))
    values = base.under(bundle, "preset").under(typed, "typed")
    reader, written = values.make(ExtendParameters).reader, values.make(OutputParameters)
    check_reader(reader)
    if record is not None:
        check_files(record.path, record.files, values, model)
    reason = unreadable_reason(source)
    if reason is not None:
        raise ValueError(f"{source}: {reason}")
    with open_video(source, backend=reader) as opened:
        frames, shape, fps = opened.num_frames, (opened.height, opened.width), written.playback_fps or opened.fps
    request = _segment(values, model, typed, source, shape)
    say_unused_bundle(run, bundle, typed, [request.settings], model.card)
    model.check()
    extension = _extension(values, request.settings)
    extension.check_source(frames)
    output = written.output or _usual_output(source, request.seed, record, written)
    if real_path(output) == real_path(source):
        raise ValueError(f"--output {output} would replace the video; choose another name")
    check_suffix(written)
    check_output(output)
    check_video_replaceable(output, written.overwrite, written.contact_sheet)
    plan = _fitted(ExtensionPlan(source, frames, request, extension, model, output, written, fps, reader))
    if record is None:
        return plan
    resolved = plan.request.settings.as_dict() | asdict(extension) | {"playback_fps": fps}
    same = same_files(record.files, plan.request.all_files)
    changes = changed_values(record.path, base, values, resolved, same)
    return replace(plan, threads=record.threads, changes=changes)


def _fitted(plan: ExtensionPlan) -> ExtensionPlan:
    """The plan as it fits into the memory that its model's parameters allow; says what it took."""
    before = plan.model, plan.request
    model, request = after = fit_memory(*before, held=plan.held)
    line = describe_choice(before, after)
    if line is not None:
        logger.info("%s", line)
    return replace(plan, model=model, request=request)


def _segment(
    values: Values, model: ChosenModel, typed: Mapping[str, Any], source: Path, shape: tuple[int, int]
) -> ResolvedRequest:
    """The first segment of a video of `shape`, height and width; says which of those `typed` have no effect."""
    inputs: InputParameters = values.make(InputParameters)
    chosen = {name: value for name, value in values.of(GenerationSettings).items() if name not in NOT_OF_SEGMENTS}
    chosen.setdefault("truncated_start", 1.0)  # whatever `motion` stands for: known frames are shown at the usual steps
    settings = GenerationSettings.from_card(model.card, mode="animate", **chosen)
    trained = model.card.height, model.card.width
    size = choose_size(settings.height, settings.width, shape, trained, model.outline.size_multiple)
    settings, idle = effective(settings, model.circumstances(size, [shape], inputs))
    if "negative_prompt" in idle:
        inputs = replace(inputs, negative_prompt="")
    scale = plan_scale(settings.scale, (size.height, size.width), trained)
    say_idle([{name: because for name, because in idle.items() if name in typed}], typed)
    files = (InputFile("video", content_hash(source), source), *files_of_methods(settings))
    return ResolvedRequest(
        *(inputs, settings, size, choose_fs(model.card, settings), "off" if scale is None else scale.text),
        *(values.make(SeedParameters).seed, 0, files, model.identity(), idle),
    )


def _extension(values: Values, settings: GenerationSettings) -> Extension:
    overlap = values.make(ExtendParameters).overlap
    overlap = max(1, settings.num_frames // 4) if overlap is None else overlap
    new = values.values.get("num_frames", max(1, settings.num_frames - overlap))
    extension = Extension(new, overlap, values.values.get("color_lock", Extension.color_lock))
    extension.check(settings)
    return extension


def _usual_output(source: Path, seed: int, record: ExtensionRecord | None, written: OutputParameters) -> Path:
    if record is None:
        return Path("outputs") / f"{source.stem}_extended_{seed}{suffix_of(written)}"
    ending = suffix_of(written) if written.format else Path(record.video).suffix
    return record.path.with_name(f"{record_stem(Path(record.video))}_replay{ending}")


def run_extension(
    plan: ExtensionPlan, progress: ProgressOf | None = None, load: Load = ChosenModel.load
) -> ExtendedVideo:
    """Write the longer video and its record, segment by segment; `load` makes the pipeline. Raises `ValueError`.

    While a replay computes, torch's number of threads is that of its record, for all that computes in the process.
    """
    # what computes is imported here: plans and refusals need no torch
    import torch

    from lvdm.device import computing_threads, peak_memory
    from lvdm.jobs.run import also_kept
    from lvdm.media.contact_sheet import write_contact_sheet
    from lvdm.media.video_writer import write_video
    from lvdm.pipeline.extension import extend_video, segment_settings
    from lvdm.plugins.perturbed_guidance import check_blocks

    request, size = plan.request, plan.request.size.inner
    check_blocks(request.settings.perturbed_guidance, plan.model.config.unet_config.params)
    settings = segment_settings(request.settings, size.height, size.width)
    known = _read_source(plan)
    pipe = load(plan.model)
    drifts: list[Drift] = []
    sheet_frames: list[Tensor] = []
    with (progress or (lambda title: nullcontext()))(plan.output.name) as show, computing_threads(plan.threads):

        def parts() -> Iterator[Tensor]:
            yield from known.split(settings.num_frames, dim=1)
            prompt, negative = request.inputs.prompt, request.inputs.negative_prompt
            for segment in extend_video(pipe, known, prompt, plan.extension, settings, request.seed, negative, show):
                drifts.append(segment.drift)
                yield segment.frames

        shown = also_kept(parts(), sheet_frames) if plan.written.contact_sheet else parts()
        record = record_path(plan.output)
        begun = time.perf_counter()
        with together() as files:
            written = write_video(shown, plan.output, plan.playback_fps, files=files)
            about = _describe(plan, pipe, settings, drifts)
            about["output"] |= {"num_frames": written.num_frames, "bytes": written.bytes}
            seconds = {"segments": round(time.perf_counter() - begun, 3)}
            about["measured"] = {"seconds": seconds, "peak_memory_bytes": peak_memory(pipe.runtime.device)}
            write_json(record, about, files)
    if sheet_frames:
        write_contact_sheet(torch.cat(sheet_frames), sheet_path(record))
    return ExtendedVideo(plan.output, record, plan.frames, written.num_frames, tuple(drifts))


def _read_source(plan: ExtensionPlan) -> Tensor:
    """The source as a video (3, t, H, W) in [-1, 1] of the size that is made."""
    from lvdm.pipeline.extension import fitted_video

    size = plan.request.size.inner
    with open_video(plan.source, backend=plan.reader, conversion="accurate") as reader:
        frames = reader.read(range(plan.frames))
    return fitted_video(frames, size.height, size.width, plan.request.settings.fit)


def _describe(
    plan: ExtensionPlan, pipe: DynamiCrafterPipeline, settings: GenerationSettings, drifts: Sequence[Drift]
) -> dict[str, Any]:
    """What `read_extension_record` reads, and what was measured."""
    request, source, size = plan.request, plan.request.files[0], plan.request.size
    return {
        "format": EXTENSION_FORMAT,
        "digest": plan.digest,
        "video": plan.output.name,
        "source": {"video": str(plan.source.resolve()), "sha256": source.sha256, "frames": plan.frames},
        "prompt": request.inputs.prompt,
        "negative_prompt": request.inputs.negative_prompt,
        "seed": request.seed,
        "extension": asdict(plan.extension),
        "settings": settings.as_dict(),
        "files": {f"{file.parameter}_sha256": file.sha256 for file in request.files[1:]},
        "playback_fps": plan.playback_fps,
        "model": describe_model(pipe),
        "runtime": describe_runtime(pipe) | {"reader": plan.reader, "batch": 1},
        "versions": versions(),
        "output": {
            "height": size.inner.height,
            "width": size.inner.width,
            "network_height": size.height,
            "network_width": size.width,
            "segments": plan.segments,
            "fs": request.fs,
            "scale": request.scale,
        },
        "drift": [asdict(drift) for drift in drifts],
    }

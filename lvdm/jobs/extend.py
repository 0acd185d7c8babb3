"""From a video file to a longer one: everything is checked first, only then the weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lvdm.config import parse_dataclass
from lvdm.content_hash import content_hash
from lvdm.data.clip_size import ClipSize
from lvdm.data.video_header import probe_size
from lvdm.declaration.parameter import current_names, parameters_of
from lvdm.declaration.parameters import InputParameters, ModelParameters, SeedParameters
from lvdm.declaration.run_parameters import ExtendParameters, MachineParameters, OutputParameters, RunParameters
from lvdm.errors import counted
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.outputs import check_suffix, suffix_of
from lvdm.jobs.record_parts import (
    describe_model,
    describe_runtime,
    file_of,
    files_of_model,
    hashed_files,
    located,
    of_type,
    part,
    present_keys,
    read_as,
    require,
    threads_of,
    values_of_parts,
)
from lvdm.jobs.replay import changed_values, check_files, same_files
from lvdm.media.atomic import together, write_json
from lvdm.media.ownership import EXTENSION_FORMAT, check_video_replaceable, record_path, record_stem, sheet_path
from lvdm.media.video_backends import Backend, check_reader, open_video
from lvdm.media.video_writer import check_output
from lvdm.pipeline.extension_request import Drift, Extension
from lvdm.plugins.registry import method_files
from lvdm.plugins.scaling import plan_scale
from lvdm.regular_files import real_path, unreadable_reason
from lvdm.request.digest import InputFile, files_of_methods
from lvdm.request.effects import Circumstances, effective
from lvdm.request.effort import bundle_values, check_bundles
from lvdm.request.keywords import ExtensionKeywords
from lvdm.request.layers import DERIVED, Values, check_mode, checked, shown_name
from lvdm.request.settings import GenerationSettings
from lvdm.sizes import choose_size

if TYPE_CHECKING:
    from lvdm.jobs.run import Load, ProgressOf
    from lvdm.pipeline import DynamiCrafterPipeline

logger = logging.getLogger(__name__)

NOT_OF_SEGMENTS = ("num_frames", "color_lock")
"""Parameters that are about the whole video: new frames, and the colours of all of them."""


@dataclass(frozen=True, eq=False)
class ExtensionPlan:
    """One video to go on with.

    settings  of its segments
    reader    what decodes the source
    threads   of a replay: sums are rounded in an order that depends on it; None: as it is
    changes   of a replay: what is different from its record
    """

    source: Path
    inputs: InputParameters
    seed: int
    extension: Extension
    settings: GenerationSettings
    model: ChosenModel
    output: Path
    written: OutputParameters
    reader: Backend = "pyav"
    threads: int | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExtendedVideo:
    """A video that lies at its place, how many frames it had and has, and the drift of each segment."""

    output: Path
    record: Path
    before: int
    after: int
    drifts: tuple[Drift, ...]


@dataclass(frozen=True)
class ExtensionRecord:
    """What the record of an extended video says: parameters, and files with their hashes."""

    path: Path
    video: str
    values: Values
    threads: int
    files: Sequence[InputFile]

    def located_values(self) -> Values:
        """`values` with the video where it lies now: it may have been moved with the record."""
        there = {"video": located(self.path, self.values.values["video"])}
        return replace(self.values, values={**self.values.values, **there})


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
    inputs: InputParameters = values.make(InputParameters)
    if not inputs.prompt.strip():
        raise ValueError('the prompt is empty; say how the video goes on, e.g. --prompt "the ball rolls on"')
    model = choose_model(
        values.make(ModelParameters), values.make(MachineParameters), values.values.get("second_stage_unet")
    )
    values = base.under(checked(bundle_values(run, "extend", typed, model.card)), "preset").under(typed, "typed")
    reader = values.make(ExtendParameters).reader
    check_reader(reader)
    if record is not None:
        check_files(record.path, record.files, values, model)
    settings, inputs = _segments(values, inputs, model, typed, _size_of(source, reader))
    model.check()
    extension = _extension(values, settings)
    written: OutputParameters = values.make(OutputParameters)
    seed = values.make(SeedParameters).seed
    output = written.output or _usual_output(source, seed, record, written)
    if real_path(output) == real_path(source):
        raise ValueError(f"--output {output} would replace the video; choose another name")
    check_suffix(written)
    reason = unreadable_reason(source)
    if reason is not None:
        raise ValueError(f"{source}: {reason}")
    check_output(output)
    check_video_replaceable(output, written.overwrite, written.contact_sheet)
    plan = ExtensionPlan(source, inputs, seed, extension, settings, model, output, written, reader)
    if record is None:
        return plan
    resolved = settings.as_dict() | asdict(extension)
    if written.playback_fps is None:
        with open_video(source, backend=reader) as opened:
            resolved["playback_fps"] = opened.fps
    shown = InputFile("video", content_hash(source), source)
    same = same_files(record.files, (shown, *model.identity().files(), *files_of_methods(settings)))
    changes = changed_values(record.path, base, values, resolved, same)
    return replace(plan, threads=record.threads, changes=changes)


def _segments(
    values: Values, inputs: InputParameters, model: ChosenModel, typed: Mapping[str, Any], video: ClipSize | None
) -> tuple[GenerationSettings, InputParameters]:
    """The settings of segments, and the inputs; says which of those `typed` have no effect.

    video: the size of the one that goes on; None where there is none, which is said later
    """
    chosen = {name: value for name, value in values.of(GenerationSettings).items() if name not in NOT_OF_SEGMENTS}
    chosen.setdefault("truncated_start", 1.0)  # whatever `motion` stands for: known frames are shown at the usual steps
    settings = GenerationSettings.from_card(model.card, mode="animate", **chosen)
    trained = model.card.height, model.card.width
    shape = trained if video is None else (video.height, video.width)
    size = choose_size(settings.height, settings.width, shape, trained, model.outline.size_multiple)
    same_shape = shape[0] * size.inner.width == shape[1] * size.inner.height
    settings, idle = effective(settings, Circumstances(model.card.num_frames, inputs.prompt, same_shape))
    if settings.scale not in ("auto", "off") and plan_scale(settings.scale, (size.height, size.width), trained) is None:
        idle["scale"] = "the video is not larger than those of the training"
    if settings.num_branches == 1 and inputs.negative_prompt:
        inputs = InputParameters(**{**values.of(InputParameters), "negative_prompt": ""})
        idle["negative_prompt"] = "there is no guidance at guidance_scale 1"
    for name in (name for name in typed if name in idle):
        logger.warning("%s has no effect: %s", shown_name(name), idle[name])
    return settings, inputs


def _size_of(source: Path, reader: Backend) -> ClipSize | None:
    """The size of the video; None where there is no file. Raises `VideoError` for one that cannot be read."""
    if not source.is_file():
        return None
    found = probe_size(source)
    if found is None:  # a reason is not given, but by opening it
        with open_video(source, backend=reader) as video:
            return ClipSize(video.num_frames, video.height, video.width)
    return found


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


def read_extension_record(path: Path) -> ExtensionRecord:
    """Read the record of an extended video. Raises `ValueError` for a file that is not one."""
    refusal = "{path} is not the record of an extended video ({reason}); give the .json beside one, of no older version"
    return read_as(path, [EXTENSION_FORMAT], _parse, refusal)


def _parse(path: Path, record: Mapping[str, Any]) -> ExtensionRecord:
    origin, model, runtime = part(record, "source"), present_keys(part(record, "model")), part(record, "runtime")
    extension = parse_dataclass(Extension, part(record, "extension"), "extension")
    settings = GenerationSettings(**current_names(GenerationSettings, part(record, "settings")))
    values = settings.as_dict() | asdict(extension)
    for name in ("mode", "num_videos_per_prompt"):
        del values[name]
    values |= {name: record[name] for name in ("prompt", "negative_prompt", "seed")}
    values |= values_of_parts(model, runtime)
    values["playback_fps"] = record["playback_fps"]
    values["reader"] = runtime.get("reader")  # older ones were made with the default
    values["video"] = file_of(origin["video"], "source.video")
    require(values, "prompt", "seed", "config", "checkpoint")
    found = checked(values)
    layer = Values().under(found, "record", [name for name in DERIVED if name in found])
    hashes = part({"files": {}, **record}, "files")  # older ones have none
    places: dict[str, tuple[Any, Any]] = {"video": (origin["video"], of_type(origin["sha256"], str, "source.sha256"))}
    places |= {name: (getattr(settings, name), hashes.get(f"{name}_sha256")) for name in method_files()}
    files = [*files_of_model(model), *hashed_files(places)]
    return ExtensionRecord(path, str(record["video"]), layer, threads_of(runtime), files)


def run_extension(
    plan: ExtensionPlan, progress: ProgressOf | None = None, load: Load = ChosenModel.load
) -> ExtendedVideo:
    """Write the longer video and its record, segment by segment; `load` makes the pipeline. Raises `ValueError`.

    While a replay computes, torch's number of threads is that of its record, for all that computes in the process.
    """
    # what computes is imported here: plans and refusals need no torch
    import torch
    from PIL import Image
    from torch import Tensor

    from lvdm.device import computing_threads
    from lvdm.jobs.run import also_kept
    from lvdm.media.contact_sheet import write_contact_sheet
    from lvdm.media.video_writer import write_video
    from lvdm.pipeline.extension import extend_video, fitted_video, segment_settings
    from lvdm.plugins.perturbed_guidance import check_blocks

    check_blocks(plan.settings.perturbed_guidance, plan.model.config.unet_config.params)
    with open_video(plan.source, backend=plan.reader, conversion="accurate") as reader:
        frames, fps = reader.read(range(reader.num_frames)), plan.written.playback_fps or reader.fps
    if len(frames) < plan.extension.overlap:
        raise ValueError(
            f"the video has {counted(len(frames), 'frame')}, fewer than the overlap of {plan.extension.overlap}"
        )
    pipe = load(plan.model)
    size = pipe.size_for(Image.fromarray(frames[0].numpy()), plan.settings).inner
    settings = segment_settings(plan.settings, size.height, size.width)
    known = fitted_video(frames, size.height, size.width, settings.fit)
    drifts: list[Drift] = []
    sheet_frames: list[Tensor] = []
    with (progress or (lambda title: nullcontext()))(plan.output.name) as show, computing_threads(plan.threads):

        def parts() -> Iterator[Tensor]:
            yield known
            prompts = plan.inputs.negative_prompt, show
            for segment in extend_video(pipe, known, plan.inputs.prompt, plan.extension, settings, plan.seed, *prompts):
                drifts.append(segment.drift)
                yield segment.frames

        shown = also_kept(parts(), sheet_frames) if plan.written.contact_sheet else parts()
        record = record_path(plan.output)
        with together() as files:
            written = write_video(shown, plan.output, fps, files=files)
            about = _describe(plan, pipe, settings, len(frames), fps, drifts)
            about["output"] = {"num_frames": written.num_frames, "bytes": written.bytes}
            write_json(record, about, files)
    if sheet_frames:
        write_contact_sheet(torch.cat(sheet_frames), sheet_path(record))
    after = len(frames) + plan.extension.num_frames
    return ExtendedVideo(plan.output, record, len(frames), after, tuple(drifts))


def _describe(
    plan: ExtensionPlan,
    pipe: DynamiCrafterPipeline,
    settings: GenerationSettings,
    before: int,
    fps: float,
    drifts: Sequence[Drift],
) -> dict[str, Any]:
    """What `read_extension_record` reads, and what was measured. before: frames of the source."""
    return {
        "format": EXTENSION_FORMAT,
        "video": plan.output.name,
        "source": {"video": str(plan.source.resolve()), "sha256": content_hash(plan.source), "frames": before},
        "prompt": plan.inputs.prompt,
        "negative_prompt": plan.inputs.negative_prompt,
        "seed": plan.seed,
        "extension": asdict(plan.extension),
        "settings": settings.as_dict(),
        "files": {f"{file.parameter}_sha256": file.sha256 for file in files_of_methods(settings)},
        "playback_fps": fps,
        "model": describe_model(pipe),
        "runtime": describe_runtime(pipe) | {"reader": plan.reader},
        "drift": [asdict(drift) for drift in drifts],
    }

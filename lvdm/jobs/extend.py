"""From a video file to a longer one: everything is checked first, only then the weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from lvdm.checkpoint import checkpoint_hash
from lvdm.content_hash import content_hash
from lvdm.data.clip_size import ClipSize
from lvdm.data.video_header import probe_size
from lvdm.declaration.parameter import current_names, parameters_of
from lvdm.declaration.parameters import InputParameters, ModelParameters, SeedParameters
from lvdm.declaration.run_parameters import ExtendParameters, MachineParameters, OutputParameters, RunParameters
from lvdm.documents import read_json
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.outputs import suffix_of
from lvdm.jobs.record import present_keys
from lvdm.media.atomic import together, write_json
from lvdm.media.ownership import EXTENSION_FORMAT, check_video_replaceable, record_path, record_stem, sheet_path
from lvdm.media.video_backends import Backend, check_reader, open_video
from lvdm.media.video_writer import check_output
from lvdm.pipeline.extension_request import Drift, Extension
from lvdm.plugins.scaling import plan_scale
from lvdm.request.effects import Circumstances, effective
from lvdm.request.effort import effort_values
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
    source: Path
    values: Values
    threads: int
    hashes: Mapping[Path, str]

    def check_files(self, source: Path, values: Values) -> None:
        """Compare files with their hashes. Raises `ValueError` for another video; other weights are a warning."""
        for file, sha256 in self.hashes.items():
            if file == self.source:
                if source == file and (not file.is_file() or content_hash(file) != sha256):
                    raise ValueError(
                        f"{file} is no longer the video that {self.path} was made from; put the old one back"
                    )
                continue
            used = [path for path, _ in values.values.get("loras", ())] + [values.values.get("checkpoint")]
            if file in used and checkpoint_hash(file) != sha256:
                logger.warning("%s is not the file that %s was made with: the video will differ", file, self.path)


def plan_extension(video: Path | None = None, **keywords: Unpack[ExtensionKeywords]) -> ExtensionPlan:
    """The plan of `video` with new frames after its own, or of one made again (`replay`).

    given: parameters of `lvdm.request` that `extend` reads, by name. Raises `ValueError`.
    """
    typed = checked(keywords)
    check_mode(typed, "extend")
    run = RunParameters(**{name: typed.pop(name) for name in parameters_of(RunParameters) if name in typed})
    replay = run.replay
    if run.effort is not None and replay is not None:
        raise ValueError("a record has the values that --effort stands for; leave out --effort, or --replay")
    if (video is None) == (replay is None):
        raise ValueError("give a video to go on with, or --replay and the record of one; not both")
    record = None if replay is None else read_extension_record(replay)
    base = Values().under(effort_values(run.effort, "extend"), "preset") if record is None else record.values
    values = base.under(typed, "typed")
    source = video if record is None else record.source
    assert source is not None
    inputs: InputParameters = values.make(InputParameters)
    if not inputs.prompt.strip():
        raise ValueError('the prompt is empty; say how the video goes on, e.g. --prompt "the ball rolls on"')
    model = choose_model(
        values.make(ModelParameters), values.make(MachineParameters), values.values.get("second_stage_unet")
    )
    reader = values.make(ExtendParameters).reader
    check_reader(reader)
    if record is not None:
        record.check_files(source, values)
    settings, inputs = _segments(values, inputs, model, typed, probe_size(source) if source.is_file() else None)
    model.check()
    extension = _extension(values, settings)
    written: OutputParameters = values.make(OutputParameters)
    seed = values.make(SeedParameters).seed
    output = written.output or _usual_output(source, seed, record, written)
    if output.resolve() == source.resolve():
        raise ValueError(f"--output {output} would replace the video; choose another name")
    if written.output and written.format and not output.name.endswith(suffix_of(written)):
        raise ValueError(f"--output {output} is not a {written.format} file; leave out --format")
    if not source.is_file():
        raise ValueError(f"{source}: there is no such file")
    check_output(output)
    check_video_replaceable(output, written.overwrite, written.contact_sheet)
    threads = None if record is None else record.threads
    return ExtensionPlan(source, inputs, seed, extension, settings, model, output, written, reader, threads)


def _segments(
    values: Values, inputs: InputParameters, model: ChosenModel, typed: Mapping[str, Any], video: ClipSize | None
) -> tuple[GenerationSettings, InputParameters]:
    """The settings of segments, and the inputs; says which of those `typed` have no effect.

    video: the size of the one that goes on; None where it cannot be read, which is said when it is made.
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
    try:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != EXTENSION_FORMAT:
            raise ValueError("it does not say so in its `format`")
        return _parse(path, record)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} is not the record of an extended video ({reason}), or one from before they could be replayed"
        ) from error


def _parse(path: Path, record: Mapping[str, Any]) -> ExtensionRecord:
    origin, model, runtime = record["source"], present_keys(record["model"]), record["runtime"]
    extension = Extension(**record["extension"])
    settings = GenerationSettings(**current_names(GenerationSettings, record["settings"]))
    loras = [(Path(lora["file"]), float(lora["scale"])) for lora in model["loras"]]
    values = settings.as_dict() | asdict(extension)
    for name in ("mode", "num_videos_per_prompt"):
        del values[name]
    values |= {name: record[name] for name in ("prompt", "negative_prompt", "seed")}
    values |= {
        "config": model["config"],
        "checkpoint": model["checkpoint"],
        "encoders": model.get("encoders"),
        "loras": loras,
    }
    values |= {name: runtime[name] for name in ("device", "dtype", "low_memory", "schedule")}
    # older ones were made with the defaults
    values |= {name: runtime.get(name) for name in ("reader", "attention", "offload", "storage")}
    values["playback_fps"] = float(record["playback_fps"])
    threads = runtime["threads"]
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 4096:
        raise ValueError("threads should be a whole number from 1 to 4096")
    hashes = {
        Path(origin["video"]): str(origin["sha256"]),
        Path(model["checkpoint"]): str(model["checkpoint_sha256"]),
    }
    hashes |= {Path(lora["file"]): str(lora["sha256"]) for lora in model["loras"]}
    for name in ("prompt", "seed", "config", "checkpoint"):
        if values[name] is None:
            raise ValueError(f"it has no {name}")
    found = checked(values)
    layer = Values().under(found, "record", [name for name in DERIVED if name in found])
    return ExtensionRecord(path, str(record["video"]), Path(origin["video"]), layer, threads, hashes)


def run_extension(
    plan: ExtensionPlan, progress: ProgressOf | None = None, load: Load = ChosenModel.load
) -> ExtendedVideo:
    """Write the longer video and its record, segment by segment; `load` makes the pipeline. Raises `ValueError`.

    A replay sets torch's number of threads, which all threads of the process share.
    """
    # what computes is imported here: plans and refusals need no torch
    import torch
    from PIL import Image
    from torch import Tensor

    from lvdm.jobs.run import also_kept
    from lvdm.media.contact_sheet import write_contact_sheet
    from lvdm.media.video_writer import write_video
    from lvdm.pipeline.extension import extend_video, fitted_video, segment_settings
    from lvdm.plugins.perturbed_guidance import check_blocks

    check_blocks(plan.settings.perturbed_guidance, plan.model.config.unet_config.params)
    with open_video(plan.source, backend=plan.reader, conversion="accurate") as reader:
        frames, fps = reader.read(range(reader.num_frames)), plan.written.playback_fps or reader.fps
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    pipe = load(plan.model)
    size = pipe.size_for(Image.fromarray(frames[0].numpy()), plan.settings).inner
    settings = segment_settings(plan.settings, size.height, size.width)
    known = fitted_video(frames, size.height, size.width, settings.fit)
    drifts: list[Drift] = []
    sheet_frames: list[Tensor] = []
    with (progress or (lambda title: nullcontext()))(plan.output.name) as show:

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
    import torch

    runtime = pipe.runtime
    return {
        "format": EXTENSION_FORMAT,
        "video": plan.output.name,
        "source": {"video": str(plan.source.resolve()), "sha256": content_hash(plan.source), "frames": before},
        "prompt": plan.inputs.prompt,
        "negative_prompt": plan.inputs.negative_prompt,
        "seed": plan.seed,
        "extension": asdict(plan.extension),
        "settings": settings.as_dict(),
        "playback_fps": fps,
        "model": {
            "config": str(pipe.files.config.resolve()),
            "checkpoint": str(pipe.files.checkpoint.resolve()),
            "checkpoint_sha256": checkpoint_hash(pipe.files.checkpoint),
            "encoders": None if pipe.encoders is None else str(pipe.encoders.resolve()),
            "loras": [
                {"file": str(path.resolve()), "scale": scale, "sha256": checkpoint_hash(path)}
                for path, scale in pipe.loras
            ],
        },
        "runtime": {
            "device": str(runtime.device),
            "dtype": runtime.precision.name,
            "attention": runtime.attention,
            "offload": runtime.placement.offload,
            "storage": runtime.placement.storage,
            "low_memory": runtime.low_memory,
            "schedule": pipe.schedule,
            "reader": plan.reader,
            "threads": torch.get_num_threads(),
        },
        "drift": [asdict(drift) for drift in drifts],
    }

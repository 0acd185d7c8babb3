"""From a video file to a longer one: everything is checked first, only then the weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lvdm.checkpoint import checkpoint_hash
from lvdm.config import load_model_config
from lvdm.data.atomic import together, write_json
from lvdm.data.contact_sheet import write_contact_sheet
from lvdm.data.ownership import EXTENSION_FORMAT, record_path, record_stem, sheet_path
from lvdm.data.video_reader import VideoReader
from lvdm.data.video_writer import to_uint8, write_video
from lvdm.documents import read_json
from lvdm.generation import GenerationSettings
from lvdm.model_files import ModelFiles, find_model
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.extension import Drift, Extension, extend_video, fitted_video, segment_settings
from lvdm.plugins.weak_guidance import check_blocks
from lvdm.provenance import image_hash
from lvdm.request_checks import check_prompt
from scripts.commands.jobs import check_place, choose_model
from scripts.commands.options import GenerationOptions
from scripts.commands.progress import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtensionJob:
    """One video to go on with. playback_fps: that of the video itself if None; loras: files and scales."""

    source: Path
    prompt: str
    negative_prompt: str
    seed: int
    extension: Extension
    settings: GenerationSettings
    files: ModelFiles
    loras: tuple[tuple[Path, float], ...]
    output: Path
    playback_fps: float | None
    device: str
    dtype: str
    low_memory: bool
    schedule: str
    towers: Path | None
    contact_sheet: bool


def extension_job(source: Path, overlap: int | None, options: GenerationOptions) -> ExtensionJob:
    """`source` with new frames after its own, to `--output`."""
    prompt = (options.prompt or "").strip()
    if not prompt:
        raise ValueError('the prompt is empty; say how the video goes on, e.g. --prompt "the ball rolls on"')
    if options.prompts or options.prompt_at or options.keep_mask or options.num_videos != 1:
        raise ValueError("extend takes one video and one prompt; leave out --prompts, --keep-mask and others")
    check_prompt(prompt)
    check_prompt(options.negative_prompt, "negative prompt")
    files, card = choose_model(options)
    # the colours are those of the whole video, not of the first frame of a segment
    own: dict[str, Any] = {"num_frames": None, "color_lock": None}
    if options.start_time is None:
        own["start_time"] = 1.0  # whatever --motion stands for: known frames are shown at the usual steps
    settings = GenerationSettings.from_card(card, **options.settings() | own)
    color_lock = Extension.color_lock if options.color_lock is None else options.color_lock
    overlap = max(1, settings.num_frames // 4) if overlap is None else overlap
    new = max(1, settings.num_frames - overlap) if options.frames is None else options.frames
    extension = Extension(new, overlap, color_lock)
    extension.check(settings)
    output = options.output or Path("outputs") / f"{source.stem}_extended_{options.seed}.mp4"
    _check_output(output, source, options)
    return ExtensionJob(
        *(source, prompt, options.negative_prompt, options.seed, extension, settings, files, tuple(options.loras())),
        *(output, options.playback_fps, options.device, options.dtype, options.low_memory, options.schedule),
        *(options.towers, options.contact_sheet),
    )


def replayed_extension(path: Path, options: GenerationOptions) -> ExtensionJob:
    """The extension that the record `path` describes, under the same settings, seed, precision and device."""
    try:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != EXTENSION_FORMAT:
            raise ValueError("it does not say so in its `format`")
        given, model, runtime = (record[name] for name in ("source", "model", "runtime"))
        source, source_sha256 = Path(given["video"]), given["sha256"]
        extension, settings = Extension(**record["extension"]), GenerationSettings(**record["settings"])
        config, checkpoint = Path(model["config"]), Path(model["checkpoint"])
        loras = tuple((Path(lora["file"]), float(lora["scale"])) for lora in model["loras"])
        weights = {checkpoint: model["checkpoint_sha256"]}
        weights |= {Path(lora["file"]): lora["sha256"] for lora in model["loras"]}
        dtype, low_memory, schedule = runtime["dtype"], runtime["low_memory"], runtime["schedule"]
        name, fps = str(record["video"]), float(record["playback_fps"])
        told = str(record["prompt"]), str(record["negative_prompt"]), int(record["seed"])
        device, threads = runtime["device"], int(runtime["threads"])
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not the record of an extended video ({error}), or one from before they could be replayed"
        ) from error
    if not source.is_file() or image_hash(source) != source_sha256:
        raise ValueError(f"{source} is no longer the video that {path} was made from; put the old one back")
    for file, sha256 in weights.items():
        if checkpoint_hash(file) != sha256:
            logger.warning("%s is not the file that %s was made with: the video will differ", file, path)
    output = options.output or path.with_name(f"{record_stem(Path(name))}_replay{Path(name).suffix}")
    _check_output(output, source, options)
    torch.set_num_threads(threads)  # sums are rounded in an order that depends on it
    return ExtensionJob(
        *(source, *told, extension, settings, find_model(config, checkpoint), loras, output, fps),
        *(device if options.device == "auto" else options.device, dtype, low_memory, schedule, options.towers),
        options.contact_sheet,
    )


def run(job: ExtensionJob) -> None:
    """Write the longer video and its record, segment by segment, and print the drift of each."""
    output = job.output
    check_blocks(job.settings.weak, load_model_config(job.files.config).params.unet_config.params)
    with VideoReader(job.source) as reader:
        frames, fps = reader.read(range(reader.num_frames)), job.playback_fps or reader.fps
    pipe = DynamiCrafterPipeline.from_pretrained(
        *(job.files.config, job.files.checkpoint, job.device, job.dtype, job.low_memory, job.towers, job.schedule)
    )
    for path, scale in job.loras:
        pipe.load_lora(path, scale)
    size = pipe.size_for(Image.fromarray(frames[0].numpy()), job.settings).inner
    settings = segment_settings(job.settings, size.height, size.width)
    given = fitted_video(frames, size.height, size.width, settings.fit)
    drifts, shown = list[Drift](), list[Tensor]()

    def parts() -> Iterator[Tensor]:
        asked = pipe, given, job.prompt, job.extension, settings, job.seed, job.negative_prompt
        yield given
        for segment in extend_video(*asked, show):
            drifts.append(segment.drift)
            yield segment.frames

    record = record_path(output)
    with together() as files:
        with progress_bar(output.name) as show:
            written = write_video(_also_kept(parts(), shown if job.contact_sheet else None), output, fps, files=files)
        about = _record(job, pipe, settings, len(frames), fps, drifts)
        about["output"] = {"num_frames": written.num_frames, "bytes": written.bytes}
        write_json(record, about, files)
    if job.contact_sheet:
        write_contact_sheet(torch.cat(shown), sheet_path(record))
    _print_drift(drifts, output, len(frames), len(frames) + job.extension.num_frames)


def _check_output(output: Path, source: Path, options: GenerationOptions) -> None:
    if output.resolve() == source.resolve():
        raise ValueError(f"--output {output} would replace the video; choose another name")
    check_place(output, options)


def _also_kept(parts: Iterator[Tensor], kept: list[Tensor] | None) -> Iterator[Tensor]:
    """The parts (3, k, H, W); `kept` gets the bytes (k, H, W, 3)."""
    for part in parts:
        if kept is not None:
            kept.append(to_uint8(part))
        yield part


def _record(
    job: ExtensionJob,
    pipe: DynamiCrafterPipeline,
    settings: GenerationSettings,
    given: int,
    fps: float,
    drifts: Sequence[Drift],
) -> dict[str, Any]:
    """What `replayed_extension` reads, and what was measured. given: frames of the source."""
    runtime = pipe.runtime
    return {
        "format": EXTENSION_FORMAT,
        "video": job.output.name,
        "source": {"video": str(job.source.resolve()), "sha256": image_hash(job.source), "frames": given},
        "prompt": job.prompt,
        "negative_prompt": job.negative_prompt,
        "seed": job.seed,
        "extension": asdict(job.extension),
        "settings": settings.as_dict(),
        "playback_fps": fps,
        "model": {
            "config": str(pipe.files.config.resolve()),
            "checkpoint": str(pipe.files.checkpoint.resolve()),
            "checkpoint_sha256": checkpoint_hash(pipe.files.checkpoint),
            "loras": [
                {"file": str(path.resolve()), "scale": scale, "sha256": checkpoint_hash(path)}
                for path, scale in pipe.loras
            ],
        },
        "runtime": {
            "device": str(runtime.device),
            "dtype": runtime.precision.name,
            "low_memory": runtime.low_memory,
            "schedule": pipe.schedule,
            "threads": torch.get_num_threads(),
        },
        "drift": [asdict(drift) for drift in drifts],
    }


def _print_drift(drifts: list[Drift], output: Path, before: int, after: int) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("segment", "brightness", "contrast", "sharpness", "seam", title="drift from the given video")
    for number, drift in enumerate(drifts, 1):
        table.add_row(
            str(number),
            f"{drift.brightness:.1f} levels",
            f"{drift.contrast:.2f} x",
            f"{drift.sharpness:.2f} x",
            f"{drift.seam:.1f} x",
        )
    console.print(table)
    console.print(f"{output}  ({before} frames, now {after})", markup=False)

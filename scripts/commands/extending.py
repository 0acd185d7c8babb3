"""From a video file to a longer one: everything is checked first, only then the weights are loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from lvdm.checkpoint import checkpoint_hash
from lvdm.data.atomic import write_json
from lvdm.data.contact_sheet import write_contact_sheet
from lvdm.data.video_reader import VideoReader
from lvdm.data.video_writer import check_output, write_video
from lvdm.generation import GenerationSettings, check_prompt
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.extension import Drift, Extension, extend_video, fitted_video, segment_settings
from lvdm.provenance import image_hash, record_path
from scripts.commands.jobs import choose_model
from scripts.commands.options import GenerationOptions
from scripts.commands.progress import progress_bar

FORMAT = "dynamicrafter-extension/1"


def extend_file(source: Path, overlap: int | None, options: GenerationOptions) -> None:
    """Write `source` with new frames after its own to `--output`, and print the drift of each segment."""
    prompt = (options.prompt or "").strip()
    if not prompt:
        raise ValueError('the prompt is empty; say how the video goes on, e.g. --prompt "the ball rolls on"')
    if options.replay or options.prompts or options.prompt_at or options.keep_mask or options.num_videos != 1:
        raise ValueError("extend takes one video and one prompt; leave out --replay, --prompts, --keep-mask and others")
    check_prompt(prompt)
    check_prompt(options.negative_prompt, "negative prompt")
    files, card = choose_model(options)
    # the colours are those of the whole video, not of the first frame of a segment
    settings = GenerationSettings.from_card(card, **options.settings() | {"num_frames": None, "color_lock": None})
    color_lock = Extension.color_lock if options.color_lock is None else options.color_lock
    overlap = max(1, settings.num_frames // 4) if overlap is None else overlap
    new = max(1, settings.num_frames - overlap) if options.frames is None else options.frames
    extension = Extension(new, overlap, color_lock)
    extension.check(settings)
    output = options.output or Path("outputs") / f"{source.stem}_extended_{options.seed}.mp4"
    if output.resolve() == source.resolve():
        raise ValueError(f"--output {output} would replace the video; choose another name")
    check_output(output)
    with VideoReader(source) as reader:
        frames, fps = reader.read(range(reader.num_frames)), reader.fps
    pipe = DynamiCrafterPipeline.from_pretrained(
        files.config, files.checkpoint, options.device, options.dtype, options.low_memory, options.towers
    )
    for path, scale in options.loras():
        pipe.load_lora(path, scale)
    size = pipe.size_for(Image.fromarray(frames[0].numpy()), settings).inner
    settings = segment_settings(settings, size.height, size.width)
    given = fitted_video(frames, size.height, size.width, settings.fit)
    parts, drifts = [given], list[Drift]()
    with progress_bar(output.name) as show:
        for segment in extend_video(
            *(pipe, given, prompt, extension, settings, options.seed, options.negative_prompt, show)
        ):
            parts.append(segment.frames)
            drifts.append(segment.drift)
    video = torch.cat(parts, dim=1)
    write_video(video, output, options.playback_fps or fps)
    write_json(
        record_path(output),
        {
            "format": FORMAT,
            "video": output.name,
            "source": {"video": str(source.resolve()), "sha256": image_hash(source), "frames": len(frames)},
            "prompt": prompt,
            "negative_prompt": options.negative_prompt,
            "seed": options.seed,
            "extension": asdict(extension),
            "settings": settings.as_dict(),
            "model": {"checkpoint": str(files.checkpoint), "checkpoint_sha256": checkpoint_hash(files.checkpoint)},
            "drift": [asdict(drift) for drift in drifts],
        },
    )
    if options.contact_sheet:
        write_contact_sheet(video, output.with_name(f"{output.stem}_sheet.png"))
    _print_drift(drifts, output, len(frames), video.shape[1])


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

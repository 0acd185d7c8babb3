"""`dynamicrafter stats motion`: how much a model moves at each level, and the levels by which `--motion` can go."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lvdm.cli.progress import counting_bar, library_messages
from lvdm.errors import counted
from lvdm.progress import Progress

if TYPE_CHECKING:
    from lvdm.data.prompts import Request
    from lvdm.motion_levels import MotionLevel
    from lvdm.pipeline import DynamiCrafterPipeline


def motion_levels(
    requests: Annotated[Path, typer.Argument(help="Images and prompts: a folder, .csv or .jsonl as for animate.")],
    destination: Annotated[Path, typer.Argument(help="The .json file to write; given again, it goes on there.")],
    model: Annotated[str, typer.Option(help="A preset, folder, YAML or weight file.")] = "tiny",
    checkpoint: Annotated[Path | None, typer.Option(help="The weight file, if the model does not name it.")] = None,
    count: Annotated[int, typer.Option(help="How many of the requests.")] = 16,
    steps: Annotated[int | None, typer.Option(help="Sampling steps; left out, the model's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise, the same at every level.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Videos at a time.")] = 4,
    device: Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")] = "auto",
) -> None:
    """Measure motion by level, and print the levels that rise, for the `sampling:` block of the model's YAML."""
    from lvdm.data.prompts import read_requests
    from lvdm.media.atomic import write_json
    from lvdm.motion_levels import MIN_VIDEOS, candidate_levels, placed_levels, rising_levels
    from lvdm.pipeline import DynamiCrafterPipeline

    if destination.suffix != ".json":
        raise ValueError(f"{destination} should end in .json")
    if (steps is not None and steps < 1) or batch_size < 1 or count < 1:
        raise ValueError("--steps, --batch-size and --count: give at least 1")
    rows = read_requests(requests)[:count]
    if len(rows) < MIN_VIDEOS:
        raise ValueError(f"{requests} and --count {count} give {counted(len(rows), 'video')}; {MIN_VIDEOS} are needed")
    with library_messages():
        pipe = DynamiCrafterPipeline.from_pretrained(model, checkpoint, device)
    if pipe.card.fs_meaning == "none":
        raise ValueError(f"checkpoint {pipe.card.name} reads no frame rate, which the levels begin with")
    about = _about(pipe, rows, steps, seed)
    measured = _read_earlier(destination, about)
    levels = candidate_levels([pipe.card.fs_for_share(i / 4) for i in range(5)])
    with library_messages(), counting_bar() as show:
        for number, level in enumerate(levels):
            show(Progress("levels", number, len(levels)))
            if number == len(measured):
                measured.append({**dataclasses.asdict(level), **_measure(pipe, rows, level, steps, seed, batch_size)})
                write_json(destination, {**about, "levels": measured})
        show(Progress("levels", len(levels), len(levels)))
    numbers = rising_levels([level["motion"] for level in measured])
    rising = placed_levels([levels[i] for i in numbers], [fmean(measured[i]["motion"]) for i in numbers])
    write_json(destination, {**about, "levels": measured, "motion_levels": [dataclasses.asdict(one) for one in rising]})
    _report(levels, measured, numbers, rising)


def _about(pipe: DynamiCrafterPipeline, rows: list[Request], steps: int | None, seed: int) -> dict[str, Any]:
    """What the figures depend on."""
    from lvdm.checkpoint import checkpoint_hash
    from lvdm.content_hash import content_hash
    from lvdm.versions import versions

    return {
        "checkpoint_sha256": checkpoint_hash(pipe.files.checkpoint),
        "requests": [[one.name, one.prompt, content_hash(one.image) if one.image else None] for one in rows],
        "steps": steps or pipe.card.num_inference_steps,
        "seed": seed,
        "versions": versions(),
    }


def _read_earlier(path: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The levels that an earlier run has measured. Raises `ValueError` for one of something else."""
    if not path.exists():
        return []
    from lvdm.documents import read_json

    earlier = read_json(path)
    if not isinstance(earlier, dict) or not isinstance(earlier.get("levels"), list):
        raise ValueError(f"{path} is no file of motion levels; choose another name")
    other = [name for name in about if name != "versions" and earlier.get(name) != about[name]]
    if other:
        raise ValueError(f"{path} was measured with other {' and '.join(other)}; choose another file, or remove it")
    return list(earlier["levels"])


def _measure(
    pipe: DynamiCrafterPipeline,
    rows: list[Request],
    level: MotionLevel,
    steps: int | None,
    seed: int,
    batch_size: int,
) -> dict[str, list[float]]:
    """Optical flow, in frame diagonals per second as played, and likeness of frame 0, of each video."""
    from lvdm.quality.motion import motion

    settings: dict[str, Any] = {"fps" if pipe.card.fs_meaning == "fps" else "frame_stride": level.fs}
    settings |= {"truncated_start": level.truncated_start, "low_pass": level.low_pass, "num_inference_steps": steps}
    settings |= {"height": pipe.card.height, "width": pipe.card.width}
    figures: dict[str, list[float]] = {"motion": [], "first_frame_psnr": []}
    for begin in range(0, len(rows), batch_size):
        batch = rows[begin : begin + batch_size]
        images = [one.image for one in batch if one.image]
        seeds = [seed + begin + i for i in range(len(batch))]
        result = pipe(images, [one.prompt for one in batch], seed=seeds, **settings)
        figures["motion"] += [round(motion(video, pipe.card.playback_fps), 6) for video in result.video]
        figures["first_frame_psnr"] += [round(value, 3) for value in result.first_frame_psnr if value is not None]
    return figures


def _report(
    levels: list[MotionLevel], measured: list[dict[str, Any]], numbers: list[int], rising: list[MotionLevel]
) -> None:
    """The table of all levels, and those that rise as a YAML has them."""
    table = Table("fs", "truncated_start", "low_pass", "motion, diagonals/s", "frame 0, dB", "rises")
    for number, (level, figures) in enumerate(zip(levels, measured, strict=True)):
        psnr = [value for value in figures["first_frame_psnr"] if math.isfinite(value)]
        table.add_row(
            *(str(value) for value in (level.fs, level.truncated_start, level.low_pass)),
            f"{fmean(figures['motion']):.4f}",
            f"{fmean(psnr):.1f}" if psnr else "-",
            "yes" if number in numbers else "",
        )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(table)
    console.print("  motion_levels:")
    for level in rising:
        named = ", ".join(f"{name}: {value}" for name, value in dataclasses.asdict(level).items())
        console.print(f"  - {{{named}}}")

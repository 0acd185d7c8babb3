"""`dynamicrafter data cache`: what the frozen encoders make of a data set, computed once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lvdm.cli.progress import counting_bar, library_messages
from lvdm.errors import counted

if TYPE_CHECKING:
    from lvdm.caching.latent_caching import CachingReport, SizeEstimate
    from lvdm.caching.latent_items import CacheItems
    from lvdm.content_hash import HashStore
    from lvdm.data.clips import ClipSource
    from lvdm.fit.training_setup import TrainingSetup

HASHES_FILE = "content_hashes.json"
"""Beside the index: SHA-256 of files by path, size and time of change."""

_MAX_LISTED = 20
"""Broken videos that are listed; the index names all."""


def cache(
    folder: Annotated[Path, typer.Argument(help="The folder of the cache; made, or brought up to date.")],
    config: Annotated[list[Path], typer.Option(help="The training YAML; given again, later ones win.")],
    source: Annotated[str, typer.Option(help="Which data to cache: train, validation or test.")] = "train",
    dtype: Annotated[str, typer.Option(help="Of what is stored: fp16, bf16 or fp32.")] = "fp16",
    image_tokens: Annotated[
        str, typer.Option(help="Image tokens of all frames, of the first, or of every so many (a number).")
    ] = "all",
    batch_frames: Annotated[int, typer.Option(help="Frames that are encoded together.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")] = "auto",
    shard: Annotated[str, typer.Option(help="Part i of n, as i/n from 0 on: for several machines or devices.")] = "0/1",
    verify: Annotated[bool, typer.Option("--verify", help="Read files and records again instead of trusting.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what nothing needs; not while others write.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the size and stop.")] = False,
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, as for training.")] = None,
) -> None:
    """Compute latents, prompt and image tokens of a training's data once, so that training needs no encoders."""
    from lvdm.caching.encoders import encoder_hashes, load_encoders
    from lvdm.caching.latent_caching import CachingOptions, LatentCaching, stale_records
    from lvdm.caching.latent_index import CacheFormat, check_cache_place, read_index
    from lvdm.caching.latent_records import RecordStore
    from lvdm.checkpoint import read_checkpoint
    from lvdm.content_hash import HashStore
    from lvdm.device import choose_device
    from lvdm.fit.training_setup import load_training_setup

    check_cache_place(folder)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    options = CachingOptions(batch_frames, _parse_shard(shard), verify)
    stored, every = _parse_dtype(dtype), _parse_tokens(image_tokens)
    setup = load_training_setup(config, overrides or [])
    model = model_config(setup)
    where = choose_device(device)
    files = [read_checkpoint(path) for path in setup.pretrained]
    with library_messages():
        cache_format = CacheFormat(encoder_hashes(model, files), stored, every)
        hashes = HashStore(folder / HASHES_FILE)
        videos, items = _items(setup, source, hashes)
        caching = LatentCaching(items, load_encoders(model, files, where), cache_format, RecordStore(folder), options)
        estimate = caching.estimate()
        console.print(_size_line(len(items), folder, estimate))
        caching.check_space(estimate)
        if dry_run:
            return
        try:
            with counting_bar() as show:
                report = caching.run(show)
        finally:
            hashes.save()
    _print_report(console, report)
    if report.finished:
        stale = stale_records(caching.store, read_index(folder))
        if prune:
            for path in [*(caching.store.path(*record) for record in stale), *caching.store.unfinished()]:
                path.unlink(missing_ok=True)
        if stale:
            console.print(f"{len(stale)} records belong to nothing any longer{_pruned(prune)}")
        console.print("\nTrain from it by replacing the source in the YAML with:\n")
        console.print(yaml_block(folder, source, videos, items.rule))


def yaml_block(folder: Path, source: str, videos: ClipSource, rule: str) -> str:
    """The `data:` lines of a training from the cache that cuts the clips that `videos` cuts."""
    from lvdm.data.clip_frames import FrameOptions
    from lvdm.data.video_source import VideoSource

    lines = ["data:", "  params:", f"    {source}:", "      target: lvdm.caching.latent_cache.CachedLatents"]
    lines += ["      params:", f"        folder: {folder}"]
    if rule == "cut" and isinstance(videos, VideoSource):
        for field in fields(FrameOptions):
            value = getattr(videos.options, field.name)
            if value != field.default:
                lines.append(f"        {field.name}: {str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines)


def _items(setup: TrainingSetup, source: str, hashes: HashStore) -> tuple[ClipSource, CacheItems]:
    from lvdm.caching.latent_cache import CachedLatents
    from lvdm.caching.latent_items import cache_items
    from lvdm.fit.cached_training import SOURCES

    component = getattr(setup.data.params, source, None) if source in SOURCES else None
    if component is None:
        raise ValueError(f"--source {source}: the configuration has no data.params.{source}; use {', '.join(SOURCES)}")
    videos = component.build()
    if isinstance(videos, CachedLatents):
        raise ValueError(f"data.params.{source} is a latent cache already; name the videos that it is to be made of")
    return videos, cache_items(videos, setup.data.params.sizes(), hashes)


def model_config(setup: TrainingSetup) -> Any:
    """The configuration of the video model of a training. Raises `ValueError` for one of another kind."""
    from lvdm.models.video_config import LatentVisualDiffusionConfig

    if not isinstance(setup.model.params, LatentVisualDiffusionConfig):
        raise ValueError(f"model.target: {setup.model.target} has no encoders to cache; use the YAML of a video model")
    return setup.model.params


def _parse_shard(text: str) -> tuple[int, int]:
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit()):
        raise ValueError(f"--shard {text}: should be a part and the number of parts, such as 0/4")
    return int(first), int(count)


def _parse_tokens(text: str) -> int:
    if text in ("all", "first"):
        return 1 if text == "all" else 0
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--image-tokens {text}: should be all, first, or a number such as 4")
    return int(text)


def _parse_dtype(text: str) -> Any:
    from lvdm.caching.latent_records import DTYPES

    if text not in DTYPES:
        raise ValueError(f"--dtype {text}: should be one of {', '.join(DTYPES)}")
    return text


def _size_line(count: int, folder: Path, estimate: SizeEstimate) -> str:
    total, present, free = map(_in_bytes, (estimate.total, estimate.present, estimate.free))
    return f"{counted(count, 'video')} in about {total} in {folder}; {present} are there, {free} are free"


def _in_bytes(count: int) -> str:
    from lvdm.jobs.memory import in_bytes

    return in_bytes(count) if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _print_report(console: Console, report: CachingReport) -> None:
    console.print(
        f"{counted(report.made, 'video')} encoded, {report.kept} were there, {len(report.broken)} cannot be used"
    )
    for line in report.broken[:_MAX_LISTED]:
        console.print(f"- {line}", style="yellow")
    if len(report.broken) > _MAX_LISTED:
        console.print(f"- and {len(report.broken) - _MAX_LISTED} more; `dynamicrafter data check` looks at all of them")
    if not report.finished:
        console.print("This part is done. When all are, run it once without --shard, which writes the index.")


def _pruned(prune: bool) -> str:
    return " and have been deleted" if prune else "; --prune deletes them"

"""The work of `dynamicrafter data check`: sources found, every file examined, the report written and printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console

from lvdm.cli.progress import counting_bar, library_messages
from lvdm.config import Component, load_yaml, parse_component
from lvdm.data.check_report import DataCheckReport, render_page
from lvdm.data.checking import Examination, judge
from lvdm.data.image_folder import IMAGE_SUFFIXES
from lvdm.data.source_files import VIDEO_SUFFIXES, SourceError, SourceFiles, check_folder, list_files
from lvdm.errors import counted
from lvdm.media.atomic import atomic_path, check_writable, write_json
from lvdm.media.contact_sheet import write_contact_sheet
from lvdm.media.images import load_image
from lvdm.media.ownership import check_replaceable
from lvdm.media.video_backends import check_reader
from lvdm.media.video_reader import VideoReader
from lvdm.progress import Progress

_MAX_FRAMES = 48
"""First frames on the contact sheet, taken evenly from all files."""

_MAX_LISTED = 20
"""Broken files named on the terminal; the report names all."""

_THUMBNAIL = (160, 96)
"""Width and height."""


def check_sources(
    sources: dict[str, Component], place: Path, quick: bool, workers: int, overwrite: bool = False
) -> bool:
    """Examine every source and write its report under `place`; whether all is well."""
    results = []
    for name in sources:
        for file in ("report.html", "report.json", "contact_sheet.png", "examined.jsonl"):
            check_replaceable(place / name / file, overwrite)
    with library_messages():
        for name, source in sources.items():
            results.append(_check_source(source, place / name if name else place, quick, workers))
    return all(results)


def sources_of_config(path: Path) -> dict[str, Component]:
    """The sources that a training YAML names, by their role. Raises `ValueError` if none of them reads files."""
    tree = load_yaml(path)
    if "data" not in tree:
        raise ValueError(f"{path} has no top-level `data:` key; it has {', '.join(sorted(tree))}")
    module = parse_component(tree["data"], f"{path}: data").params
    roles = {role: getattr(module, role, None) for role in ("train", "validation", "test")}
    found = {role: source for role, source in roles.items() if source and hasattr(source.resolve(), "inventory")}
    if not found:
        targets = ", ".join(source.target for source in roles.values() if source) or "none"
        raise ValueError(
            f"{path}: no source in it reads files of its own (sources: {targets}); there is nothing to check"
        )
    return found


def source_of_folder(folder: Path, captions: str, options: dict[str, Any]) -> Component:
    """The source that suits what lies in the folder. Raises `SourceError` if nothing does."""
    check_folder(folder, "folder")
    params: dict[str, Any] = {"data_dir": str(folder), **options}
    if (folder / "index.json").is_file() and list_files(folder, [".bin"]):
        target = "litdata_clips.LitDataClips"
        params["captions"] = "none" if captions == "none" else "item"
    elif list_files(folder, [".tar"]):
        target, params["captions"] = "tar_clips.TarClips", captions
    elif list_files(folder, VIDEO_SUFFIXES):
        target, params["captions"] = "video_folder.VideoFolder", captions
    elif list_files(folder, IMAGE_SUFFIXES):
        target = "image_folder.ImageFolder"
        params = {"data_dir": str(folder), "resolution": options["resolution"], "captions": captions}
    else:
        raise SourceError(f"{folder}: holds no videos, images, tar shards or LitData chunks, at any depth")
    return parse_component({"target": f"lvdm.data.{target}", "params": params}, str(folder))


def _check_source(source: Component, place: Path, quick: bool, workers: int) -> bool:
    """Examine one source and write its report; whether all is well."""
    check_writable(place / "report.html")
    inventory = source.resolve().inventory(source.params)  # type: ignore[attr-defined]
    files: SourceFiles = inventory.files
    reader = check_reader(getattr(source.params, "reader", "pyav"))  # images have none
    examination = Examination(files, place / "examined.jsonl", quick, workers, reader)
    _show_progress(examination)
    verdicts = [judge(examination.facts[index], files.caption(index), source.params) for index in range(len(files))]
    where = getattr(source.params, "data_dir", "")
    settings = _describe(source, quick)
    report = DataCheckReport(str(where), settings, verdicts, inventory.problems, inventory.left_out)
    usable = [index for index in range(len(files)) if not examination.facts[index].error]
    shown = usable[:: max(1, -(-len(usable) // _MAX_FRAMES))]
    if shown:
        thumbnails = torch.from_numpy(np.stack([_thumbnail(files, index) for index in shown]))  # (n, H, W, 3)
        write_contact_sheet(thumbnails, place / "contact_sheet.png", columns=6)
    sheet = (place / "contact_sheet.png").read_bytes() if shown else b""
    names = [str(files.path(index)) for index in shown]
    with atomic_path(place / "report.html") as temporary:
        temporary.write_text(render_page(report, sheet, names), encoding="utf-8", newline="\n")
    write_json(place / "report.json", {"format": "dynamicrafter-data-check/1", **report.as_json()})
    _print_report(report, place)
    return report.is_good


def _describe(source: Component, quick: bool) -> str:
    """The settings that decide what is broken, in a line."""
    options = ", ".join(f"{key} {value}" for key, value in vars(source.params).items() if value is not None)
    depth = "three frames of each file" if quick else "all frames"
    return f"{source.target.rpartition('.')[2]}: {options}. Decoded: {depth}."


def _show_progress(examination: Examination) -> None:
    known, total = len(examination.facts), len(examination.files)
    try:
        with counting_bar() as show:
            show(Progress("looking at files", known, total))
            for done, _ in enumerate(examination.run(), start=known + 1):
                show(Progress("looking at files", done, total))
    except KeyboardInterrupt:
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(f"{len(examination.facts)} of {total} files were looked at; run it again to go on")
        raise


def _thumbnail(files: SourceFiles, index: int) -> np.ndarray:
    path = files.path(index)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = load_image(path)
    else:
        with VideoReader(path, files.content(index)) as reader:
            image = Image.fromarray(reader.read([0])[0].numpy())
    return np.array(ImageOps.pad(image, _THUMBNAIL, color=(24, 24, 24)))


def _print_report(report: DataCheckReport, place: Path) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for problem in (*report.problems, *report.left_out):
        console.print(str(problem))
    broken = [verdict for verdict in report.verdicts if verdict.status == "broken"]
    for verdict in broken[:_MAX_LISTED]:
        console.print(f"{verdict.facts.name}: {'; '.join(verdict.reasons)}")
    if len(broken) > _MAX_LISTED:
        console.print(f"... and {len(broken) - _MAX_LISTED} more, which the report names")
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items())
    console.print(f"{counted(len(report.verdicts), 'file')}: {counts}")
    console.print(str(place / "report.html"))

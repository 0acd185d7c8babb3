"""`dynamicrafter data check`: every file of a training set looked at before a training stumbles over it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from lvdm.cli.errors import FAILED
from lvdm.cli.options import Overwrite
from lvdm.declaration.values import MAX_FRAMES
from lvdm.regular_files import real_path


def check(
    folder: Annotated[Path | None, typer.Argument(help="A folder of videos, images, tar shards or LitData.")] = None,
    config: Annotated[Path | None, typer.Option(help="A training YAML instead: its sources and clip settings.")] = None,
    captions: Annotated[str, typer.Option(help="For a folder: txt, json, none, or a .csv or .jsonl table.")] = "txt",
    video_length: Annotated[int, typer.Option(min=1, max=MAX_FRAMES, help="For a folder: frames of a clip.")] = 16,
    frame_stride: Annotated[
        int, typer.Option(min=1, max=10_000, help="For a folder: source frames per clip frame.")
    ] = 1,
    resolution: Annotated[str, typer.Option(help="For a folder: height x width of a clip.")] = "320x512",
    reader: Annotated[str, typer.Option(help="For a folder: pyav, torchcodec, decord or imageio.")] = "pyav",
    output: Annotated[Path | None, typer.Option(help="Folder for the report.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Decode three frames of each file instead of all.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Files looked at at the same time.")] = os.cpu_count()
    or 1,
    overwrite: Overwrite = False,
) -> None:
    """Open and decode every file, and write a page that says what is there and what is wrong.

    Run it again after Ctrl-C: it goes on, and looks again only at files that changed. Exit code 1 if anything is
    broken.
    """
    from lvdm.cli.data_checking import check_sources, source_of_folder, sources_of_config

    if (folder is None) == (config is None):
        raise ValueError("give a folder or --config, and not both")
    if config is not None:
        sources = sources_of_config(config)
    else:
        assert folder is not None
        height, width = _parse_resolution(resolution)
        options: dict[str, Any] = {"video_length": video_length, "frame_stride": frame_stride}
        options |= {"resolution": [height, width], "reader": reader}
        sources = {"": source_of_folder(folder, captions, options)}
    place = output or Path("outputs") / f"data_check_{real_path(config or folder or Path()).stem}"
    if not check_sources(sources, place, quick, workers, overwrite):
        raise typer.Exit(FAILED)


def _parse_resolution(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise ValueError(f"--resolution {text!r} should be height x width, such as 320x512")
    return int(found[1]), int(found[2])

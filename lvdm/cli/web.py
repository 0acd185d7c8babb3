"""`app`: the web page."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str, typer.Option(help="Where to listen; other than this machine only with a password.")]
Port = Annotated[int, typer.Option(help="The port; 0 takes any that is free.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="A further model, as NAME=PATH. May be given often.")]
Files = Annotated[Path | None, typer.Option(help="A folder of LoRAs and other weight files to choose from.")]
Device = Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")]
Password = Annotated[
    str | None,
    typer.Option(
        envvar="DYNAMICRAFTER_PASSWORD", help="Asked for, with the user name dynamicrafter.", show_default=False
    ),
]
ForEveryone = Annotated[bool, typer.Option("--no-password", help="Let everyone in who reaches --host, or --share.")]
Share = Annotated[bool, typer.Option("--share", help="A public address through gradio's servers.")]
MaxUpload = Annotated[int, typer.Option(help="Megabytes of the largest upload.")]
MaxSide = Annotated[int, typer.Option(help="Pixels of the longest side of a video.")]
MaxFrames = Annotated[int, typer.Option(help="Frames of the longest video.")]
MaxSteps = Annotated[int, typer.Option(help="Most sampling steps.")]
MaxVideos = Annotated[int, typer.Option(help="Most videos of one request.")]
MaxQueue = Annotated[int, typer.Option(help="Most requests that wait.")]


def web_page(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    model: Models = None,
    files: Files = None,
    device: Device = "auto",
    password: Password = None,
    for_everyone: ForEveryone = False,
    share: Share = False,
    max_upload: MaxUpload = 20,
    max_side: MaxSide = 2048,
    max_frames: MaxFrames = 512,
    max_steps: MaxSteps = 250,
    max_videos: MaxVideos = 8,
    max_queue: MaxQueue = 16,
) -> None:
    """Open a web page with every parameter, on this machine; needs pip install "dynamicrafter[app]"."""
    from lvdm.app.library import read_library
    from lvdm.app.limits import PageLimits
    from lvdm.app.server import USER, Access, check_installed, serving
    from lvdm.cli.progress import library_messages, print_lines

    place = Access(host, port, password, for_everyone, share)
    limits = PageLimits(
        max_upload * 1_000_000, PageLimits.pixels, max_side, max_frames, max_steps, max_videos, max_queue
    )
    check_installed()
    library = read_library(model or (), files)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads and videos are removed then too
    with library_messages(), serving(library, place, limits, device) as address:
        named = f", with the user name {USER}" if password else ""
        print_lines([f"{address}{named}  (Ctrl-C ends it)"])
        while True:
            time.sleep(3600)

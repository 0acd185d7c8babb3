"""`serve`: videos over HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from lvdm.errors import UserError

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra `serve` installs."""
KEEP_ALIVE_SECONDS = 75
"""Clients look every few seconds: a connection that closes under their request is an answer lost."""

Host = Annotated[str, typer.Option(help="Where to listen; elsewhere than on this machine only with a key.")]
Port = Annotated[int, typer.Option(help="Which port to listen at.", min=1, max=65535)]
Jobs = Annotated[Path, typer.Option(help="Folder of the jobs and their videos, of this server alone.")]
Model = Annotated[
    list[str] | None,
    typer.Option(
        help="A model that requests may name: NAME=PATH, or the name of a released one; the first is the usual one. "
        "May be given often. [default: tiny]",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help="What every request has to show. Better in the variable, since others can read a flag.",
        envvar="DYNAMICRAFTER_API_KEY",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16, unless a request says.")]
LowMemory = Annotated[bool, typer.Option("--low-memory", help="Slower, with less memory, unless a request says.")]
Attention = Annotated[str, typer.Option(help="auto, sdpa, xformers, plain, flash or sage, unless a request says.")]
UploadMegabytes = Annotated[float, typer.Option(help="Of a request, with its images.", min=0.001)]
ImageMegapixels = Annotated[float, typer.Option(help="Of the images of a request, together.", min=0.001)]
Megapixels = Annotated[float, typer.Option(help="Of a frame of a video.", min=0.001)]
Frames = Annotated[int, typer.Option(help="Of a video.", min=1)]
Steps = Annotated[int, typer.Option(help="Of sampling.", min=1)]
Videos = Annotated[int, typer.Option(help="Of one request.", min=1)]
Queue = Annotated[int, typer.Option(help="Jobs that wait; more get 429 and Retry-After.", min=1)]
KeepDays = Annotated[float, typer.Option(help="How long finished jobs and their videos stay.", min=0)]


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    jobs: Jobs = Path("jobs"),
    model: Model = None,
    api_key: Key = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    low_memory: LowMemory = False,
    attention: Attention = "auto",
    max_upload_mb: UploadMegabytes = 32.0,
    max_image_megapixels: ImageMegapixels = 50.0,
    max_megapixels: Megapixels = 2.1,
    max_frames: Frames = 256,
    max_steps: Steps = 100,
    max_videos: Videos = 8,
    max_queue: Queue = 100,
    keep_days: KeepDays = 7.0,
) -> None:
    """Make videos over HTTP, one after the other, for whoever has the key."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f'serve needs {", ".join(missing)}; install with: pip install "dynamicrafter[serve]"')
    # torch and the library take seconds to import: not for --help
    import uvicorn

    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.device import choose_device
    from lvdm.request.layers import checked
    from lvdm.serving.app import create_app
    from lvdm.serving.models import list_models
    from lvdm.serving.settings import KEY_VARIABLE, Limits, Settings

    choose_device(device)
    values = {"device": device, "dtype": dtype, "low_memory": low_memory, "attention": attention}
    machine: dict[str, Any] = checked(values)
    limits = Limits(
        *(round(max_upload_mb * 1e6), round(max_image_megapixels * 1e6), round(max_megapixels * 1e6)),
        *(max_frames, max_steps, max_videos, max_queue),
    )
    key = api_key or None
    settings = Settings(jobs.resolve(), list_models(model or ()), host, port, key, limits, machine, keep_days)
    with library_messages():
        app = create_app(settings)
        shown = f"[{host}]" if ":" in host else host
        print_lines([f"http://{shown}:{port}  (models: {', '.join(settings.models)}; jobs: {settings.jobs})"])
        os.environ.pop(KEY_VARIABLE, None)  # not for programs that are started from here
        uvicorn.run(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
        )

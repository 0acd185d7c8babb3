"""`serve`: videos over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from lvdm.cli.options import Device, Models, with_limits
from lvdm.errors import UserError
from lvdm.hosting.limits import Limits
from lvdm.regular_files import real_path

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
"""What the extra `serve` installs."""
KEEP_ALIVE_SECONDS = 75
"""Clients look every few seconds: a connection that closes under their request is an answer lost."""

Host = Annotated[str, typer.Option(help="Where to listen; other than this machine only with a key.")]
Port = Annotated[int, typer.Option(help="The port.", min=1, max=65535)]
Jobs = Annotated[Path, typer.Option(help="Folder of the jobs and their videos, of this server alone.")]
Key = Annotated[
    str | None,
    typer.Option(
        help="What every request has to show. Better in the variable, since others can read a flag.",
        envvar="DYNAMICRAFTER_API_KEY",
        show_default=False,
    ),
]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16, unless a request says.")]
LowMemory = Annotated[bool, typer.Option("--low-memory", help="Slower, with less memory, unless a request says.")]
Attention = Annotated[str, typer.Option(help="auto, sdpa, xformers, plain, flash or sage, unless a request says.")]
KeepDays = Annotated[float, typer.Option(help="How long finished jobs and their videos stay.", min=0)]


@with_limits
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    jobs: Jobs = Path("jobs"),
    model: Models = None,
    api_key: Key = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    low_memory: LowMemory = False,
    attention: Attention = "auto",
    keep_days: KeepDays = 7.0,
    *,
    typed: Mapping[str, Any],
) -> None:
    """Make videos over HTTP, one after the other, for whoever has the key."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f'serve needs {", ".join(missing)}; install with: pip install "dynamicrafter[serve]"')
    # torch and the library take seconds to import: not for --help
    import uvicorn

    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.device import choose_device
    from lvdm.hosting.access import check_free
    from lvdm.hosting.library import read_library
    from lvdm.request.layers import checked
    from lvdm.serving.app import create_app
    from lvdm.serving.settings import KEY_VARIABLE, Settings

    choose_device(device)
    values = {"device": device, "dtype": dtype, "low_memory": low_memory, "attention": attention}
    machine: dict[str, Any] = checked(values)
    models, limits = read_library(model or ()).models, Limits(**typed)
    settings = Settings(real_path(jobs), models, host, port, api_key or None, limits, machine, keep_days)
    check_free(host, port)
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

"""`app`: the web page."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from lvdm.cli.options import Device, Models, with_limits
from lvdm.hosting.limits import Limits

Host = Annotated[str, typer.Option(help="Where to listen; other than this machine only with a password.")]
Port = Annotated[int, typer.Option(help="The port; 0 takes any that is free.")]
Files = Annotated[Path | None, typer.Option(help="A folder of LoRAs and other weight files to choose from.")]
Password = Annotated[
    str | None,
    typer.Option(
        envvar="DYNAMICRAFTER_PASSWORD", help="Asked for, with the user name dynamicrafter.", show_default=False
    ),
]
ForEveryone = Annotated[bool, typer.Option("--no-password", help="Let everyone in who reaches --host, or --share.")]
Share = Annotated[bool, typer.Option("--share", help="A public address through gradio's servers.")]
MaxSide = Annotated[int | None, typer.Option(help="The former limit of a frame: a square of this side.", hidden=True)]


@with_limits
def web_page(
    host: Host = "127.0.0.1",
    port: Port = 7860,
    model: Models = None,
    files: Files = None,
    device: Device = "auto",
    password: Password = None,
    for_everyone: ForEveryone = False,
    share: Share = False,
    max_side: MaxSide = None,
    *,
    typed: Mapping[str, Any],
) -> None:
    """Open a web page with every parameter, on this machine; needs the extra `app`."""
    from lvdm.app.server import USER, Access, check_installed, serving
    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.hosting.library import read_library

    place = Access(host, port, password, for_everyone, share)
    limits = Limits(**_with_side(typed, max_side))
    check_installed()
    library = read_library(model or (), files)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads and videos are removed then too
    with library_messages(), serving(library, place, limits, device) as address, suppress(KeyboardInterrupt):
        named = f", with the user name {USER}" if password else ""
        print_lines([f"{address}{named}  (Ctrl-C ends it)"])
        while True:
            time.sleep(3600)


def _with_side(limits: Mapping[str, Any], side: int | None) -> Mapping[str, Any]:
    """`limits` with the former `--max-side` as megapixels. Raises `ValueError` where both are given."""
    if side is None:
        return limits
    if "max_megapixels" in limits:
        raise ValueError("--max-side is the former name of --max-megapixels; leave it out")
    return {**limits, "max_megapixels": side * side / 1e6}

"""The page as a server: where it listens, who may use it, and what is left when it ends."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lvdm.hosting.access import check_free, is_loopback
from lvdm.hosting.bodies import LimitedBodies
from lvdm.hosting.library import Library
from lvdm.hosting.limits import Limits
from lvdm.hosting.queueing import FullQueueAnswers

USER = "dynamicrafter"
"""The name that goes with the password."""
MAX_FILES = 64
"""Files that are uploaded at once."""


@dataclass(frozen=True)
class Access:
    """Where the page listens and who may use it. Raises `ValueError` for a place that is open to everyone unsaid.

    password  None asks for none; for_everyone says that this is meant
    share     a public address by gradio's tunnel, which opens a connection to its servers
    """

    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = field(default=None, repr=False)
    for_everyone: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port {self.port} is not possible; use 1 to 65535, or 0 for any that is free")
        if self.password is not None and not self.password:
            raise ValueError("the password is empty; give one, or leave out --password")
        open_to_others = self.share or not is_loopback(self.host)
        if open_to_others and self.password is None and not self.for_everyone:
            what = "--share" if self.share else f"--host {self.host}"
            raise ValueError(
                f"{what} lets others use this machine; give --password (or the variable DYNAMICRAFTER_PASSWORD), "
                "or say --no-password"
            )


def check_installed() -> None:
    """Raise `ValueError` where gradio is missing, or one that the page is not made for."""
    try:
        found = importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found.partition(".")[0] != "6":
        raise ValueError(f'the page needs gradio 6 and there is {found}; use pip install "dynamicrafter[app]"')


@contextmanager
def serving(
    library: Library, place: Access, limits: Limits, device: str = "auto", measure: bool = True
) -> Iterator[str]:
    """The page runs while the block does; gives its address. What was uploaded and made is removed at the end.

    measure: make a small video first, so that expected times are known
    """
    check_free(place.host, place.port)
    with tempfile.TemporaryDirectory(prefix="dynamicrafter-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        with _environment(folder, place.host):
            from starlette.middleware import Middleware

            from lvdm.app.endpoints import Desk  # gradio reads the environment when it is imported
            from lvdm.app.page import build_page
            from lvdm.app.showing import CSS

            desk = Desk(library, limits, folder / "jobs", device)
            page = build_page(desk)
            _, address, _ = page.launch(
                server_name=place.host,
                server_port=place.port or None,
                share=place.share,
                auth=None if place.password is None else (USER, place.password),
                max_file_size=limits.upload_bytes,
                app_kwargs={
                    "middleware": [
                        Middleware(FullQueueAnswers, most=limits.max_queue, seconds=desk.pace.usual_seconds),
                        Middleware(LimitedBodies, most=partial(_most, limits)),
                    ]
                },
                **_launch_settings(),
                css=CSS,
            )
            try:
                if measure:
                    first = next(iter(library.models))
                    threading.Thread(target=desk.measure, args=(first,), name="measure", daemon=True).start()
                yield page.share_url or address
            finally:
                page.close(verbose=False)
                desk.close()


def _most(limits: Limits, path: str) -> int:
    """How many bytes a request may have: several files, or values with a painted mask as text among them."""
    return (MAX_FILES if path.endswith("/upload") else 2) * limits.upload_bytes


def _launch_settings() -> dict[str, Any]:
    """The same for every page: nothing is shown of the server's files, nothing is sent to others."""
    import gradio as gr

    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Default(font=fonts[0], font_mono=fonts[1]).set(
        block_info_text_color="*neutral_500", block_info_text_color_dark="*neutral_400"
    )
    return {
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,
        "allowed_paths": [],
        "enable_monitoring": False,
        "ssr_mode": False,
        "_frontend": False,  # or gradio gives up, and asks for share=True, where its page takes more than 3 s to answer
        "pwa": False,
        "footer_links": [],
        "theme": theme,
    }


@contextmanager
def _environment(folder: Path, host: str) -> Iterator[None]:
    """gradio's settings by environment variables, for the block: no analytics, uploads in `folder`.

    gradio calls its own server when it starts, which no proxy must stand between.
    """
    wanted = {"GRADIO_ANALYTICS_ENABLED": "0", "GRADIO_TEMP_DIR": str(folder), "GRADIO_ALLOWED_PATHS": ""}
    direct = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "localhost", host)))
    wanted |= {"no_proxy": direct, "NO_PROXY": direct}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

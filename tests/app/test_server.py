"""Where the page listens, who may use it, and what is left of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from served import LIMITS
from typer.testing import CliRunner

import lvdm.app.server
import lvdm.cli.web
from lvdm.app.making import Maker
from lvdm.app.server import USER, Access, serving
from lvdm.app.work import Work
from lvdm.cli.app import app
from lvdm.hosting.library import Library
from lvdm.model_files import CHECKPOINTS_VARIABLE

PROMPT = "a red ball moves to the right"


def said(*words: str, **environment: str) -> str:
    result = CliRunner().invoke(app, ["app", *words], env=environment)
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


def test_the_command_opens_to_others_only_with_a_password_or_a_word() -> None:
    assert "--host 0.0.0.0 lets others use this machine" in said("--host", "0.0.0.0")
    assert "--share lets others use this machine" in said("--share")
    assert "the password is empty" in said("--password", "")
    assert "model 'mine' is not known" in said("--model", "mine")
    assert "max_frames 0 is not possible" in said("--max-frames", "0")
    assert "--port 99999 is not possible" in said("--port", "99999")
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert "is taken by another program" in said("--port", str(other.getsockname()[1]))


def test_without_gradio_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvdm.app.server.importlib.metadata, "version", lambda name: "3.50.2")
    assert 'the page needs gradio 6 and there is 3.50.2; use pip install "dynamicrafter[app]"' in said()


def test_a_password_is_asked_for_and_nothing_stays(library: Library, image: str) -> None:
    before = os.environ.get("GRADIO_TEMP_DIR")
    place = Access(port=0, password="open sesame")
    with serving(library, place, replace(LIMITS, max_queue=2), "cpu", measure=False) as address:
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert httpx.get(f"{address}config").status_code == 401
        assert httpx.post(f"{address}gradio_api/call/animate", json={"data": []}).status_code == 401
        wrong = {"username": USER, "password": "guess"}
        assert httpx.post(f"{address}login", data=wrong).status_code == 400
        client: Any = Client(address, auth=(USER, "open sesame"), verbose=False, download_files=False)
        client.submit(image=handle_file(image), prompt=PROMPT, api_name="/animate").result(timeout=120)
        assert any(folder.rglob("video.mp4"))
    assert not folder.exists(), "uploads and videos are still there"
    assert os.environ.get("GRADIO_TEMP_DIR") == before


def test_times_are_measured_at_the_start_and_nothing_of_it_stays(library: Library, tmp_path: Path) -> None:
    from lvdm.app.endpoints import Desk

    for name in ("small", "words"):
        desk = Desk(library, LIMITS, tmp_path / "jobs", "cpu")
        desk.measure(name)
        assert desk.pace.seconds(library.models[name].card, "draft") is not None
        assert list((tmp_path / "jobs").iterdir()) == []


def test_the_end_of_the_page_waits_for_what_is_being_made(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is in torch when the process ends aborts it, and one that writes leaves files."""
    began, ended = threading.Event(), threading.Event()

    def make(maker: Maker, work: Work[Any], mode: str, parameters: Any, folder: Path) -> Any:
        began.set()
        while not work.cancelled:
            time.sleep(0.01)
        time.sleep(0.3)  # the rest of a step
        (folder / "late.png").touch()
        ended.set()
        work.check()

    monkeypatch.setattr(Maker, "make", make)
    with serving(library, Access(port=0), LIMITS, "cpu"):
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        assert began.wait(20), "the measurement did not begin"
    assert ended.is_set(), "the page ended while a video was still being made"
    assert not folder.exists(), "the job's files are still there"


def test_the_command_ends_by_a_signal_and_removes_what_was_there(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()

    def ended(seconds: float) -> None:
        seen.extend(path.name for path in tmp_path.glob("dynamicrafter-*"))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)  # as where a busy machine takes over 3 s
    monkeypatch.setattr(lvdm.cli.web, "time", SimpleNamespace(sleep=ended))
    before = signal.getsignal(signal.SIGTERM)
    try:
        words = ["app", "--port", "0", "--device", "cpu"]
        proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9")  # behind which nothing answers
        result = CliRunner().invoke(app, words, env={CHECKPOINTS_VARIABLE: str(models), **proxy})
    finally:
        signal.signal(signal.SIGTERM, before)
    assert re.match(r"http://127\.0\.0\.1:\d+/ ", result.stdout), result.output
    assert result.exit_code == 0, "the usual end is called an error"
    assert len(seen) == 1, "it kept its files elsewhere"
    assert list(tmp_path.glob("dynamicrafter-*")) == []

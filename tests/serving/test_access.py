"""Who may ask: this machine alone, or whoever has the key."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

import pytest
import uvicorn
from serving_client import Server
from typer.testing import CliRunner

import lvdm.cli.serve
from lvdm.cli.app import app
from lvdm.hosting.library import ListedModel, read_library
from lvdm.serving.gate import Gate
from lvdm.serving.settings import KEY_VARIABLE, Settings, SettingsError

KEY = "a key of 24 characters.."


def test_with_a_key_nothing_is_answered_without_it(start: Callable[..., Server]) -> None:
    server = start(api_key=KEY, host="0.0.0.0")
    client = server.client
    for method, path in (("GET", "/v1/videos"), ("POST", "/v1/videos"), ("GET", "/v1/models"), ("GET", "/metrics")):
        for shown in (None, f"Bearer {KEY}x", "Bearer ", f"Basic {KEY}", f"Bearer {KEY[:-1]}", "Bearer \u00e9"):
            headers = {} if shown is None else {"Authorization": shown.encode("utf-8")}
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path, shown)
            assert KEY not in answer.text
    assert client.get("/openapi.json").status_code == 401
    assert client.get("/healthz").status_code == 200
    assert client.get("/v1/videos", headers={"Authorization": f"Bearer {KEY}", "Host": "videos.org"}).status_code == 200


def test_without_a_key_other_names_and_pages_of_other_sites_are_refused(server: Server) -> None:
    for host in ("videos.org", "127.0.0.1.videos.org", "", "[::1", "0.0.0.0"):
        assert server.client.get("/v1/videos", headers={"Host": host}).status_code == 403, host
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000", "127.0.0.2"):
        assert server.client.get("/v1/videos", headers={"Host": host}).status_code == 200, host
    for origin in ("https://videos.org", "null", "http://localhost.videos.org"):
        answer = server.client.post("/v1/videos", headers={"Origin": origin}, data={"prompt": "a"})
        assert answer.status_code == 403, origin
        assert answer.json()["error"]["message"] == "pages of other sites may not use this server"
    assert server.client.post("/v1/videos", headers={"Origin": "http://localhost:7860"}, json={}).status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "videos.org", ""])
def test_elsewhere_only_with_a_key(host: str, models: Mapping[str, ListedModel], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="give --api-key too, or set DYNAMICRAFTER_API_KEY"):
        Settings(tmp_path, models, host=host)
    assert Settings(tmp_path, models, host=host, api_key=KEY).host == host
    assert KEY not in repr(Settings(tmp_path, models, host=host, api_key=KEY))


@pytest.mark.parametrize("key", ["", "short", "schlüssel-und-mehr"])
def test_keys_that_are_none(key: str, models: Mapping[str, ListedModel], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--api-key is too short or not ASCII"):
        Settings(tmp_path, models, api_key=key)


@pytest.fixture
def never_listens(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    told: dict[str, object] = {}
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: told.update(options, app=app))
    return told


def test_the_command(never_listens: dict[str, object], tmp_path: Path, models: Mapping[str, ListedModel]) -> None:
    small = models["tiny"].files.config.parent
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = CliRunner().invoke(app, ["serve", "--jobs", str(tmp_path / "jobs"), "--port", str(port)])
        assert run.exit_code == 2
        assert f"--port {port} is taken by another program; choose another one" in run.output
    words = [
        "serve",
        "--jobs",
        str(tmp_path / "jobs"),
        "--model",
        f"small={small}",
        "--max-frames",
        "9",
        "--port",
        str(port),
    ]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    assert run.output.startswith(f"http://127.0.0.1:{port}  (models: small; jobs: ")
    assert (never_listens["host"], never_listens["port"]) == ("127.0.0.1", port)
    settings = never_listens["app"].state.service.settings  # type: ignore[attr-defined]
    assert (settings.limits.max_frames, settings.limits.upload_bytes, settings.keep_days) == (9, 32_000_000, 7.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "lets other machines in"),
        (["--model", "tyny"], "model 'tyny' is not known; did you mean 'tiny'?"),
        (["--model", "a=nowhere"], "nowhere is neither a file, a folder nor a preset"),
        (["--model", "../a=tiny"], "is a name and not a path"),
        (["--model", "tiny", "--model", "tiny"], "--model gives tiny twice"),
        (["--dtype", "fp8"], "dtype 'fp8' is not known"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_commands_that_do_not_start(
    words: list[str], message: str, never_listens: dict[str, object], tmp_path: Path
) -> None:
    run = CliRunner().invoke(app, ["serve", "--jobs", str(tmp_path / "jobs"), *words])
    assert run.exit_code == 2
    assert message in run.output
    assert not never_listens


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvdm.cli.serve, "PACKAGES", ("fastapi", "a_server_of_nobody"))
    run = CliRunner().invoke(app, ["serve"])
    assert run.exit_code == 2
    assert run.output == 'Error: serve needs a_server_of_nobody; install with: pip install "dynamicrafter[serve]"\n'


def test_the_key_may_be_in_the_environment(
    never_listens: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Mapping[str, ListedModel]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    small = models["tiny"].files.config.parent
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = CliRunner().invoke(app, ["serve", "--jobs", str(tmp_path / "jobs"), "--port", str(port)])
        assert run.exit_code == 2
        assert f"--port {port} is taken by another program; choose another one" in run.output
    words = ["--host", "0.0.0.0", "--jobs", str(tmp_path / "jobs"), "--model", f"small={small}"]
    run = CliRunner().invoke(app, ["serve", *words])
    assert run.exit_code == 0, run.output
    assert KEY not in run.output
    assert never_listens["app"].state.service.settings.api_key == KEY  # type: ignore[attr-defined]
    assert KEY_VARIABLE not in os.environ, "programs that are started from there would have it"


def test_the_embedded_model_is_the_usual_one() -> None:
    models = read_library(()).models
    assert [(name, model.card.name) for name, model in models.items()] == [
        (name, name) for name in ("small", "tiny", "tiny-structure")
    ]


@pytest.mark.parametrize(("waits", "read"), [(False, 3), (True, 0)])
def test_a_refusal_comes_after_the_body(waits: bool, read: int, start: Callable[..., Server]) -> None:
    """Else the connection is closed while the client sends, and the answer is lost."""
    server = start(api_key=KEY)
    told = list[str]()

    async def receive() -> dict[str, object]:
        told.append("body")
        return {"type": "http.request", "body": bytes(1000), "more_body": told.count("body") < 3}

    async def send(message: MutableMapping[str, object]) -> None:
        told.append(f"{message['type']} {message.get('status', '')}")

    async def inner(*_: object) -> None:
        raise AssertionError("it was let in")

    headers = [(b"content-length", b"3000"), (b"expect", b"100-continue")][: 1 + waits]
    scope = {"type": "http", "method": "POST", "path": "/v1/videos", "headers": headers}
    asyncio.run(Gate(inner, server.settings, server.service.metrics)(scope, receive, send))
    assert told == ["body"] * read + ["http.response.start 401", "http.response.body "]

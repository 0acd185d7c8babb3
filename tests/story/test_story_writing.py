"""Scripts and images by an endpoint, which is a server in this process: what it answers is checked, whatever it is."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.story.endpoint import Endpoint, EndpointError, draw
from lvdm.story.reading import read_story
from lvdm.story.script import StoryError
from lvdm.story.writing import write_script

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class Server:
    """Where the stand-in listens, and the requests that it was sent."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.requests = list[tuple[str, dict[str, Any], str | None]]()


@contextmanager
def answering(answer: Answer) -> Iterator[Server]:
    """A server that treats every request by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that is called
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.requests.append((self.path, body, self.headers.get("Authorization")))
            with suppress(OSError):  # the client has gone, as it should
                answer(self, body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Server(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


def send(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def saying(text: Any) -> Answer:
    """A chat completion with this content."""
    answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    return lambda handler, body: send(handler, json.dumps(answer).encode())


def story_of(*shots: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"title": "A meeting", "shots": list(shots), **fields})


CAST = {
    "size": "64x64",
    "characters": {"Ruby": {"image": "red.png", "description": "the red bar"}},
    "places": {"sea": {"image": "sea.png"}},
}
SHOT = {
    "name": "one",
    "compose": {"place": "sea", "characters": [{"character": "Ruby", "box": [0, 0, 0.5, 1]}]},
    "prompt": "Ruby moves to the right",
    "seconds": 2,
}


def test_a_script_is_written_of_an_idea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNAMICRAFTER_STORY_KEY", "secret")
    Path("cast.yaml").write_text(yaml.safe_dump(CAST))
    second = {"name": "two", "from": "previous", "prompt": "Ruby stays still", "caption": "שלום 🦊"}
    content = f"```json\n{story_of(SHOT, second)}\n```"
    with answering(saying(content)) as server:
        command = ["story", "write", "Ruby at the sea", "--endpoint", server.url, "--model", "m", "--cast", "cast.yaml"]
        result = CliRunner().invoke(app, [*command, "--shots", "2"])
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == "story.yaml"
        assert "story.yaml is there already" in CliRunner().invoke(app, command).stderr
    ((path, body, key),) = server.requests
    assert (path, body["model"], key) == ("/v1/chat/completions", "m", "Bearer secret")
    told, asked = (message["content"] for message in body["messages"])
    assert asked == "Ruby at the sea"
    assert "exactly 2 shots" in told
    assert '"Ruby": "the red bar"' in told
    assert "- transition: How the film goes on" in told
    story = read_story("story.yaml")
    assert story.title == "A meeting"
    assert story.size == (64, 64)
    assert [shot.name for shot in story.shots] == ["one", "two"]
    assert story.shots[1].caption == "שלום 🦊"
    assert "secret" not in Path("story.yaml").read_text(encoding="utf-8")


def test_nobody_is_asked_unless_an_endpoint_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["story", "write", "an idea"], ["story", "write", "an idea", "--model", "m"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert "give both" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("I cannot do that.", "the answer of m: is not valid JSON"),
        ("[" * 2000, "the answer of m"),
        ("[1]", "the answer of m: should be an object"),
        ('{"title": NaN, "shots": []}', "NaN"),
        (story_of(), "the answer of m: shots: 0 are not possible"),
        (story_of(*[SHOT] * 501), "the answer of m: shots: 501 are not possible"),
        (story_of({**SHOT, "seconds": -1}), "the answer of m: shot 'one': seconds -1 is not possible"),
        (story_of({**SHOT, "seconds": "two"}), "the answer of m: shot 'one': seconds 'two' is not possible"),
        (story_of({**SHOT, "prompt": None}), "the answer of m: shot 'one': prompt is missing"),
        (story_of({"image": "/etc/passwd", "prompt": "a"}), "shot 1: field 'image' is not for an answer to give"),
        (story_of({**SHOT, "settings": {"checkpoint": "x"}}), "shot 1: field 'settings' is not for an answer"),
        (story_of(SHOT, settings={"checkpoint": "x"}), "the answer of m: field 'settings' is not for an answer"),
        (story_of({**SHOT, "compose": {"place": "moon"}}), "shot 'one': compose: place 'moon' is not known"),
        (story_of({**SHOT, "name": "../../x"}), "name"),
        (["text"], "choices[0].message.content should be text"),
    ],
)
def test_a_bad_answer_names_the_field_and_writes_nothing(content: Any, part: str, tmp_path: Path) -> None:
    (tmp_path / "cast.yaml").write_text(yaml.safe_dump(CAST))
    with answering(saying(content)) as server, pytest.raises(StoryError) as caught:
        write_script("an idea", Endpoint(server.url, "m"), tmp_path / "story.yaml", tmp_path / "cast.yaml")
    assert part in str(caught.value), str(caught.value)
    assert len(str(caught.value)) < 1000, "the answer is repeated in full"
    assert not (tmp_path / "story.yaml").exists()


def drip(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """A byte now and then, without an end."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def megabytes(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" " * 1_000_000)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (lambda handler, body: time.sleep(2), "did not answer within 0.3 s"),
        (drip, "did not answer within 0.3 s"),
        (megabytes, "the answer is larger than 1 MB"),
        (lambda handler, body: send(handler, b"<html>", 200), "the answer: is not valid JSON"),
        (lambda handler, body: send(handler, b"\xff\xfe"), "the answer"),
        (lambda handler, body: send(handler, b'{"choices": []}'), "the answer has no choices[0]; it is no OpenAI API"),
        (lambda handler, body: send(handler, b'{"error": "no such key"}', 401), "refused the request with 401"),
        (lambda handler, body: send(handler, b"", 302, Location="http://127.0.0.1:1/x"), "with 302"),
        (lambda handler, body: handler.wfile.write(b"hello\r\n\r\n"), "does not speak HTTP"),
        (lambda handler, body: handler.connection.close(), "127.0.0.1"),
    ],
)
def test_an_endpoint_that_fails_is_one_line(answer: Answer, part: str, tmp_path: Path) -> None:
    with answering(answer) as server:
        begin = time.monotonic()
        with pytest.raises(EndpointError) as caught:
            write_script("an idea", Endpoint(server.url, "m", timeout=0.3), tmp_path / "story.yaml")
        assert time.monotonic() - begin < 1.9, "it was waited for too long"
    assert part in str(caught.value), str(caught.value)
    assert not list(tmp_path.iterdir())


def test_addresses_and_keys() -> None:
    for url in (
        "",
        "127.0.0.1:80",
        "file:///etc/passwd",
        "http://",
        "http://a:b@c/",
        "http://x:99999/",
        "http://x/?q=1",
    ):
        with pytest.raises(EndpointError, match="is no address"):
            Endpoint(url, "m")
    with pytest.raises(EndpointError, match="without encryption"):
        Endpoint("http://example.com/v1", "m", "secret")
    assert "secret" not in repr(Endpoint("https://example.com/v1", "m", "secret"))
    with pytest.raises(EndpointError, match="cannot be reached"):
        Endpoint("http://127.0.0.1:9/v1", "m", timeout=2).post("x", {}, 10)


def test_an_image_is_drawn_and_checked() -> None:
    content = io.BytesIO()
    Image.new("RGB", (32, 16), (0, 200, 0)).save(content, format="PNG")
    coded = base64.b64encode(content.getvalue()).decode()
    data = lambda part: lambda handler, body: send(handler, json.dumps({"data": [part]}).encode())  # noqa: E731
    with answering(data({"b64_json": coded})) as server:
        image = draw(Endpoint(server.url, "m"), "a wood", 64, 32)
    assert (image.size, image.getpixel((0, 0))) == ((32, 16), (0, 200, 0))
    ((path, body, _),) = server.requests
    assert (path, body["prompt"], body["size"]) == ("/v1/images/generations", "a wood", "64x32")
    for part, said in (
        ({"url": "http://127.0.0.1/x.png"}, "the answer has no data[0].b64_json"),
        ({"b64_json": "?"}, "is no image in base64"),
        ({"b64_json": 3}, "is no image in base64"),
        ({"b64_json": base64.b64encode(b"GIF89a no").decode()}, "not an image that can be read"),
    ):
        with answering(data(part)) as server, pytest.raises(EndpointError) as caught:
            draw(Endpoint(server.url, "m"), "a wood", 64, 32)
        assert said in str(caught.value)

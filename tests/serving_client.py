"""A server in the process of a test, and a client of it."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from PIL import Image
from small_model import picture
from starlette.testclient import TestClient

from lvdm.serving.app import create_app
from lvdm.serving.service import Service
from lvdm.serving.settings import Settings

SECONDS = 60.0


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


CAT = png(picture())


class Server:
    """A server in this process, and a client of it."""

    def __init__(self, client: TestClient, settings: Settings, service: Service) -> None:
        self.client, self.settings, self.service = client, settings, service

    def ask(self, **fields: Any) -> dict[str, Any]:
        """The job of a request in JSON, which must be taken."""
        usual = {"prompt": "a ball rolls", "input_reference": data_url(CAT)}
        answer = self.client.post("/v1/videos", json=usual | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, job: Mapping[str, Any]) -> dict[str, Any]:
        return self.client.get(f"/v1/videos/{job['id']}").json()

    def wait(self, job: Mapping[str, Any], status: str = "completed") -> dict[str, Any]:
        """The job once it is at its end, which must be `status`."""
        return self.until(job, lambda now: now["status"] in ("completed", "failed", "cancelled"), status)

    def until(self, job: Mapping[str, Any], met: Callable[[dict[str, Any]], bool], status: str) -> dict[str, Any]:
        """The job once it is as `met` says."""
        end = time.monotonic() + SECONDS
        while not met(now := self.get(job)):
            assert time.monotonic() < end, f"nothing came of it: {now}"
            time.sleep(0.01)
        assert now["status"] == status, now
        return now

    def refusal(self, status: int = 400, **fields: Any) -> str:
        """The message for a request in JSON, which must be refused, and without files left."""
        before = self.left()
        usual = {"prompt": "a ball rolls", "input_reference": data_url(CAT)}
        text = json.dumps(usual | fields)  # ASCII: half characters too
        answer = self.client.post("/v1/videos", content=text, headers={"content-type": "application/json"})
        return self.message(answer, status, before)

    def message(self, answer: Any, status: int, before: list[str]) -> str:
        """The one line of an answer that says what is wrong."""
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert error["code"] == status
        assert "\n" not in error["message"]
        assert str(self.settings.jobs.parent) not in error["message"], "a place of the server is told"
        assert self.left() == before, "something is left on the disk"
        return str(error["message"])

    def record(self, job: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
        return self.client.get(f"/v1/videos/{job['id']}/content?variant=record&number={number}").json()

    def left(self) -> list[str]:
        """What lies in the folder of jobs besides the file of the store."""
        paths = self.settings.jobs.rglob("*")
        return sorted(str(path.relative_to(self.settings.jobs)) for path in paths if "sqlite3" not in path.name)


@contextmanager
def running(settings: Settings) -> Iterator[Server]:
    """A server at work while the block runs."""
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield Server(client, settings, app.state.service)

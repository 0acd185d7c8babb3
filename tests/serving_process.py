"""A server in a process of its own, which can be killed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from processes import start_command
from serving_client import CAT, data_url

SECONDS = 120.0


class Client:
    """A client of the server at a port."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0)
        self._log = log

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self._http.request(method, path, **options)

    def ask(self, **fields: Any) -> str:
        usual = {"prompt": "a ball rolls", "input_reference": data_url(CAT)}
        answer = self.call("POST", "/v1/videos", json=usual | fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def until(self, job: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while not met(now := self.call("GET", f"/v1/videos/{job}").json()):
            assert time.monotonic() < end, f"{now}\n{self._log.read_text()}"
            time.sleep(0.02)
        return now


@contextmanager
def killed_at_the_end(jobs: Path, model: Path, log: Path) -> Iterator[Client]:
    """A server that is killed, and not told to end, when the block does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_command(["serve", "--port", str(port), "--jobs", str(jobs), "--model", f"small={model}"], log)
    try:
        client, end = Client(port, log), time.monotonic() + SECONDS
        while True:
            try:
                client.call("GET", "/healthz")
                break
            except httpx2.TransportError:
                assert process.is_alive(), log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
        yield client
    finally:
        process.kill()
        process.join()

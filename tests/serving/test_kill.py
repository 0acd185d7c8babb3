"""A real server process, killed with SIGKILL: no job is lost, none is made twice, cancelled ones stay cancelled."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from processes import start_command
from serving_client import CAT, data_url

from lvdm.serving.models import ListedModel

SECONDS = 120.0


class Client:
    """A client of the server at a port."""

    def __init__(self, port: int, log: Path) -> None:
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


def is_sampling(now: dict[str, Any]) -> bool:
    return now["stage"] == "sample" and now["step"] >= 2


def is_completed(now: dict[str, Any]) -> bool:
    assert now["status"] in ("queued", "running", "completed"), now
    return now["status"] == "completed"


def test_a_killed_server_goes_on(tmp_path: Path, models: Mapping[str, ListedModel]) -> None:
    jobs, model, log = tmp_path / "jobs", models["tiny"].files.config.parent, tmp_path / "log"
    with killed_at_the_end(jobs, model, log) as client:
        long, second, third = client.ask(num_inference_steps=100), client.ask(seed=1), client.ask(seed=2)
        before = client.until(long, is_sampling)
        assert client.call("DELETE", f"/v1/videos/{second}").json()["status"] == "cancelled"
    assert (jobs / long / "image").is_file(), "the upload of a running job is gone"
    with killed_at_the_end(jobs, model, log) as client:
        again = client.until(long, is_sampling)
        assert again["started_at"] >= before["started_at"]
        assert again["created_at"] == before["created_at"]
        assert client.call("GET", f"/v1/videos/{second}").json()["status"] == "cancelled"
        assert client.call("DELETE", f"/v1/videos/{long}").json()["status"] == "cancelled"
    with killed_at_the_end(jobs, model, log) as client:
        assert client.call("GET", f"/v1/videos/{long}").json()["status"] == "cancelled"
        client.until(third, is_completed)
        fresh = client.ask(seed=2)
        client.until(fresh, is_completed)
        contents = [client.call("GET", f"/v1/videos/{job}/content").content for job in (third, fresh)]
        assert contents[0] == contents[1]
        assert len(contents[0]) > 500
        listed = client.call("GET", "/v1/videos?order=asc").json()["data"]
        assert [job["id"] for job in listed] == [long, second, third, fresh]
        names = {str(path.relative_to(jobs)) for path in jobs.rglob("*") if "sqlite3" not in path.name}
        made = {f"{job}{end}" for job in (third, fresh) for end in ("", "/out", "/out/video.mp4", "/out/video.json")}
        assert names == made | {".incoming"}, "files of killed or cancelled jobs are left"

"""Jobs wait, are cancelled, expire and go on after the server ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from serving_client import CAT, Server, data_url, running

import lvdm.serving.routes
from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits
from lvdm.jobs.model import ChosenModel
from lvdm.progress import Progress
from lvdm.serving.settings import Settings
from lvdm.serving.store import Job
from lvdm.serving.worker import Worker

LONG = {"num_inference_steps": 6}


def steps_of(server: Server) -> float:
    value = server.service.metrics.registry.get_sample_value("dynamicrafter_steps_total")
    assert value is not None
    return value


def ended(server: Server, status: str) -> float:
    value = server.service.metrics.registry.get_sample_value("dynamicrafter_jobs_total", {"status": status})
    return value or 0.0


def until(met: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not met():
        assert time.monotonic() < end
        time.sleep(0.005)


def pause(patch: pytest.MonkeyPatch) -> None:
    """Let a job of as many steps as `LONG` stay at its second one until it is cancelled, or the server ends."""
    plain = Worker._report

    def report(self: Worker, job: Job, progress: Progress, before: float, share: float) -> None:
        plain(self, job, progress, before, share)
        if progress == Progress("sample", 2, LONG["num_inference_steps"]):
            until(lambda: self.stopping or self._store.status(job.id) != "running")
            plain(self, job, progress, before, share)

    patch.setattr(Worker, "_report", report)


def is_sampling(now: dict[str, Any]) -> bool:
    return now["stage"] == "sample" and now["step"] >= 2


def test_a_running_job_is_cancelled_within_one_step(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pause(monkeypatch)
    job, next_one = server.ask(**LONG), server.ask(seed=1)
    now = server.until(job, is_sampling, "running")
    theirs = server.client.get(f"/v1/videos/{job['id']}", headers={"User-Agent": "AsyncOpenAI/Python 3.57.0"})
    assert theirs.json()["status"] == "in_progress", "OpenAI's clients would not wait for it"
    assert 5 <= now["progress"] < 60
    answer = server.client.delete(f"/v1/videos/{job['id']}")
    at_that_time = steps_of(server)
    assert answer.json()["status"] == "cancelled"
    until(lambda: ended(server, "cancelled") == 1)
    assert steps_of(server) <= at_that_time + 1 + 2, "beyond the step that it was at, and the two of the next job"
    server.wait(next_one)
    assert not any(job["id"] in name for name in server.left())
    assert server.get(job)["status"] == "cancelled"


def test_a_job_that_waits_is_cancelled_and_never_made(start: Callable[..., Server]) -> None:
    server = start()
    server.service.worker.stop()
    job = server.ask()
    assert server.client.delete(f"/v1/videos/{job['id']}").json()["status"] == "cancelled"
    assert server.left() == [".incoming"]
    assert server.service.store.claim() is None
    assert (
        server.client.get(f"/v1/videos/{job['id']}/content")
        .json()["error"]["message"]
        .startswith("the job is cancelled")
    )
    assert server.client.delete(f"/v1/videos/{job['id']}").json() == {
        "id": job["id"],
        "object": "video.deleted",
        "deleted": True,
    }
    assert server.client.get(f"/v1/videos/{job['id']}").status_code == 404


def test_a_full_queue_says_when_to_ask_again(start: Callable[..., Server]) -> None:
    server = start(limits=Limits(max_queue=2))
    server.service.worker.stop()
    jobs = [server.ask(seed=seed) for seed in range(2)]
    message = server.refusal(429)
    assert message == "2 jobs wait already; ask again later"
    answer = server.client.post("/v1/videos", content=b"not read", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    server.client.delete(f"/v1/videos/{jobs[0]['id']}")
    server.ask(seed=3)


def test_events_tell_of_every_change_until_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvdm.serving.routes, "POLL_SECONDS", 0.005)
    job = server.ask(num_inference_steps=8)
    with server.client.stream("GET", f"/v1/videos/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    told = [json.loads(event["data"]) for event in events]
    assert [event["event"] for event in events] == [now["status"] for now in told]
    assert told[-1]["status"] == "completed"
    assert told[-1] == server.get(job)
    percents = [now["progress"] for now in told]
    assert percents == sorted(percents)
    assert len(set(percents)) > 2, "nothing is told between the beginning and the end"


def test_what_is_finished_can_be_removed(server: Server) -> None:
    job = server.wait(server.ask())
    assert server.client.delete(f"/v1/videos/{job['id']}").json()["deleted"] is True
    assert server.left() == [".incoming"]
    assert server.client.get(f"/v1/videos/{job['id']}/content").status_code == 404


def test_what_is_finished_expires(start: Callable[..., Server]) -> None:
    server = start(keep_days=0.0)
    job = server.ask()
    until(lambda: server.client.get(f"/v1/videos/{job['id']}").status_code == 404)
    until(lambda: server.left() == [".incoming"])
    assert ended(server, "completed") == 1


def test_a_failure_is_told_and_the_next_job_is_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ChosenModel) -> None:
        raise ValueError(f"{self.files.checkpoint}: \n is damaged")

    def crash(self: ChosenModel) -> None:
        raise RuntimeError("a bug")

    for broken, words in (
        (fail, "the safetensors file of model tiny: is damaged"),
        (crash, "the server failed; its log says why"),
    ):
        monkeypatch.setattr(ChosenModel, "load", broken)
        now = server.wait(server.ask(), "failed")
        assert now["error"]["message"] == words
        until(lambda: server.left() == [".incoming"])
    monkeypatch.undo()
    server.wait(server.ask())
    assert server.client.get("/healthz").json() == {"status": "ok"}
    assert 'dynamicrafter_jobs_total{status="failed"} 2.0' in server.client.get("/metrics").text


def test_a_model_is_loaded_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, loaded = ChosenModel.load, list[str]()

    def counted(self: ChosenModel) -> Any:
        loaded.append(self.machine.attention)
        return plain(self)

    monkeypatch.setattr(ChosenModel, "load", counted)
    for attention in ("auto", "auto", "plain"):
        server.wait(server.ask(attention=attention))
    assert loaded == ["auto", "plain"]


def test_a_server_that_ends_goes_on_later(tmp_path: Path, models: Mapping[str, ListedModel]) -> None:
    settings = Settings(tmp_path / "jobs", models)
    with pytest.MonkeyPatch.context() as patch, running(settings) as server:
        pause(patch)
        jobs = [server.ask(**LONG), server.ask(seed=1), server.ask(seed=2)]
        server.until(jobs[0], is_sampling, "running")
        server.client.delete(f"/v1/videos/{jobs[1]['id']}")
    (tmp_path / "jobs" / "video_stranger").mkdir()
    (tmp_path / "jobs" / ".incoming" / "half").mkdir()
    with running(settings) as server:
        assert server.get(jobs[1])["status"] == "cancelled"
        assert not any("stranger" in name or "half" in name for name in server.left())
        made = [server.wait(jobs[0]), server.wait(jobs[2])]
        assert made[0]["completed_at"] <= made[1]["completed_at"], "it lost its place"
        again = server.wait(server.ask(**LONG))
        contents = [server.client.get(f"/v1/videos/{job['id']}/content").content for job in (jobs[0], again)]
        assert contents[0] == contents[1]


def test_requests_are_counted_by_their_route(server: Server) -> None:
    server.client.get("/v1/videos/none")
    server.client.get("/secret/place")
    text = server.client.get("/metrics").text
    assert 'dynamicrafter_http_requests_total{method="GET",route="/v1/videos/{id}",status="404"} 1.0' in text
    assert 'route="other",status="404"} 1.0' in text
    assert "secret" not in text
    assert "dynamicrafter_jobs_queued 0.0" in text


def test_an_upload_is_gone_once_the_video_is_there(server: Server) -> None:
    job = server.ask(input_reference=data_url(CAT))
    server.wait(job)
    until(lambda: not any(name.endswith("/image") for name in server.left()))
    assert f"{job['id']}/out/video.mp4" in server.left()

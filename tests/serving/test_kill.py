"""A real server process, killed with SIGKILL: no job is lost, none is made twice, cancelled ones stay cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving_process import killed_at_the_end

from lvdm.hosting.library import ListedModel


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

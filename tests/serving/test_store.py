"""The file of jobs: what a kill leaves, and who may open it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvdm.serving.store import MAX_STARTS, JobStore, QueueFullError, StoreError


def add(store: JobStore, job: str, most: int = 10) -> None:
    store.add(job, {"mode": "animate"}, {"seed": 1}, ["a warning"], most)


def test_jobs_are_claimed_in_their_order(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    for job in ("c", "a", "b"):
        add(store, job)
    assert [store.claim().id for _ in range(3)] == ["c", "a", "b"]  # type: ignore[union-attr]
    assert store.claim() is None
    store.put_back("a")
    assert store.claim().id == "a"  # type: ignore[union-attr]


def test_what_was_running_waits_again_at_its_place(tmp_path: Path) -> None:
    for process in range(MAX_STARTS):
        store = JobStore(tmp_path / "jobs.sqlite3")
        if process == 0:
            add(store, "a")
            add(store, "b")
        assert store.status("a") == "queued"
        job = store.claim()
        assert job is not None
        assert (job.id, job.starts) == ("a", process + 1)
        store.close()  # as a kill does
    store = JobStore(tmp_path / "jobs.sqlite3")
    job = store.get("a")
    assert job is not None
    assert (job.status, job.error) == ("failed", "the server ended 3 times while it made this; ask for less")
    assert store.claim().id == "b"  # type: ignore[union-attr]


def test_an_end_is_an_end(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    add(store, "a")
    assert not store.complete("a", [], []), "it is not running"
    store.claim()
    assert store.cancel("a") == "running"
    assert not store.complete("a", [{"video": "v"}], [])
    assert not store.fail("a", "no")
    assert store.cancel("a") is None
    store.put_back("a")
    job = store.get("a")
    assert job is not None
    assert (job.status, job.files, job.warnings) == ("cancelled", (), ("a warning",))
    assert store.ended_before(job.finished) == []  # type: ignore[arg-type]
    assert store.ended_before(job.finished + 1) == ["a"]  # type: ignore[operator]
    assert store.remove("a")
    assert store.ids() == set()


def test_a_running_job_is_not_removed(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    add(store, "a")
    store.claim()
    assert not store.remove("a")
    assert store.ids() == {"a"}


def test_the_queue_is_bounded(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    add(store, "a", most=1)
    with pytest.raises(QueueFullError, match="1 jobs wait already; ask again later"):
        add(store, "b", most=1)
    store.claim()
    add(store, "b", most=1)
    assert store.count("queued") == store.count("running") == 1


def test_one_server_has_a_folder(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite3")
    with pytest.raises(StoreError, match="is used by another server; give --jobs another folder"):
        JobStore(tmp_path / "jobs.sqlite3")
    store.close()
    JobStore(tmp_path / "jobs.sqlite3").close()


def test_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    other = tmp_path / "jobs.sqlite3"
    other.write_bytes(b"my notes " * 100)
    with pytest.raises(StoreError, match="is not a file of jobs"):
        JobStore(other)
    assert other.read_bytes() == b"my notes " * 100

"""The jobs of a server in one SQLite file: what is asked for, how far it is, what came of it.

A job is there from the moment that its request was answered. After a kill, jobs that were running wait again at their
old place, and cancelled ones stay cancelled. One process at a time may use the file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from lvdm.errors import UserError
from lvdm.hosting.queueing import queue_full

Status = Literal["queued", "running", "completed", "failed", "cancelled"]
FINAL: tuple[Status, ...] = ("completed", "failed", "cancelled")
MAX_STARTS = 3
"""A job that was running at the end of so many processes is taken for the reason of it."""
RECENT = 20
"""Jobs that the time of the next one is estimated from."""

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    asked TEXT NOT NULL,
    about TEXT NOT NULL,
    warnings TEXT NOT NULL DEFAULT '[]',
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    starts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    files TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS by_status ON jobs (status, number);
"""


class StoreError(UserError):
    """A folder of jobs that cannot be used; the message says why."""


class QueueFullError(UserError):
    """As many jobs wait as may."""


@dataclass(frozen=True)
class Job:
    """One job.

    submission  mode, model, parameters and uploads, see `lvdm.serving.asking`
    about     what the plan came to: size, frames and so on
    files     names of what was made, in the order of the videos: video, record, contact sheet or None
    created, started, finished  seconds since 1970
    """

    number: int
    id: str
    status: Status
    submission: Mapping[str, Any]
    about: Mapping[str, Any]
    warnings: tuple[str, ...]
    created: float
    started: float | None
    finished: float | None
    starts: int
    error: str | None
    files: tuple[Mapping[str, str | None], ...]


class JobStore:
    """The jobs; several threads may use it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file, and let the jobs that were running wait again. Raises `StoreError`."""
        self._lock = threading.RLock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=1.0)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")  # whole after a kill of the process
            self._database.executescript(_TABLE)
            self._recover()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreError(f"{path.parent} is used by another server; give --jobs another folder") from error
            raise StoreError(f"{path}: cannot be used ({error}); give --jobs another folder") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path}: is not a file of jobs ({error}); give --jobs another folder") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(
        self, job: str, submission: Mapping[str, Any], about: Mapping[str, Any], warnings: Sequence[str], most: int
    ) -> Job:
        """A new job at the end of the queue. Raises `QueueFullError` if `most` wait."""
        with self._lock:
            self.check_room(most)
            self._database.execute(
                "INSERT INTO jobs (id, status, asked, about, warnings, created) VALUES (?, 'queued', ?, ?, ?, ?)",
                (job, json.dumps(submission), json.dumps(about), json.dumps(list(warnings)), time.time()),
            )
            found = self.get(job)
            assert found is not None
            return found

    def check_room(self, most: int) -> None:
        """Raise `QueueFullError` if `most` jobs wait."""
        if self.count("queued") >= most:
            raise QueueFullError(queue_full(most))

    def get(self, job: str) -> Job | None:
        """The job of this id, if there is one."""
        rows = self._rows("SELECT * FROM jobs WHERE id = ?", job)
        return rows[0] if rows else None

    def status(self, job: str) -> Status | None:
        """How the job stands; None if there is none."""
        with self._lock:
            row = self._database.execute("SELECT status FROM jobs WHERE id = ?", (job,)).fetchone()
        return None if row is None else row["status"]

    def page(self, limit: int, after: int | None, ascending: bool, status: Status | None = None) -> list[Job]:
        """At most `limit` jobs after the number `after`, oldest or newest first."""
        sign, order = (">", "ASC") if ascending else ("<", "DESC")
        where, values = ["1"], list[Any]()
        if after is not None:
            where, values = [*where, f"number {sign} ?"], [*values, after]
        if status is not None:
            where, values = [*where, "status = ?"], [*values, status]
        conditions = " AND ".join(where)
        return self._rows(f"SELECT * FROM jobs WHERE {conditions} ORDER BY number {order} LIMIT ?", *values, limit)

    def count(self, status: Status) -> int:
        """How many jobs stand so."""
        with self._lock:
            row = self._database.execute("SELECT COUNT(*) FROM jobs WHERE status = ?", (status,)).fetchone()
        return int(row[0])

    def claim(self) -> Job | None:
        """The job that waits longest, which is running from now on; None if none waits."""
        with self._lock:
            waiting = self._rows("SELECT * FROM jobs WHERE status = 'queued' ORDER BY number LIMIT 1")
            if not waiting:
                return None
            self._database.execute(
                "UPDATE jobs SET status = 'running', started = ?, starts = starts + 1 WHERE id = ?",
                (time.time(), waiting[0].id),
            )
            return self.get(waiting[0].id)

    def complete(self, job: str, files: Sequence[Mapping[str, str | None]], warnings: Sequence[str]) -> bool:
        """Say what a running job made; False if it is not running any more."""
        return self._end(job, "completed", None, files, warnings)

    def fail(self, job: str, error: str, warnings: Sequence[str] = ()) -> bool:
        """Say why a running job made nothing; False if it is not running any more."""
        return self._end(job, "failed", error, (), warnings)

    def cancel(self, job: str) -> Status | None:
        """Cancel a job that waits or is running; how it stood, and None if it did neither."""
        with self._lock:
            before = self.status(job)
            if before not in ("queued", "running"):
                return None
            self._changed("UPDATE jobs SET status = 'cancelled', finished = ? WHERE id = ?", time.time(), job)
            return before

    def put_back(self, job: str) -> None:
        """Let a running job wait again, as if it had never begun."""
        self._changed(
            "UPDATE jobs SET status = 'queued', started = NULL, starts = starts - 1 WHERE id = ? "
            "AND status = 'running'",
            job,
        )

    def remove(self, job: str) -> bool:
        """Forget a job that is at its end; False if it is not."""
        return self._changed("DELETE FROM jobs WHERE id = ? AND status IN ('completed', 'failed', 'cancelled')", job)

    def ended_before(self, moment: float) -> list[str]:
        """The ids of the jobs that were at their end before `moment` (seconds since 1970)."""
        with self._lock:
            rows = self._database.execute("SELECT id FROM jobs WHERE finished < ?", (moment,)).fetchall()
        return [row["id"] for row in rows]

    def ids(self) -> set[str]:
        """The ids of all jobs."""
        with self._lock:
            return {row["id"] for row in self._database.execute("SELECT id FROM jobs")}

    def usual_seconds(self) -> float | None:
        """How long the last jobs took, as a rule; None if there was none."""
        with self._lock:
            rows = self._database.execute(
                "SELECT finished - started FROM jobs WHERE status = 'completed' ORDER BY number DESC LIMIT ?", (RECENT,)
            ).fetchall()
        return median(row[0] for row in rows) if rows else None

    def _end(
        self,
        job: str,
        status: Status,
        error: str | None,
        files: Sequence[Mapping[str, str | None]],
        warnings: Sequence[str],
    ) -> bool:
        return self._changed(
            "UPDATE jobs SET status = ?, finished = ?, error = ?, files = ?, warnings = ? WHERE id = ? "
            "AND status = 'running'",
            *(status, time.time(), error, json.dumps([dict(file) for file in files]), json.dumps(list(warnings)), job),
        )

    def _recover(self) -> None:
        """After a kill: what was running waits again, unless it was running at the end of several processes."""
        self._database.execute(
            "UPDATE jobs SET status = 'failed', finished = ?, error = ? WHERE status = 'running' AND starts >= ?",
            (time.time(), f"the server ended {MAX_STARTS} times while it made this; ask for less", MAX_STARTS),
        )
        self._database.execute("UPDATE jobs SET status = 'queued', started = NULL WHERE status = 'running'")

    def _changed(self, statement: str, *values: Any) -> bool:
        with self._lock:
            return self._database.execute(statement, values).rowcount > 0

    def _rows(self, statement: str, *values: Any) -> list[Job]:
        with self._lock:
            rows = self._database.execute(statement, values).fetchall()
        return [_job(row) for row in rows]


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118  # iterating over a row gives its values
    values["submission"] = json.loads(values.pop("asked"))
    values["about"] = json.loads(values["about"])
    for name in ("warnings", "files"):
        values[name] = tuple(json.loads(values[name]))
    return Job(**values)

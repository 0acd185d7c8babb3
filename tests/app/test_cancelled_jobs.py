"""The list of a visitor's jobs, without a browser: in one under load gradio may draw its rows late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvdm.app.sessions import Sessions


class Running:
    """A job that only notes that it was cancelled."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_a_cancelled_job_is_listed_as_such_at_once(tmp_path: Path) -> None:
    sessions, work = Sessions(tmp_path), Running()
    job: Any = work
    sessions.begin("a", "animate", "a ball", job, "1")
    assert sessions.cancel("a") == 1
    assert work.cancelled, "the job goes on"
    assert sessions.rows("a")[0][3] == "cancelled", "the list says another state"

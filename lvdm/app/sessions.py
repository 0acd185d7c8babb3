"""Who has the page open, what they are making, and the files that belong to them."""

from __future__ import annotations

import secrets
import shutil
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lvdm.app.work import Work

KEPT = 20
"""Jobs of one visitor whose files stay; older ones go."""


@dataclass(frozen=True)
class JobEntry:
    """One job in the list of a visitor. state: running, completed, cancelled or failed."""

    id: str
    folder: Path
    time: str
    mode: str
    prompt: str
    state: str = "running"
    seconds: float | None = None
    seed: int | None = None

    def row(self) -> list[str]:
        """What the list shows: an entry for each of `COLUMNS`."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return [
            self.time,
            self.mode,
            self.prompt[:80],
            self.state,
            seconds,
            "" if self.seed is None else str(self.seed),
        ]


COLUMNS = ["time", "mode", "prompt", "state", "seconds", "seed"]


@dataclass
class _Session:
    entries: list[JobEntry] = field(default_factory=list)
    running: dict[str, Work[Any]] = field(default_factory=dict)


class Sessions:
    """All of them, by the names that gradio gives; used by many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def begin(self, session: str, mode: str, prompt: str, work: Work[Any], id_: str) -> JobEntry:
        """Note a job, whose folder is `folder_of(id_)`; the files of the oldest ones go."""
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        entry = JobEntry(id_, self.folder_of(id_), time, mode, prompt)
        with self._lock:
            own = self._sessions.setdefault(session, _Session())
            own.entries.append(entry)
            own.running[id_] = work
            old, own.entries = own.entries[:-KEPT], own.entries[-KEPT:]
        for other in old:
            shutil.rmtree(other.folder, ignore_errors=True)
        return entry

    def end(
        self, session: str, entry: JobEntry, state: str, seconds: float | None = None, seed: int | None = None
    ) -> None:
        """Note how a job ended. Unless it is completed its files go, and so they do where the visitor has left."""
        with self._lock:
            own = self._sessions.get(session)
            if own is not None:
                own.running.pop(entry.id, None)
                ended = replace(entry, state=state, seconds=seconds, seed=seed)
                own.entries = [ended if other.id == entry.id else other for other in own.entries]
        if own is None or state != "completed":
            shutil.rmtree(entry.folder, ignore_errors=True)

    def cancel(self, session: str) -> int:
        """Stop what the visitor is making; how many jobs that was."""
        with self._lock:
            own = self._sessions.get(session)
            running = list(own.running.values()) if own else []
            if own is not None:  # at once: who listened to the job may be let go of later
                own.entries = [
                    replace(entry, state="cancelled") if entry.id in own.running else entry for entry in own.entries
                ]
        for work in running:
            work.cancel()
        return len(running)

    def cancel_all(self) -> None:
        """Stop what is being made, whoever wants it."""
        with self._lock:
            names = list(self._sessions)
        for name in names:
            self.cancel(name)

    def forget(self, session: str) -> None:
        """The visitor has left: stop the jobs, remove the files."""
        self.cancel(session)
        with self._lock:
            own = self._sessions.pop(session, None)
        for entry in own.entries if own else ():
            if entry.id not in own.running:  # type: ignore[union-attr]
                shutil.rmtree(entry.folder, ignore_errors=True)

    def rows(self, session: str) -> list[list[str]]:
        """The jobs of a visitor, the last one first."""
        with self._lock:
            own = self._sessions.get(session)
            return [entry.row() for entry in reversed(own.entries)] if own else []

    def new_id(self) -> str:
        """The name of a new job, which nobody can guess."""
        return secrets.token_hex(12)

    def folder_of(self, id_: str) -> Path:
        """Where the files of a job lie."""
        return self._folder / id_

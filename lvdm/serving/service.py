"""What the routes do: take requests, tell of jobs, cancel them. Files of a job are whole, or not there."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvdm.errors import UserError
from lvdm.hosting.queueing import retry_after
from lvdm.media.atomic import OutputError
from lvdm.serving.asking import OUTPUT_FOLDER, Fields, Submission, store_uploads, understand
from lvdm.serving.metrics import Metrics
from lvdm.serving.planning import about, heard_warnings, plan_job, public
from lvdm.serving.replaying import Replay, read_replay
from lvdm.serving.settings import Settings, SettingsError
from lvdm.serving.store import FINAL, Job, JobStore
from lvdm.serving.worker import Live, Worker

logger = logging.getLogger(__name__)

INCOMING = ".incoming"
"""Folder, in that of the jobs, of requests that are not taken yet."""


@dataclass(frozen=True)
class DryRun:
    """What a request would come to."""

    submission: Submission
    about: dict[str, Any]
    warnings: tuple[str, ...]


class RequestRefusedError(UserError):
    """A request that cannot be carried out; the message is for the client."""


class Service:
    """One server at work; several threads may use it."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder of jobs. Raises `SettingsError` and `StoreError`."""
        jobs = settings.jobs
        try:
            jobs.mkdir(parents=True, exist_ok=True)
            self.store = JobStore(jobs / "jobs.sqlite3")
            shutil.rmtree(jobs / INCOMING, ignore_errors=True)
            (jobs / INCOMING).mkdir()
        except OSError as error:
            raise SettingsError(f"{jobs}: cannot be used ({error.strerror or error}); give --jobs another") from error
        self.settings, self.metrics = settings, Metrics()
        self.worker = Worker(settings, self.store, self.metrics)
        self._planning = threading.Lock()
        self._remove_unknown_folders()

    def check_room(self) -> None:
        """Raise `QueueFullError` if no further job may wait."""
        self.store.check_room(self.settings.limits.max_queue)

    def add(self, fields: Fields) -> Job | DryRun:
        """A job for a request, or with `dry_run` what it would come to. Raises `ValueError`; then nothing is left."""
        job = f"video_{secrets.token_hex(12)}"
        folder = self.settings.jobs / INCOMING / job
        try:
            with heard_warnings() as heard, self._planning:  # one at a time, so that few images are in memory
                try:
                    folder.mkdir()
                    replay = self._replay(fields.record, job)
                    submission, uploads = understand(fields, self.settings.models, replay)
                    store_uploads(uploads, folder, self.settings.limits)
                    plan = plan_job(submission, folder, self.settings)
                    summary = about(plan, submission.dry_run)
                    if replay is not None:
                        changes = (*replay.changes(submission), *plan.changes)
                        summary["changes"] = [public(text, folder, self.settings) for text in changes]
                except OutputError:  # the disk's affair, not the client's
                    raise
                except ValueError as error:
                    raise RequestRefusedError(public(str(error), folder, self.settings)) from error
            warnings = tuple(public(line, folder, self.settings) for line in heard)
            if submission.dry_run:
                return DryRun(submission, summary, warnings)
            shutil.rmtree(folder / OUTPUT_FOLDER, ignore_errors=True)  # what planning looked at
            return self._take(job, folder, submission, summary, warnings)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _replay(self, record: bytes | None, job: str) -> Replay | None:
        """What the record of a request says, which is written into the folder of the job."""
        if record is None:
            return None
        place, models = self.settings.jobs / job, self.settings.models
        device = str(self.settings.machine.get("device", "auto"))
        return read_replay(record, place.parent / INCOMING / job, place, models, device)

    def cancel(self, job: Job) -> None:
        """End a job that waits or is running, within one step."""
        if self.store.cancel(job.id) == "queued":  # else the worker ends it
            shutil.rmtree(self.settings.jobs / job.id, ignore_errors=True)
            self.metrics.videos.labels("cancelled").inc()

    def remove(self, job: Job) -> bool:
        """Forget a job that is at its end, and its files."""
        removed = self.store.remove(job.id)
        if removed:
            shutil.rmtree(self.settings.jobs / job.id, ignore_errors=True)
        return removed

    def live(self, job: Job) -> Live | None:
        """How far a job is that is running."""
        return self.worker.live(job.id) if job.status == "running" else None

    def file(self, job: Job, number: int, variant: str) -> Path | None:
        """A file that a completed job made; None if it made no such one."""
        if job.status != "completed" or not 1 <= number <= len(job.files):
            return None
        name = job.files[number - 1].get(variant)
        path = None if name is None else self.settings.jobs / job.id / OUTPUT_FOLDER / name
        return path if path is not None and path.is_file() else None

    def expires(self, job: Job) -> float | None:
        """When the job is forgotten, in seconds since 1970; None while it is not at its end."""
        return None if job.finished is None else job.finished + self.settings.keep_days * 86400

    def retry_after(self) -> int:
        """In how many seconds a place in the queue is free, as a rule."""
        return retry_after(self.store.usual_seconds())

    def _take(
        self, job: str, folder: Path, submission: Submission, summary: dict[str, Any], warnings: tuple[str, ...]
    ) -> Job:
        """Make it a job: its files first, so that no job is without them."""
        place = self.settings.jobs / job
        os.replace(folder, place)
        try:
            taken = self.store.add(job, submission.as_json(), summary, warnings, self.settings.limits.max_queue)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        self.worker.wake()
        return taken

    def _remove_unknown_folders(self) -> None:
        """Remove the folders of requests that were never taken, and of jobs that are forgotten."""
        known = self.store.ids()
        for path in self.settings.jobs.glob("video_*"):
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)
        for name in known:
            job = self.store.get(name)
            if job is not None and job.status in FINAL and job.status != "completed":
                shutil.rmtree(self.settings.jobs / name, ignore_errors=True)

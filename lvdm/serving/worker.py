"""The one thread that makes videos: it takes the job that waits longest, until the server ends."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.errors import UserError
from lvdm.jobs.extend import ExtensionPlan, run_extension
from lvdm.jobs.loaded import LoadedModel
from lvdm.jobs.plan import Plan
from lvdm.jobs.run import FinishedVideo, ProgressOf, SelectedVideo, run
from lvdm.media.ownership import frames_at, record_path, sheet_path
from lvdm.progress import Progress, ProgressCallback, share_of_video
from lvdm.serving.asking import OUTPUT_FOLDER, Submission
from lvdm.serving.metrics import Metrics
from lvdm.serving.packing import pack_frames
from lvdm.serving.planning import heard_warnings, plan_job, public
from lvdm.serving.settings import Settings
from lvdm.serving.store import Job, JobStore

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
"""How often jobs that have expired are looked for while nothing waits."""


@dataclass(frozen=True)
class Live:
    """How far the running job is: percent of the whole; of the stage, `done` of `total`."""

    stage: str = "load"
    done: int = 0
    total: int = 0
    percent: int = 0


class Worker:
    """The thread. `start` once; `stop` puts the running job back."""

    def __init__(self, settings: Settings, store: JobStore, metrics: Metrics) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._model = LoadedModel()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._live: tuple[str, Live] | None = None  # replaced as a whole, so that other threads may read it
        self._thread = threading.Thread(target=self._work, name="videos", daemon=True)

    def start(self) -> None:
        """Begin with the job that waits longest."""
        self._thread.start()

    def stop(self, seconds: float = 30.0) -> None:
        """End within one step of sampling; the running job waits again."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)

    def wake(self) -> None:
        """Say that a job waits."""
        self._wake.set()

    @property
    def alive(self) -> bool:
        """Whether the thread is at work or waits for some."""
        return self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end."""
        return self._stopping.is_set()

    def live(self, job: str) -> Live | None:
        """How far the job is; None unless it is the running one."""
        live = self._live
        return live[1] if live is not None and live[0] == job else None

    def _work(self) -> None:
        while not self.stopping:
            self._wake.clear()
            try:
                self._expire()
                job = self._store.claim()
                if job is not None:
                    self._live = job.id, Live()
                    self._make(job)
                    self._live = None
                    continue
            except sqlite3.Error:  # such as a full disk, which may have room later
                logger.exception("the file of jobs cannot be used")
            self._wake.wait(IDLE_SECONDS)

    def _make(self, job: Job) -> None:
        """Make one job; whatever goes wrong with it, the next one is made."""
        folder, begun = self._settings.jobs / job.id, time.monotonic()
        shutil.rmtree(folder / OUTPUT_FOLDER, ignore_errors=True)  # of a process that was killed
        with heard_warnings() as warnings:
            try:
                files = self._files(job, folder)
            except SamplingCancelled:
                if self.stopping:
                    self._store.put_back(job.id)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                    self._metrics.videos.labels("cancelled").inc()
                return
            except (UserError, ValueError, OSError) as error:
                self._fail(job, folder, public(str(error), folder, self._settings), warnings)
                return
            except Exception:
                logger.exception("job %s failed", job.id)
                self._fail(job, folder, "the server failed; its log says why", warnings)
                return
        shown = [public(line, folder, self._settings) for line in warnings]
        if self._store.complete(job.id, files, shown):
            for path in folder.iterdir():
                if path.name != OUTPUT_FOLDER:
                    path.unlink()  # an upload
            self._metrics.videos.labels("completed").inc()
            self._metrics.video_seconds.observe(time.monotonic() - begun)
        else:  # cancelled after its last step
            shutil.rmtree(folder, ignore_errors=True)
            self._metrics.videos.labels("cancelled").inc()

    def _fail(self, job: Job, folder: Path, reason: str, warnings: list[str]) -> None:
        failed = self._store.fail(job.id, reason, [public(line, folder, self._settings) for line in warnings])
        shutil.rmtree(folder, ignore_errors=True)
        self._metrics.videos.labels("failed" if failed else "cancelled").inc()

    def _files(self, job: Job, folder: Path) -> list[dict[str, str | None]]:
        """Make the videos; the names of their files."""
        plan = plan_job(Submission.from_json(job.submission), folder, self._settings)
        outputs = self._extend(job, plan) if isinstance(plan, ExtensionPlan) else self._run(job, plan)
        found = list[dict[str, str | None]]()
        for output in dict.fromkeys(outputs):
            video, record = output, record_path(output)
            if frames_at(output) is not None:
                video = pack_frames(output)
            sheet = sheet_path(record)
            found.append(
                {"video": video.name, "record": record.name, "contact_sheet": sheet.name if sheet.exists() else None}
            )
        return found

    def _run(self, job: Job, plan: Plan) -> list[Path]:
        made, chosen = list[Path](), list[Path]()
        for event in run(plan, progress=self._progress_of(job, len(plan.videos)), load=self._model.load):
            if isinstance(event, FinishedVideo):
                made.append(event.output)
            elif isinstance(event, SelectedVideo) and plan.output.keep == "best":
                chosen.append(event.output)
        return chosen or made

    def _extend(self, job: Job, plan: ExtensionPlan) -> list[Path]:
        return [run_extension(plan, self._progress_of(job, 1), self._model.load).output]

    def _progress_of(self, job: Job, videos: int) -> ProgressOf:
        """Where the batches of a job report to; it also ends the job when it was cancelled or the server stops."""
        finished = 0

        @contextmanager
        def reported(title: str) -> Iterator[ProgressCallback]:
            nonlocal finished
            yield lambda progress: self._report(job, progress, finished / videos, 1 / videos)
            finished += 1

        return reported

    def _report(self, job: Job, progress: Progress, before: float, share: float) -> None:
        last = self.live(job.id) or Live()
        percent = min(99, max(last.percent, int(100 * (before + share * share_of_video(progress)))))
        self._live = job.id, Live(progress.stage, progress.done, progress.total, percent)
        if progress.stage == "sample" and progress.done:
            self._metrics.steps.inc()
        if self.stopping or self._store.status(job.id) != "running":
            raise SamplingCancelled

    def _expire(self) -> None:
        """Forget what was finished so many days ago, and its files."""
        for job in self._store.ended_before(time.time() - self._settings.keep_days * 86400):
            if self._store.remove(job):
                shutil.rmtree(self._settings.jobs / job, ignore_errors=True)

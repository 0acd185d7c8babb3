"""A job in a thread of its own, which the page watches and can stop; one at a time has the device."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.jobs.preview import LatentColors, moving_image
from lvdm.progress import Progress, ProgressCallback
from lvdm.request.layers import in_field_names

STAGES = {"encode": "reading image and prompt", "sample": "sampling", "decode": "decoding frames"}
LOOK_EVERY = 0.2
"""Seconds between two looks at a job."""
PREVIEW_EVERY = 0.7
"""Seconds from one preview to the next, at least: they are to cost nothing that is noticed."""
MAX_PREVIEW_FRAMES = 32

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class View:
    """How far a job is.

    title    which of several videos; stage: what is being done
    left     seconds until the end of the stage; None where that is not known yet
    image  an animated WebP of what the video will be; None before the first step
    notes    what the library said
    """

    title: str = ""
    stage: str = "waiting for the device"
    done: int = 0
    total: int = 0
    left: float | None = None
    image: bytes | None = None
    notes: tuple[str, ...] = ()


class Work(Generic[Outcome]):
    """One job: `make` is called with it in a new thread, once the device is free."""

    def __init__(self, make: Callable[[Work[Outcome]], Outcome], device: threading.Lock) -> None:
        self._make, self._device = make, device
        self._lock = threading.Lock()
        self._view = View()
        self._cancelled, self._finished = threading.Event(), threading.Event()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._clock = _StageClock()
        self._colors: LatentColors | None = None
        self._pictured = 0.0
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Stop it after the step that it is in; `SamplingCancelled` is then its error."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether it is to stop."""
        return self._cancelled.is_set()

    def views(self) -> Iterator[View]:
        """How far it is, whenever that changes, until it ends."""
        shown = None
        while not self._finished.wait(LOOK_EVERY):
            view = self.view
            if view is not shown:
                shown = view
                yield view

    @property
    def view(self) -> View:
        """How far it is now."""
        with self._lock:
            return self._view

    def result(self) -> Outcome:
        """What was made, once it is finished. Raises what the job raised."""
        self._finished.wait()
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def show_colors(self, colors: LatentColors) -> None:
        """Let previews be made with this map."""
        self._colors = colors

    def say(self, stage: str) -> None:
        """Name what is being done. Raises `SamplingCancelled`."""
        self._report(stage=stage, done=0, total=0, left=None)
        self.check()

    def check(self) -> None:
        """Raise `SamplingCancelled` if the job is to stop."""
        if self.cancelled:
            raise SamplingCancelled("cancelled")

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """What `lvdm.jobs.run.run` reports to."""
        number, _, _ = title.partition(" ")
        several = number if "/" in number else ""

        def show(progress: Progress) -> None:
            self.check()
            left = self._clock.left(progress)
            stage = STAGES.get(progress.stage, progress.stage)
            self._report(title=several, stage=stage, done=progress.done, total=progress.total, left=left)

        yield show

    def on_step(self, step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> None:
        """Make a preview of the first video of the batch, where one is due."""
        now = time.monotonic()
        if self._colors is None or now - self._pictured < PREVIEW_EVERY:
            return
        self._pictured = now
        stride = -(-pred_x0.shape[2] // MAX_PREVIEW_FRAMES)
        self._report(image=moving_image(self._colors.frames(pred_x0[0, :, ::stride])))

    def _report(self, **changes: object) -> None:
        with self._lock:
            self._view = View(**{**vars(self._view), **changes})  # type: ignore[arg-type]

    def _run(self) -> None:
        try:
            while not self._device.acquire(timeout=LOOK_EVERY):
                self.check()
            try:
                with self._heard():
                    self.check()
                    self._outcome = self._make(self)
            finally:
                self._device.release()
        except Exception as error:  # it is raised where the result is asked for
            self._error = error
        finally:
            self._finished.set()

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Let the notes of this job's thread be part of its views."""
        notes = _Notes(threading.get_ident(), lambda text: self._report(notes=(*self.view.notes, text)))
        logging.getLogger("lvdm").addHandler(notes)
        try:
            yield
        finally:
            logging.getLogger("lvdm").removeHandler(notes)


@dataclass
class _StageClock:
    """Seconds to the end of a stage, by the pace since its first report."""

    stage: str = ""
    began: float = 0.0
    at: int = field(default=0)

    def left(self, progress: Progress) -> float | None:
        now = time.monotonic()
        if progress.stage != self.stage or progress.done < self.at:
            self.stage, self.began, self.at = progress.stage, now, progress.done
        steps = progress.done - self.at
        return None if steps <= 0 else (now - self.began) / steps * (progress.total - progress.done)


class _Notes(logging.Handler):
    """What one thread logs, each once."""

    def __init__(self, thread: int, report: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._thread, self._report, self._said = thread, report, set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        text = in_field_names(record.getMessage())
        if record.thread == self._thread and text not in self._said:
            self._said.add(text)
            self._report(text)

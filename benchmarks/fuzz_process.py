"""Cases in a process of their own, forked from this one: what they may take and touch, and whether they went well.

Forking shares what is imported. The process that forks must have computed nothing with several threads.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_mutations import DIGITS, LONG

from lvdm.cli.errors import NO_MEMORY

CPU_SECONDS, WALL_SECONDS = 20, 300
"""The first is what a case may compute; the second ends one that waits, on a machine that is busy."""
MEMORY = 1_500_000_000
"""Bytes of address space besides what is shared."""
FILE_BYTES = 200_000_000
EXIT_CODES = (0, 1, 2, 3)
"""See `lvdm.cli.errors`."""
CANARY = "canary"
"""Hostile files try to make a file, or to import a module, of this name."""
LONGEST_LINE = 2600
"""Characters; a list of ten problems is one line."""

_WRITES = ("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree")
_MOVES = ("os.rename", "os.link", "os.symlink")
_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.")
_RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
_LOADED_BY_PICKLES = ("torch.", "collections.", "numpy.", "lvdm.", "_codecs.", "copyreg.", "pathlib.")
_PLACES_OF_NO_ACCOUNT = ("/dev/null", "/dev/shm/")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code or signal, what was wrong ("" for nothing), and the time that it took."""

    name: str
    status: int
    failure: str
    seconds: float
    log: str


@dataclass(frozen=True)
class Task:
    """What a case does: `lay_out` and then `work` in a folder of its own.

    work   is watched
    words  what is typed: a place that is named there may be written to
    """

    name: str
    lay_out: Callable[[], None]
    work: Callable[[], object]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class _Traces:
    """Where a case works, and the files that tell of it: what it said, what was watched, and how it ended."""

    folder: Path

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    @property
    def events(self) -> Path:
        return self.folder.with_suffix(".events")

    @property
    def end(self) -> Path:
        return self.folder.with_suffix(".end")


def run_cases(tasks: Sequence[Task], place: Path, check: Callable[[Path], str]) -> Iterator[Outcome | None]:
    """Fork, and run the tasks one after the other, each in a new folder below `place`; yields None while they run.

    Where one of them ends the process, or leaves a thread, the others go on in a new one.
    check  what is wrong with the folder of a case that ended with code 0, "" for nothing
    """
    waiting = [(task, _Traces(Path(tempfile.mkdtemp(dir=place)))) for task in tasks]
    while waiting:
        child = os.fork()
        if child == 0:
            _in_child(waiting)
        begun, ended, status, used = time.monotonic(), 0, 0, 0.0
        while not ended:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            used = usage.ru_utime + usage.ru_stime
            while waiting and (found := _read_end(waiting[0][1])) is not None:
                task, traces = waiting.pop(0)
                yield _outcome(task, traces, *found, check)
                begun = time.monotonic()
            if not ended:
                if time.monotonic() - begun > WALL_SECONDS:
                    os.kill(child, signal.SIGKILL)
                yield None
        if waiting and waiting[0][1].events.exists():  # it had begun
            task, traces = waiting.pop(0)
            yield _outcome(task, traces, os.waitstatus_to_exitcode(status), used, check)


def _read_end(traces: _Traces) -> tuple[int, float] | None:
    """Exit code and seconds, once the case has ended."""
    text = traces.end.read_text(encoding="ascii") if traces.end.exists() else ""
    if not text.endswith("\n"):
        return None
    code, seconds = text.split()
    return int(code), float(seconds)


def _outcome(task: Task, traces: _Traces, code: int, seconds: float, check: Callable[[Path], str]) -> Outcome:
    text = traces.log.read_text(encoding="utf-8", errors="replace")
    seen = traces.events.read_text(encoding="utf-8", errors="replace").strip()
    failure = _failure(code, text, seen) or (check(traces.folder) if code == 0 else "")
    _remove(traces.folder)
    for path in (traces.log, traces.events, traces.end):
        path.unlink(missing_ok=True)
    return Outcome(task.name, code, failure, seconds, text)


def _failure(code: int, text: str, events: str) -> str:
    if events:
        return f"watched: {events.splitlines()[0]}"
    if code == -signal.SIGXCPU:
        return f"took more than {CPU_SECONDS} s"
    if code == -signal.SIGKILL:
        return f"did not end within {WALL_SECONDS} s"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    if "Traceback (most recent call last)" in text or "MemoryError" in text:
        last = [line for line in text.strip().splitlines() if line.strip()][-1]
        return f"traceback: {last[:200]}"
    if NO_MEMORY in text:
        return "asks for more memory than it may take"
    if code not in EXIT_CODES:
        return f"ended with code {code}"
    if code != 0 and not text.strip():
        return f"ended with code {code} without a word"
    if LONG[:210] in text or DIGITS[:210] in text:
        return "repeats its input"
    if any(len(line) > LONGEST_LINE for line in text.splitlines()):
        return "says a line that nobody reads"
    return ""


def _in_child(tasks: Sequence[tuple[Task, _Traces]]) -> None:
    """The life of a child; it does not come back."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever forks may have a handler
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        watch = _Watch()
        sys.addaudithook(watch)
        threads = threading.active_count()
        for task, traces in tasks:
            before = time.process_time()
            code = _one(task, traces, watch)
            traces.end.write_text(f"{code} {time.process_time() - before}\n", encoding="ascii")
            if threading.active_count() > threads:
                break
    finally:
        os._exit(0)


def _one(task: Task, traces: _Traces, watch: _Watch) -> int:
    """Run a case in this process; its exit code."""
    code = 70
    output = os.open(traces.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    watched = os.open(traces.events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.chdir(traces.folder)
        folder = str(traces.folder)
        os.environ |= {"HOME": folder, "TMPDIR": folder, "COLUMNS": "100", "NO_COLOR": "1"}
        tempfile.tempdir = None
        task.lay_out()
        _limit()
        named = {os.path.realpath(word.rpartition("=")[2]) for word in task.words if "\0" not in word}
        watch.begin(folder, watched, named, serves=bool(task.words) and task.words[0] in ("serve", "web"))
        task.work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            os.write(2, end.code.encode("utf-8", "backslashreplace"))
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = 71
        watch.end()
        os.close(watched)
    return code


def _limit() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    space = pages * resource.getpagesize() + MEMORY
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, int(time.process_time()) + CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


class _Watch:
    """An audit hook that notes what no file and no option may bring about, between `begin` and `end` of a case."""

    def __init__(self) -> None:
        self._folder, self._events, self._named, self._busy = "", 0, frozenset[str](), True
        self._serves = False

    def begin(self, folder: str, events: int, named: Set[str], serves: bool) -> None:
        self._folder, self._events, self._named = os.path.realpath(folder), events, frozenset(named)
        self._serves = serves
        self._busy = False

    def end(self) -> None:
        self._busy = True

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            seen = self._seen(event, args)
            if seen:
                frame = sys._getframe(1)
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                os.write(self._events, f"{event} {seen[:200]} ({where})\n".encode("utf-8", "backslashreplace"))
        finally:
            self._busy = False

    def _seen(self, event: str, args: tuple[Any, ...]) -> str:
        """What there is to note; "" for nothing."""
        if event == "open":
            path, mode, flags = args
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else flags & os.O_ACCMODE
            return repr(path) if writes and not self._inside(path) else ""
        if event in _WRITES:
            return repr(args[0]) if not self._inside(args[0]) else ""
        if event in _MOVES:
            touched = args[:2] if event == "os.rename" else args[1:2]
            return "" if all(map(self._inside, touched)) else repr(args[:2])
        if event == "import":
            return args[0] if str(args[0]).split(".")[0] == CANARY else ""
        if event == "pickle.find_class":
            name = f"{args[0]}.{args[1]}"
            return "" if name.startswith(_LOADED_BY_PICKLES) else name
        if event == "socket.bind" and self._serves:
            return ""
        if event == "socket.connect" or event == "socket.bind":
            return "" if isinstance(args[1], str) and self._inside(args[1]) else repr(args[1])
        if event.startswith(_NETWORK) or event.startswith(_RUNS):
            return repr(args[0])
        return ""

    def _inside(self, path: Any) -> bool:
        """Whether a place may be written: it is below the folder of the case, or an open file."""
        if path is None or isinstance(path, int):
            return True
        place = os.path.realpath(os.fsdecode(path))
        its_own = f"/proc/{os.getpid()}/"  # what /proc/self comes to
        return place in self._named or place.startswith((self._folder, its_own, *_PLACES_OF_NO_ACCOUNT))


def _remove(folder: Path) -> None:
    """Also what lies deeper than a name may be long."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        os.system(f"rm -rf {re.escape(str(folder))}")

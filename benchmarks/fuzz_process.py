"""One case in a process of its own, forked from this one: what it may take and touch, and whether it went well.

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
_PLACES_OF_NO_ACCOUNT = ("/dev/null", "/dev/shm/", "/proc/self/")


@dataclass(frozen=True)
class Outcome:
    """How a case ended: its exit code or signal, what was wrong ("" for nothing), and what it took."""

    name: str
    status: int
    failure: str
    seconds: float
    megabytes: float
    log: str


def run_case(
    name: str,
    lay_out: Callable[[], None],
    work: Callable[[], None],
    place: Path,
    check: Callable[[Path], str],
    words: Sequence[str] = (),
) -> Iterator[Outcome | None]:
    """Fork, run `lay_out` and then `work` in a new folder below `place`; yields None until the outcome is there.

    work   is watched
    words  what is typed: a place that is named there may be written to
    check  what is wrong with the folder of a case that ended with code 0, "" for nothing
    """
    folder = Path(tempfile.mkdtemp(dir=place))
    log, events = folder.with_suffix(".log"), folder.with_suffix(".events")
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if child == 0:
        _in_child(lay_out, work, folder, log, events, words)
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - begun > WALL_SECONDS:
            os.kill(child, signal.SIGKILL)
        yield None
    code = os.waitstatus_to_exitcode(status)
    text = log.read_text(encoding="utf-8", errors="replace")
    seen = events.read_text(encoding="utf-8", errors="replace").strip()
    megabytes = max(used.ru_maxrss - before, 0) / 1000
    failure = _failure(code, text, seen) or (check(folder) if code == 0 else "")
    _remove(folder)
    log.unlink()
    events.unlink()
    yield Outcome(name, code, failure, used.ru_utime + used.ru_stime, megabytes, text)


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


def _in_child(
    lay_out: Callable[[], None], work: Callable[[], None], folder: Path, log: Path, events: Path, words: Sequence[str]
) -> None:
    """The life of a child; it does not come back."""
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever forks may have a handler
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        watched = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(output, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        os.environ |= {"HOME": str(folder), "TMPDIR": str(folder), "COLUMNS": "100", "NO_COLOR": "1"}
        tempfile.tempdir = None
        lay_out()
        _limit()
        named = {os.path.realpath(word.rpartition("=")[2]) for word in words if "\0" not in word}
        sys.addaudithook(_Watch(str(folder), watched, named))
        work()
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
        os._exit(code)


def _limit() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    space = pages * resource.getpagesize() + MEMORY
    for what, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


class _Watch:
    """An audit hook that notes what no file and no option may bring about."""

    def __init__(self, folder: str, events: int, named: Set[str]) -> None:
        self._folder, self._events, self._named, self._busy = os.path.realpath(folder), events, named, False

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
        return place in self._named or place.startswith((self._folder, *_PLACES_OF_NO_ACCOUNT))


def _remove(folder: Path) -> None:
    """Also what lies deeper than a name may be long."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        os.system(f"rm -rf {re.escape(str(folder))}")

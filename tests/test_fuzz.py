"""Two hundred of the cases of `benchmarks/fuzz.py`, and that it sees what it is there to see."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import fuzz
import pytest
from fuzz_mutations import LONG, mutated, mutated_tree
from fuzz_process import Outcome, Task, run_cases
from processes import start_script

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="its limits are those of Linux")


def test_two_hundred_wrong_inputs(tmp_path: Path) -> None:
    process = start_script(Path(fuzz.__file__), ["--every", "12", "--together", "20"], tmp_path / "log.txt")
    process.join(300)
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert process.exitcode == 0, said
    assert "209 cases" in said


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _spin() -> None:
    while True:
        pass


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "traceback": (lambda: 1 / 0, "traceback: ZeroDivisionError: division by zero"),
    "crash": (_be_killed, "ended by SIGTERM"),
    "endless": (_spin, "took more than 1 s"),
    "memory": (lambda: bytearray(1 << 40), "traceback: MemoryError"),
    "silence": (lambda: sys.exit(2), "ended with code 2 without a word"),
    "echo": (lambda: os.write(1, LONG.encode()), "repeats its input"),
    "program": (lambda: subprocess.run(["true"], check=True), "watched: subprocess.Popen 'true'"),
    "network": (lambda: socket.create_connection(("127.0.0.1", 9)), "watched: socket.getaddrinfo '127.0.0.1'"),
    "writing": (lambda: Path("../canary").write_text("x"), "watched: open '../canary'"),
    "removing": (lambda: Path("../canary").unlink(missing_ok=True), "watched: os.remove"),
    "nonsense": (lambda: Path("out").touch(), "out is there"),
}


def outcomes(place: Path, *works: Callable[[], object]) -> list[Outcome]:
    """Of cases that run one after the other."""
    tasks = [Task("a", lambda: None, work) for work in works]
    nonsense = "out is there"
    ended = run_cases(tasks, place, lambda folder: nonsense * (folder / "out").exists())
    return [found for found in ended if found is not None or time.sleep(0.01)]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_is_seen(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, words = FAULTS[fault]
    monkeypatch.setattr("fuzz_process.CPU_SECONDS", 1)
    (outcome,) = outcomes(tmp_path, work)
    assert words in outcome.failure


def test_what_is_well_is_no_failure_and_no_case_reaches_the_next(tmp_path: Path) -> None:
    def work() -> None:
        Path("x").write_text("x")
        Path("x").rename("y")
        os.write(2, b"Error: no")
        sys.exit(2)

    def leave_a_thread() -> None:
        threading.Thread(target=time.sleep, args=(100,)).start()

    works = (
        work,
        _be_killed,
        work,
        leave_a_thread,
        lambda: os.write(1, b"%d" % threading.active_count()),
        lambda: os._exit(3),
        work,
    )
    found = outcomes(tmp_path, *works)
    assert [outcome.status for outcome in found] == [2, -15, 2, 0, 0, 3, 2]
    assert [outcome.log for outcome in found] == ["Error: no", "", "Error: no", "", "1", "", "Error: no"]
    assert [number for number, outcome in enumerate(found) if outcome.failure] == [1, 5]
    assert list(tmp_path.iterdir()) == [], "a case leaves something"


def test_the_same_seed_makes_the_same_mistakes() -> None:
    content, tree = bytes(range(256)) * 4, {"a": [1, {"b": 2}], "c": "d"}
    for seed in range(20):
        assert mutated(content, Random(seed)) == mutated(content, Random(seed))
        assert str(mutated_tree(tree, Random(seed))) == str(mutated_tree(tree, Random(seed)))
    assert len({mutated(content, Random(seed)) for seed in range(20)}) > 15
    assert tree == {"a": [1, {"b": 2}], "c": "d"}, "the valid tree was changed"

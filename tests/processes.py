"""The processes that tests start: their environment, and trainings that need not import torch each time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

RANKS = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def fresh_environment(**variables: str) -> dict[str, str]:
    """This process's variables and `variables`, with one thread and without the ranks.

    Lightning leaves ranks in the environment of a process that trained, and a process that finds them waits for others.
    """
    kept = {key: value for key, value in os.environ.items() if key not in RANKS}
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


PRELOADED = ("lvdm.fit.trainer", "lvdm.cli.app", "lvdm.cli.evaluate_extract", "lvdm.serving.app", "uvicorn")
"""What the server has imported from which all processes are forked, and none of them imports again."""


def start_trainer(arguments: Sequence[str], log: Path, **variables: str) -> ForkServerProcess:
    """`python -m lvdm.fit.trainer` in a process of its own that can be killed; what it prints is added to `log`.

    It is forked from a server that has imported the trainer and done nothing else: that import is most of what a
    short training costs. `exitcode` is the negative number of the signal that ended it, as with `subprocess`.
    variables: of its environment, besides those of this process.
    """
    return _start(["main/trainer.py", *arguments], "lvdm.fit.trainer", log, variables)


def start_command(
    arguments: Sequence[str], log: Path, killed_at: str | None = None, **variables: str
) -> ForkServerProcess:
    """`dynamicrafter ...` in a process of its own, as `start_trainer` does it.

    killed_at: it ends with code 9, and tidies up nothing, when a file whose name ends so is to take its place.
    """
    return _start(["dynamicrafter", *arguments], "lvdm.cli.launch", log, variables, killed_at)


def start_benchmark(name: str, arguments: Sequence[str], log: Path) -> ForkServerProcess:
    """`python benchmarks/NAME.py ...` in a process of its own, as `start_trainer` does it."""
    return _start([f"benchmarks/{name}.py", *arguments], name, log, {})


def _start(
    words: list[str], module: str, log: Path, variables: Mapping[str, str], killed_at: str | None = None
) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_run, args=(words, module, str(log), fresh_environment(**variables), killed_at))
    process.start()
    return process


def _kill_at(ending: str) -> None:
    replace = os.replace

    def killed(source: str, destination: str) -> None:
        if str(destination).endswith(ending):
            os._exit(9)  # as kill -9: nothing is tidied up
        replace(source, destination)

    os.replace = killed  # type: ignore[assignment]


def _run(words: list[str], module: str, log: str, environment: Mapping[str, str], killed_at: str | None) -> None:
    with open(log, "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked, for loader workers
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # looked up before these variables were there
    if killed_at is not None:
        _kill_at(killed_at)
    sys.argv = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)

"""The processes that tests start: their environment, and trainings that need not import torch each time."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
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


def start_trainer(arguments: Sequence[str], log: Path) -> ForkServerProcess:
    """`python -m lvdm.fit.trainer` in a process of its own that can be killed; what it prints is added to `log`.

    It is forked from a server that has imported the trainer and done nothing else: that import is most of what a
    short training costs. `exitcode` is the negative number of the signal that ended it, as with `subprocess`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lvdm.fit.trainer"])
    process = context.Process(target=_run_trainer, args=(list(arguments), str(log), fresh_environment()))
    process.start()
    return process


def start_command(arguments: Sequence[str], log: Path, **variables: str) -> ForkServerProcess:
    """`dynamicrafter ...` in a process of its own, as `start_trainer` does it, with further `variables`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lvdm.cli.app", "lvdm.serving.app", "uvicorn"])
    process = context.Process(target=_run_command, args=(list(arguments), str(log), fresh_environment(**variables)))
    process.start()
    return process


def _run_trainer(arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    _run(["main/trainer.py", *arguments], "lvdm.fit.trainer", log, environment)


def _run_command(arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    _run(["dynamicrafter", *arguments], "lvdm.cli.launch", log, environment)


def _run(words: list[str], module: str, log: str, environment: Mapping[str, str]) -> None:
    with open(log, "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that nobody forked, for loader workers
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)

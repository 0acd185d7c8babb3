"""Give every reader and every option what is wrong, and see that nothing is lost, run, or met without a word.

    python benchmarks/fuzz.py                              # 2,500 cases
    python benchmarks/fuzz.py --cases 300 --seed 7 --keep outputs/fuzz
    python benchmarks/fuzz.py --only "record.json 17"      # one of them, with what it says

Valid files of each kind (images, videos, weights, LoRAs, YAML, records, lists, captions, shards, bodies of requests)
and valid commands get mistakes, by hand and by chance; the same seed makes the same cases. Each runs in a process of
its own, or with others of `--together`, with limits of time and memory, while an audit hook watches what is opened for
writing, started and called. A case fails that ends with a traceback, by a signal or a limit, without a word, repeats
its input, has exit code 0 with an output that cannot be read, or touches something outside its folder. Exits with 1 if
one does. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fuzz_cases import Case, cases
from fuzz_files import make_valid_files
from fuzz_options import command_line
from fuzz_process import Outcome, Task, run_cases

SHARED = (
    *("lvdm.cli.app", "lvdm.jobs.run", "lvdm.jobs.extend", "lvdm.cli.data_checking", "lvdm.cli.dry_run"),
    *("lvdm.checkpoint", "lvdm.batch.planning", "lvdm.batch.run", "lvdm.serving.app", "lvdm.models.ddpm3d"),
    *("lvdm.data.video_folder", "lvdm.data.tar_clips", "lvdm.data.image_folder", "lvdm.evaluation.protocols"),
    *("lvdm.evaluation.manifest_making", "starlette.testclient", "uvicorn", "lvdm.cli.progress", "lvdm.fit.utils_data"),
    *("lvdm.app.replaying", "lvdm.story.planning", "lvdm.story.reading", "lvdm.story.page"),
    "lvdm.story.making",
)
"""Imported once, before the processes of the cases are forked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2500, help="how many; those made by hand come first")
    parser.add_argument("--every", type=int, default=1, help="run one case in so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--together", type=int, default=1, help="cases in a process, one after the other")
    parser.add_argument("--only", default="", help="cases with this in their names, or one of a|b")
    parser.add_argument("--keep", type=Path, help="a folder for the cases that fail")
    chosen = parser.parse_args(arguments)
    sys.dont_write_bytecode = True
    for name in SHARED:
        importlib.import_module(name)
    torch.set_num_threads(1)  # threads that have run once do not live through a fork, and are waited for
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        valid = make_valid_files(_new_folder(Path(folder) / "valid"))
        command_line()
        _server(Path(folder) / "jobs")  # what it computes once is shared, too
        gc.collect()
        gc.freeze()
        made = cases(valid, chosen.cases, chosen.seed, chosen.every)
        selected = [case for case in made if any(word in case.name for word in chosen.only.split("|"))]
        return _report(_run(selected, _new_folder(Path(folder) / "cases"), chosen.jobs, chosen.together), chosen)


def _new_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _run(selected: Sequence[Case], place: Path, jobs: int, together: int) -> Iterator[tuple[Case, Outcome]]:
    """The outcomes, in the order in which cases end."""
    waiting = [list(selected[start : start + together]) for start in range(0, len(selected), together)][::-1]
    running = list[tuple[list[Case], Iterator[Outcome | None]]]()
    while waiting or running:
        while waiting and len(running) < jobs:
            group = waiting.pop()
            tasks = [Task(each.name, partial(_lay_out, each), partial(_work, each), each.words) for each in group]
            running.append((group, run_cases(tasks, place, _nonsense)))
        for group, outcomes in tuple(running):
            outcome = next(outcomes)
            if outcome is not None:
                yield group.pop(0), outcome
                if not group:
                    running.remove((group, outcomes))
        time.sleep(0.005)


def _lay_out(case: Case) -> None:
    """Write the files of a case into the working folder."""
    for name, content in case.files.items():
        Path(name).write_bytes(content)
    for name, kind in case.special.items():
        _make_special(Path(name), kind)


def _work(case: Case) -> None:
    """Run a case in its process, which this ends."""
    if case.body is not None:
        _ask(*case.body)
        return
    import uvicorn

    if case.words[0] == "read":
        _read(*case.words[1:])
        return
    uvicorn.run = lambda *args, **options: print("listening")  # a server would not end
    command_line().main(list(case.words), prog_name="dynamicrafter")


def _read(kind: str, name: str) -> None:
    """Read a file as commands, uploads and the page do, where there is no command that does it at once."""
    from lvdm.app.replaying import read_request
    from lvdm.cli.errors import EXPECTED, report_error
    from lvdm.hosting.checks import UploadIntake
    from lvdm.hosting.library import read_library
    from lvdm.hosting.limits import Limits
    from lvdm.media.depth import read_depth
    from lvdm.media.video_reader import VideoReader

    try:
        if kind == "depth":
            print(read_depth(Path(name), 3).shape)
            return
        if kind == "earlier":
            print(read_request(Path(name), read_library(["tiny=tiny"]), "cpu"))
            return
        if kind != "frames":
            UploadIntake(Limits()).check(kind, Path(name))
            return
        with VideoReader(name) as reader:
            print(reader.read(range(reader.num_frames)).shape)
    except EXPECTED as error:
        sys.exit(report_error(error))


def _make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        here = os.getcwd()
        path.mkdir()
        os.chdir(path)
        for _ in range(1500):  # deeper than Python recurses, and than a name may be long
            os.mkdir("folder")
            os.chdir("folder")
        os.chdir(here)


def _server(jobs: Path) -> Any:
    from lvdm.hosting.library import read_library
    from lvdm.serving.app import create_app
    from lvdm.serving.settings import Settings

    return create_app(Settings(jobs, read_library(["tiny=tiny"]).models))


def _ask(kind: str, body: bytes) -> None:
    """Send a request to a server in this process; raises SystemExit unless it answers as it should."""
    from starlette.testclient import TestClient

    app = _server(Path("jobs").resolve())
    client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    answer = client.post("/v1/videos", content=body, headers={"content-type": kind})
    print(answer.status_code, answer.text)
    message = answer.json()["error"]["message"] if answer.status_code != 200 else ""
    if answer.status_code >= 500 or "\n" in message or len(message) > 2500:
        sys.exit(70)


def _nonsense(folder: Path) -> str:
    """What is wrong with what a case left that ended well."""
    from lvdm.checkpoint import read_checkpoint
    from lvdm.documents import read_json

    try:
        for path in folder.rglob("*.json"):
            if path.parent.name == "out":
                read_json(path)
        weights = folder / "out.safetensors"
        if weights.exists():
            file = read_checkpoint(weights)
            for key in file:
                _ = file[key]
    except ValueError as error:
        return f"nonsense: {error}"[:200]
    return ""


def _report(outcomes: Iterator[tuple[Case, Outcome]], chosen: argparse.Namespace) -> int:
    begun, codes, kinds = time.monotonic(), Counter[int](), Counter[str]()
    failures, seconds, slowest = 0, 0.0, (0.0, "")
    for case, outcome in outcomes:
        codes[outcome.status] += 1
        kinds[case.name.split()[0]] += 1
        seconds += outcome.seconds
        slowest = max(slowest, (outcome.seconds, case.name))
        if chosen.only:
            print(f"--- {case.name}: {' '.join(case.words)[:300]}\n{outcome.log[:3000]}")
        if case.valid and outcome.status != 0 and not outcome.failure:
            outcome = dataclasses.replace(outcome, failure=f"is valid and was refused: {outcome.log.strip()[-300:]}")
        if outcome.failure:
            failures += 1
            print(f"FAILED  {case.name}: {outcome.failure}", flush=True)
            if chosen.keep:
                _keep(case, outcome, chosen.keep)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    ends = ", ".join(f"{count} with exit code {code}" for code, count in sorted(codes.items()))
    print(f"{sum(codes.values())} cases ({counts}); {ends}")
    print(f"{failures} failures; {seconds:.0f} s of CPU, {time.monotonic() - begun:.0f} s in all; seed {chosen.seed}")
    print(f"slowest: {slowest[1]}, {slowest[0]:.1f} s")
    return int(failures > 0)


def _keep(case: Case, outcome: Outcome, place: Path) -> None:
    """What is needed to look at a case that failed."""
    folder = place / "".join(letter if letter.isalnum() else "_" for letter in case.name)[:80]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    if case.body is not None:
        (folder / "body").write_bytes(case.body[1])
    about = {"words": case.words, "failure": outcome.failure, "status": outcome.status}
    (folder / "case.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "log.txt").write_text(outcome.log, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

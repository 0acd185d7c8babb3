"""Batches in processes of their own: killed at any moment, and shared by two."""

from __future__ import annotations

import importlib.util
import random
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from batch_lists import LIST, Silent
from processes import fresh_environment, start_command

from lvdm.batch.planning import plan_batch
from lvdm.batch.run import run_batch

STEPS = 2
SECONDS = 300
"""How long a process may take; beside eight others it takes a minute."""


def finish(folder: str) -> dict[str, bytes]:
    """Make what is left of the list; the videos."""
    report = run_batch(plan_batch(Path("list.csv"), num_inference_steps=STEPS, output=folder), Silent())
    assert report is not None
    assert report.is_whole, report.lines()
    return {path.name: path.read_bytes() for path in Path(folder).glob("[!.]*.mp4")}


def start(folder: str, *more: str, **variables: str) -> ForkServerProcess:
    arguments = ["batch", "list.csv", "-o", folder, "--num-inference-steps", str(STEPS), *more]
    return start_command(arguments, Path("log.txt"), **variables)


def wait_for(folder: str, count: int, process: ForkServerProcess) -> None:
    """Until so many videos are finished."""
    end = time.monotonic() + SECONDS
    while len(list(Path(folder).glob("[!.]*.json"))) < count:
        assert process.is_alive(), Path("log.txt").read_text()
        assert time.monotonic() < end, "nothing was made"
        time.sleep(0.01)


def kill(process: ForkServerProcess) -> None:
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it was over before it was killed"


def finished(folder: str) -> dict[Path, int]:
    """Videos with their records, and when they were written."""
    videos = [path for path in Path(folder).glob("[!.]*.mp4") if path.with_suffix(".json").is_file()]
    return {path: path.stat().st_mtime_ns for path in videos}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def listed(here: Path) -> Path:
    Path("list.csv").write_text(LIST)
    return here


def test_a_killed_batch_goes_on_and_two_processes_change_no_byte(listed: Path) -> None:
    process = start("killed")
    wait_for("killed", 2, process)
    kill(process)
    before = finished("killed")
    assert len(before) >= 2
    whole = finish("killed")
    after = finished("killed")
    assert len(after) == 6
    assert {path: after[path] for path in before} == before, "a finished video was made again"

    port = free_port()
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    torchrun |= {"MASTER_PORT": port, "GROUP_RANK": "0"}
    shared = [start("shared", **torchrun, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for process in shared:
        process.join(SECONDS)
    assert [process.exitcode for process in shared] == [0, 0], Path("log.txt").read_text()
    made = {path.name: path.read_bytes() for path in Path("shared").glob("*.mp4")}
    assert made == whole, "the number of processes changes a video"
    assert "6 videos finished" in Path("log.txt").read_text()
    assert Path("shared/index.html").read_text().count("<video") == 6, "the page was written before all were made"


@pytest.mark.slow
def test_ten_kills_at_random_moments_lose_nothing(listed: Path) -> None:
    moments, before, kills = random.Random(0), dict[Path, int](), 0
    for _ in range(10):
        process = start("killed")
        wait_for("killed", len(before), process)
        process.join(moments.uniform(0.0, 6.0))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        now = finished("killed")
        assert {path: now.get(path) for path in before} == before, "a finished video was lost or made again"
        before = now
        if len(before) == 6:  # the rest begins anew
            for path in Path("killed").iterdir():
                path.unlink()
            before = {}
    assert kills >= 5, f"only {kills} of the runs were killed"
    assert finish("killed") == finish("whole"), "a video of a killed run differs"


@pytest.mark.slow
def test_two_machines_by_torchrun_change_no_byte(listed: Path) -> None:
    """Two of its agents, each with the command that docs/batches.md has for one of several machines."""
    options = ["--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1", "--master_port", free_port()]
    command = ["-m", "lvdm.cli.launch", "batch", "list.csv", "--output", "shared", "--num-inference-steps", str(STEPS)]
    with Path("log.txt").open("wb") as log:
        machines = [
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", "--node_rank", str(number), *options, *command],
                env=fresh_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for number in range(2)
        ]
        codes = [machine.wait(SECONDS) for machine in machines]
    check_shared(codes)


@pytest.mark.slow
def test_two_machines_by_slurm_change_no_byte(listed: Path) -> None:
    """Two tasks, told by the variables that srun gives, since nobody here has SLURM."""
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "videos", "SLURM_NODELIST": "localhost", "MASTER_PORT": free_port()}
    job |= {"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}
    tasks = [start("shared", **job, SLURM_PROCID=str(n), SLURM_NODEID=str(n)) for n in range(2)]
    for task in tasks:
        task.join(SECONDS)
    check_shared([task.exitcode for task in tasks])


def check_shared(codes: list[int | None]) -> None:
    """Fail unless two processes have made the list together, as one makes it."""
    log = Path("log.txt").read_text()
    assert codes == [0, 0], log
    assert log.count("6 videos finished") == 1, log
    assert Path("shared/index.html").read_text().count("<video") == 6, "the page was written before all were made"
    made = {path.name: path.read_bytes() for path in Path("shared").glob("*.mp4")}
    assert made == finish("whole"), "the number of machines changes a video"


@pytest.mark.slow
def test_processes_that_lightning_starts_change_no_byte(listed: Path) -> None:
    process = start("shared", "--devices", "2")
    process.join(SECONDS)
    assert process.exitcode == 0, Path("log.txt").read_text()
    made = {path.name: path.read_bytes() for path in Path("shared").glob("*.mp4")}
    assert made == finish("whole")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is an extra: pip install dynamicrafter[ray]")
def test_two_actors_of_ray_change_no_byte(listed: Path) -> None:
    process = start("ray", "--engine", "ray", "--devices", "2")
    process.join(SECONDS)
    assert process.exitcode == 0, Path("log.txt").read_text()
    made = {path.name: path.read_bytes() for path in Path("ray").glob("*.mp4")}
    assert made == finish("whole")

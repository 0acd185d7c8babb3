"""Real processes, killed at a random moment: what they resume to, alone and as two processes that share a batch."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from processes import start_trainer
from small_model import FRAMES, SIDE, shallow_model

from lvdm.fit.checkpoints import CheckpointStore

STEPS, BATCH = 16, 4
AVERAGED, TRAINED = "state_dict", "current_model_state"
DDP = (
    "--devices",
    "2",
    "lightning.trainer.strategy=ddp_find_unused_parameters_true",
    f"data.params.batch_size={BATCH // 2}",
)


def tree() -> dict[str, Any]:
    """A training of all trainable parts of the small model, without dropout, that saves after every second step.

    In float64, where the order of sums leaves 1e-14; float32 rounding is enlarged by Adam to 1e-4. The UNet has one
    level: writing a checkpoint takes most of the time of these trainings.
    """
    model = shallow_model()
    model["params"]["unet_config"]["params"] |= {"dropout": 0.0, "temporal_conv_dropout": 0.0}
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 22}
    return {
        "model": {**model, "base_learning_rate": 1e-3},
        "data": {
            "target": "utils_data.DataModuleFromConfig",
            "params": {
                "batch_size": BATCH,
                "train": {"target": "lvdm.data.procedural.ProceduralClips", "params": clips},
            },
        },
        "lightning": {
            "precision": 64,
            "trainer": {"max_steps": STEPS, "accelerator": "cpu", "gradient_clip_val": 1.0},
            "checkpoint": {"every_n_train_steps": 2, "keep": 2},
            "callbacks": {"average": {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}}},
        },
    }


class Run:
    """A training that can be started, killed and started again."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.arguments = folder, arguments
        (folder / "config.yaml").write_text(yaml.safe_dump(tree()))
        self.store = CheckpointStore(folder / "run" / "checkpoints")

    def start(self, *more: str) -> ForkServerProcess:
        command = ["--base", str(self.folder / "config.yaml"), "--train", "--auto_resume", "--name", "run"]
        command += ["--logdir", str(self.folder), "--devices", "1"]
        return start_trainer([*command, *self.arguments, *more], self.folder / "log.txt", **self.told)

    @property
    def told(self) -> dict[str, str]:
        """What a launcher tells the process, if there is one."""
        return {}

    def finish(self, *more: str) -> dict[str, Any]:
        """Go on to the end; returns the last checkpoint."""
        code = ended(self.start(*more))
        assert code == 0, f"exit code {code}:\n{self.log()}"
        return self.newest()

    def newest(self) -> dict[str, Any]:
        path = self.store.newest_good()
        assert path is not None, self.log()
        return torch.load(path, weights_only=True)

    def stop_at_random(self, signum: int, seed: int) -> int:
        """Send a signal some time after a random checkpoint appeared; returns the exit code."""
        rng = random.Random(seed)
        wanted, delay = self.store.path(2 * rng.randint(1, STEPS // 2 - 6)), rng.uniform(0, 0.2)
        process = self.start()
        deadline = time.monotonic() + 300
        while not any(path >= wanted for path in self.store.existing()):
            assert process.is_alive(), f"ended with {process.exitcode} before {wanted.name}:\n{self.log()}"
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signum)
        return ended(process)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()[-4000:]


class LaunchedRun(Run):
    """A training in two processes that are told what torchrun tells; the second one ends with the first."""

    rank, port = 0, 0

    def start(self, *more: str) -> ForkServerProcess:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            self.port = server.getsockname()[1]
        self.rank = 1
        self.second = super().start(*more)
        self.rank = 0
        return super().start(*more)

    @property
    def told(self) -> dict[str, str]:
        ranks = {"RANK": self.rank, "LOCAL_RANK": self.rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.port, "TORCHELASTIC_RUN_ID": "none"}
        return {name: str(value) for name, value in (ranks | meeting | {"GLOO_SOCKET_IFNAME": "lo"}).items()}


def ended(process: ForkServerProcess) -> int:
    """The exit code, once the process has ended."""
    process.join(timeout=300)
    assert process.exitcode is not None, "still running after 300 seconds"
    return process.exitcode


def difference(actual: dict[str, Any], expected: dict[str, Any], *parts: str) -> float:
    """Largest difference of the tensors in these parts of two checkpoints; refuses to compare other steps."""
    assert actual["global_step"] == expected["global_step"] == STEPS
    return max(
        float((actual[part][key].double() - value.double()).abs().max())
        for part in parts
        for key, value in expected[part].items()
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last checkpoint of a training in one process that nothing disturbed."""
    return Run(tmp_path_factory.mktemp("whole") / "a").finish()


@pytest.mark.parametrize(
    ("signum", "code", "workers"), [(signal.SIGTERM, 143, 0), (signal.SIGKILL, -9, 2)], ids=["TERM", "KILL"]
)
def test_killed_and_resumed_is_bit_identical(
    tmp_path: Path, uninterrupted: dict[str, Any], signum: int, code: int, workers: int
) -> None:
    run = Run(tmp_path / "a", f"data.params.num_workers={workers}")
    assert run.stop_at_random(signum, seed=workers) == code, run.log()
    stopped_at = run.newest()["global_step"]
    assert 0 < stopped_at < STEPS, "it should have been stopped half-way"
    assert difference(run.finish(), uninterrupted, TRAINED, AVERAGED) == 0.0, f"resumed from step {stopped_at}"


def test_two_processes_equal_one_stop_together_and_go_on_as_one(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    launched = LaunchedRun(tmp_path / "two", *DDP)
    # Only the first process gets the signal; both must stop, or the other one would wait for ever.
    assert launched.stop_at_random(signal.SIGTERM, seed=5) == 143, launched.log()
    assert ended(launched.second) == 143, launched.log()
    run = Run(tmp_path / "two", *DDP)  # which starts its second process itself
    shutil.copytree(run.store.folder, tmp_path / "alone" / "run" / "checkpoints")
    error = difference(run.finish(), uninterrupted, TRAINED)
    assert error < 1e-9, f"two processes should train as one with the same batch, they are off by {error:.3g}"
    error = difference(Run(tmp_path / "alone").finish(), uninterrupted, TRAINED)
    assert error < 1e-9, f"one process should go on where two stopped, it is off by {error:.3g}"

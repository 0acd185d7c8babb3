"""Several processes make one video: the numbers of one, written by the first alone."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import start_command
from small_model import picture, write_small_model
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.errors import UserError
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.process_group import ProcessGroup, joined_processes

TORCHRUN = {"TORCHELASTIC_RUN_ID": "one", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu")


def groups(count: int) -> list[ProcessGroup]:
    """As many processes, each a thread of this one, which talk by gloo."""
    store = torch.distributed.HashStore()

    def join(rank: int) -> ProcessGroup:
        return ProcessGroup(rank, count, torch.distributed.ProcessGroupGloo(store, rank, count))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(join, range(count)))


def videos(pipe: DynamiCrafterPipeline, count: int, **settings: Any) -> list[torch.Tensor]:
    """What each of `count` processes makes of one request."""
    image = picture()

    def make(group: ProcessGroup) -> torch.Tensor:
        own = DynamiCrafterPipeline(replace(pipe.runtime, processes=group), pipe.card, pipe.files)
        return own(image, "a cat", seed=3, **settings).video

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(make, groups(count)))


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (2, {"decode_chunk_size": 3}),  # parts of 3 and 1 frames
        (3, {"image_guidance_scale": 1.5, "decode_chunk_size": 1}),
        (2, {"guidance_scale": 1.0, "decode_chunk_size": 2}),
        (2, {"deep_cache": "interval=2,blocks=1", "guidance_steps": "interval=2", "num_inference_steps": 4}),
        (2, {"perturbed_guidance": "pag"}),
    ],
    ids=["two", "three", "unguided", "fast", "perturbed"],
)
def test_the_numbers_are_those_of_one_process(
    pipe: DynamiCrafterPipeline, count: int, settings: dict[str, Any]
) -> None:
    alone = pipe(picture(), "a cat", seed=3, **settings).video
    several = videos(pipe, count, **settings)
    assert all(torch.equal(several[0], video) for video in several[1:]), "the processes have different videos"
    assert (several[0] - alone).abs().max() < 1e-5


def test_each_branch_is_evaluated_once(pipe: DynamiCrafterPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, seen = [], threading.Lock()
    forward = type(pipe.runtime.model).apply_model

    def counted(model: Any, x_t: torch.Tensor, *others: Any) -> torch.Tensor:
        result = forward(model, x_t, *others)
        with seen:
            rows.append(len(result))
        return result

    monkeypatch.setattr(type(pipe.runtime.model), "apply_model", counted)
    videos(pipe, 2, num_inference_steps=1)
    assert rows == [1, 1]


def test_other_work_is_refused() -> None:
    def check(group: ProcessGroup) -> str:
        try:
            group.check_same("a cat" if group.rank else "a dog", torch.device("cpu"))
        except UserError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        assert ["other videos than process 0" in problem for problem in pool.map(check, groups(2))] == [False, True]


def test_a_single_device_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="leave it out"), joined_processes("cuda:0"):
        pass


def test_extend_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["extend", "clip.mp4", "-p", "a cat"])
    assert result.exit_code == 2
    assert "leave out torchrun" in result.output


def test_alone_nothing_is_joined() -> None:
    with joined_processes("auto") as (processes, device):
        assert (processes, device) == (None, "auto")


def test_two_commands_make_one_video(folder: Path, tmp_path: Path) -> None:
    """As torchrun starts them. The second writes nothing and says nothing."""
    picture().save(tmp_path / "cat.png")
    command = [
        "animate",
        str(tmp_path / "cat.png"),
        "--prompt",
        "a cat",
        "--checkpoint",
        str(folder / "model.safetensors"),
    ]
    command += ["--device", "cpu", "-o", str(tmp_path / "cat.gif")]
    variables = {**TORCHRUN, "MASTER_PORT": str(free_port())}
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]
    started = [
        start_command(command, log, RANK=str(rank), LOCAL_RANK=str(rank), **variables) for rank, log in enumerate(logs)
    ]
    for process in started:
        process.join(120)
    texts = [log.read_text() for log in logs]
    assert [process.exitcode for process in started] == [0, 0], texts
    assert "cat.gif" in texts[0]
    assert not texts[1].strip()
    assert json.loads((tmp_path / "cat.json").read_text())["runtime"]["processes"] == 2


def free_port() -> int:
    """One that nobody listens at."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

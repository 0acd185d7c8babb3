"""Where modules are: moved only when they are elsewhere, one generation at a time where they come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from small_model import picture, write_small_model
from torch import Tensor, nn

from lvdm.device import Precision
from lvdm.models.sharing import SharedWeights
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.residence import Residence, lies_on

PROMPT = "a red ball moves to the right"
FLOAT = Precision(torch.float32, torch.float32)


def test_a_device_without_a_number_is_any_of_its_type() -> None:
    linear = nn.Linear(2, 2)
    assert lies_on(linear, torch.device("cpu"))
    assert lies_on(linear, torch.device("cpu", 0)) == (torch.empty(0, device="cpu").device.index == 0)
    assert not lies_on(linear, torch.device("meta"))
    assert lies_on(linear.to("meta"), torch.device("meta"))
    assert not lies_on(nn.ModuleList([linear, nn.Linear(2, 2)]), torch.device("meta")), "half of it is elsewhere"
    assert lies_on(nn.Identity(), torch.device("cuda")), "nothing has to be moved"


def test_modules_that_are_there_are_left_alone(monkeypatch) -> None:
    """Else another thread could be at work with a parameter that is being set."""
    linear, moved = nn.Linear(2, 2), []
    monkeypatch.setattr(linear, "to", lambda device: moved.append(device))
    with Residence(linear, torch.device("cpu"), FLOAT).resident(linear):
        assert moved == []
    with Residence(linear, torch.device("meta"), FLOAT, low_memory=True).resident(linear):
        assert moved == [torch.device("meta")]
    assert moved == [torch.device("meta"), "cpu"]


@pytest.mark.parametrize(
    ("device", "low_memory", "alone"),
    [("cpu", False, False), ("cpu", True, False), ("cuda", False, False), ("cuda", True, True)],
)
def test_generations_take_turns_where_modules_come_and_go(monkeypatch, device, low_memory, alone) -> None:
    asked: list[bool] = []

    @contextmanager
    def in_use(self: SharedWeights, *, alone: bool = False) -> Iterator[None]:
        asked.append(alone)
        yield

    monkeypatch.setattr(SharedWeights, "in_use", in_use)
    with Residence(nn.Linear(2, 2), torch.device(device), FLOAT, low_memory).in_use():
        assert asked == [alone]


def test_null_conditions_are_made_once_for_all_threads(tmp_path) -> None:
    folder = write_small_model(tmp_path / "small")
    pipe = DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")
    runtime, start = pipe.runtime, threading.Barrier(2, timeout=30)

    def null_text() -> Tensor:
        start.wait()
        with torch.inference_mode():
            return runtime._null_tokens_of_text()

    with ThreadPoolExecutor(2) as pool:
        one, other = (future.result() for future in [pool.submit(null_text), pool.submit(null_text)])
    assert one is other
    alone = pipe(picture(), PROMPT).video
    assert runtime._null_tokens_of_text() is one
    assert torch.equal(pipe(picture(), PROMPT).video, alone)

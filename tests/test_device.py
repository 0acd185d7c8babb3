"""What is said about a device that is slow in the precision asked for."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch

from lvdm.device import choose_device, choose_precision, computing_threads, multiplies_bf16, name_of_local_rank
from lvdm.fit import assembly
from lvdm.fit.training_setup import load_training_setup
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.precision import BYTES, ON_CPU, precision_names, surely_cpu

CPU = torch.device("cpu")
FOLDER = Path(__file__).parents[1]
CONFIGS = FOLDER / "configs" / "training_tiny"


def test_names_of_precisions_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan without torch has the precision, and so the digest, of the run with it."""
    for dtype in ("auto", *BYTES):
        for low_memory in (False, True):
            chosen = choose_precision(dtype, CPU, low_memory)
            assert precision_names(dtype, low_memory, ON_CPU) == chosen.names
            assert (chosen.weights.itemsize, chosen.vae.itemsize) == (
                chosen.names.weights_bytes,
                chosen.names.vae_bytes,
            )
    if surely_cpu("auto"):
        assert choose_device("auto") == CPU, "torch found a device where none was expected"
    assert surely_cpu("cpu")
    assert not surely_cpu("cuda")
    monkeypatch.setattr("lvdm.precision.installed_version", lambda name: "2.9.1+cu128")
    monkeypatch.setattr("lvdm.precision.ACCELERATORS", ("nul*",))
    assert not surely_cpu("auto"), "a device file is there, so that only torch can tell"
    monkeypatch.setattr("lvdm.precision.ACCELERATORS", ("no such device",))
    assert surely_cpu("auto") == sys.platform.startswith("linux")


def test_the_cpu_computes_in_float32_whatever_it_could() -> None:
    assert choose_precision("auto", CPU).weights == torch.float32
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        assert not multiplies_bf16(CPU), "the first instructions for bf16 came with AVX-512"
    assert not multiplies_bf16(torch.device("mps"))


@pytest.mark.parametrize("able", [True, False])
def test_bf16_on_a_cpu_without_it_is_warned_of(
    able: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lvdm.pipeline.pipeline.multiplies_bf16", lambda device: able)
    DynamiCrafterPipeline.from_pretrained("tiny", dtype="bf16", device="cpu")
    assert ("no instructions for bf16" in caplog.text) != able
    caplog.clear()
    DynamiCrafterPipeline.from_pretrained("tiny", dtype="fp32", device="cpu")
    assert "bf16" not in caplog.text


@pytest.mark.parametrize("able", [True, False])
def test_a_training_in_bf16_on_a_cpu_without_it_is_warned_of(
    able: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(assembly, "multiplies_bf16", lambda device: able)
    setup = load_training_setup([CONFIGS / "video.yaml", CONFIGS / "video_further_stage_9.yaml"])
    with caplog.at_level(logging.WARNING):
        assembly.warn_of_slow_precision(setup, "cuda")
        assert not caplog.records, "how the CPU computes is of no matter on a GPU"
        assembly.warn_of_slow_precision(setup, "cpu")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (0 if able else 1)
    assert all(line.endswith("add lightning.precision=32 tuning.frozen_precision=fp32") for line in told), told


def test_processes_that_know_of_no_others_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [name_of_local_rank(rank) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert name_of_local_rank(1) == "auto", "there is no GPU to name"


@pytest.mark.parametrize("name", ["hpu", "meta", "xla", "no such device", "cuda:99", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    """Of some names torch has no more than the name: what it raises then is of many kinds."""
    with pytest.raises(ValueError, match=r"cannot be used \(.+\); use auto, cpu"):
        choose_device(name)


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with computing_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with computing_threads(None):
        assert torch.get_num_threads() == before

"""Conversion keeps every bit it can, writes what the safetensors library reads, and leaves no half file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from lvdm.checkpoint import CheckpointError, checkpoint_hash, convert, describe, read_checkpoint
from lvdm.checkpoint.parts import SCHEDULE_KEYS
from lvdm.model_card import RELEASED


@pytest.fixture
def source(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> Path:
    """A Lightning checkpoint."""
    torch.save({"state_dict": weights["512"], "loops": {}}, tmp_path / "source.ckpt")
    return tmp_path / "source.ckpt"


def expected_value(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    return value if key in SCHEDULE_KEYS else value.to(dtype)


def test_there_and_back_changes_no_bit(
    any_format: tuple[str, Callable[..., Any]], weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    name, save = any_format
    save(weights["256"], tmp_path / name)
    convert(tmp_path / name, tmp_path / "there.safetensors", torch.float32)
    convert(tmp_path / "there.safetensors", tmp_path / "back.ckpt")
    back = torch.load(tmp_path / "back.ckpt", weights_only=True)["state_dict"]
    assert set(back) == set(weights["256"])
    for key, value in weights["256"].items():
        assert back[key].dtype == value.dtype
        assert torch.equal(back[key], value), f"{name}: {key} changed"


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_values_are_rounded_as_torch_does(
    source: Path, weights: dict[str, dict[str, Tensor]], tmp_path: Path, dtype: torch.dtype, suffix: str
) -> None:
    target = tmp_path / f"target{suffix}"
    report = convert(source, target, dtype)
    # the library's own readers, not ours
    stored = load_file(target) if suffix == ".safetensors" else torch.load(target, weights_only=True)["state_dict"]
    assert list(stored) == list(weights["512"]) or suffix == ".safetensors", "the released order is lost"
    for key, value in weights["512"].items():
        expected = expected_value(key, value, dtype)
        assert stored[key].dtype == expected.dtype, f"{key} is {stored[key].dtype}"
        assert torch.equal(stored[key], expected), f"{key} is not the rounded value"
    assert report.bytes == target.stat().st_size
    assert report.tensors == len(weights["512"])
    assert {path.name for path in tmp_path.iterdir()} == {source.name, target.name}, "temporary files are left"


def test_tensors_of_every_size_and_type_are_aligned(tmp_path: Path) -> None:
    tensors = {
        "odd": torch.arange(3, dtype=torch.float32),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "counts": torch.arange(5),
        "mask": torch.tensor([True, False, True]),
        "transposed": torch.rand(3, 5).T,
        "betas": torch.rand(7),
    }
    torch.save(tensors, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors", torch.float16)
    stored = load_file(tmp_path / "a.safetensors")
    for key, value in tensors.items():
        expected = expected_value(key, value, torch.float16) if value.is_floating_point() else value
        assert torch.equal(stored[key], expected), f"{key} changed"


def test_the_file_says_where_it_is_from_and_what_it_is(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    report = convert(source, target, torch.float16, card=RELEASED["512_interp"])
    with safe_open(target, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["dynamicrafter.source"] == "source.ckpt"
    assert metadata["dynamicrafter.source_sha256"] == report.source_hash
    assert report.source_hash == hashlib.sha256(source.read_bytes()).hexdigest()
    assert describe(target).card == RELEASED["512_interp"], "the card should survive"
    convert(target, tmp_path / "b.safetensors", torch.bfloat16)
    assert describe(tmp_path / "b.safetensors").card == RELEASED["512_interp"], "the card should survive another time"


def test_the_old_name_is_written_for_the_original(tmp_path: Path) -> None:
    name = "model.diffusion_model.{}.0.weight"
    torch.save({"state_dict": {name.format("framestride_embed"): torch.ones(2)}}, tmp_path / "a.ckpt")
    convert(tmp_path / "a.ckpt", tmp_path / "new.safetensors")
    assert list(load_file(tmp_path / "new.safetensors")) == [name.format("fps_embedding")]
    convert(tmp_path / "new.safetensors", tmp_path / "old.ckpt", old_names=True)
    old = torch.load(tmp_path / "old.ckpt", weights_only=True)["state_dict"]
    assert list(old) == [name.format("framestride_embed")]


def test_fp16_overflow_names_the_tensor_and_leaves_nothing(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a.weight": torch.tensor([1.0, -7e4]), "b": torch.ones(9)}}, tmp_path / "a.ckpt")
    for name in ("a.safetensors", "b.ckpt"):
        with pytest.raises(CheckpointError, match=r"a\.weight holds 70000.*bf16"):
            convert(tmp_path / "a.ckpt", tmp_path / name, torch.float16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors", torch.bfloat16)


def test_weights_that_diverged_are_named_and_no_file_is_written(tmp_path: Path) -> None:
    mask = torch.full((2, 2), -torch.inf).triu(1)  # CLIP's text encoder stores one like it
    torch.save({"state_dict": {"a.weight": torch.tensor([1.0, torch.nan]), "mask": mask}}, tmp_path / "a.ckpt")
    for name, dtype in (("a.safetensors", None), ("b.ckpt", None), ("c.ckpt", torch.bfloat16)):
        with pytest.raises(CheckpointError, match=r"a\.weight holds NaN.*earlier checkpoint"):
            convert(tmp_path / "a.ckpt", tmp_path / name, dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"], "a file of NaN was left behind"
    torch.save({"state_dict": {"mask": mask}}, tmp_path / "b.ckpt")
    convert(tmp_path / "b.ckpt", tmp_path / "b.safetensors", torch.float16)
    assert torch.equal(load_file(tmp_path / "b.safetensors")["mask"], mask.half()), "infinite values are legitimate"


@pytest.mark.parametrize("name", ["out.safetensors", "out.ckpt"])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_crash_leaves_no_file_and_keeps_the_old_one(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, failing: str
) -> None:
    target = tmp_path / name
    target.write_bytes(b"the old one")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(CheckpointError, match="nothing was written: the disk is full") as caught:
        convert(source, target, torch.float16, overwrite=True)
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"the old one"
    assert {path.name for path in tmp_path.iterdir()} == {source.name, name}, "temporary files are left"


def test_room_is_checked_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1000))
    with pytest.raises(CheckpointError, match="make room"):
        convert(source, tmp_path / "out.safetensors")


def test_destinations_that_are_not_possible(source: Path, tmp_path: Path) -> None:
    (tmp_path / "there.ckpt").write_bytes(b"")
    for target, expected in (
        (tmp_path / "a.onnx", "should end in"),
        (tmp_path / "no" / "a.ckpt", "folder .* does not exist"),
        (tmp_path / "there.ckpt", "exists; choose another"),
        (source, "the source itself"),
    ):
        with pytest.raises(CheckpointError, match=expected):
            convert(source, target, overwrite=target == source)
    with pytest.raises(CheckpointError, match="float64"):
        convert(source, tmp_path / "a.ckpt", torch.float64)


def test_the_hash_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert checkpoint_hash(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint_hash(tmp_path / "none")


def test_a_card_that_was_tampered_with_is_an_error(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    convert(source, target, card=RELEASED["512"])
    raw = target.read_bytes()
    good = json.dumps(json.dumps({"fs_meaning": "fps"}))[2:-2].encode()
    assert good in raw
    target.write_bytes(raw.replace(good, good.replace(b"fps\\", b"spf\\")))
    with pytest.raises(CheckpointError, match="model card"):
        describe(target)
    assert len(read_checkpoint(target)) > 0

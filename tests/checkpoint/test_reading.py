"""Every file format gives the same tensors; every bad file one line that says what to do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchao.optim.subclass_8bit import OptimState8bit

from lvdm.checkpoint import CheckpointError, read_checkpoint
from lvdm.checkpoint.pickles import InertTensor, load_pickle
from lvdm.checkpoint.zero import MODEL_FILE


def assert_refused(path: Path, expected: str) -> str:
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message, f"the error has several lines: {message}"
    assert path.name in message, f"the error does not name the file: {message}"
    return message


def test_every_format_gives_the_same_tensors(
    any_format: tuple[str, Callable[..., Any]], weights: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    name, save = any_format
    save(weights["512"], tmp_path / name)
    checkpoint = read_checkpoint(tmp_path / name)
    assert set(checkpoint) == set(weights["512"])
    for key, value in weights["512"].items():
        assert checkpoint.shape(key) == tuple(value.shape)
        assert checkpoint.dtype(key) == value.dtype
        assert torch.equal(checkpoint[key], value), f"{name}: {key} changed"


def test_the_plain_values_of_a_lightning_file_are_its_metadata(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"betas": torch.ones(2)}, "loops": {"fit": {}}}, tmp_path / "a.ckpt")
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    assert checkpoint.format == "lightning"
    assert checkpoint.metadata["epoch"] == "3"


def test_the_old_name_of_a_layer_is_replaced(tmp_path: Path) -> None:
    old = "model.diffusion_model.framestride_embed.0.weight"
    new = "model.diffusion_model.fps_embedding.0.weight"
    torch.save({"state_dict": {old: torch.ones(2)}}, tmp_path / "a.ckpt")
    checkpoint = read_checkpoint(tmp_path / "a.ckpt")
    assert list(checkpoint) == [new]
    assert checkpoint.renamed == {old: new}
    torch.save({"state_dict": {old: torch.ones(2), new: torch.ones(2)}}, tmp_path / "b.ckpt")
    assert_refused(tmp_path / "b.ckpt", "the same layer")


def test_the_deepspeed_prefix_is_checked_not_sliced(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"module": {"_forward_module.betas": torch.ones(2), "sixteen_letters.scale_arr": torch.ones(2)}}, path)
    assert_refused(path, "1 of 2 keys lack the prefix")
    torch.save({"module": {"betas": torch.ones(2)}}, path)
    assert list(read_checkpoint(path)) == ["betas"], "a DeepSpeed file without the wrapper's prefix"


def test_the_folder_of_a_deepspeed_run_is_found(tmp_path: Path) -> None:
    inside = tmp_path / "last.ckpt" / "checkpoint" / MODEL_FILE
    inside.parent.mkdir(parents=True)
    torch.save({"module": {"_forward_module.betas": torch.ones(2)}}, inside)
    assert read_checkpoint(tmp_path / "last.ckpt").path == inside
    (tmp_path / "empty").mkdir()
    assert_refused(tmp_path / "empty", "name the checkpoint file itself")


def test_zip_and_safetensors_files_are_mapped_not_read(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    torch.save(weights["512"], tmp_path / "a.ckpt")
    save_file(weights["512"], tmp_path / "a.safetensors")
    for name in ("a.ckpt", "a.safetensors"):
        checkpoint = read_checkpoint(tmp_path / name)
        key = max(checkpoint, key=lambda key: checkpoint[key].nbytes)
        mapped = Path("/proc/self/maps")
        if not mapped.exists():
            pytest.skip("needs /proc")
        tensor = checkpoint[key]
        spans = [line.split()[0].split("-") for line in mapped.read_text().splitlines() if line.endswith(name)]
        inside = any(int(low, 16) <= tensor.data_ptr() < int(high, 16) for low, high in spans)
        assert inside, f"{name}: {key} is not in the mapped file"


class Malicious:
    """A pickle that makes a file when it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, is_zip: bool) -> None:
    path, marker = tmp_path / "bad.ckpt", tmp_path / "was_run"
    content = {"state_dict": {"betas": torch.ones(2)}, "extra": Malicious(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    message = assert_refused(path, "mkdir")
    assert not marker.exists(), "the code in the checkpoint was run"
    assert ".safetensors" in message, "the error should say the way out"


def test_a_training_with_moments_in_8_bits_is_read_without_torchao(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    moment = OptimState8bit.zeros((64, 64))
    torch.save({"state_dict": {"a": torch.ones(3)}, "optimizer_states": [{"state": {0: {"exp_avg": moment}}}]}, path)
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()  # what importing torchao has registered
    try:
        assert torch.equal(read_checkpoint(path)["a"], torch.ones(3))
        stand_in = load_pickle(path)["optimizer_states"][0]["state"][0]["exp_avg"]
    finally:
        torch.serialization.add_safe_globals(known)
    assert type(stand_in) is InertTensor
    assert stand_in.shape == (64, 64)
    with pytest.raises(TypeError, match="class is left out"):
        stand_in.abs()


def test_a_pickle_with_other_objects_names_them(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"betas": torch.ones(2)}, "hyper_parameters": argparse.Namespace(lr=1)}, path)
    assert_refused(path, "argparse.Namespace")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99, 0.9999])
@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors", "legacy.pth"])
def test_a_truncated_file_is_damaged(tmp_path: Path, name: str, share: float) -> None:
    path, tensors = tmp_path / name, {"betas": torch.rand(3000), "scale_arr": torch.rand(2000)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=path.suffix == ".ckpt")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert_refused(path, "truncated|damaged")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>403</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git-lfs"),
        (b"hello, this is some text and no checkpoint at all", "not a checkpoint"),
        (b"PK\x03\x04" + bytes(2000), "damaged"),
        ((10**15).to_bytes(8, "little") + b'{"a": 1}', "truncated"),
        ((9).to_bytes(8, "little") + b'{"a": 1}}', "damaged"),
        (b"\x80\x02}q\x00.", "damaged|no tensors"),
    ],
)
def test_what_is_not_a_checkpoint_is_told_so(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    assert_refused(path, expected)


def test_missing_files_and_files_without_tensors(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere.ckpt", "does not exist")
    for content, expected in (
        ({"epoch": 1}, "no tensors"),
        ([torch.ones(2)], "list"),
        ({"state_dict": {}}, "no tensors"),
    ):
        torch.save(content, tmp_path / "a.ckpt")
        assert_refused(tmp_path / "a.ckpt", expected)
    torch.save({"state_dict": {"betas": torch.ones(2), "lr": 1.0}}, tmp_path / "a.ckpt")
    assert_refused(tmp_path / "a.ckpt", "lr in its state dict is not a tensor")

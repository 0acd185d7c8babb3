"""Files that hold no weights, or not all of them, are refused in one line: by `convert`, and wherever they are read."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lvdm.checkpoint import CheckpointError, convert, read_checkpoint, zero
from lvdm.checkpoint.lora import FORMAT, PREFIX, read_lora
from lvdm.checkpoint.pickles import load_pickle

WRITTEN_BY_DEEPSPEED = Path(__file__).parent / "deepspeed_zero2"
ZEROS = torch.zeros(3)


def pickled(value: Tensor, **options: Any) -> Callable[[Path], object]:
    return lambda path: torch.save({"state_dict": {"a": value}}, path, **options)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: save_file({}, path), "holds no weights: it holds no tensors"),
        (lambda path: save_file({"a": ZEROS.int()}, path), "holds no weights: it holds 1 tensors of torch.int32"),
        (pickled(ZEROS.long()), "holds no weights: it holds 1 tensors of torch.int64"),
        (pickled(torch.eye(3).to_sparse()), "a in its state dict is a sparse or nested tensor; save a dense tensor"),
        (pickled(torch.zeros(3, device="meta")), "a in its state dict is a meta tensor, without values"),
        (pickled(3), "a in its state dict is not a tensor"),
    ],
    ids=["nothing", "int32", "int64", "sparse", "meta", "number"],
)
def test_what_is_no_weight_is_not_converted(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(source, tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_is_cut_anywhere_is_damaged(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": ZEROS}}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for length in range(4, len(whole), 1 if legacy else 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"a\.ckpt is truncated or damaged"):
            read_checkpoint(path)


def test_a_whole_legacy_file_and_a_refused_one_are_what_they_were(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": ZEROS}}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "a.ckpt")["a"], ZEROS)
    torch.save({"a": Path("x")}, tmp_path / "b.ckpt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="was refused: besides tensors it holds"):
        read_checkpoint(tmp_path / "b.ckpt")


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (torch.zeros(2, 4, dtype=torch.int32), torch.zeros(3, 2)),
        (torch.zeros(8), torch.zeros(3, 2)),
        (torch.zeros(2, 4), torch.zeros(3)),
        (torch.zeros(2, 4), torch.zeros(3, 5)),
    ],
)
def test_a_lora_is_made_of_pairs_of_matrices(down: Tensor, up: Tensor, tmp_path: Path) -> None:
    metadata = {"format": FORMAT, "rank": "2", "alpha": "2", "targets": "", "base": "", "base_sha256": ""}
    tensors = {"layer.lora_A.weight": down, "layer.lora_B.weight": up}
    save_file(tensors, tmp_path / "a.safetensors", {PREFIX + name: value for name, value in metadata.items()})
    with pytest.raises(
        CheckpointError, match=r"should be matrices of floats with one rank, they are torch\."
    ) as caught:
        read_lora(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


def places(node: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in dictionaries and lists."""
    yield where
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*where, key))


@pytest.mark.parametrize("odd", [None, "x", -1, [], {"a": 1}, torch.eye(2).to_sparse()], ids=repr)
def test_deepspeed_parts_of_another_form_end_in_one_line(odd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model_file = zero.find_model_file(WRITTEN_BY_DEEPSPEED)
    assert model_file is not None
    files = zero.partition_files(model_file)
    content, part = load_pickle(model_file, zero.STAND_INS), load_pickle(files[0], zero.STAND_INS)
    known = {path: load_pickle(path, zero.STAND_INS) for path in files}
    tried = 0
    for holder, path in ((content, model_file), (part, files[0])):
        for where in places(holder):
            if not where or (path == model_file and where[0] not in ("module", "param_shapes")):
                continue
            changed = copy.deepcopy(dict(holder))
            node: Any = changed
            for key in where[:-1]:
                node = node[key]
            node[where[-1]] = odd
            held = {**known, path: changed}
            monkeypatch.setattr(zero, "load_pickle", lambda at, _, held=held: held[at])
            tried += 1
            with contextlib.suppress(CheckpointError):
                source = zero.read_zero(model_file, held.get(model_file, content), files)
                for key in source._fragments:
                    source.tensor(key)
    assert tried > 20


def test_a_pickle_that_asks_for_more_memory_than_there_is_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of torch's old format may name any length."""

    def load(*args: object, **options: object) -> None:
        raise MemoryError

    path = tmp_path / "legacy.ckpt"
    torch.save({"betas": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(CheckpointError, match=r"legacy\.ckpt asks for more memory than there is"):
        read_checkpoint(path)

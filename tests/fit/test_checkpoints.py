"""Checkpoints on disk: the last good one is always there, whatever happens to the newest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lvdm.content_hash import read_hash
from lvdm.fit.checkpoints import CheckpointStore, StorageError

Write = Callable[[Path], None]


def weights(value: float) -> Write:
    return lambda path: torch.save({"weight": torch.full((4, 4), float(value))}, path)


def sharded(value: float) -> Write:
    def write(path: Path) -> None:
        path.mkdir()
        for rank in range(2):
            torch.save({"weight": torch.full((4,), value + rank)}, path / f"__{rank}_0.distcp")

    return write


def load(path: Path | None) -> float:
    assert path is not None, "no good checkpoint was found"
    return float(torch.load(path, weights_only=True)["weight"][0, 0])


@pytest.mark.parametrize("write", [weights, sharded], ids=["one file", "sharded"])
def test_the_last_few_are_kept(tmp_path: Path, write: Callable[[float], Write]) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    for step in (5, 10, 15, 120):
        store.save(step, write(step), {"versions": {}})
    assert store.existing() == [store.path(15), store.path(120)], "the two newest stay, in the order of their steps"
    assert store.newest_good() == store.path(120)
    assert sorted(path.name for path in store.folder.iterdir()) == [
        *("step-00000015.ckpt", "step-00000015.json", "step-00000120.ckpt", "step-00000120.json")
    ]


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "without json", "json cut"])
def test_a_damaged_newest_one_falls_back_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        store.save(step, weights(step), {})
    newest = store.path(2)
    content = newest.read_bytes()
    middle = len(content) // 2
    if damage == "flipped":
        newest.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        newest.write_bytes(content[:middle])
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "without json":
        newest.with_suffix(".json").unlink()
    else:
        newest.with_suffix(".json").write_text('{"sha')
    assert load(store.newest_good()) == 1.0
    assert "falling back" in caplog.text
    assert newest.name in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_full_disk_leaves_the_earlier_ones(tmp_path: Path, error: Exception) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, weights(1), {})

    def fail(path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        raise error

    with pytest.raises(StorageError, match="earlier ones are untouched"):
        store.save(2, fail, {})
    assert load(store.newest_good()) == 1.0
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".ckpt", ".json"], "the half file should be gone"


def test_what_does_not_read_back_is_not_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, weights(1), {})

    def bad_disk(path: Path) -> None:
        weights(2)(path)
        content = path.read_bytes()
        start = content.index(torch.full((4, 4), 2.0).numpy().tobytes())
        path.write_bytes(content[:start] + b"\0\0\0\1" + content[start + 4 :])

    with pytest.raises(StorageError, match="does not read back"):
        store.save(2, bad_disk, {})
    assert load(store.newest_good()) == 1.0, "the older one must stay until the newer one is verified"


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, weights(1), {})
    store.part(2).write_bytes(b"half")
    assert store.newest_good() == store.path(1)
    store.remove_unfinished()
    assert not store.part(2).exists()


def test_no_space_is_told_before_the_training(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "not" / "there" / "yet")
    store.check_space(1000)
    with pytest.raises(StorageError, match="two must fit"):
        store.check_space(10**18)


def test_the_hash_of_a_folder_covers_names_and_bytes(tmp_path: Path) -> None:
    for name, files in {"a": {"x": b"12"}, "b": {"x": b"12"}, "c": {"y": b"12"}, "d": {"x": b"13"}}.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    same, other, moved, changed = (read_hash(tmp_path / name) for name in "abcd")
    assert same == other
    assert len({same, moved, changed}) == 3

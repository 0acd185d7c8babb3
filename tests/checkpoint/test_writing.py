"""The writer of safetensors files against the library's reader and writer."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor

from lvdm.checkpoint.writing import TensorLayout, safetensors_bytes, stream_safetensors, write_safetensors
from lvdm.media.atomic import OutputError


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, generator=generator)
    return {
        "z": values,
        "half": values.half(),
        "brain": values.bfloat16(),
        "double": values.double(),
        "count": torch.tensor(7),
        "flags": values > 0,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "turned": values.t(),
        "nothing": torch.zeros(0, 3),
        "trained": torch.nn.Parameter(values + 1),
    }


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", tensors(), {"format": "pt", "é": "ü"})
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(tensors())
    for key, value in tensors().items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype, key
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "é": "ü"}


def test_bytes_are_those_of_the_library_and_always_the_same() -> None:
    plain = {key: value.detach().contiguous() for key, value in tensors().items()}
    assert safetensors_bytes(tensors()) == save(plain)
    assert safetensors_bytes(tensors(), {"a": "b"}) == save(plain, {"a": "b"})
    backwards = dict(reversed(tensors().items()))
    metadata = {str(i): "x" for i in range(9)}
    assert safetensors_bytes(backwards, metadata) == safetensors_bytes(tensors(), metadata)


def test_every_tensor_is_aligned() -> None:
    content = safetensors_bytes({"a": torch.zeros(3, dtype=torch.uint8), "b": torch.zeros(2, dtype=torch.float64)})
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert (8 + length) % 8 == 0
    assert header["b"]["data_offsets"] == [0, 16]
    assert header["a"]["data_offsets"] == [16, 19]
    assert torch.equal(load(content)["a"], torch.zeros(3, dtype=torch.uint8))


def test_files_have_the_access_of_other_files_and_appear_whole(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    path = tmp_path / "new folder" / "a.safetensors"
    write_safetensors(path, {"a": torch.zeros(2)})
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    before = path.read_bytes()

    def failing(key: str) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_safetensors(path, {"a": TensorLayout(torch.float32, (2,))}, failing)
    assert path.read_bytes() == before, "an interrupted write changed the file"
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"], "temporary files are left"


def test_tensors_are_read_one_after_the_other_and_checked(tmp_path: Path) -> None:
    layout = {"a": TensorLayout(torch.float32, (2,)), "b": TensorLayout(torch.float16, (1, 3))}
    assert [planned.nbytes for planned in layout.values()] == [8, 6]
    asked: list[str] = []

    def read(key: str) -> Tensor:
        asked.append(key)
        return torch.ones(2) if key == "a" else torch.ones(1, 3).half()

    stream_safetensors(tmp_path / "a.safetensors", layout, read)
    assert asked == ["a", "b"]
    assert load_file(tmp_path / "a.safetensors")["b"].tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match=r"b is torch\.float32"):
        stream_safetensors(tmp_path / "b.safetensors", layout, lambda key: torch.ones(2))
    assert not (tmp_path / "b.safetensors").exists()


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a is torch\.complex64"):
        write_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(1, dtype=torch.complex64)})
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="nothing was written"):
        write_safetensors(tmp_path / "file" / "a.safetensors", {"a": torch.zeros(1)})

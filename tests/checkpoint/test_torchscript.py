"""TorchScript archives are read as data, whatever program they hold."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lvdm.checkpoint import CheckpointError
from lvdm.checkpoint.torchscript import is_torchscript, read_torchscript


class Inner(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2, eps=scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x))


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(Inner(0.5), nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False)))
        self.sizes = [1, 2, 3]
        self.name = "outer"

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x) * len(self.sizes)


@pytest.fixture(params=["script", "trace"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    module = Outer().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(module) if request.param == "script" else torch.jit.trace(module, torch.rand(4, 3))
        made.save(str(tmp_path / "module.pt"))
    return tmp_path / "module.pt", module.state_dict()


def test_tensors_and_text_of_an_archive(archive: tuple[Path, dict[str, Tensor]]) -> None:
    path, expected = archive
    assert is_torchscript(path)
    found = read_torchscript(path)
    assert list(found.tensors) == list(expected)
    assert all(torch.equal(found.tensors[key], value) for key, value in expected.items())
    assert any("0.5" in text for name, text in found.code.items() if "batchnorm" in name)


def test_other_files_are_none(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no zip")
    for name in ("weights.pt", "text.pt", "missing.pt"):
        assert not is_torchscript(tmp_path / name)
        with pytest.raises(CheckpointError, match="not a TorchScript archive"):
            read_torchscript(tmp_path / name)


def rewritten(source: Path, target: Path, changes: dict[str, bytes], compress: tuple[str, ...] = ()) -> Path:
    """A copy of an archive in which some entries have another content."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name = entry.filename.split("/", 1)[1]
            kind = zipfile.ZIP_DEFLATED if name in compress else zipfile.ZIP_STORED
            new.writestr(entry.filename, changes.get(name, old.read(entry)), kind)
    return target


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_runs_code_is_refused(archive: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    bomb = io.BytesIO()
    pickle.Pickler(bomb, protocol=2).dump(Bomb(tmp_path / "ran"))
    path = rewritten(archive[0], tmp_path / "bomb.pt", {"data.pkl": bomb.getvalue()})
    with pytest.raises(CheckpointError, match="refused"):
        read_torchscript(path)
    assert not (tmp_path / "ran").exists()


def test_damage_is_told(archive: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    path = rewritten(archive[0], tmp_path / "odd.pt", {"data.pkl": b"\x80\x02N."})
    with pytest.raises(CheckpointError, match="NoneType where a module should be"):
        read_torchscript(path)
    path = rewritten(archive[0], tmp_path / "short.pt", {"data/0": b""})
    with pytest.raises(CheckpointError, match="damaged"):
        read_torchscript(path)
    path = rewritten(archive[0], tmp_path / "packed.pt", {}, compress=("data/0",))
    with pytest.raises(CheckpointError, match="compressed"):
        read_torchscript(path)

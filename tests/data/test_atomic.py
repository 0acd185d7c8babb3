"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lvdm.data.atomic import atomic_path


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such access rights")
def test_weights_can_be_read_by_those_who_can_read_other_files(tmp_path: Path) -> None:
    """safetensors makes its files for the owner alone; a model that a server serves is read by another user."""
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic_path(tmp_path / "weights.safetensors") as path:
        save_file({"weight": torch.zeros(1)}, path)
    with atomic_path(tmp_path / "text.json") as path:
        path.write_text("{}")
        path.chmod(0o600)
    for name in ("weights.safetensors", "text.json"):
        assert (tmp_path / name).stat().st_mode == ordinary.stat().st_mode, f"{name} has other access rights"
    assert sorted(os.listdir(tmp_path)) == ["ordinary", "text.json", "weights.safetensors"], "something was left behind"


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("before")

    def write_half() -> None:
        with atomic_path(target) as path:
            path.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_half()
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["file.txt"], "the temporary file was left"

"""The notebooks run: their cells in order, in this process, with fewer steps and frames."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
FEWER = {"STEPS = 8": "STEPS = 1", "num_inference_steps=STEPS": "num_inference_steps=STEPS, num_frames=3"}


def cells(notebook: Path) -> list[str]:
    """The code of a notebook."""
    tree = json.loads(notebook.read_text(encoding="utf-8"))
    assert tree["nbformat"] == 4
    assert not any(cell.get("outputs") for cell in tree["cells"]), "it is stored with outputs; clear them"
    return ["".join(cell["source"]) for cell in tree["cells"] if cell["cell_type"] == "code"]


def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    display = SimpleNamespace(Image=lambda path, width=None: Path(path).stat().st_size, display=shown.append)
    monkeypatch.setitem(__import__("sys").modules, "IPython.display", display)
    (tmp_path / "prompts").symlink_to(ROOT / "prompts")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    code = cells(ROOT / "examples" / "animate.ipynb")
    assert sum(cell.count("STEPS = 8") for cell in code) == 1
    for number, cell in enumerate(code):
        for usual, fewer in FEWER.items():
            cell = cell.replace(usual, fewer)
        exec(compile(cell, f"animate.ipynb cell {number}", "exec"), names)
    assert names["result"].video.shape == (1, 3, 3, 64, 64)
    assert names["both"].video.shape == (2, 3, 3, 64, 64)
    assert [step for step, _, _ in names["steps"]] == [0], "the callback was not called at each step"
    written = sorted(path.name for path in (tmp_path / "outputs").iterdir())
    assert written == ["star.gif", "star.json", "star.mp4", "star_sheet.png"]
    assert len(shown) == 2
    assert min(shown) > 1000, "an image is empty"


def test_there_is_no_notebook_that_is_not_run() -> None:
    assert [path.name for path in NOTEBOOKS] == ["animate.ipynb"]

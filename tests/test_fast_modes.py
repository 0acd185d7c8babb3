"""The measurement of fast modes: what is on the front, what is worse, and what is not measured twice."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fast_modes
import pytest
import torch
from fast_modes import MODES, Setting, grid, measure, modes_of
from fast_modes_report import PLAIN, front, front_drawing, tables, worse_figures

from lvdm.model_card import CARDS

SCENES = 6


def rows(cost: float, near: float, truth: float = 30.0) -> list[dict[str, Any]]:
    return [
        {"seconds": cost * (i + 1), "plain_seconds": i + 1, "to_plain": near, "operations": 100 * cost}
        | {"to_truth": truth + i, "motion": True, "frame_0": 40.0, **({"direction": True} if i % 2 else {})}
        for i in range(SCENES)
    ]


def test_a_mode_is_on_the_front_where_no_other_is_faster_and_nearer() -> None:
    modes = {PLAIN: rows(1, 100), "--fast 1": rows(0.5, 50), "slower": rows(0.6, 49), "far": rows(0.4, 40)}
    assert front(modes) == ["--fast 1", "far"]
    text = tables({("tiny", "guidance 1"): modes, ("tiny", "guidance 2"): modes})
    (line,) = {line for line in text.splitlines() if line.startswith("| slower")}
    assert line.split(" | ")[2:4] == ["0.60 (0.60 to 0.60)", "0.60"]
    assert line.endswith("|  |  |")
    picture = front_drawing({("tiny", "guidance 1"): modes})
    assert picture.count("<circle") == 3
    assert picture.count("--fast 1</text>") == 1


def test_worse_is_what_the_same_scenes_show_in_pairs() -> None:
    """Scenes differ by more than modes do: intervals of the means overlap, that of the differences leaves zero out."""
    plain = rows(1, 100)
    assert worse_figures(rows(0.5, 50, 29.9), plain) == ["to the truth"]
    assert worse_figures(rows(0.5, 50, 30.1), plain) == []


@pytest.mark.parametrize("guidance", [None, 2.0])
def test_modes_of_equal_values_are_measured_once(guidance: float | None) -> None:
    branches = 1 if guidance is None else 2
    pipe = SimpleNamespace(card=CARDS["512"], settings=lambda **given: SimpleNamespace(num_branches=branches))
    for modes in (MODES, grid()):
        found = modes_of(modes, pipe, Setting("tiny", "a", guidance))  # type: ignore[arg-type]
        texts = [json.dumps(values, sort_keys=True) for values in found.values()]
        assert len(texts) == len(set(texts))
        assert found[PLAIN] == {}
        assert any("guidance_steps" in text for text in texts) == (branches == 2)


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(height=32, width=32, num_frames=4, num_inference_steps=8)
    pipe: Any = SimpleNamespace(card=card, settings=lambda **given: SimpleNamespace(num_branches=1))
    made: list[Any] = []

    def video(pipe: Any, image: torch.Tensor, scene: Any, seed: int, values: Any) -> torch.Tensor:
        made.append(values)
        return image[:, None].repeat(1, 4, 1, 1)

    monkeypatch.setattr(fast_modes, "make_video", video)
    args = argparse.Namespace(output=tmp_path, seed=1, search=False)
    found = measure(Setting("tiny", "a", None), pipe, 2, args)
    assert {len(scenes) for scenes in found.values()} == {2}
    assert "operations" in found[PLAIN][0]
    lines = (tmp_path / "videos.jsonl").read_text().splitlines()
    (tmp_path / "videos.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    made.clear()
    again = measure(Setting("tiny", "a", None), pipe, 2, args)
    assert len(made) == 3, "the first is to warm up, the plain one is what the missing one is compared with"
    assert [row["scene"] for row in again[PLAIN]] == [0, 1]
    made.clear()
    measure(Setting("tiny", "of other weights", None), pipe, 2, args)
    assert len(made) == 1 + len(found) * 3, "all are made anew, and those of the first scene counted"

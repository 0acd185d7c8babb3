"""The callbacks in two processes: they decide alike, and one that draws keeps nobody waiting for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from processes import start_script
from training_toys import Numbers, by_hand


def test_processes_skip_the_same_step_while_only_one_draws(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    process = start_script(Path(__file__).with_name("ddp_callbacks_run.py"), [str(tmp_path)], log)
    process.join(timeout=300)
    assert process.exitcode == 0, log.read_text()
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second, "both processes should have skipped the same steps and hold the same weights"
    assert first["skipped"] == 1
    # The report comes before the average takes the weights' place; step 2 had samples 4 and 5.
    samples = torch.stack([Numbers(10)[i]["x"] for i in range(10)])
    expected = by_hand([samples[2 * i : 2 * i + 2] for i in (0, 1, 3, 4)])
    assert first["weights"][0] == pytest.approx(expected.layer.weight[0].tolist(), abs=1e-5)
    assert not (tmp_path / "skipped_steps.jsonl").exists(), "the first process has no bad sample to name"
    assert json.loads((tmp_path / "skipped_steps.rank1.jsonl").read_text())["samples"][0]["number"] == 5

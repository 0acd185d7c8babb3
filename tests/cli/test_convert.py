"""`dynamicrafter convert` on what a training leaves: which weights it writes, and what it says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lvdm.cli.app import app

AVERAGED, TRAINED = torch.zeros(3), torch.ones(3)


@pytest.mark.parametrize(
    ("flags", "expected", "tells"),
    [((), AVERAGED, "--no-ema takes the trained ones"), (("--ema",), AVERAGED, ""), (("--no-ema",), TRAINED, "")],
)
def test_averaged_weights_on_request(
    flags: tuple[str, ...], expected: torch.Tensor, tells: str, tmp_path: Path
) -> None:
    content = {
        "state_dict": {"betas": AVERAGED},
        "current_model_state": {"betas": TRAINED},
        "averaging_state": {"n_averaged": torch.tensor(2)},
        "optimizer_states": [],
    }
    torch.save(content, tmp_path / "run.ckpt")
    target = tmp_path / "weights.safetensors"
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "run.ckpt"), str(target), *flags])
    assert result.exit_code == 0, result.output
    assert torch.equal(load_file(target)["betas"], expected)
    assert tells in result.stdout
    assert ("averaged weights" in result.stdout) == bool(tells)


def test_averaged_weights_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {"betas": TRAINED}}, tmp_path / "run.ckpt")
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "run.ckpt"), str(tmp_path / "a.safetensors"), "--ema"])
    assert result.exit_code == 2
    assert "holds no averaged weights" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1

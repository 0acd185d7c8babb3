"""The shells of scripts/evaluation hand everything on: what they call, seen by a command that only writes it down."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "evaluation"
RECORDER = '#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> "$(dirname "$0")/calls"\n'


def calls(tmp_path: Path, script: str, *arguments: str) -> list[list[str]]:
    """The commands of a copy of `script`, whose Python does nothing; without `-m lvdm.cli.launch evaluate`."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts" / "evaluation")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(RECORDER)
    python.chmod(0o755)
    command = ["bash", str(tmp_path / "scripts" / "evaluation" / script), *arguments]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [line.split()[3:] for line in (python.parent / "calls").read_text().splitlines()]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("fvd.sh", ["real", "fake", "i3d.safetensors", "out", "lvdm-2022"]),
        ("compare.sh", ["a", "b", "real", "out"]),
    ],
)
def test_flags_reach_every_measurement(tmp_path: Path, script: str, arguments: list[str]) -> None:
    made = calls(tmp_path, script, *arguments, "--set", "clips=10")
    assert made[-1][:2] == ["report", "out"], f"{script} should end with the report of its output: {made}"
    for call in made[:-1]:
        assert call[-2:] == ["--set", "clips=10"], f"{script}: the protocol of {call[0]} is another one: {call}"


def test_fvd_goes_by_the_protocol_and_the_weights_that_were_given(tmp_path: Path) -> None:
    (score, _) = calls(tmp_path, "fvd.sh", "real", "fake", "i3d.safetensors", "out", "lvdm-2022")
    told = dict(itertools.pairwise(score))
    assert told["--protocol"] == "lvdm-2022"
    assert told["--weights"] == "i3d-logits=i3d.safetensors"
    assert (told["--real"], told["--fake"]) == ("real", "fake")

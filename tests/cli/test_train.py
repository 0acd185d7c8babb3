"""`dynamicrafter train` is the trainer: the same flags, the same errors, the same exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.fit.arguments import build_parser
from lvdm.fit.trainer import main


def test_the_flags_are_those_of_the_trainer() -> None:
    result = CliRunner().invoke(app, ["train", "--help"])
    assert result.exit_code == 0, result.output
    for action in build_parser()._actions:
        for flag in action.option_strings:
            assert flag in result.stdout, f"`dynamicrafter train --help` does not tell of {flag}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--base", "missing.yaml", "--train"],
        ["--base", "missing.yaml", "--trian"],
        ["-t", "-b", "missing.yaml", "optimizer.learning_rate=1", "--devices", "2"],
    ],
)
def test_errors_and_exit_codes_are_those_of_the_trainer(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(arguments)
    expected = capsys.readouterr().err
    result = CliRunner().invoke(app, ["train", *arguments])
    assert (result.exit_code, result.stderr) == (code, expected)
    assert code == 2


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--trian", "option '--trian' is not known; did you mean '--train'?"),
        ("--qqq=1", "option '--qqq' is not known; see `dynamicrafter train --help`"),
        ("model.params", "'model.params' is not an override; they look like model.params.uncond_prob=0.1"),
        ("--seed=x", "argument --seed/-s: 'x' is not possible; use a whole number from 0 to 4294967295"),
        ("--seed=-1", "argument --seed/-s: '-1' is not possible; use a whole number from 0 to 4294967295"),
        (
            "--seed=4294967296",
            "argument --seed/-s: '4294967296' is not possible; use a whole number from 0 to 4294967295",
        ),
        ("--seed", "argument --seed/-s: expected one argument"),
    ],
)
def test_what_is_not_understood_is_one_line(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--train", argument]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"

"""What a user can mend is an error of one family, and the command line knows that family."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from sources import nodes_of
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.cli.errors import FAILED, INTERRUPTED, TRACEBACK_VARIABLE, WRONG_INPUT, report_error
from lvdm.errors import CheckpointError, OutOfMemoryError, UserError, counted
from lvdm.media.atomic import OutputError

ROOT = Path(__file__).parent.parent
PATHS = sorted(path for folder in ("lvdm", "main", "scripts") for path in (ROOT / folder).rglob("*.py"))


def test_every_error_of_ours_is_a_user_error() -> None:
    errors: dict[str, str] = {}  # the first base of each
    for path in PATHS:
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name != "UserError":
                errors[node.name] = ast.unparse(node.bases[0])
    assert len(errors) > 20, "the search finds nothing"
    others = {name: base for name, base in errors.items() if base not in {"UserError", *errors}}
    assert not others, f"derive these from lvdm.errors.UserError: {others}"


def test_old_places_of_the_errors_stay() -> None:
    import lvdm.checkpoint
    import lvdm.config
    import lvdm.pipeline

    assert lvdm.checkpoint.CheckpointError is CheckpointError
    assert lvdm.pipeline.OutOfMemoryError is OutOfMemoryError
    assert issubclass(lvdm.config.ConfigError, UserError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutputError("a.mp4: no"), WRONG_INPUT),
        (CheckpointError("a.ckpt: no"), WRONG_INPUT),
        (ValueError("a value"), WRONG_INPUT),
        (OutOfMemoryError("too large"), FAILED),
        (FileNotFoundError("a.png"), FAILED),
        (MemoryError(), FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
        (RuntimeError("a bug"), None),
        (KeyError("a bug"), None),
    ],
)
def test_exit_codes(error: BaseException, code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(error) == code
    said = capsys.readouterr().err
    assert said.count("\n") == (code is not None), "one line for an expected error, none for a bug"
    assert code is None or said.startswith("Error: ")


def test_the_traceback_variable_lets_errors_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    assert report_error(UserError("x")) is None


def test_one_thing_is_not_several() -> None:
    assert [counted(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("animate --stepps 3", "option '--stepps' is not known; did you mean '--steps'?"),
        ("animate a.png --xyzzy", "option '--xyzzy' is not known; see `dynamicrafter animate --help`"),
        ("animate --seed", "option '--seed' requires an argument"),
        ("animate --frames 4.5", "--num-frames '4.5' is not possible; use a whole number from 1 to 1000000 frames"),
        ("animate --overwrite=3", "option '--overwrite' does not take a value"),
        ("serve --port x", "--port 'x' is not possible; use a whole number"),
        ("evaluate scor", "command 'scor' is not known; did you mean 'score'?"),
        ("convert", "missing argument 'source'; see `dynamicrafter convert --help`"),
        ("animate a b c", "got unexpected extra argument(s) (b c); see `dynamicrafter animate --help`"),
        ("--verson", "option '--verson' is not known; did you mean '--version'?"),
    ],
)
def test_what_is_typed_wrong_is_answered_in_one_line(typed: str, said: str) -> None:
    result = CliRunner().invoke(app, typed.split(), prog_name="dynamicrafter")
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"Error: {said}\n", "")

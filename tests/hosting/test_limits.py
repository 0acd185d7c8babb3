"""One declaration of limits: the options of both commands, and their table in docs/serving.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from frozen_options import accepts, commands
from typer.testing import CliRunner

import lvdm.cli.web
from lvdm.cli.app import app
from lvdm.declaration.parameter import parameters_of
from lvdm.hosting.limits import Limits

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
ROW = re.compile(r"^\| `(--max-[a-z-]+)` \| [^|]+ \| ([0-9.]+) \|", re.MULTILINE)


@pytest.mark.parametrize("command", ["serve", "app"])
def test_both_commands_have_every_limit(command: str) -> None:
    for declared in parameters_of(Limits).values():
        for flag in declared.flags:
            found = accepts(commands()[command], flag)
            assert found is not None, f"{command} does not take {flag}"
            assert found["takes_value"], flag


def test_the_table_is_the_declaration() -> None:
    told = {flag: float(default) for flag, default in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert told == {declared.flag: declared.default for declared in parameters_of(Limits).values()}


def limits_of_page(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Limits | None]:
    """What `app` prints, and the limits that it comes to before it listens."""
    found: list[Limits] = []

    def caught(values: Mapping[str, Any]) -> Limits:
        found.append(Limits(**values))
        raise ValueError("that is all")

    monkeypatch.setattr(lvdm.cli.web, "Limits", lambda **values: caught(values))
    run = CliRunner().invoke(app, ["app", *words])
    return run, found[0] if found else None


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        ([], Limits()),
        (["--max-upload", "20", "--max-queue", "3"], Limits(max_upload=20.0, max_queue=3)),
        (["--max-upload-mb=5"], Limits(max_upload=5.0)),
        (["--max-side", "2000"], Limits(max_megapixels=4.0)),
    ],
)
def test_present_and_former_flags(words: list[str], limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits_of_page(words, monkeypatch)[1] == limits


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-queue", "0"], "max_queue 0 is not possible; use a whole number from 1 to 100000"),
        (["--max-megapixels", "1", "--max-side", "9"], "--max-side is the former name of --max-megapixels"),
    ],
)
def test_limits_that_cannot_be(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, limits = limits_of_page(words, monkeypatch)
    assert limits is None
    assert run.exit_code == 2
    assert said in run.output


def test_frames_as_large_as_a_square_of_2048_are_made() -> None:
    """Both commands made them before they had one limit."""
    assert Limits().allows_size(2048, 2048)
    assert not Limits().allows_size(2048, 2060)

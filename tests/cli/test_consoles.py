"""What a console cannot show, and a reader that has gone, are no reason to fail: what was made stays, and goes on."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from lvdm.cli import inference
from lvdm.cli.app import app
from lvdm.cli.progress import print_lines
from lvdm.consoles import LastingStream, last_on_any_console
from lvdm.fit import trainer

COMMANDS = ("animate", "evaluate score", "train", "data check")


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[io.BufferedReader, TextIO]]:
    """A pipe in the place of stdout, which is ASCII alone, and its reading end."""
    reading, writing = os.pipe()
    stdout = open(writing, "w", encoding="ascii")  # noqa: SIM115  # closed below
    monkeypatch.setattr(sys, "stdout", stdout)
    with open(reading, "rb") as reader:
        yield reader, stdout
    stdout.close()


def run(words: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        app(words, prog_name="dynamicrafter")
    return int(end.value.code or 0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_a_name_that_the_console_cannot_show_is_printed_as_its_codes(
    here: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "cat.png").rename(here / "\u732b\U0001f600.png")
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding=encoding))
    assert run(["animate", "\u732b\U0001f600.png", "--prompt", "\u00e9", "--dry-run"]) == 0
    sys.stdout.flush()
    assert b"\\U0001f600_animate_123.mp4" in printed.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_is_shown_on_an_ascii_console(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert run([*name.split(), "--help"]) == 0
    sys.stdout.flush()
    assert b"sage:" in printed.getvalue()


def test_names_with_brackets_are_names_and_no_markup(
    here: Path, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["convert", str(checkpoints / "tiny" / "model.safetensors"), "[red]a.safetensors"]) == 0
    assert run(["info", "[red]a.safetensors", "--no-hash"]) == 0
    assert run(["animate", "cat.png", "--prompt", "a", "--output", "[red]a.mp4", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("[red]a.safetensors") == 2
    assert "[red]a.mp4" in said


def test_a_reader_that_has_gone_is_no_error(here: Path, console: tuple[io.BufferedReader, TextIO]) -> None:
    """Two videos into `head`, which has ended: both are made, and the exit code is that of the work."""
    console[0].close()
    assert run(["animate", "cat.png", "--prompt", "a", "--num-videos", "2", "--steps", "1", "--output", "a.mp4"]) == 0
    assert {path.name for path in here.glob("a_*.mp4")} == {"a_01.mp4", "a_02.mp4"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_what_is_printed_is_said_once_and_no_error(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert run(["animate", "cat.png", "--prompt", "a", "--dry-run"]) == 0
        sys.stdout.flush()
    assert capfd.readouterr().err.count("what is printed from here on is lost (No space left on device)") == 1


def test_what_a_stream_that_was_left_still_holds_is_no_error_at_the_end(
    console: tuple[io.BufferedReader, TextIO],
) -> None:
    last_on_any_console()
    assert isinstance(sys.stdout, LastingStream)
    console[0].close()
    for _ in range(3):
        print_lines(["x" * 10_000])
    sys.stdout.flush()  # as Python does when it ends


def test_without_a_console_nothing_is_printed_and_nothing_fails(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs without windows are started without stdout and stderr."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert run(["animate", "cat.png", "--prompt", "a", "--dry-run"]) == 0
    assert run(["animate", "dog.png", "--prompt", "a", "--dry-run"]) == 2


def test_the_original_script_lasts_on_any_console(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(printed, encoding="ascii"))
    assert (
        inference.main(["--savedir", "\u732b", "--prompt_dir", "\u732b", "--config", "\u732b", "--ckpt_path", "a"]) == 2
    )
    sys.stderr.flush()
    assert b"Error: \\u732b" in printed.getvalue()


def test_the_trainer_by_its_own_name_lasts_on_any_console(
    here: Path, console: tuple[io.BufferedReader, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(printed, encoding="ascii"))
    assert trainer.main(["--base", "\u732b.yaml", "--train"]) == 2
    sys.stderr.flush()
    assert b"error: configuration file \\u732b.yaml does not exist" in printed.getvalue()
    assert isinstance(sys.stdout, LastingStream)


@pytest.mark.parametrize("words", [["--" + "x" * 5000], ["x" * 5000], ["animate", "--" + "x" * 5000]])
def test_the_parser_repeats_no_input_in_full(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert 0 < said.count("x") < 400, "a word of the command line is repeated in full"

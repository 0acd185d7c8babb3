"""`--help` shows all that the help of a command and of its options says: what stands in brackets too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from rich.text import Text

from lvdm.cli.app import app


def texts(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """Commands and options with their help."""
    yield name, command.help or ""
    for option in command.params:
        yield f"{name} {option.name}", getattr(option, "help", None) or ""
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from texts(inner, f"{name} {inner_name}")


def test_nothing_in_brackets_is_lost() -> None:
    """Help is read as markup, in which [default: auto] is a style and vanishes unless its bracket is escaped."""
    shown = {name: (Text.from_markup(text).plain, text) for name, text in texts(typer.main.get_command(app), "")}
    lost = [name for name, (plain, text) in shown.items() if plain != text.replace("\\[", "[")]
    assert not lost, f"a part of the help is not shown: {', '.join(lost)}"
    assert "[default: auto]" in shown[" animate dtype"][0], "the default is not in the help"

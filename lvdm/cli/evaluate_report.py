"""`dynamicrafter evaluate report`: what a scoring found, as a table, as Markdown and as a page with images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lvdm.cli.options import Overwrite

if TYPE_CHECKING:
    from lvdm.evaluation.report.tables import Table

_FILE_WIDTH = 200


def report_command(
    folder: Annotated[Path, typer.Argument(help="The folder that `evaluate score` or `evaluate compare` wrote into.")],
    compare: Annotated[Path | None, typer.Option(help="A folder with a comparison.json to show too.")] = None,
    videos_root: Annotated[
        list[Path] | None, typer.Option(help="Folder of the evaluated clips' manifest; may be given more than once.")
    ] = None,
    clips: Annotated[int, typer.Option(min=0, help="Best and worst clips to show, of each measure.")] = 3,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write into, if another.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write report.md and report.html, one file that works offline, and print the table.

    Videos are looked for below --videos-root, then below FOLDER and the folder that it lies in. Where they are not
    found, the report says so and has everything else.
    """
    from lvdm.evaluation.report.writing import read_findings, write_report

    findings = read_findings(folder, compare)
    roots = [*(videos_root or []), folder, folder.resolve().parent]
    paths = write_report(findings, output or folder, roots, clips, overwrite)
    for table in findings.tables():
        print_table(table)
    for line in findings.sentences():
        _console().print(Text(f"- {line}"))
    for path in paths:
        _console().print(Text(str(path)))


def print_table(table: Table) -> None:
    """A table of the report on the terminal; in its full width where it goes into a file or another program."""
    shown = RichTable(box=None, pad_edge=False)
    for head, letter in zip(table.head, table.align, strict=True):
        number = letter == "r"
        shown.add_column(Text(head), justify="right" if number else "left", no_wrap=number, overflow="fold")
    for cells in table.rows:
        shown.add_row(*(Text(cell) for cell in cells))
    Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH).print(shown)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False)

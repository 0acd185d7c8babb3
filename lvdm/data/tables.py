"""Rows of CSV and JSONL files, each with its place for messages."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lvdm.documents import DocumentError, parse_json, short_text

OnBadRow = Callable[[str, ValueError], None]
"""Takes the place of a row that is not one, such as "line 3", and what is wrong with it."""


def csv_rows(
    path: Path, text: str, what: str, error: type[ValueError], on_bad: OnBadRow | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 3", row) for each row of the CSV `text` of `path`. Raises `error` for a row that is not one.

    It does so too for a column that stands there twice. `what` is what a cell with commas holds, such as prompts. With
    `on_bad`, a row with too many cells goes there and the next one follows; what is no CSV raises all the same, since
    nothing after it can be trusted.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        check_columns(path, reader.fieldnames or (), error)
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row:
                problem = error(f"{path}, {place}: has more cells than the header; put {what} with commas in quotes")
                if on_bad is None:
                    raise problem
                on_bad(place, problem)
                continue
            yield place, row
    except csv.Error as broken:
        raise error(f"{path}, line {reader.line_num}: is not valid CSV ({broken})") from broken


def check_columns(path: Path, names: Iterable[str], error: type[ValueError]) -> None:
    """Raise `error` if a column of the table `path` has the name of another one."""
    columns = Counter(name.strip() for name in names if name.strip())
    if twice := [name for name, count in columns.items() if count > 1]:
        raise error(f"{path}, line 1: the column {short_text(twice[0])} stands there twice; leave one out")


def jsonl_rows(
    path: Path, text: str, keys: str, error: type[ValueError], on_bad: OnBadRow | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 3", object) for each line of the JSONL `text` of `path` that is not empty. Raises `error` for others.

    `keys` says what an object should have, such as "image, prompt". With `on_bad`, others go there.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            row = _object(line, f"{path}, {place}", keys)
        except DocumentError as problem:
            if on_bad is None:
                raise error(str(problem)) from problem
            on_bad(place, error(str(problem)))
        else:
            yield place, row


def _object(line: str, where: str, keys: str) -> dict[str, Any]:
    row = parse_json(line, where)
    if not isinstance(row, dict):
        raise DocumentError(f"{where}: should be an object with {keys}, it is {short_text(row)}")
    return row

"""Rows of CSV and JSONL files, each with its place for messages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lvdm.documents import DocumentError, parse_json, short_text


def csv_rows(path: Path, text: str, what: str, error: type[ValueError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 3", row) for each row of the CSV `text` of `path`. Raises `error` for a row that is not one.

    `what` is what a cell with commas holds, such as prompts.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row:
                raise error(f"{path}, {place}: has more cells than the header; put {what} with commas in quotes")
            yield place, row
    except csv.Error as problem:
        raise error(f"{path}, line {reader.line_num}: is not valid CSV ({problem})") from problem


def jsonl_rows(path: Path, text: str, keys: str, error: type[ValueError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 3", object) for each line of the JSONL `text` of `path` that is not empty. Raises `error` for others.

    `keys` says what an object should have, such as "image, prompt".
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"{path}, line {number}")
        except DocumentError as problem:
            raise error(str(problem)) from problem
        if not isinstance(row, dict):
            raise error(f"{path}, line {number}: should be an object with {keys}, it is {short_text(row)}")
        yield f"line {number}", row

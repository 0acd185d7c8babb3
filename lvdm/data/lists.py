"""Lists of videos in any mix of modes: each row is a request, or what is wrong with it; one bad row hides no other.

A folder in the original's format, a .csv or .jsonl table, a .txt of prompts, or the text of a table from stdin.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lvdm.data.prompts import (
    DEPTH_COLUMNS,
    Mode,
    PromptError,
    Request,
    check_column,
    check_request,
    columns,
    name_of_prompt,
    read_folder,
    read_lines,
    row_request,
    safe_name,
    unique_names,
)
from lvdm.data.tables import csv_rows, jsonl_rows
from lvdm.declaration.parameter import Declared, present_names
from lvdm.declaration.values import ListMode
from lvdm.documents import read_text, short_text
from lvdm.request.layers import MODEL_FILES, all_parameters
from lvdm.suggestions import suggest

STDIN = Path("-")
"""The name of a list that comes from stdin."""
LIST_MODES: Mapping[str, Mode] = MappingProxyType(
    {"animate": "i2v", "interpolate": "interp", "loop": "loop", "text-to-video": "t2v", "structure": "structure"}
)
"""The modes of rows, and how their columns are read."""
OF_LISTS_ALONE = (*MODEL_FILES, "num_videos_per_prompt")
"""Columns besides those of a list that is made with one model (`lvdm.data.prompts.columns`)."""


@dataclass(frozen=True)
class ListRow:
    """A row of a list.

    number   counted from 1, bad ones included
    place    such as "list.csv, line 3"
    name     unique within the list
    mode     an entry of `LIST_MODES`; of a bad row, as far as it is known
    request  None for a bad row
    problem  what is wrong with it; "" for a good one
    """

    number: int
    place: str
    name: str
    mode: str = ""
    request: Request | None = None
    problem: str = ""


def list_columns() -> dict[str, Declared]:
    """The columns of tables besides `name` and `mode`."""
    return {**columns(), **{name: all_parameters()[name] for name in OF_LISTS_ALONE}}


def read_list(source: Path, mode: ListMode | None = None, text: str | None = None) -> tuple[ListRow, ...]:
    """The rows of a list.

    mode  of rows that have none of their own; None: by what they have: depth, an end image, an image, or none of them
    text  of the table, when `source` is `STDIN`; its files are relative to the working folder

    Raises `PromptError` for what is no list at all, and for columns of a CSV that are not known.
    """
    if text is None and source.is_dir():
        if mode == "text-to-video":
            raise PromptError(f"{source}: is a folder; text-to-video takes a .txt with one prompt per line, or a table")
        if mode == "structure":
            raise PromptError(f"{source}: is a folder; structure takes a .csv or .jsonl table with the column 'depth'")
        chosen = mode or "animate"
        requests = read_folder(source, LIST_MODES[chosen])
        rows = [_good(i, f"{source}, image {i}", chosen, request) for i, request in enumerate(requests, 1)]
    elif text is None and not source.exists():
        raise PromptError(f"{source}: there is no such folder or file")
    elif text is None and source.suffix.lower() == ".txt" and mode in (None, "text-to-video"):
        rows = _prompts(source)
    else:
        rows = _Table(source, mode).read(text)
    if not rows:
        raise PromptError(f"{source}: lists nothing to make")
    names = unique_names([row.name for row in rows])
    return tuple(
        replace(row, name=name, request=row.request and replace(row.request, name=name))
        for row, name in zip(rows, names, strict=True)
    )


def _good(number: int, place: str, mode: str, request: Request) -> ListRow:
    return ListRow(number, place, request.name, mode, replace(request, place=""))


def _prompts(source: Path) -> list[ListRow]:
    lines = [(f"{source}, line {number}", line) for number, line in enumerate(read_lines(source), 1) if line]
    known = list_columns()
    rows = []
    for number, (place, prompt) in enumerate(lines, 1):
        name = name_of_prompt(prompt)
        try:
            request = row_request({"prompt": prompt}, source, place.rpartition(", ")[2], "t2v", known)
            rows.append(_good(number, place, "text-to-video", request))
        except PromptError as error:
            rows.append(ListRow(number, place, name, "text-to-video", problem=_without(place, error)))
    return rows


class _Table:
    """The rows of a CSV or JSONL, one after the other."""

    def __init__(self, source: Path, mode: ListMode | None) -> None:
        self._source = Path("stdin") if source == STDIN else source  # messages name it
        self._mode = mode
        self._known = list_columns()
        self._rows: list[ListRow] = []

    def read(self, text: str | None) -> list[ListRow]:
        """The rows of the file, or of the `text` that came from stdin."""
        suffix = self._source.suffix.lower()
        if text is not None:
            suffix = ".jsonl" if text.lstrip("\ufeff \t\r\n").startswith("{") else ".csv"
        if suffix not in (".csv", ".jsonl"):
            raise PromptError(
                f"{self._source}: should be a folder of images with test_prompts.txt, a .csv or .jsonl table, or a "
                ".txt of prompts for text-to-video"
            )
        text = read_text(self._source, PromptError) if text is None else text.removeprefix("\ufeff")
        if suffix == ".csv":
            self._check_header(text)
            found = csv_rows(self._source, text, "prompts", PromptError, self._add_bad)
        else:
            found = jsonl_rows(self._source, text, "image, prompt and other parameters", PromptError, self._add_bad)
        for place, row in found:
            self._add(place, {key.strip(): value for key, value in row.items() if value is not None and value != ""})
        return self._rows

    def _check_header(self, text: str) -> None:
        """Raise `PromptError` for a column that is not known: every row would be bad."""
        header = next(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True), [])
        self._check_columns(filter(None, map(str.strip, header)), f"{self._source}, line 1")

    def _check_columns(self, names: Iterable[str], where: str) -> None:
        try:
            for name in present_names(self._known, dict.fromkeys(names)):
                check_column(name, [*self._known, "name", "mode"], f"{where}: ")
        except ValueError as error:
            raise PromptError(str(error)) from error

    def _add_bad(self, place: str, problem: ValueError) -> None:
        where, number = f"{self._source}, {place}", len(self._rows) + 1
        self._rows.append(ListRow(number, where, f"row_{number}", problem=_without(where, problem)))

    def _add(self, place: str, row: dict[str, Any]) -> None:
        where, number = f"{self._source}, {place}", len(self._rows) + 1
        name, mode = _name_of(row, number), ""
        try:
            self._check_columns(row, where)
            mode = self._mode_of(row)
            request = row_request(row, self._source, place, LIST_MODES[mode], self._known)
            check_request(request, where)
            self._rows.append(_good(number, where, mode, request))
        except PromptError as error:
            self._rows.append(ListRow(number, where, name, mode, problem=_without(where, error)))

    def _mode_of(self, row: dict[str, Any]) -> str:
        """The mode of a row, which is taken out of it. Raises `PromptError`."""
        mode = row.pop("mode", self._mode)
        if mode is None:
            if any(name in row for name in DEPTH_COLUMNS):
                return "structure"
            return "interpolate" if "end_image" in row else "animate" if "image" in row else "text-to-video"
        mode = mode.strip() if isinstance(mode, str) else mode
        if mode not in LIST_MODES:
            raise PromptError(f"mode {short_text(mode)} is not one of a list; {suggest(str(mode), list(LIST_MODES))}")
        return str(mode)


def _name_of(row: Mapping[str, Any], number: int) -> str:
    """What the video of a row is called, whatever is wrong with the row: others keep their names when it is mended."""
    for key in ("name", "image", "prompt"):
        value = row.get(key)
        if isinstance(value, str):
            return safe_name(value if key == "name" else Path(value).stem) if key != "prompt" else name_of_prompt(value)
    return f"row_{number}"


def _without(place: str, error: ValueError) -> str:
    """The message without the place before it, which the row has."""
    return str(error).removeprefix(f"{place}: ")

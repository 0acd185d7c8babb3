"""Where the captions of files come from: a text beside each, a table, one for all, or explicitly nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvdm.data.source_files import SourceError, SourceProblem
from lvdm.data.tables import csv_rows, jsonl_rows
from lvdm.documents import DocumentError, parse_json, read_text
from lvdm.regular_files import unreadable_reason

BESIDE = ("txt", "json")
"""Kinds of captions in a file of the same name as the video's, with this suffix."""

TABLES = (".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """Where captions come from.

    `captions` is `txt` (name.txt beside name.mp4), `json` (name.json, an object with the key `caption_column`), the
    path of a .csv or .jsonl table with the columns `file_column` (relative to the data folder) and `caption_column`,
    or `none`: every caption is empty, on purpose. `caption` is one for all files instead.
    Files without a caption are an error, or with `uncaptioned: skip` left out, counted and named.
    """

    captions: str = "txt"
    caption: str | None = None
    file_column: str = "file"
    caption_column: str = "caption"
    uncaptioned: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        """Raise `ValueError` for a choice that is none of these, or two at once."""
        if self.captions not in (*BESIDE, "none") and not self.is_table:
            raise ValueError(f"captions = {self.captions!r} should be txt, json, none, or the path of a .csv or .jsonl")
        if self.caption is not None and self.captions not in ("txt", "none"):
            raise ValueError(f"caption is one text for all files; leave out captions = {self.captions!r}")

    @property
    def is_table(self) -> bool:
        """Whether `captions` is the path of a table."""
        return self.captions.lower().endswith(TABLES)


@dataclass(frozen=True)
class Captioned:
    """Files that are used, their captions (None where there is none and that is a problem), and what is wrong."""

    names: tuple[str, ...]
    captions: tuple[str | None, ...]
    problems: tuple[SourceProblem, ...] = ()
    left_out: tuple[SourceProblem, ...] = ()


def assign_captions(
    names: Sequence[str], options: CaptionOptions, beside: Callable[[str], str | None], noun: str = "files"
) -> Captioned:
    """Captions for the files `names`. `beside(name)` reads the caption file of `options.captions`' kind, None without.

    Raises `SourceError` for a table or caption file that cannot be read.
    """
    captions: list[str | None]
    problems: list[SourceProblem] = []
    if options.caption is not None or options.captions == "none":
        return Captioned(tuple(names), (options.caption or "",) * len(names))
    if options.is_table:
        table = read_table(options)
        captions = [table.get(name) for name in names]
        unexpected = tuple(sorted(table.keys() - set(names)))
        if unexpected:
            hint = f"paths in the column {options.file_column!r} are relative to the data folder; fix or remove them"
            problems.append(
                SourceProblem(f"rows of {options.captions} name files that are not there", unexpected, hint)
            )
    else:
        captions = [beside(name) for name in names]
    bare = tuple(name for name, caption in zip(names, captions, strict=True) if not caption)
    if not bare:
        return Captioned(tuple(names), tuple(captions), tuple(problems))
    missing = SourceProblem(f"{noun} have no caption in {_place(options)}", bare, _HINT)
    if options.uncaptioned == "error":
        return Captioned(tuple(names), tuple(caption or None for caption in captions), (*problems, missing))
    kept = [(name, caption) for name, caption in zip(names, captions, strict=True) if caption]
    return Captioned(tuple(n for n, _ in kept), tuple(c for _, c in kept), tuple(problems), (missing,))


_HINT = "add them, set uncaptioned: skip to leave these out, captions: none for no captions, or one caption for all"


def read_table(options: CaptionOptions) -> dict[str, str]:
    """Captions by file from the CSV or JSONL `options.captions`. Raises `SourceError` for one that cannot be used."""
    path = Path(options.captions)
    if reason := unreadable_reason(path):
        raise SourceError(f"captions: {path}: {reason}; give a .csv or .jsonl")
    captions: dict[str, str] = {}
    columns = f"{options.file_column}, {options.caption_column}"
    is_csv, text = path.suffix.lower() == ".csv", read_text(path, SourceError)
    rows = csv_rows(path, text, "captions", SourceError) if is_csv else jsonl_rows(path, text, columns, SourceError)
    for place, row in rows:
        absent = [column for column in (options.file_column, options.caption_column) if column not in row]
        if absent:
            raise SourceError(
                f"{path}, {place}: no column {' and no column '.join(map(repr, absent))}, it has "
                f"{', '.join(map(repr, row))}; rename it, or set file_column and caption_column"
            )
        name, caption = (row[column] for column in (options.file_column, options.caption_column))
        if not isinstance(name, str) or not (caption is None or isinstance(caption, str)):
            raise SourceError(f"{path}, {place}: file and caption should be texts, they are {name!r} and {caption!r}")
        name = name.strip().removeprefix("./")
        if name in captions:
            raise SourceError(f"{path}, {place}: {name} has a caption already, remove one of the rows")
        captions[name] = (caption or "").strip()
    if not captions:
        raise SourceError(f"{path}: holds no captions")
    return captions


def read_caption_file(kind: str, text: str, where: str, caption_column: str) -> str:
    """The caption in the content of a `txt` or `json` file. Raises `SourceError` for JSON without one."""
    if kind == "txt":
        return " ".join(text.split())
    try:
        value = parse_json(text, where)
    except DocumentError as error:
        raise SourceError(str(error)) from error
    if not isinstance(value, dict) or not isinstance(value.get(caption_column, ""), str):
        raise SourceError(f"{where}: should be an object with the text {caption_column!r}")
    if caption_column not in value:
        raise SourceError(f"{where}: has no {caption_column!r}, it has {', '.join(value)}; set caption_column")
    return " ".join(value[caption_column].split())


def _place(options: CaptionOptions) -> str:
    return options.captions if options.is_table else f"a .{options.captions} beside them"

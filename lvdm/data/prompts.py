"""What to animate: folders of images with a list of prompts (the original's format), CSV and JSONL tables.

For text-to-video: a text file with one prompt per line (VideoCrafter's format), or a table without images.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from lvdm.data.tables import csv_rows, jsonl_rows
from lvdm.declaration.parameter import Declared, known_name, present_names
from lvdm.documents import MAX_WORD, cut_line, read_text, short_text
from lvdm.errors import Problems, UserError, counted
from lvdm.media.file_names import natural_order
from lvdm.plugins.registry import method_files
from lvdm.regular_files import absence_reason
from lvdm.request.layers import all_parameters
from lvdm.suggestions import suggest

logger = logging.getLogger(__name__)

Mode = Literal["i2v", "interp", "loop", "t2v", "structure"]
MODES: tuple[Mode, ...] = ("i2v", "interp", "loop", "t2v", "structure")
WITHOUT_IMAGE: Mapping[Mode, str] = MappingProxyType({"t2v": "text-to-video", "structure": "structure"})
"""What a prompt is enough for, or a prompt and depth; and its name in messages."""
DEPTH_COLUMNS = ("depth", "driving_video")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".apng", ".avif")
"""Files with these suffixes, in upper or lower case, are the images of a folder."""
_PAIRS_SHOWN = 5


class PromptError(UserError):
    """A list of images and prompts that does not fit together; the message says where and what to do."""


@dataclass(frozen=True)
class Request:
    """One video to make.

    name    unique within its list; serves as the name of the output file, without suffix
    values  of parameters (`lvdm.request`) by name; what is not there is as chosen for the whole run
    place   where it stands, such as "list.csv, line 3: "; begins messages about it
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    @property
    def image(self) -> Path | None:
        """The image that the video begins with; None for text-to-video only."""
        return self.values.get("image")

    @property
    def end_image(self) -> Path | None:
        """The image that it ends with."""
        return self.values.get("end_image")

    @property
    def prompt(self) -> str:
        """What should happen in it."""
        return str(self.values.get("prompt", ""))

    @property
    def seed(self) -> int | None:
        """Its seed, where it has one of its own."""
        return self.values.get("seed")


@functools.cache
def columns() -> Mapping[str, Declared]:
    """The columns that a table may have besides `name`; `image` or `prompt` it must have."""
    return MappingProxyType({name: declared for name, declared in all_parameters().items() if declared.parameter.row})


_MODEL_PATHS = ("checkpoint", "config")
"""Columns with files of a model, in lists that may name several (`lvdm.data.lists`)."""


@functools.cache
def file_columns() -> tuple[str, ...]:
    """The columns with a file, which is relative to the table; so are those in `keyframes`."""
    return (*(name for name, declared in columns().items() if declared.kind is Path), *method_files())


def read_requests(
    source: str | Path, *, mode: Mode = "i2v", prompt_file: str | Path | None = None, check_files: bool = True
) -> list[Request]:
    """Read the requests of a folder, or of a .csv or .jsonl table whose paths are relative to the table.

    A folder holds images and `test_prompts.txt` (or one other .txt, or `prompt_file`): one prompt per line, the i-th
    line for the i-th image in the natural order of names (2.png before 10.png). In mode "interp" the i-th line is for
    the images 2i and 2i + 1 (first and last frame). An empty line between others is an empty prompt; empty lines at the
    end do not count.
    In mode "t2v" `source` is a .txt with one prompt per line, where empty lines do not count, or a table; in mode
    "structure" it is a table with `depth` or `driving_video`.
    Raises `PromptError` if files are missing or the counts differ; the message then lists both.
    """
    source = Path(source)
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}; {suggest(mode, MODES)}")
    if mode == "t2v" and source.suffix.lower() == ".txt" and source.exists() and not source.is_dir():
        lines = enumerate(read_lines(source), start=1)
        requests = [
            _request(name_of_prompt(prompt), {"prompt": prompt}, f"{source}, line {number}: ")
            for number, prompt in lines
            if prompt
        ]
    elif mode == "t2v" and source.is_dir():
        raise PromptError(f"{source}: is a folder; text-to-video takes a .txt with one prompt per line, or a table")
    elif mode == "structure" and (source.is_dir() or source.suffix.lower() == ".txt"):
        raise PromptError(f"{source}: structure takes a .csv or .jsonl table with the columns 'prompt' and 'depth'")
    elif source.is_dir():
        requests = read_folder(source, mode, Path(prompt_file) if prompt_file else None)
    elif not source.exists():
        raise PromptError(f"{source}: there is no such folder or file")
    elif source.suffix.lower() not in _TABLES:
        raise PromptError(f"{source}: should be a folder of images with test_prompts.txt, or a .csv or .jsonl table")
    else:
        requests = _read_table(source, mode)
    if not requests:
        raise PromptError(f"{source}: lists nothing to animate")
    problems = Problems()
    for request in requests if check_files else ():
        with problems.of_row():
            check_request(request, request.place.removesuffix(": ") or source)
    problems.check()
    names = unique_names([request.name for request in requests])
    return [replace(request, name=name) for request, name in zip(requests, names, strict=True)]


def name_of_prompt(prompt: str) -> str:
    """A name for the video of a prompt: its first words, without characters that a file system refuses."""
    return safe_name("_".join(prompt.split())[:40])


def output_names(images: Sequence[Path]) -> list[str]:
    """Distinct names, from the file names without suffix; where those agree, with the suffix, then with a number.

    Agreement is judged without case, for file systems that ignore it.
    """
    counts = Counter(image.stem.casefold() for image in images)
    return unique_names(
        [image.stem if counts[image.stem.casefold()] == 1 else image.name.replace(".", "_") for image in images]
    )


def unique_names(stems: Sequence[str]) -> list[str]:
    """The names, each with the first number from 2 on that makes it new, where it is not; without regard to case."""
    taken, next_number = set[str](), dict[str, int]()
    names: list[str] = []
    for name in stems:
        candidate, number = name, next_number.get(name.casefold(), 2)
        while candidate.casefold() in taken:
            candidate, number = f"{name}_{number}", number + 1
        next_number[name.casefold()] = number
        taken.add(candidate.casefold())
        names.append(candidate)
    return names


def read_folder(folder: Path, mode: Mode, prompt_file: Path | None = None) -> list[Request]:
    """The requests of a folder, see `read_requests`. Raises `PromptError`."""
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    images = [folder / name for name in natural_order(names)]
    if not images:
        raise PromptError(f"{folder}: holds no images (looked for {' '.join(IMAGE_SUFFIXES)})")
    prompt_file = prompt_file or _find_prompt_file(folder)
    prompts = read_lines(prompt_file)
    per_prompt = 2 if mode == "interp" else 1
    if len(images) != per_prompt * len(prompts):
        raise PromptError(_mismatch(prompt_file, images, prompts, mode))
    firsts = images[::per_prompt]
    lasts = images[1::2] if mode == "interp" else [None] * len(firsts)
    _show_pairs(images, prompts, per_prompt)
    return [
        _request(name, {"image": image, "prompt": prompt, "end_image": end_image}, f"{folder}: request {name!r}: ")
        for image, prompt, name, end_image in zip(firsts, prompts, output_names(firsts), lasts, strict=True)
    ]


def _show_pairs(images: list[Path], prompts: list[str], per_prompt: int) -> None:
    """Say which image gets which prompt: nobody sees the order of names otherwise."""
    pairs = _pairs(images, prompts, per_prompt)
    more = [f"and {len(pairs) - _PAIRS_SHOWN} more"] if len(pairs) > _PAIRS_SHOWN else []
    logger.info("images and prompts, paired by the natural order of names: %s", "; ".join(pairs[:_PAIRS_SHOWN] + more))
    names = [image.name for image in images]
    if names != sorted(names):
        logger.warning(
            "numbers in the names count as numbers, %s; the original sorts them as text",
            " before ".join(image.name for image in images[: per_prompt + 1]),
        )


def _pairs(images: list[Path], prompts: list[str], per_prompt: int) -> list[str]:
    pairs = []
    for index in range(max(len(prompts), -(-len(images) // per_prompt))):
        names = [path.name for path in images[per_prompt * index : per_prompt * (index + 1)]]
        names += ["(no image)"] * (per_prompt - len(names))
        prompt = _short(prompts[index]) if index < len(prompts) else "(no prompt)"
        pairs.append(f"{index + 1}. {' + '.join(names)} | {prompt}")
    return pairs


def _find_prompt_file(folder: Path) -> Path:
    usual = folder / "test_prompts.txt"
    if usual.is_file():
        return usual
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt")
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise PromptError(f"{folder}: needs test_prompts.txt, or exactly one other .txt file (found: {listed})")
    return found[0]


def _mismatch(prompt_file: Path, images: list[Path], prompts: list[str], mode: Mode) -> str:
    """Both lists side by side, so that the one that is missing can be seen."""
    rule = "two images per prompt (first and last frame)" if mode == "interp" else "one image per prompt"
    counts = f"{counted(len(prompts), 'prompt')} for {counted(len(images), 'image')}"
    head = f"{prompt_file}: {counts}, need {rule}; in natural order they are:"
    return "\n  ".join([head, *_pairs(images, prompts, 2 if mode == "interp" else 1)])


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without white space around them, and without empty ones at its end."""
    lines = [line.strip() for line in read_text(path, PromptError).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _read_table(source: Path, mode: Mode) -> list[Request]:
    """The requests of a table. Raises `PromptError` with all rows that cannot be used."""
    requests, problems = list[Request](), Problems()
    for place, row in _TABLES[source.suffix.lower()](source):
        with problems.of_row():
            requests.append(row_request(row, source, place, mode, columns()))
    problems.check()
    return requests


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in csv_rows(path, read_text(path, PromptError), "prompts", PromptError):
        yield place, {key.strip(): value for key, value in row.items() if value is not None and value != ""}


def _read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, row in jsonl_rows(path, read_text(path, PromptError), "image, prompt and other parameters", PromptError):
        yield place, {key: value for key, value in row.items() if value is not None}


_TABLES = {".csv": _read_csv, ".jsonl": _read_jsonl}


def row_request(row: Mapping[str, Any], table: Path, place: str, mode: Mode, known: Mapping[str, Declared]) -> Request:
    """The request in a row of a table with the columns `known`. Raises `PromptError`."""
    where = f"{table}, {place}: "
    try:
        row = present_names(known, row)
    except ValueError as error:
        raise PromptError(f"{where}{error}") from error
    name = row.pop("name", None)
    if name is not None and not isinstance(name, str):
        raise PromptError(f"{where}name should be text, it is {short_text(name)}")
    if mode in WITHOUT_IMAGE and ("prompt" not in row or "image" in row or "end_image" in row):
        raise PromptError(f"{where}{WITHOUT_IMAGE[mode]} needs the column 'prompt', and takes no image")
    if mode == "structure" and sum(name in row for name in DEPTH_COLUMNS) != 1:
        raise PromptError(f"{where}structure needs one of the columns 'depth' and 'driving_video'")
    if mode not in WITHOUT_IMAGE and "image" not in row:
        raise PromptError(f"{where}the column 'image' is missing or empty")
    try:
        for key in row:
            check_column(key, [*known, "name"], where)
        cells = {key: _cell(known[key], _below(table.parent, key, value), where) for key, value in row.items()}
    except ValueError as error:
        raise PromptError(str(error)) from error
    if mode == "interp" and "end_image" not in cells:
        raise PromptError(f"{where}interpolation needs the column 'end_image'")
    if "keyframes" in cells:
        cells["keyframes"] = tuple((frame, table.parent / path) for frame, path in cells["keyframes"])
    usual = name_of_prompt(cells["prompt"]) if mode in WITHOUT_IMAGE else cells["image"].stem
    return _request(name or usual, cells, where, known)


def check_column(name: str, known: Sequence[str], where: str) -> None:
    """Raise `ValueError`, which begins with `where`, for a column that no table of this kind has."""
    other = all_parameters().get(name)
    if name not in known and other is not None and other.flag:
        raise ValueError(f"{where}{name} is no column, but one for all videos; give it as {other.flag}")
    known_name(name, known, "column", where)


def _cell(column: Declared, value: Any, where: str) -> Any:
    """The value of a parameter from a cell of a table: text, or what JSON has."""
    if isinstance(value, str):
        text = value.strip()
        several = column.name in ("keyframes", "prompts_at")
        return (
            column.check([part for part in text.split(";") if part.strip()], where)
            if several
            else (column.read(text, where))
        )
    if isinstance(value, dict):  # JSON has no other keys than text
        return column.check([f"{key}={item}" for key, item in value.items()], where)
    return column.check(tuple(value) if isinstance(value, list) else value, where)


def _below(folder: Path, name: str, value: Any) -> Any:
    """The text of a cell, with `folder` before the name of a file."""
    return str(folder / value.strip()) if name in (*file_columns(), *_MODEL_PATHS) and isinstance(value, str) else value


def _request(name: str, values: Mapping[str, Any], place: str, known: Mapping[str, Declared] | None = None) -> Request:
    """A request with values that are checked; None is left out. Raises `PromptError`."""
    known = columns() if known is None else known
    try:
        checked = {key: known[key].check(value, place) for key, value in values.items() if value is not None}
    except ValueError as error:
        raise PromptError(str(error)) from error
    return Request(safe_name(name), checked, place)


def safe_name(name: str) -> str:
    """Without characters that some file system refuses, so that a name can never leave the output folder."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", name).strip(" .") or "video"


def check_request(request: Request, where: str | Path) -> None:
    """Raise `PromptError`, which begins with `where`, for a file that is not there."""
    for name in file_columns():
        path = request.values.get(name)
        if path is None or (name == "depth" and Path(path).is_dir()):  # depth may be a folder of images
            continue
        reason = absence_reason(path)
        if reason is not None:
            what = "image" if name in ("image", "end_image") else f"file for {name}"
            raise PromptError(
                f"{where}: the {what} {cut_line(str(path), MAX_WORD)} of request {short_text(request.name)} {reason}"
            )


def _short(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[: length - 3] + "...")

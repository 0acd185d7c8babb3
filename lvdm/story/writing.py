"""A script from one idea, by a language model: its answer is checked like any script, and names no files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lvdm.declaration.parameter import parameters_of
from lvdm.documents import parse_json, read_yaml, short_text
from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import check_replaceable
from lvdm.story.endpoint import Endpoint, ask
from lvdm.story.reading import KEYS, parse_story
from lvdm.story.script import Composition, Placement, Shot, StoryError
from lvdm.suggestions import suggest

OF_SHOTS = (
    *("name", "mode", "prompt", "from", "compose", "text_to_image", "end", "seconds", "motion", "camera"),
    *("transition", "transition_seconds", "caption"),
)
"""Fields of a shot that an answer may have: none of them is a file or a setting."""
OF_STORIES = ("title", "style", "shots")
MAX_IDEA = 4000


def write_script(
    idea: str,
    endpoint: Endpoint,
    output: Path,
    cast: Path | None = None,
    shots: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a script of `idea` to `output`, which is returned.

    cast   a script without shots: characters, places, size and so on, which stay as they are
    shots  how many there should be
    Raises `StoryError` with the field of the answer that is wrong, `EndpointError`, `OutputError`.
    """
    if not idea.strip() or len(idea) > MAX_IDEA:
        raise StoryError(f"the idea has {len(idea)} characters; give 1 to {MAX_IDEA}")
    if output.exists() and not overwrite:  # it may have been edited since
        raise StoryError(f"{output} is there already; choose another name, or allow it by --overwrite")
    check_replaceable(output, overwrite)
    tree = _cast(cast, output)
    where = f"the answer of {endpoint.model}"
    text = ask(endpoint, instructions(tree, shots), idea)
    story = {**tree, **_answer(text, where)}
    parse_story(story, where, output.parent)
    dumped = yaml.safe_dump(story, allow_unicode=True, sort_keys=False, default_flow_style=None, width=120)
    with atomic_path(output) as temporary:
        temporary.write_text(f"# {_one_line(idea)}\n{dumped}", encoding="utf-8", newline="\n")
    return output


def instructions(cast: Mapping[str, Any], shots: int | None) -> str:
    """The instructions of the model: the fields that it may use, and who and what there is."""
    count = "a few shots" if shots is None else f"exactly {shots} shots"
    lines = [
        "You write scripts of short films. The user gives an idea. Answer with one JSON object and nothing else.",
        f"Its keys: title (text), style (text, may be left out), shots (a list of {count}).",
        "Each shot is an object with some of these keys:",
        *_described(Shot, OF_SHOTS),
        "compose is an object with these keys:",
        *_described(Composition),
        "Each entry of its characters has these keys:",
        *_described(Placement),
        'A shot in mode animate, loop or interpolate has exactly one of "from", "compose" and "text_to_image".',
        f"Characters: {json.dumps(_names(cast, 'characters'), ensure_ascii=False)}",
        f"Places: {json.dumps(_names(cast, 'places'), ensure_ascii=False)}",
        "Name only these characters and places. Prompts say what moves and how, in a few words.",
    ]
    return "\n".join(lines)


def _described(cls: type, names: tuple[str, ...] | None = None) -> Iterator[str]:
    keys = {field: key for key, field in KEYS.items()}
    for name, declared in parameters_of(cls).items():
        key = keys.get(name, name)
        if names is None or key in names:
            choices = f" One of {', '.join(declared.choices)}." if declared.choices else ""
            yield f"- {key}: {declared.parameter.help}{choices}"


def _names(cast: Mapping[str, Any], what: str) -> dict[str, str]:
    found = cast.get(what) or {}
    return {str(name): str(part.get("description", "")) for name, part in found.items()}


def _cast(path: Path | None, output: Path) -> dict[str, Any]:
    """The tree of a script without shots, checked. Raises `StoryError`."""
    if path is None:
        return {}
    if path.resolve().parent != output.resolve().parent:
        raise StoryError(f"{path}: its files are relative to it; put the script beside it by --output")
    try:
        tree = read_yaml(path)
    except FileNotFoundError as error:
        raise StoryError(f"{path}: there is no such file") from error
    if not isinstance(tree, Mapping):
        raise StoryError(f"{path}: should be a mapping of fields, it is {short_text(tree)}")
    if tree.get("shots"):
        raise StoryError(f"{path}: has shots already, which the model is to write; take them out")
    stand_in = {"shots": [{"mode": "text-to-video", "prompt": "stands in for what is to be written"}]}
    parse_story({**tree, **stand_in}, str(path), path.parent)
    return {key: value for key, value in tree.items() if key != "shots"}


def _answer(text: str, where: str) -> dict[str, Any]:
    """The fields of an answer that it may have. Raises `StoryError` for any other, and for what is no object."""
    fenced = re.fullmatch(r"\s*```\w*\s*\n(.*?)\n?\s*```\s*", text, re.DOTALL)
    try:
        tree = parse_json(fenced[1] if fenced else text, where)
    except ValueError as error:
        raise StoryError(str(error)) from error
    if not isinstance(tree, dict):
        raise StoryError(f"{where}: should be an object, it is {short_text(tree)}")
    _check_keys(tree, OF_STORIES, f"{where}: ")
    shots = tree.get("shots")
    for number, shot in enumerate(shots if isinstance(shots, list) else (), start=1):
        if isinstance(shot, dict):
            _check_keys(shot, OF_SHOTS, f"{where}: shot {number}: ")
            end = shot.get("end")
            if isinstance(end, dict):
                _check_keys(end, ("from", "compose", "text_to_image"), f"{where}: shot {number}: end: ")
    return tree


def _check_keys(tree: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in tree:
        if key not in allowed:
            raise StoryError(f"{where}field {short_text(key)} is not for an answer to give; {suggest(key, allowed)}")


def _one_line(text: str) -> str:
    return " ".join(text.split())

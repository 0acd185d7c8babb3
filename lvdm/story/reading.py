"""From YAML to a `Story`: every mistake is said at once, with the shot and the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lvdm.declaration.parameter import IMAGELESS, known_name, parameters_of
from lvdm.documents import read_yaml, short_text
from lvdm.errors import Problems
from lvdm.media.file_names import check_name
from lvdm.plugins.registry import method_files
from lvdm.request.layers import all_parameters
from lvdm.story.script import (
    MAX_SHOTS,
    PREVIOUS,
    Character,
    Composition,
    FrameSource,
    Placement,
    Shot,
    Story,
    StoryError,
    StoryPlace,
)
from lvdm.suggestions import suggest

Part = TypeVar("Part")
Nested = Mapping[str, Callable[[Any, str], Any]]

KEYS = {"from": "from_shot"}
"""Keys of the script that no field can be called."""
SETTINGS = ("settings", "transition_settings")
"""Fields that hold parameters of `lvdm.request` by name."""


def read_story(path: str | Path) -> Story:
    """The story in a YAML file; its files are relative to it. Raises `StoryError`, `DocumentError`."""
    path = Path(path)
    try:
        tree = read_yaml(path)
    except FileNotFoundError as error:
        raise StoryError(f"{path}: there is no such file") from error
    return parse_story(tree, str(path), path.parent)


def parse_story(tree: Any, where: str, folder: Path) -> Story:
    """The story of a tree, such as an endpoint's answer. `where` is named in errors; files are below `folder`."""
    story = _fields(
        Story,
        tree,
        f"{where}: ",
        {
            "characters": lambda value, at: _by_name(Character, "character", value, at),
            "places": lambda value, at: _by_name(StoryPlace, "place", value, at),
            "shots": lambda value, at: _shots(value, where),
            **{name: lambda value, at: _settings(value, at) for name in SETTINGS},
        },
    )
    story = with_files(story, lambda path: folder / path)
    problems = Problems()
    for number, shot in enumerate(story.shots):
        with problems.of_row(f"{where}: {label(shot)}: "):
            check_shot(story, number)
    problems.check()
    return story


def label(shot: Shot) -> str:
    """A shot as messages call it."""
    return f"shot {shot.name!r}"


@contextmanager
def named(name: str) -> Iterator[None]:
    """A `ValueError` of the block becomes a `StoryError` that begins with the name, such as that of a shot."""
    try:
        yield
    except ValueError as error:
        raise StoryError(f"{name}: {error}") from error


def _fields(cls: type[Part], tree: Any, where: str, nested: Nested) -> Part:
    """An instance of `cls` of a mapping; `nested` reads the fields that are mappings or lists themselves."""
    if not isinstance(tree, Mapping):
        raise StoryError(f"{where}should be a mapping of fields, it is {short_text(tree)}")
    declared, values = parameters_of(cls), dict[str, Any]()
    shown = {field: key for key, field in KEYS.items() if field in declared}
    for key, value in tree.items():
        key = str(key)
        try:
            known_name(key, [shown.get(name, name) for name in declared], "field", where)
        except ValueError as error:
            raise StoryError(str(error)) from None
        if value is None:
            continue
        name = KEYS.get(key, key)
        if name in nested:
            value = nested[name](value, f"{where}{key}: ")
        try:
            values[name] = dataclasses.replace(declared[name], name=key).check(value, where)
        except StoryError:
            raise
        except ValueError as error:
            raise StoryError(str(error)) from None
    missing = [name for name in declared if name not in values and _is_needed(cls, name)]
    if missing:
        raise StoryError(f"{where}{missing[0]} is missing ({declared[missing[0]].parameter.help.rstrip('.')})")
    return cls(**values)


def _is_needed(cls: Any, name: str) -> bool:
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _by_name(cls: type[Part], what: str, tree: Any, where: str) -> dict[str, Part]:
    if not isinstance(tree, Mapping):
        raise StoryError(f"{where}should be a mapping by name, it is {short_text(tree)}")
    for name in tree:
        check_name(str(name), f"{where}the name of a {what}", StoryError)
    return {str(name): _fields(cls, value, f"{where}{what} {str(name)!r}: ", {}) for name, value in tree.items()}


def _shots(tree: Any, where: str) -> tuple[Shot, ...]:
    if not isinstance(tree, list):
        raise StoryError(f"{where}: shots should be a list, it is {short_text(tree)}")
    if not 1 <= len(tree) <= MAX_SHOTS:
        raise StoryError(f"{where}: shots: {len(tree)} are not possible; use 1 to {MAX_SHOTS}, or several stories")
    problems, shots, taken = Problems(), list[Shot](), dict[str, int]()
    for number, part in enumerate(tree, start=1):
        with problems.of_row():
            shot = _shot(part, where, number)
            other = taken.setdefault(shot.name.casefold(), number)
            if other != number:
                raise StoryError(f"{where}: shot {number}: name {shot.name!r} is that of shot {other}; give another")
            shots.append(shot)
    problems.check()
    return tuple(shots)


def _shot(tree: Any, where: str, number: int) -> Shot:
    name = tree.get("name") if isinstance(tree, Mapping) else None
    at = f"{where}: shot {name!r}: " if isinstance(name, str) and name else f"{where}: shot {number}: "
    if name is not None and isinstance(name, str):
        check_name(name, f"{at}name", StoryError)
        if name == PREVIOUS:
            raise StoryError(f"{at}name {PREVIOUS!r} is what `from` calls the shot before; give another")
    end = {"end": lambda value, place: _source(value, place)}
    shot = _fields(Shot, tree, at, {**_SOURCES, **end, "settings": _settings})
    return shot if shot.name else dataclasses.replace(shot, name=f"shot_{number:02d}")


def _source(tree: Any, where: str) -> FrameSource:
    source = _fields(FrameSource, tree, where, _SOURCES)
    if len(source.kinds) != 1:
        raise StoryError(f"{where}give one of image, from, compose and text_to_image")
    return source


def _composition(tree: Any, where: str) -> Composition:
    def placements(value: Any, at: str) -> tuple[Placement, ...]:
        if not isinstance(value, list):
            raise StoryError(f"{at}should be a list, it is {short_text(value)}")
        return tuple(_fields(Placement, part, f"{at}{number}: ", {}) for number, part in enumerate(value, start=1))

    return _fields(Composition, tree, where, {"characters": placements})


_SOURCES: Nested = {"compose": _composition}


def _settings(tree: Any, where: str) -> dict[str, Any]:
    """Parameters by name, which are checked when the shot is resolved."""
    if not isinstance(tree, Mapping):
        raise StoryError(f"{where}should be a mapping of parameters, it is {short_text(tree)}")
    for name in tree:
        if str(name) in OF_THE_STORY:
            raise StoryError(f"{where}{name} is set by the story itself; {OF_THE_STORY[str(name)]}")
        try:
            known_name(str(name), sorted(set(all_parameters()) - set(OF_THE_STORY)), "parameter", where)
        except ValueError as error:
            raise StoryError(str(error)) from None
    return {str(name): value for name, value in tree.items()}


_FIELD = "use the field of that name"
_FILES = "it says where files lie, leave it out"
OF_THE_STORY: Mapping[str, str] = {
    **dict.fromkeys(("image", "prompt", "depth", "driving_video", "motion", "camera", "seed"), _FIELD),
    **dict.fromkeys(("height", "width"), "use size"),
    **{
        "end_image": "use end",
        "keyframes": "use several shots",
        "num_frames": "use seconds",
        "playback_fps": "use fps",
    },
    **dict.fromkeys(("output", "overwrite", "format", "contact_sheet", "keep"), _FILES),
    **dict.fromkeys(("prompts", "replay", "dry_run", "video", "overlap", "reader"), "leave it out"),
    **dict.fromkeys(("list_mode", "engine", "devices", "batch_size", "retry_failed"), "leave it out"),
}
"""Parameters that settings cannot have, and what is used in their place."""


def check_shot(story: Story, number: int) -> None:
    """Raise `StoryError` for what one shot says that cannot be, alone and among the others."""
    shot = story.shots[number]
    _check_frames(story, shot)
    if shot.from_shot is not None or (shot.end is not None and shot.end.from_shot is not None):
        followed(story, number)
    if not shot.prompt.strip():
        raise StoryError("prompt is missing; say what happens in the shot")
    is_last = number == len(story.shots) - 1
    if shot.transition != "cut" and is_last:
        raise StoryError(f"transition {shot.transition} has no next shot to go to; leave it out")
    if shot.transition == "cut" and shot.transition_seconds is not None:
        raise StoryError("transition_seconds has no effect at a cut; leave it out, or use transition: crossfade")
    if shot.volume != 1 and shot.audio is None:
        raise StoryError("volume has no effect without audio; leave it out")


def _check_frames(story: Story, shot: Shot) -> None:
    kinds, of_mode = shot.kinds, f"mode {shot.mode}"
    if shot.mode in IMAGELESS:
        if kinds:
            raise StoryError(f"{kinds[0]} is not read in {of_mode}; leave it out")
    elif len(kinds) != 1:
        wrong = f"{' and '.join(kinds)} are given" if kinds else "its first frame is missing"
        raise StoryError(f"{wrong}; give one of image, from, compose and text_to_image")
    if (shot.end is None) == (shot.mode == "interpolate"):
        raise StoryError("end, its last frame, is missing" if shot.end is None else f"end is not read in {of_mode}")
    for name in ("depth", "driving_video"):
        if getattr(shot, name) is not None and shot.mode != "structure":
            raise StoryError(f"{name} is not read in {of_mode}; leave it out, or use mode structure")
    for source in (shot, *([shot.end] if shot.end is not None else [])):
        if source.compose is not None:
            _known(source.compose.place, story.places, "compose: place")
            for placement in source.compose.characters:
                _known(placement.character, story.characters, "compose: character")


def _known(name: str, known: Mapping[str, Any], what: str) -> None:
    if name not in known:
        raise StoryError(f"{what} {name!r} is not known; {suggest(name, known)}")


def followed(story: Story, number: int) -> set[int]:
    """The numbers of the shots whose last frames shot `number` begins or ends with. Raises `StoryError`."""
    numbers = {shot.name: index for index, shot in enumerate(story.shots)}

    def direct(index: int) -> set[int]:
        shot, found = story.shots[index], set[int]()
        for source, what in ((shot, "from"), (shot.end, "end: from")):
            name = None if source is None else source.from_shot
            if name == PREVIOUS:
                if index == 0:
                    raise StoryError(f"{what} previous: it is the first shot; give it an image")
                found.add(index - 1)
            elif name is not None:
                _known(name, numbers, what)
                found.add(numbers[name])
        return found

    reached_by, waiting = dict[int, int](), [number]
    while waiting:
        index = waiting.pop()
        for other in direct(index):
            if other == number:
                circle = [index]
                while circle[-1] != number:
                    circle.append(reached_by[circle[-1]])
                names = " -> ".join(repr(story.shots[step].name) for step in [*reversed(circle), number])
                raise StoryError(f"from goes round in a circle: {names}; begin one of them with an image")
            if other not in reached_by:
                reached_by[other] = index
                waiting.append(other)
    return direct(number)


def with_files(story: Story, change: Callable[[Path], Path]) -> Story:
    """The story with other files, such as those below a folder."""

    def below(part: Any) -> Any:
        changes: dict[str, Any] = {}
        for name in parameters_of(type(part)):
            value = getattr(part, name)
            if isinstance(value, Path):
                changes[name] = change(value)
            elif name in SETTINGS:
                changes[name] = {key: _with_file(key, item, change) for key, item in value.items()}
            elif isinstance(value, Mapping):
                changes[name] = {key: below(item) for key, item in value.items()}
            elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
                changes[name] = tuple(below(item) for item in value)
            elif dataclasses.is_dataclass(value):
                changes[name] = below(value)
        return dataclasses.replace(part, **changes)

    located: Story = below(story)
    return located


def _with_file(name: str, value: Any, change: Callable[[Path], Path]) -> Any:
    is_file = all_parameters()[name].kind is Path or name in method_files()
    return str(change(Path(value))) if is_file and isinstance(value, str) else value

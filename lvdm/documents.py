"""The one reader of YAML and of JSON, and how JSON is written: for files of others, whose content is data alone.

Nothing in a document is replaced, run or looked up: no environment variables, no other files, no tags for objects.
What would crash or fill a machine is refused before it is built: nesting, aliases that multiply, size.
Every error is one line that names the place and never repeats the input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import yaml

from lvdm.deprecation import renamed_names
from lvdm.errors import UserError
from lvdm.regular_files import open_regular, unreadable_reason

MAX_DEPTH = 64
"""Containers in containers."""

MAX_YAML_BYTES, MAX_YAML_NODES = 2_000_000, 200_000
"""The nodes are those of the tree after aliases."""

MAX_JSON_BYTES = 2_000_000_000
"""The largest that are written here, indices of caches, take 0.5 kB for each video."""

MAX_LINE, MAX_WORD = 2000, 200
"""Characters of the longest message, and of a word in it: an input that an error quotes is not repeated in full."""

_LONE_HALF = re.compile("[\ud800-\udfff]")
"""What no UTF-8 text can hold. U+DC80 to U+DCFF are Python's way to keep bytes of names that are no UTF-8."""

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_REFERENCE, _MAX_REPLACED = re.compile(r"\$\{([\w.-]+)\}"), 200
_MAX_CHARACTERS = 60
_BLOCK = 1 << 20
_Key = TypeVar("_Key", bound=Hashable)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentError(UserError):
    """YAML or JSON that cannot be used; the message names the place and the reason."""


def read_yaml(path: str | Path) -> Any:
    """The plain containers and scalars in a YAML file; None for an empty one. Raises `DocumentError`."""
    return parse_yaml(read_document(path, MAX_YAML_BYTES), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. `where` is the place named in errors. Raises `DocumentError`."""
    try:
        _check_size_of_tree(text, where)
        tree = yaml.load(text, Loader=_DocumentLoader)  # a safe loader
        return _plain(tree, tree, where)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f", line {mark.line + 1}"
        reason = _cut(error.problem or "it cannot be parsed")
        raise DocumentError(f"{where}{place}: is not a readable YAML text: {reason}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"{where}: is not a readable YAML text: {_reason(error)}") from error


def read_json(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value in a JSON file. Raises `DocumentError`; FileNotFoundError where there is none, for callers that ask."""
    return parse_json(read_document(path, max_bytes), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of a JSON text. `where` is the place named in errors.

    Raises `DocumentError`, also for NaN and for a key that stands there twice.
    """

    def refuse(_: str) -> NoReturn:
        raise DocumentError(f"{where}: holds NaN or an infinite number, which JSON has not")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice = _first_repeated(key for key, _ in pairs)
            raise DocumentError(f"{where}: the key {short_text(twice)} stands there twice")
        return values

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise DocumentError(f"{where}: is not valid JSON ({error.msg}, line {error.lineno})") from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"{where}: is not UTF-8 text (byte {error.start}), save it as UTF-8") from error
    except RecursionError as error:
        raise DocumentError(f"{where}: is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError(f"{where}: is not valid JSON ({_reason(error)})") from error
    _check_json(value, where)
    if isinstance(text, str) and _ESCAPED_HALF.search(text):
        for half in _LONE_HALF.findall(json.dumps(value, ensure_ascii=False)):
            if not "\udc80" <= half <= "\udcff":
                raise DocumentError(f"{where}: holds {_escaped(half)}, half of a letter; write it again")
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with letters as they are, that UTF-8 can hold: bytes of names that are no UTF-8 are read back the same.

    Raises ValueError, TypeError or RecursionError for what JSON cannot hold (such as NaN).
    """
    return _LONE_HALF.sub(
        lambda half: _escaped(half[0]), json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    )


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold the text, which it cannot where a name of a file has other bytes."""
    return _LONE_HALF.search(text) is None


def _escaped(half: str) -> str:
    return f"\\u{ord(half):04x}"


def read_document(path: str | Path, max_bytes: int) -> str:
    """The text of a regular file in UTF-8, of at most so many bytes. Raises `DocumentError` and FileNotFoundError."""
    name = cut_line(str(path), 2 * _MAX_CHARACTERS)
    try:
        with open_regular(path) as file:
            content = _read(file, max_bytes + 1)
        if len(content) > max_bytes:
            raise DocumentError(f"{name}: is larger than {max_bytes / 1e6:g} MB, which no such file is")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise DocumentError(f"{name}: is not UTF-8 text (byte {error.start}), save it as UTF-8") from error
    except OSError as error:
        raise DocumentError(f"{name}: {unreadable_reason(path) or f'cannot be read ({error.strerror})'}") from error


def _read(file: BinaryIO, most: int) -> bytes:
    """Up to so many bytes; `file.read(most)` would take the memory for all of them at once, however short the file."""
    blocks = list[bytes]()
    while most > 0 and (block := file.read(min(most, _BLOCK))):
        blocks.append(block)
        most -= len(block)
    return b"".join(blocks)


def read_text(path: str | Path, error: type[ValueError], max_bytes: int = MAX_JSON_BYTES) -> str:
    """The text of a regular file in UTF-8, with lines that end in \\n. Raises `error`, also where there is no file."""
    try:
        return read_document(path, max_bytes).replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as problem:
        raise error(f"{cut_line(str(path), 2 * _MAX_CHARACTERS)}: there is no such file") from problem
    except DocumentError as problem:
        raise error(str(problem)) from problem


def short_text(value: Any) -> str:
    """`value` for an error message, as JSON and YAML have it, cut to one short line, however large or deep it is."""
    if isinstance(value, str):
        return _cut(repr(value[: _MAX_CHARACTERS * 2]))
    if isinstance(value, dict | list | tuple | set):
        inside = value.values() if isinstance(value, dict) else value
        if len(value) > 8 or any(isinstance(item, dict | list | tuple | set) for item in inside):
            return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**_MAX_CHARACTERS:
        return f"a whole number of more than {_MAX_CHARACTERS} digits"
    try:
        return _cut(_literal(value))
    except (ValueError, RecursionError):  # of numbers with more digits than Python prints, deep inside
        return f"a {type(value).__name__}"


def _literal(value: Any) -> str:
    """The repr of `value`, in which true, false and null stand for Python's words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_literal(key)}: {_literal(item)}' for key, item in value.items())}}}"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)


def cut_line(line: str, limit: int = MAX_LINE) -> str:
    """`line`, of which the middle is left out where it is longer than so many characters."""
    half = limit // 2
    return line if len(line) <= limit else f"{line[:half]} ... {line[-half:]}"


def one_line(message: str) -> str:
    """Lines joined by semicolons, so that a list in a message stays one; what is very long is cut in its middle."""
    lines = [
        " ".join(cut_line(word, MAX_WORD) for word in line.split()) for line in message.splitlines() if line.strip()
    ]
    return cut_line("; ".join(lines).replace(":; ", ": "))


def _reason(error: Exception) -> str:
    """What a parser says, in words of the file and not of Python."""
    text = str(error)
    return "a whole number in it has thousands of digits" if "int_max_str_digits" in text else _cut(text)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 2 * _MAX_CHARACTERS else f"{line[: 2 * _MAX_CHARACTERS]}..."


def _check_size_of_tree(text: str, where: str) -> None:
    """Raise `DocumentError` for a tree that is too deep or too large, from its events, which are made without it.

    libyaml builds nodes by recursion and crashes the process; aliases of aliases double with every line.
    """
    if len(text) > MAX_YAML_BYTES:
        raise DocumentError(f"{where}: is larger than {MAX_YAML_BYTES / 1e6:g} MB, which no such file is")
    sizes: dict[str, int] = {}  # of the nodes that have anchors; none yet while they are open
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]  # anchor, nodes inside so far

    def add(count: int) -> None:
        anchor, inside = open_nodes[-1]
        open_nodes[-1] = anchor, inside + count
        if sum(inside for _, inside in open_nodes) > MAX_YAML_NODES:
            raise DocumentError(f"{where}: holds more than {MAX_YAML_NODES} values, with its aliases")

    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise DocumentError(f"{where}: an alias names a value that is not there yet")
            add(sizes[event.anchor])
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                sizes[event.anchor] = 1
            add(1)
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor, None)
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise DocumentError(f"{where}: is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, inside = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = inside
            add(inside)


class _DocumentLoader(_Loader):  # type: ignore[misc]
    """PyYAML's safe loader, without dates and numbers to the base 60, with floats such as 1e-4; a key stands once."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as in PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float", ":int"))]
        for first, resolvers in _Loader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node. Raises `DocumentError` for a key that stands there twice."""
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = _first_repeated(key for key in keys if key[1] != "<<")
        if twice is not None:
            problem = f"the key {short_text(twice[1])} stands there twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return dict(super().construct_mapping(node, deep=deep))


_DocumentLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(?:inf|Inf|INF))$"
        r"|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_DocumentLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][\d_]*)$"),
    list("-+0123456789"),
)


def _first_repeated(keys: Iterable[_Key]) -> _Key | None:
    seen = set[_Key]()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def _plain(value: Any, root: Any, where: str) -> Any:
    """`value` without what is shared by aliases and with references replaced. Raises `DocumentError`."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str | int | float) or "${" in str(key):
                raise DocumentError(f"{where}: {short_text(key)} cannot be a key, write a word or a number")
        return {key: _plain(item, root, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, root, where) for item in value]
    if isinstance(value, str):
        return _dereferenced(value, root, where) if "${" in value else value
    if value is None or isinstance(value, int | float):
        return value
    raise DocumentError(f"{where}: holds a {type(value).__name__}; write words, numbers, lists and mappings")


def _dereferenced(text: str, root: Any, where: str) -> Any:
    """`text` with its references, such as ${model.params.size}, replaced by scalars of the same document.

    That is all they can be: what the environment or a program would answer is refused, as is a reference to another.
    """

    def find(match: re.Match[str]) -> Any:
        node = root
        for name in match[1].split("."):
            node = node.get(name) if isinstance(node, dict) else None
        if node is None or isinstance(node, dict | list) or "${" in str(node):
            raise DocumentError(
                f"{where}: is not a readable YAML text: {short_text(match[0])} names no single value in it"
            )
        return node

    whole = _REFERENCE.fullmatch(text)
    found = find(whole) if whole else _REFERENCE.sub(lambda match: str(find(match))[:_MAX_REPLACED], text)
    if "${" in str(found):
        raise DocumentError(
            f"{where}: is not a readable YAML text: {short_text(text)} cannot be replaced, write the value"
        )
    return found


def _check_json(value: Any, where: str) -> None:
    """Raise `DocumentError` for a tree that is too deep, and for numbers such as 1e999."""
    waiting: list[Iterator[Any]] = [iter((value,))]
    while waiting:
        for item in waiting[-1]:
            if isinstance(item, float):
                if not math.isfinite(item):
                    raise DocumentError(f"{where}: holds a number that is too large")
            elif isinstance(item, dict | list):
                if len(waiting) > MAX_DEPTH:
                    raise DocumentError(f"{where}: is nested deeper than {MAX_DEPTH} levels")
                waiting.append(iter(item.values() if isinstance(item, dict) else item))
                break
        else:
            waiting.pop()


__getattr__ = renamed_names(__name__, {"shown": "short_text"})

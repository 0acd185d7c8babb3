"""Write what is made from declarations as files: keyword arguments, the reference page, outlines of our models.

    python -m scripts.write_parameters

writes `lvdm/request/keywords.py`, `docs/parameters.md` and `lvdm/model_outlines.py` anew, and the names of presets in
`lvdm/declaration/values.py`; tests say when that is due.
"""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lvdm.declaration.parameter import ALL_MODES, GENERATED, GROUPS, Declared, parameters_of
from lvdm.declaration.parameters import InputParameters, ModelParameters, SeedParameters
from lvdm.declaration.run_parameters import (
    BatchParameters,
    ExtendParameters,
    MachineParameters,
    OutputParameters,
    RunParameters,
)
from lvdm.request.layers import CLASSES, all_parameters

ROOT = Path(__file__).parent.parent
KEYWORDS, PAGE = ROOT / "lvdm/request/keywords.py", ROOT / "docs/parameters.md"
OUTLINES, VALUES = ROOT / "lvdm/model_outlines.py", ROOT / "lvdm/declaration/values.py"
WIDTH = 120
NOT_SETTINGS = (
    *(InputParameters, RunParameters, ModelParameters, ExtendParameters),
    *(SeedParameters, OutputParameters, MachineParameters, BatchParameters),
)
"""Classes whose parameters are not settings of a loaded model's generation: it takes them apart, or not at all."""

HEAD = '''"""Keyword arguments by name, type and meaning, for editors and type checkers. None is as good as left out.

Made by `python -m scripts.write_parameters` from the declarations in `lvdm.request`: change those and run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict
'''

INTRODUCTION = """# Parameters

Every parameter of a generation. This page is made by `python -m scripts.write_parameters` from the declarations in
`lvdm/declaration/parameters.py` and beside it; a test keeps it true.

- The name is the keyword argument in Python (`lvdm.jobs.run.make_videos`, `lvdm.jobs.extend.plan_extension`; settings
  also of `DynamiCrafterPipeline`), the column of a list (`--prompts`; not those marked "run"), the name in records and
  in the JSON schema (`lvdm.request.schema.json_schema`).
- A flag in parentheses is one of an earlier version, which goes on working. *Original* is the flag of
  `scripts/evaluation/inference.py`.
- A value that is typed goes before that of a list's row, that before one of a record (`--replay`), that before the card
  of the model, that before the default. "card" means that each checkpoint's card has its own.
- A parameter that the mode does not read is refused.
- *Changes*: the pixels; the file alone; or nothing but memory, time and place, so that a finished video stays finished.
"""


def settings_of_a_generation() -> dict[str, Declared]:
    """The parameters that a loaded pipeline takes as settings, by name."""
    return {name: found for cls in CLASSES if cls not in NOT_SETTINGS for name, found in parameters_of(cls).items()}


def keywords_source() -> str:
    """The text of `lvdm/request/keywords.py`."""
    settings, everything = settings_of_a_generation(), all_parameters()
    others = {
        name: found
        for name, found in everything.items()
        if name not in settings and set(found.parameter.modes) & set(GENERATED)
    }
    extend = {name: found for name, found in everything.items() if "extend" in found.parameter.modes}
    own = {name: found for name, found in extend.items() if name not in settings and name not in others}
    own.pop("video")

    def part(of: Mapping[str, Declared], shared: bool) -> list[Declared]:
        return [found for name, found in of.items() if (name in extend) == shared]

    loaded, planned = "of a generation by a loaded model", "of videos that are planned and made"
    parts = [
        _class("SharedSettings", "TypedDict", f"Settings {loaded}, and of a video that goes on.", part(settings, True)),
        _class("GenerationKeywords", "SharedSettings", f"Settings {loaded}.", part(settings, False)),
        _class("SharedParameters", "TypedDict", f"Parameters {planned}, or that go on.", part(others, True)),
        _class(
            "RequestKeywords", "GenerationKeywords, SharedParameters", f"Parameters {planned}.", part(others, False)
        ),
        _class(
            "ExtensionKeywords", "SharedSettings, SharedParameters", "Parameters of a video that goes on.", own.values()
        ),
        _class(
            "BatchKeywords",
            "RequestKeywords",
            "Parameters of the videos of a list, and how they are shared among devices.",
            parameters_of(BatchParameters).values(),
        ),
    ]
    return "\n\n".join([HEAD, *parts])


def _class(name: str, base: str, about: str, fields: Iterable[Declared]) -> str:
    lines = [f"class {name}({base}, total=False):", f'    """{about}"""', ""]
    for declared in fields:
        lines += _field(declared)
    return "\n".join(lines) + "\n"


def _field(declared: Declared) -> Iterator[str]:
    kind, line = python_type(declared), f"    {declared.name}: {python_type(declared)} | None"
    if len(line) <= WIDTH:
        yield line
    else:
        parts = [f"{kind} | None"]
        if len(parts[0]) + 8 > WIDTH:  # as ruff breaks them
            outer, inner = kind.removesuffix("]").split("[", 1)
            parts = [kind, "| None"]
            if len(kind) + 8 > WIDTH:
                parts = [f"{outer}[", *(f"    {line}" for line in _broken(inner, WIDTH - 12)), "]", "| None"]
        yield from (f"    {declared.name}: (", *(f"        {part}" for part in parts), "    )")
    help_text = declared.parameter.help
    values = _values(declared) if declared.kind in (int, float) else ""
    text = f"{help_text} [{values}]" if values else help_text
    lines = textwrap.wrap(text, WIDTH - 4 - 3, break_long_words=False)
    if len(lines) == 1 and len(lines[0]) <= WIDTH - 4 - 6:
        yield f'    """{lines[0]}"""'
    else:
        yield f'    """{lines[0]}'
        yield from (f"    {line}" for line in lines[1:])
        yield '    """'


def _broken(items: str, width: int) -> list[str]:
    """Items between commas in one line, or in one each where they are longer than `width`, as ruff breaks them."""
    return [items] if len(items) <= width else [f"{item}," for item in items.split(", ")]


def python_type(declared: Declared) -> str:
    """The annotation of what may be given for a parameter, without None."""
    return _type_text(declared.kind, declared)


def _type_text(kind: Any, declared: Declared) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _type_text(args[0], declared)
    if origin is Literal:
        return f"Literal[{', '.join(f'{choice!r}' for choice in args)}]".replace("'", '"')
    if origin is tuple:
        first, second = (_type_text(part, declared) for part in typing.get_args(args[0]))
        items = f"Sequence[str | tuple[{first}, {second}]]"
        if first != "int":
            return f"Sequence[{first} | tuple[{first}, {second}]]"
        return f"Mapping[{first}, {second}] | {items}"
    if kind is Path or (kind is declared.kind is str and _takes_paths(declared)):
        return "str | Path"
    return kind.__name__ if kind in (int, float, bool, str) else "str"  # options of a method are given as text


def _takes_paths(declared: Declared) -> bool:
    try:
        declared.check(Path("a"))
    except ValueError:
        return False
    return True


def reference_page() -> str:
    """The text of `docs/parameters.md`."""
    parts = [INTRODUCTION]
    for group in GROUPS:
        rows = [found for found in all_parameters().values() if found.parameter.group == group]
        table = [_row(HEADINGS), _row(["---"] * len(HEADINGS)), *(_row(_cells(found)) for found in rows)]
        parts.append("\n".join([f"## {group}", "", *table, ""]))
    return "\n".join(parts)


HEADINGS = ("name", "flag", "values", "default", "modes", "changes", "what it does")


def _cells(declared: Declared) -> list[str]:
    parameter = declared.parameter
    name = f"`{declared.name}`" if parameter.row else f"`{declared.name}` run"
    former = ", ".join(f"`{flag}`" for flag in declared.flags[1:])
    flag = (f"`{declared.flag}`" if declared.flag else "") + (f" ({former})" if former else "")
    original = f" *original* `{parameter.original}`" if parameter.original else ""
    return [
        *(name, f"{flag}{original}".strip(), _values(declared), _default(declared), _modes(parameter.modes)),
        *(parameter.changes, parameter.help),
    ]


def _values(declared: Declared) -> str:
    if declared.choices:
        return ", ".join(declared.choices)
    if declared.kind in (int, float) and declared.bounds[1] < math.inf:
        return f"{declared.range} {declared.parameter.unit}".rstrip()
    if typing.get_origin(declared.kind) is tuple:
        return "several"
    words: Mapping[object, str] = {int: "whole number", float: "number", bool: "yes or no", str: "text", Path: "file"}
    return words.get(declared.kind, "text")


def _default(declared: Declared) -> str:
    if declared.parameter.card:
        return "card"
    if declared.default in (None, "", ()):
        return ""
    if declared.kind is bool:
        return "yes" if declared.default else "no"
    return str(declared.default)


def _modes(modes: tuple[str, ...]) -> str:
    missing = [mode for mode in ALL_MODES if mode not in modes]
    if not missing:
        return "all"
    return f"not {', '.join(missing)}" if len(missing) < len(modes) else ", ".join(modes)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


OUTLINES_HEAD = '''"""The outlines of the models whose YAML files come with the package, by hash of the node `model`.

Made by `python -m scripts.write_parameters` from the files in `configs/` and of the embedded model; run it after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lvdm.model_outline import AutoencoderOutline, ModelOutline, UNetOutline

'''


def outlines_source() -> str:
    """The text of `lvdm/model_outlines.py`."""
    from lvdm.config import load_yaml, model_component
    from lvdm.model_files import config_hash
    from lvdm.model_outline import ModelOutline

    hashes: dict[ModelOutline, list[str]] = {}
    for path in sorted(
        [*(ROOT / "configs").glob("inference_*.yaml"), *(ROOT / "checkpoints").glob("tiny*/config.yaml")]
    ):
        tree = load_yaml(path)
        outline = ModelOutline.of(model_component(tree, str(path)).params)
        hashes.setdefault(outline, []).append(f'"{config_hash(tree)}",  # {path.stem.removeprefix("inference_")}')
    parts = []
    for outline, keys in hashes.items():
        values = [
            str(outline.size_multiple),
            str(outline.reads_images),
            str(outline.timesteps),
            *map(_call, (outline.unet, outline.autoencoder)),
        ]
        lines = ["**dict.fromkeys(", "    (", *(f"        {key}" for key in keys), "    ),", "    ModelOutline("]
        parts += [*lines, *(f"        {value}," for value in values), "    ),", "),"]
    table = textwrap.indent("\n".join(parts), " " * 8)
    return f"{OUTLINES_HEAD}OUTLINES: Mapping[str, ModelOutline] = MappingProxyType(\n    {{\n{table}\n    }}\n)\n"


def _call(part: Any) -> str:
    return f"{type(part).__name__}({', '.join(repr(value) for value in dataclasses.astuple(part))})"


def values_source() -> str:
    """The text of `lvdm/declaration/values.py` with the names of `lvdm.model_files.PRESETS`, which stands above it."""
    from lvdm.model_files import PRESETS

    lines = _broken(", ".join(f'"{name}"' for name in PRESETS), WIDTH - 4)
    text = "".join(f"    {line}\n" for line in lines)
    preset = f"Preset = Literal[\n{text}]"
    return re.sub(r"^Preset = Literal\[.*?\]$", preset, VALUES.read_text(encoding="utf-8"), flags=re.M | re.S)


def main() -> None:
    """Write the files; with other names of presets by a new process, which reads them."""
    values = values_source()
    if values != VALUES.read_text(encoding="utf-8"):
        VALUES.write_text(values, encoding="utf-8", newline="\n")
        subprocess.run([sys.executable, "-m", "scripts.write_parameters"], check=True, cwd=ROOT)
        return
    for path, text in ((KEYWORDS, keywords_source()), (PAGE, reference_page()), (OUTLINES, outlines_source())):
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

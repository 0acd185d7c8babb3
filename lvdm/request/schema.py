"""A request as JSON schema, one for each mode: what an HTTP interface and a page are built from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import ALL_MODES, GROUPS, Declared, known_name
from lvdm.request.layers import all_parameters

DRAFT = "https://json-schema.org/draft/2020-12/schema"

NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "animate": ("image", "prompt"),
        "interpolate": ("image", "end_image", "prompt"),
        "loop": ("image", "prompt"),
        "keyframes": ("image", "keyframes", "prompt"),
        "text-to-video": ("prompt",),
        "structure": ("depth", "prompt"),
        "extend": ("video", "prompt"),
    }
)
"""What a request begins with, unless it is a list (`prompts`) or made again from a record (`replay`)."""


def json_schema(mode: str, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a request in `mode`: an object with every parameter that the mode reads.

    What is left out has its default; null is not a value. Of a parameter with `x-card` that is the card's, which
    `defaults` holds by name where the model is known. Images are files or data URLs. `x-group`, `x-unit`, `x-changes`,
    `x-modes`, `x-row` and `x-flag` say what `Parameter` does. Raises `ValueError` for an unknown mode.
    """
    known_name(mode, ALL_MODES, "mode")
    read = {name: found for name, found in all_parameters().items() if mode in found.parameter.modes}
    alone = [[*NEEDED[mode][1:], "driving_video"]] if mode == "structure" else []
    alone += [["prompts"]] if "prompts" in read else []
    return {
        "$schema": DRAFT,
        "title": mode,
        "description": f"A request in mode {mode}.",
        "type": "object",
        "properties": {name: _property(found, defaults or {}) for name, found in read.items()},
        "additionalProperties": False,
        "anyOf": [{"required": names} for names in (list(NEEDED[mode]), *alone, ["replay"])],
        "x-groups": list(GROUPS),
    }


def _property(declared: Declared, defaults: Mapping[str, Any]) -> dict[str, Any]:
    schema = _without_null(declared.json_schema())
    parameter = declared.parameter
    if parameter.card:
        schema["x-card"] = True
    schema["x-row"] = parameter.row
    if declared.flag:
        schema["x-flag"] = declared.flag
    default = defaults.get(declared.name, None if parameter.card else declared.default)
    if default is not None:
        schema["default"] = list(default) if isinstance(default, tuple) else as_text(default)
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the values that are not None: those of an optional parameter, in one piece."""
    if "anyOf" not in schema:
        return schema
    kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return kinds[0] | rest if len(kinds) == 1 else {"anyOf": kinds} | rest

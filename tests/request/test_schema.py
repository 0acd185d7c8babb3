"""The JSON schema of each mode says what the declaration says, and no other."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from lvdm.declaration.parameter import ALL_MODES, GROUPS
from lvdm.request.layers import all_parameters, checked
from lvdm.request.schema import DRAFT, NEEDED, json_schema

TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list}
KEYWORDS = {
    *("type", "format", "pattern", "title", "description", "default", "enum", "anyOf", "items", "prefixItems"),
    *("minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems", "maxLength", "contentEncoding"),
    *("examples", "x-group", "x-unit", "x-changes", "x-modes", "x-row", "x-card", "x-flag"),
}


def problems(schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with `value` by the few keywords that these schemas have."""
    unknown = set(schema) - KEYWORDS
    assert not unknown, f"this test does not understand {unknown}"
    if "anyOf" in schema:
        return [] if any(not problems(kind, value) for kind in schema["anyOf"]) else ["none of anyOf"]
    kind = TYPES[schema["type"]]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        return [f"{value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is not in {schema['enum']}")
    if isinstance(value, str):
        found += ["too long"] if len(value) > schema.get("maxLength", math.inf) else []
        found += [] if re.search(schema.get("pattern", ""), value) else ["pattern"]
    elif isinstance(value, list):
        parts = schema["items"].get("prefixItems")
        for item in value:
            pairs = zip(parts, item, strict=True) if parts else [(schema["items"], item)]
            found += [problem for part, inner in pairs for problem in problems(part, inner)]
    elif not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not low <= value <= high or value <= schema.get("exclusiveMinimum", -math.inf):
            found.append(f"{value} is not in its range")
    return found


@pytest.mark.parametrize("mode", ALL_MODES)
def test_the_schema_of_a_mode_has_what_the_mode_reads_and_nothing_else(mode: str) -> None:
    schema = json_schema(mode)
    read = {name: found for name, found in all_parameters().items() if mode in found.parameter.modes}
    assert schema["$schema"] == DRAFT
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(read)
    assert json.loads(json.dumps(schema, allow_nan=False)) == schema, "it is not plain JSON"
    for name, part in schema["properties"].items():
        assert part["description"] == read[name].parameter.help, name
        assert part["x-group"] in GROUPS
        assert part.get("x-unit", "") == read[name].parameter.unit
        assert mode in part["x-modes"]
        if read[name].choices:
            assert part["enum"] == list(read[name].choices), name
        assert {"type", "anyOf"} & set(part), f"{name} has no type"
        assert {"type": "null"} not in part.get("anyOf", []), f"{name}: null is not a value"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_defaults_are_valid_by_the_schema_and_by_the_declaration(mode: str) -> None:
    properties = json_schema(mode)["properties"]
    defaults = {name: part["default"] for name, part in properties.items() if "default" in part}
    assert {"seed", "dtype", "overwrite"} <= set(defaults)
    for name, value in defaults.items():
        assert problems(properties[name], value) == [], name
        assert checked({name: value})[name] == all_parameters()[name].default


@pytest.mark.parametrize("name", [n for n, found in all_parameters().items() if found.parameter.modes[0] in ALL_MODES])
def test_numbers_have_the_range_of_the_declaration(name: str) -> None:
    declared = all_parameters()[name]
    part = json_schema(declared.parameter.modes[0])["properties"][name]
    low, high = declared.bounds
    if high == math.inf:
        assert not {"minimum", "maximum", "exclusiveMinimum"} & set(part)
        return
    assert (part.get("minimum", part.get("exclusiveMinimum")), part["maximum"]) == (low, high)
    for value in (low - 1, high + 1):
        assert problems(part, value), f"the schema takes {name} {value}"
        with pytest.raises(ValueError, match="is not possible"):
            declared.check(declared.kind(value))


@pytest.mark.parametrize("mode", ALL_MODES)
def test_what_a_request_needs_is_among_its_parameters(mode: str) -> None:
    schema = json_schema(mode)
    needed = [kind["required"] for kind in schema["anyOf"]]
    assert needed[0] == list(NEEDED[mode])
    assert ["replay"] in needed
    assert (["prompts"] in needed) == (mode != "extend")
    assert all(name in schema["properties"] for names in needed for name in names)


def test_images_are_files_or_data_urls() -> None:
    properties = json_schema("interpolate")["properties"] | json_schema("animate")["properties"]
    for part in (properties["image"], properties["end_image"], properties["keep_mask"]):
        first, second = part["anyOf"]
        for text, kind in (("cat.png", first), ("data:image/png;base64,iVBORw0KGgo=", second)):
            assert [problems(other, text) == [] for other in part["anyOf"]] == [kind is first, kind is second]
    keyframe = json_schema("keyframes")["properties"]["keyframes"]["items"]["prefixItems"][1]
    assert keyframe["anyOf"] == properties["image"]["anyOf"]


def test_a_card_s_values_are_defaults_where_it_is_known() -> None:
    plain, known = json_schema("animate"), json_schema("animate", {"guidance_scale": 2.0, "sampler": "unipc"})
    assert plain["properties"]["guidance_scale"]["x-card"] is True
    assert "default" not in plain["properties"]["guidance_scale"]
    assert known["properties"]["guidance_scale"]["default"] == 2.0
    assert known["properties"]["sampler"]["default"] == "unipc"


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode 'anmate' is not known; did you mean 'animate'"):
        json_schema("anmate")

"""The description of a request, made from `lvdm.request.schema`: what the server reads of it, and the shared names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from lvdm.declaration.parameter import ALL_MODES
from lvdm.request.schema import NEEDED, json_schema
from lvdm.serving.asking import IMAGES, SERVER_CHOICES, SERVER_FILES, UPLOADS, VIDEOS

_BASE64 = {"title": "base64", "type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/=]{64,}$"}
_VIDEO_URL = {
    "title": "data URL",
    "type": "string",
    "pattern": "^data:video/[a-z0-9.+-]+;base64,",
    "contentEncoding": "base64",
}
_FILE = {"type": "string", "format": "binary"}
_RECORD = {
    "type": "object",
    "required": ["format", "settings", "model", "runtime"],
    "description": "The record of an earlier video, which is made again; further parameters change it, and its images "
    "and videos are sent, too.",
}


def request_schema(mode: str, models: Iterable[str]) -> dict[str, Any]:
    """The JSON schema of a request in `mode` to a server with these models."""
    schema = json_schema(mode)
    properties = {name: part for name, part in schema["properties"].items() if not _is_of_server(name)}
    for name in set(properties) & {*IMAGES, *VIDEOS}:
        properties[name] = _without_files(name, properties[name])
    if "keyframes" in properties:
        frame, image = properties["keyframes"]["items"]["prefixItems"]
        pair = properties["keyframes"]["items"] | {"prefixItems": [frame, _without_files("image", image)]}
        properties["keyframes"] = properties["keyframes"] | {"items": pair}
    first = "video" if mode == "extend" else "image"
    shared = _shared(list(models))
    shared["mode"] = {"type": "string", "enum": [mode], "description": "What is made; by the files if left out."}
    if first in properties:
        shared["input_reference"] = properties[first] | {"description": f"Another name of {first}."}
    if mode == "extend":
        del shared["seconds"]
    needed = [name for name in NEEDED[mode] if name != first]
    shared["record"] = _RECORD
    needed += [] if mode in ("animate", "keyframes", "text-to-video", "structure") else ["mode"]
    begins = [[*needed, name] for name in (first, "input_reference")] if first in properties else [needed]
    if mode == "structure":
        begins = [["prompt", name] for name in ("depth", "driving_video")]
    return {
        **{key: value for key, value in schema.items() if key not in ("$schema", "properties", "anyOf")},
        "properties": shared | properties,
        "anyOf": [{"required": names} for names in (*begins, ["record"])],
    }


def request_body(models: Iterable[str]) -> dict[str, Any]:
    """The `requestBody` of OpenAPI: JSON, or a form with files."""
    names = list(models)
    schemas = [request_schema(mode, names) for mode in ALL_MODES]
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": schemas}},
            "multipart/form-data": {"schema": _form(schemas, names)},
        },
    }


def _form(schemas: Iterable[Mapping[str, Any]], models: list[str]) -> dict[str, Any]:
    """All parameters of all modes, images as files; a form has no pairs."""
    properties: dict[str, Any] = {}
    for schema in schemas:
        properties |= schema["properties"]
    for name in (*UPLOADS, "input_reference"):
        properties[name] = _FILE | {"description": properties[name]["description"]}
    del properties["keyframes"]
    texts = {"type": "array", "items": {"type": "string", "pattern": "^[0-9]+=."}}
    properties["prompts_at"] = texts | {"description": properties["prompts_at"]["description"]}
    properties["mode"] = _shared(models)["mode"]
    properties["record"] = _FILE | {"description": _RECORD["description"]}
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {r"^keyframes\[[0-9]+\]$": _FILE},
        "anyOf": [{"required": ["prompt"]}, {"required": ["record"]}],
        "additionalProperties": False,
    }


def _shared(models: list[str]) -> dict[str, Any]:
    return {
        "mode": {
            "type": "string",
            "enum": list(ALL_MODES),
            "description": "What is made; by the files if left out.",
        },
        "model": {"type": "string", "enum": models, "default": models[0], "description": "One of /v1/models."},
        "size": {"type": "string", "pattern": "^[0-9]{1,5}x[0-9]{1,5}$", "description": "WIDTHxHEIGHT."},
        "seconds": {
            "description": "Length of the file, in the place of num_frames.",
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"},
            ],
        },
    }


def _is_of_server(name: str) -> bool:
    return name in SERVER_FILES or name in SERVER_CHOICES


def _without_files(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an image that comes with the request: a data URL or base64, and no name of a file."""
    found: dict[str, Any] = copy.deepcopy(dict(schema))
    if name in VIDEOS:
        kinds = [_VIDEO_URL]
        for key in ("type", "format"):
            found.pop(key, None)
    else:
        kinds = [kind for kind in found["anyOf"] if kind.get("format") != "path"]
    found["anyOf"] = [*kinds, _BASE64]
    return found

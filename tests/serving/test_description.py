"""The server does what its description (OpenAPI) says, and the description is made from the declaration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from serving_client import Server, running

from lvdm.declaration.parameter import ALL_MODES
from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits
from lvdm.request.schema import json_schema
from lvdm.serving.asking import SERVER_CHOICES, SERVER_FILES
from lvdm.serving.settings import Settings

EXAMPLES = 6
"""Requests to each address, of each kind."""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, models: Mapping[str, ListedModel]) -> Iterator[Server]:
    """A server that takes a few jobs and makes none."""
    limits = Limits(max_upload=0.2, max_queue=3, max_frames=16, max_steps=8)
    with running(Settings(tmp_path_factory.mktemp("idle") / "jobs", models, limits=limits)) as server:
        server.service.worker.stop()
        yield server


def described(server: Server, kind: str) -> Any:
    tree = server.client.get("/openapi.json").json()
    return tree["paths"]["/v1/videos"]["post"]["requestBody"]["content"][kind]["schema"]


def test_every_mode_is_described_by_the_declaration(idle: Server) -> None:
    modes = {schema["title"]: schema for schema in described(idle, "application/json")["anyOf"]}
    assert list(modes) == list(ALL_MODES)
    for mode, schema in modes.items():
        declared = json_schema(mode)["properties"]
        for name, part in declared.items():
            if name in SERVER_FILES or name in SERVER_CHOICES:
                assert name not in schema["properties"], f"{name} is the server's affair"
            elif name not in ("image", "end_image", "keep_mask", "keyframes", "video"):
                assert schema["properties"][name] == part, name
        assert '"format": "path"' not in str(schema).replace("'", '"'), "a name of a file can be given"
        assert schema["additionalProperties"] is False
        assert schema["properties"]["model"]["enum"] == ["tiny"]


def test_a_form_has_files(idle: Server) -> None:
    form = described(idle, "multipart/form-data")
    for name in ("image", "end_image", "keep_mask", "video", "input_reference"):
        assert form["properties"][name]["format"] == "binary"
    assert {"num_frames", "seed", "sampler", "overlap", "size"} <= set(form["properties"])
    assert "keyframes" not in form["properties"]


@pytest.mark.parametrize("kind", list(GenerationMode), ids=lambda kind: kind.value)
def test_no_request_makes_it_fail(idle: Server, kind: GenerationMode) -> None:
    """schemathesis: requests that the description allows, and such that it does not; no 5xx, and only what it tells."""
    tree = idle.client.get("/openapi.json").json()
    statuses = {}
    for result in schemathesis.openapi.from_dict(tree).get_all_operations():
        operation = result.ok()
        if operation.path == "/healthz":  # it says truly that nothing is made
            continue
        told = {int(status) for status in tree["paths"][operation.path][operation.method]["responses"]}
        statuses[operation.label] = answers(idle, operation, kind, told)
    assert max(max(seen, default=0) for seen in statuses.values()) < 500
    assert 200 in statuses["GET /v1/videos"] or kind is GenerationMode.NEGATIVE
    assert statuses["POST /v1/videos"] & {400, 415, 422}


def answers(server: Server, operation: Any, kind: GenerationMode, told: set[int]) -> set[int]:
    """The statuses of a few requests to an address, of which only those that are `told` may come."""
    seen = set[int]()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=kind))
    def ask(case: schemathesis.Case) -> None:
        request = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1:8000")).prepare()
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        answer = server.client.request(str(request.method), str(request.url), headers=headers, content=request.body)
        assert answer.status_code in told | {404, 405}, answer.text
        if answer.status_code >= 400:
            assert "\n" not in answer.json()["error"]["message"]
        seen.add(answer.status_code)

    with contextlib.suppress(Unsatisfiable):  # nothing is wrong where nothing can be given
        ask()
    return seen

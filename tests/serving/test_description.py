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
from serving_client import CAT, Server, data_url, running

from lvdm.declaration.parameter import ALL_MODES
from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits
from lvdm.request.schema import json_schema
from lvdm.serving.asking import SERVER_CHOICES, SERVER_FILES, UPLOADS
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
            elif name not in UPLOADS:
                assert schema["properties"][name] == part, name
        assert '"format": "path"' not in str(schema).replace("'", '"'), "a name of a file can be given"
        assert schema["additionalProperties"] is False
        assert schema["properties"]["model"]["enum"] == ["tiny"]


def test_a_form_has_files(idle: Server) -> None:
    form = described(idle, "multipart/form-data")
    for name in ("image", "end_image", "keep_mask", "video", "depth", "driving_video", "input_reference"):
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
    assert statuses["POST /v1/videos"] & {400, 415, 422}
    if kind is GenerationMode.POSITIVE:
        taken = {label for label, seen in statuses.items() if 200 in seen}
        assert taken == statuses.keys() - {"GET /v1/videos/{id}/content", "GET /v1/videos/{id}/events"}, "none is taken"


def complete(case: schemathesis.Case, server: Server) -> None:
    """What no schema says: the id of a job that there is, and an image and a prompt beside a parameter."""
    if case.path_parameters and not case.path.endswith("/events"):  # which would not end
        for job in server.client.get("/v1/videos").json()["data"]:
            server.client.delete(f"/v1/videos/{job['id']}")
        case.path_parameters["id"] = server.ask(num_frames=2)["id"]
    elif isinstance(case.body, dict) and case.media_type == "application/json":
        names = sorted(case.body.keys() - {*UPLOADS, "mode", "record"})
        few = {name: case.body[name] for name in names[len(str(case.body)) % max(1, len(names)) :][:1]}
        case.body = {"prompt": "a ball", "input_reference": data_url(CAT), "dry_run": True} | few


def answers(server: Server, operation: Any, kind: GenerationMode, told: set[int]) -> set[int]:
    """The statuses of a few requests to an address, of which only those that are `told` may come."""
    seen = set[int]()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=kind))
    def ask(case: schemathesis.Case) -> None:
        if kind is GenerationMode.POSITIVE:
            complete(case, server)
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

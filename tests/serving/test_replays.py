"""A video made again over HTTP from its record: the same bytes, or it is said what changed; no path in it is opened."""

from __future__ import annotations

import builtins
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from serving_client import CAT, Server, data_url, png, running
from small_model import picture

from lvdm.hosting.library import ListedModel
from lvdm.serving.settings import Settings

DOG = png(picture(seed=1))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Mapping[str, ListedModel]) -> Iterator[Server]:
    """One for all tests here."""
    settings = Settings(tmp_path_factory.mktemp("again") / "jobs", models, machine={"device": "cpu", "dtype": "bf16"})
    with running(settings) as server:
        yield server


@pytest.fixture(scope="module")
def made(server: Server) -> dict[str, Any]:
    """A video with settings of its own, the second of two."""
    asked = {"seed": 11, "num_frames": 4, "num_inference_steps": 2, "eta": 0.5, "fs": 20, "dtype": "fp32"}
    return server.wait(server.ask(**asked, num_videos_per_prompt=2, playback_fps=16))


def content(server: Server, job: Mapping[str, Any], number: int = 1) -> bytes:
    return server.client.get(f"/v1/videos/{job['id']}/content?number={number}").content


def again(server: Server, record: Any, **fields: Any) -> dict[str, Any]:
    return server.ask(**{"record": record, "prompt": None, **fields})


def test_a_record_makes_the_same_video(server: Server, made: dict[str, Any]) -> None:
    record = server.record(made, 2)
    assert record["input"]["index"] == 1
    job = again(server, record)
    assert (job["mode"], job["seed"], job["changes"], job["warnings"]) == ("animate", 11, [], [])
    assert content(server, server.wait(job)) == content(server, made, 2)
    assert server.left().count(f"{job['id']}/record.json") == 0, "uploads stay"


def test_what_was_changed_is_said(server: Server, made: dict[str, Any]) -> None:
    files = {"record": ("../../r.json", json.dumps(server.record(made))), "input_reference": CAT}
    answer = server.client.post("/v1/videos", files=files, data={"num_inference_steps": "3", "dry_run": "true"}).json()
    assert answer["about"]["changes"] == ["num_inference_steps 2 to 3"]
    assert answer["about"]["seed"] == 11
    other = again(server, server.record(made), input_reference=data_url(DOG), prompt="it stops", dry_run=True)
    assert other["about"]["changes"] == ["image to another", "prompt a ball rolls to it stops"]
    half = again(server, server.record(made), seconds=0.125, dry_run=True)
    assert half["about"]["num_frames"] == 2, "seconds are not those of the record's file"


def test_key_frames_and_extensions(server: Server) -> None:
    keys = {"keyframes": [[2, data_url(DOG)]]}
    first = server.wait(server.ask(**keys))
    job = server.wait(again(server, server.record(first), **keys))
    assert (job["mode"], job["changes"]) == ("keyframes", [])
    assert content(server, job) == content(server, first)
    fields = {"video": data_url(content(server, first), "video/mp4"), "input_reference": None}
    longer = server.wait(server.ask(mode="extend", num_frames=2, overlap=2, **fields))
    same = server.wait(again(server, server.record(longer), **fields))
    assert (same["mode"], same["changes"]) == ("extend", [])
    assert content(server, same) == content(server, longer)
    other = data_url(content(server, longer), "video/mp4")
    on = again(server, server.record(longer), input_reference=other, dry_run=True)
    assert on["about"]["changes"] == ["video to another"]


def test_records_that_are_refused(server: Server, made: dict[str, Any]) -> None:
    tree = server.record(made)
    weights = {"file": "/etc/passwd", "scale": 1.0, "sha256": "0" * 64}
    part = {name: tree[name] for name in ("model", "settings")}
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ("r.json", {}, "record is not the JSON object that stands beside a video; give that one"),
        ({}, {}, "record.json is not the record of a video made here"),
        ({"format": tree["format"]}, {}, "record.json is not the record of a video made here (it has no 'input')"),
        ({"format": "x" * 1_000_001}, {}, "record is larger than 1 MB"),
        (tree, {"input_reference": None}, "record was made with image (image), which is not read from it; send it"),
        (tree, {"mode": "loop"}, "record is that of a video by animate, not by loop; leave out mode"),
        (tree, {"replay": "r.json"}, "replay names a file of the server, which no request does; send what it holds"),
        (tree, {"effort": "draft"}, "a record has the values that effort stands for; leave out effort, or record"),
        (tree, {"num_inference_steps": 9999}, "num_inference_steps 9999"),
        (tree | {"settings": part["settings"] | {"num_inference_steps": 999}}, {}, "is more than is made here"),
        (tree | {"model": part["model"] | {"checkpoint_sha256": "0" * 64}}, {}, "record was made with another model"),
        (tree | {"model": part["model"] | {"loras": [weights]}}, {}, "record names a file of loras"),
        (tree | {"settings": part["settings"] | {"second_stage_unet": "/etc/passwd"}}, {}, "file of second_stage_unet"),
    ]
    for record, fields, words in cases:
        message = server.refusal(**{"record": record, "prompt": None, **fields})
        assert words in message, message
    twice = [("record", ("a", b"{}")), ("record", ("b", b"{}"))]
    answer = server.client.post("/v1/videos", files=twice)
    assert server.message(answer, 400, server.left()) == "record was given twice; leave out one"


def test_nothing_that_a_record_names_is_opened(
    server: Server, made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(CAT)
    tree = server.record(made)
    tree["video"] = str(secret)
    tree["input"] |= {"image": str(secret), "start_statistics": str(secret)}
    tree["model"] |= {"config": str(secret), "checkpoint": str(secret)}
    seen = list[str]()

    def watched(plain: Any) -> Any:
        def call(file: Any, *more: Any, **options: Any) -> Any:
            seen.append(str(file))
            return plain(file, *more, **options)

        return call

    for place, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat")):
        monkeypatch.setattr(place, name, watched(getattr(place, name)))
    answer = again(server, tree, dry_run=True)
    tree["input"] |= {"keep_mask": str(secret), "keep_mask_sha256": "0" * 64}
    message = server.refusal(record=tree, prompt=None)
    monkeypatch.undo()
    assert answer["about"]["changes"] == []
    assert message == "record was made with keep_mask (secret.png), which is not read from it; send it, too"
    assert seen
    assert str(secret) not in seen

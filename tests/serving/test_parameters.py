"""Every parameter that the description of the server has reaches the video: it is in the record beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serving_client import CAT, Server, data_url, png, running
from small_model import picture, small_structure_yaml, write_model, write_small_model

from lvdm.declaration.parameter import ALL_MODES
from lvdm.hosting.library import read_library
from lvdm.request.effort import EFFORTS
from lvdm.request.layers import all_parameters
from lvdm.serving.asking import SERVER_CHOICES, SERVER_FILES, SHARED, UPLOADS
from lvdm.serving.schema import request_schema
from lvdm.serving.settings import Settings

DOG = data_url(png(picture(seed=1)))
MASK = data_url(png(Image.linear_gradient("L").resize((32, 32))))

IN_THE_RECORD = {
    **{name: f"input.{name}" for name in ("prompt", "negative_prompt", "prompts_at", "seed")},
    **{name: f"runtime.{name}" for name in ("dtype", "low_memory", "schedule", "attention", "storage")},
    "playback_fps": "output.playback_fps",
    "fs": "output.fs",
    "overlap": "extension.overlap",
}
"""Where a parameter is that is not among the settings."""
TOLD_ELSEWHERE = {
    "second_stage_below": "without second_stage_unet, which names a file of the server, it has no effect",
    "format": "test_videos.py",
    "contact_sheet": "test_videos.py",
    "keep": "test_videos.py",
    "num_videos_per_prompt": "test_videos.py",
    "dry_run": "test_videos.py",
    "effort": "its values are, see below",
    "fast": "its values are, as those of an effort",
    "offload": "there is no accelerator here, see tests/pipeline/test_placement.py",
    "max_memory": "tests/jobs/test_fitting.py",
}


def depth_file(count: int) -> bytes:
    """An NPZ with the depth of `count` frames."""
    file = io.BytesIO()
    np.savez(file, depth=np.arange(count * 64.0).reshape(count, 8, 8))
    return file.getvalue()


@dataclass(frozen=True)
class Case:
    """A request, and in which mode. more: fields that are needed besides those that are looked for."""

    changed: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case(
        {
            **{"prompt": "it rolls", "negative_prompt": "grey", "prompts_at": [[2, "it stops"]], "seed": 5},
            **{"height": 40, "width": 24, "fit": "stretch", "num_frames": 5, "image_token_policy": "nearest"},
            **{"motion": 0.3, "num_inference_steps": 3, "guidance_scale": 3.0, "image_guidance_scale": 2.0},
            **{"guidance_rescale": 0.5, "eta": 0.5, "timestep_spacing": "quad", "fix_final_step": True},
            **{"decode_chunk_size": 2, "vae_tile": 8, "anchor": "soft", "color_lock": 0.5, "playback_fps": 5.0},
            **{"low_pass": 0.5, "low_pass_until": 0.4, "free_u": "b1=1.2"},
            **{"deep_cache": "interval=2", "guidance_steps": "until=0.5"},
        }
    ),
    Case(
        {
            "sampler": "unipc",
            "fps": 12.0,
            "truncated_start": 0.9,
            "camera": "zoom_in",
            "dtype": "bf16",
            "low_memory": True,
        }
    ),
    Case(
        {
            "fs": 20.0,
            "keep_feather": 2,
            "schedule": "file",
            "perturbed_guidance": "stg",
            "attention": "plain",
            "storage": "fp8",
        },
        {"keep_mask": MASK},
    ),
    Case({"long_video": "freenoise", "chunk_frames": 4}, {"num_frames": 8}),
    Case({"scale": "freescale"}, {"height": 64, "width": 64}),
    Case({"free_init": "iterations=2", "carry": "pan_left"}),
    Case({"frame_stride": 2.0}, {"model": "strides"}),
    Case(
        {"depth_range": "frame", "depth_stride": 2},
        {"input_reference": None, "depth": base64.b64encode(depth_file(8)).decode()},
    ),
    Case(
        {"between": "trf", "between_prompt": "back"},
        {"mode": "interpolate", "model": "strides", "end_image": DOG, "num_frames": 4},
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("two")
    small = write_small_model(folder / "small")
    still = write_small_model(folder / "still", ("i2v",))
    config = still / "config.yaml"
    config.write_text(config.read_text().replace("fs_meaning: fps", "fs_meaning: stride"))
    depths = write_model(folder / "depths", small_structure_yaml(estimator=False))
    models = read_library([f"small={small}", f"strides={still}", f"depths={depths}"]).models
    with running(Settings(folder / "jobs", models)) as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=lambda case: next(iter(case.changed)))
def test_what_is_changed_is_in_the_record(server: Server, case: Case) -> None:
    record = server.record(server.wait(server.ask(**case.more, **case.changed)))
    usual = {name: found.default for name, found in all_parameters().items()}
    for name, value in case.changed.items():
        part, _, key = IN_THE_RECORD.get(name, f"settings.{name}").partition(".")
        found = record[part][key]
        text = isinstance(value, str) and isinstance(found, str)
        assert found.startswith(value) if text else found == value, f"{name}: {found}"  # of a method with its options
        assert found != usual[name], f"{name} is what it is without a request"


def test_an_overlap_is_in_the_record(server: Server) -> None:
    first = server.wait(server.ask(num_frames=4))
    video = server.client.get(f"/v1/videos/{first['id']}/content").content
    fields = {"mode": "extend", "input_reference": data_url(video, "video/mp4"), "num_frames": 2, "overlap": 3}
    record = server.record(server.wait(server.ask(**fields, reader="imageio")))
    assert (record["extension"]["overlap"], record["runtime"]["reader"]) == (3, "imageio")


def test_an_effort_is_the_values_that_it_stands_for(server: Server) -> None:
    settings = server.record(server.wait(server.ask(effort="draft", num_frames=2)))["settings"]
    assert {name: settings[name] for name in EFFORTS["draft"]} == EFFORTS["draft"]
    best = server.ask(effort="best", dry_run=True)["about"]
    assert (best["videos"], best["num_inference_steps"]) == (4, 50)


def test_no_parameter_is_left_out() -> None:
    described = {name for mode in ALL_MODES for name in request_schema(mode, ["tiny"])["properties"]}
    changed = {name for case in CASES for name in case.changed} | {"overlap", "reader"}
    assert described == {*changed, *SHARED, *UPLOADS, *TOLD_ELSEWHERE}
    of_videos = {name for name, found in all_parameters().items() if set(found.parameter.modes) & set(ALL_MODES)}
    assert of_videos == described - set(SHARED) | set(SERVER_FILES) | set(SERVER_CHOICES)
    files = {name for name, found in all_parameters().items() if found.kind is Path}
    assert files <= {*UPLOADS, *SERVER_FILES}, "a parameter that names a file can be given as text"


def test_the_first_image_is_the_one_that_was_sent(server: Server) -> None:
    records = [server.record(server.wait(server.ask(input_reference=image))) for image in (DOG, data_url(CAT))]
    assert records[0]["input"]["image_sha256"] != records[1]["input"]["image_sha256"]

"""From a request to a video: the same bytes as the command line makes, whatever the way in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image
from serving_client import CAT, Server, data_url, png
from small_model import picture

from lvdm.declaration.run_parameters import OutputParameters
from lvdm.declaration.values import Format
from lvdm.jobs.outputs import suffix_of
from lvdm.jobs.run import make_videos
from lvdm.media.video_reader import VideoReader
from lvdm.serving.routes import MEDIA_TYPES

DOG = png(picture(seed=1))


def test_a_video_is_that_of_the_command_line(server: Server, tmp_path: Path) -> None:
    job = server.ask(seed=7, num_frames=4)
    assert job["status"] in ("queued", "running")
    assert (job["object"], job["model"], job["mode"], job["seed"]) == ("video", "tiny", "animate", 7)
    done = server.wait(job)
    assert (done["progress"], done["size"], done["seconds"], done["num_frames"]) == (100, "32x32", "0.5", 4)
    assert done["expires_at"] - done["completed_at"] == pytest.approx(7 * 86400, abs=1)
    content = server.client.get(f"/v1/videos/{job['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    (tmp_path / "cat.png").write_bytes(CAT)
    model = server.settings.models["tiny"].files
    given: dict[str, Any] = {"image": tmp_path / "cat.png", "prompt": "a ball rolls", "seed": 7, "num_frames": 4}
    make_videos("animate", **given, config=model.config, checkpoint=model.checkpoint, output=tmp_path / "cat.mp4")
    assert content.content == (tmp_path / "cat.mp4").read_bytes()
    part = server.client.get(f"/v1/videos/{job['id']}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, content.content[:10])
    assert server.left() == [
        ".incoming",
        job["id"],
        f"{job['id']}/out",
        *(f"{job['id']}/out/video.{s}" for s in ("json", "mp4")),
    ]


def test_a_form_and_json_come_to_the_same(server: Server) -> None:
    images = {
        "image": ("../../../etc/cat.svg", CAT, "text/html"),
        "keep_mask": ("m", png(Image.linear_gradient("L").resize((32, 32)))),
    }
    values = {"prompt": "a ball rolls", "num_frames": "4", "color_lock": "0.5", "prompts_at": ["2=it stops"]}
    form = server.client.post("/v1/videos", data=values, files=images)
    assert form.status_code == 200, form.text
    same = {"num_frames": 4, "color_lock": 0.5, "prompts_at": [[2, "it stops"]]}
    json = server.ask(**same, keep_mask=data_url(images["keep_mask"][1]))
    records = [server.record(server.wait(job)) for job in (form.json(), json)]
    assert records[0]["digest"] == records[1]["digest"]
    assert records[0]["input"]["image"] == "image", "the client's name of the file is kept"
    assert records[0]["input"]["prompts_at"] == [[2, "it stops"]]


@pytest.mark.parametrize(
    ("fields", "mode", "frames"),
    [
        ({"mode": "interpolate", "end_image": data_url(DOG)}, "interpolate", 4),
        ({"mode": "loop", "seconds": "0.375"}, "loop", 3),
        ({"keyframes": [[2, data_url(DOG)]]}, "keyframes", 4),
        ({"mode": "animate", "keyframes": {"3": data_url(DOG)}}, "keyframes", 4),
        ({"input_reference": {"image_url": data_url(CAT)}, "seconds": 0.5, "size": "32x16"}, "animate", 4),
    ],
)
def test_every_mode_in_json(server: Server, fields: dict[str, Any], mode: str, frames: int) -> None:
    done = server.wait(server.ask(**fields))
    assert (done["mode"], done["num_frames"]) == (mode, frames)
    assert server.record(done)["settings"]["mode"] == mode
    assert done["size"] == fields.get("size", "32x32")


def test_key_frames_in_a_form(server: Server) -> None:
    files = {"input_reference": CAT, "keyframes[2]": DOG}
    job = server.client.post("/v1/videos", data={"prompt": "a ball rolls"}, files=files).json()
    keys = server.record(server.wait(job))["input"]["keyframes"]
    assert [(key["frame"], key["image"]) for key in keys] == [(2, "keyframe_2")]


def test_a_video_goes_on(server: Server, tmp_path: Path) -> None:
    first = server.wait(server.ask())
    video = server.client.get(f"/v1/videos/{first['id']}/content").content
    files = {"video": ("a.mp4", video)}
    data = {"mode": "extend", "prompt": "it rolls on", "num_frames": "3", "overlap": "2"}
    job = server.client.post("/v1/videos", data=data, files=files)
    assert job.status_code == 200, job.text
    done = server.wait(job.json())
    content = server.client.get(f"/v1/videos/{done['id']}/content").content
    (tmp_path / "long.mp4").write_bytes(content)
    with VideoReader(tmp_path / "long.mp4") as reader:
        assert reader.num_frames == 7
    record = server.record(done)
    assert record["source"]["video"] == "video"
    assert record["extension"]["overlap"] == 2
    assert str(server.settings.jobs) not in str(record)


def test_several_videos_sheets_and_single_frames(server: Server) -> None:
    job = server.wait(server.ask(num_videos_per_prompt=2, contact_sheet=True, format="webm"))
    assert job["videos"] == 2
    assert [file["video"] for file in job["files"]] == ["video_01.webm", "video_02.webm"]
    both = [server.client.get(f"/v1/videos/{job['id']}/content?number={number}").content for number in (1, 2)]
    assert both[0] != both[1]
    kinds = {Path(f"video{suffix_of(OutputParameters(format=name))}").suffix for name in get_args(Format)}
    assert kinds <= set(MEDIA_TYPES), "a format has no media type"
    assert server.client.get(f"/v1/videos/{job['id']}/content").headers["content-type"] == "video/webm"
    sheet = server.client.get(f"/v1/videos/{job['id']}/content?variant=contact_sheet&number=2")
    assert sheet.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(sheet.content)).width >= 32
    assert server.client.get(f"/v1/videos/{job['id']}/content?number=3").status_code == 404
    best = server.wait(server.ask(num_videos_per_prompt=2, keep="best"))
    assert [file["video"] for file in best["files"]] == ["video.mp4"]
    assert server.record(best)["chosen"]["of"] == 2
    frames = server.wait(server.ask(format="png", num_frames=3))
    packed = server.client.get(f"/v1/videos/{frames['id']}/content")
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.namelist() == [f"video_{number:05d}.png" for number in range(3)]
        assert Image.open(io.BytesIO(archive.read("video_00002.png"))).size == (32, 32)


def test_a_record_names_no_place_of_the_server(server: Server) -> None:
    record = server.record(server.wait(server.ask(negative_prompt="/etc/passwd")))
    assert str(server.settings.jobs.parent) not in str(record)
    assert str(server.settings.models["tiny"].files.config.parent) not in str(record)
    assert record["model"]["checkpoint"] == "model.safetensors"
    assert record["input"]["negative_prompt"] == "/etc/passwd"


def test_a_dry_run_makes_nothing(server: Server) -> None:
    plan = server.ask(dry_run=True, num_frames=4, num_inference_steps=3)
    assert plan["object"] == "video.plan"
    assert (plan["about"]["num_frames"], plan["about"]["num_inference_steps"]) == (4, 3)
    assert plan["about"]["memory_bytes"] > 1e5
    assert server.left() == [".incoming"]
    assert server.client.get("/v1/videos").json()["data"] == []


def test_warnings_are_told(server: Server) -> None:
    job = server.ask(guidance_scale=1.0, negative_prompt="grey")
    assert job["warnings"] == ["negative_prompt has no effect: there is no guidance at guidance_scale 1"]
    assert set(job["warnings"]) <= set(server.wait(job)["warnings"]), "what is heard while it is made comes besides"


def test_jobs_come_in_pages(start: Callable[..., Server]) -> None:
    server = start()
    server.service.worker.stop()  # so that all wait
    ids = [server.ask(seed=seed)["id"] for seed in range(5)]
    server.client.delete(f"/v1/videos/{ids[1]}")

    def page(query: str) -> dict[str, Any]:
        return server.client.get(f"/v1/videos?{query}").json()

    assert [job["id"] for job in page("")["data"]] == ids[::-1], "newest first"
    first = page("limit=2&order=asc")
    assert ([job["id"] for job in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = page(f"limit=3&order=asc&after={first['last_id']}")
    assert ([job["id"] for job in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert [job["id"] for job in page("status=cancelled")["data"]] == [ids[1]]
    assert page("after=video_0")["error"]["message"] == "after names no job that is there; begin with the first page"
    assert page("limit=0")["error"]["code"] == 422


def test_models_are_listed_by_name(server: Server) -> None:
    (model,) = server.client.get("/v1/models").json()["data"]
    assert (model["id"], model["width"], model["num_frames"]) == ("tiny", 32, 4)
    assert model["capabilities"] == ["i2v", "interpolation"]
    answer = server.client.post("/v1/videos", json={"prompt": "a", "model": "tony", "input_reference": data_url(CAT)})
    assert answer.json()["error"]["message"] == "model 'tony' is not known; did you mean 'tiny'?"

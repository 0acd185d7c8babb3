"""What cannot be made is refused before it waits: in the words of the command line, with 4xx, and nothing is left."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from serving_client import CAT, Server, data_url, png, running
from small_model import picture

from lvdm.hosting.library import ListedModel
from lvdm.hosting.limits import Limits
from lvdm.jobs.plan import plan_videos
from lvdm.serving.settings import Settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Mapping[str, ListedModel]) -> Iterator[Server]:
    """One for all tests here, since none of them changes it."""
    with running(Settings(tmp_path_factory.mktemp("bad") / "jobs", models)) as server:
        yield server


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says to hold so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><image href="file:///etc/passwd"/></svg>'
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello" * 100, "not an image that can be read"),
    "svg": (SVG, "not an image that can be read"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not an image that can be read"),
    "truncated": (CAT[: len(CAT) // 2], "damaged or incomplete"),
    "bomb": (bomb(60_000, 60_000), "too large to decode safely"),
    "large": (bomb(10_000, 9_000), "10000x9000 is 90 megapixels, more than the limit of 50"),
    "renamed video": (b"\0\0\0\x20ftypisom" + bytes(500), "not an image that can be read"),
    "tiny": (png(Image.new("RGB", (4, 4))), "4x4 is too small"),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_no_image(server: Server, kind: str) -> None:
    content, words = FILES[kind]
    before = server.left()
    files = {"input_reference": ("cat.png", content, "image/png")}
    form = server.client.post("/v1/videos", data={"prompt": "a ball rolls"}, files=files)
    message = server.message(form, 400, before)
    assert message.startswith("image: ")
    assert words in message
    assert server.refusal(image=data_url(content), input_reference=None) == message


NAMES = ["cat.png", "/etc/passwd", "../../cat.png", "file:///etc/passwd", "http://127.0.0.1/cat.png", "C:\\cat.png"]


@pytest.mark.parametrize(
    "name", [*NAMES, "a" * 63, "data:image/png,abc", "data:text/html;base64,aGk=", "", 3, ["cat.png"]]
)
@pytest.mark.parametrize("parameter", ["input_reference", "image", "keep_mask"])
def test_names_and_addresses_of_files_are_not_read(server: Server, parameter: str, name: Any) -> None:
    usual = {"input_reference": None} if parameter == "image" else {}
    message = server.refusal(**usual, **{parameter: name})
    assert message.startswith(f"{parameter} is not a file in base64; give a data URL")


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "config", "encoders", "loras", "second_stage_unet", "start_statistics", "carry_flow", "prompts"],
)
def test_files_of_the_server_cannot_be_named(server: Server, name: str) -> None:
    assert (
        server.refusal(**{name: "/etc/passwd"})
        == f"{name} names a file of the server, which no request does; leave it out"
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"num_frame": 4}, "parameter 'num_frame' is not known; did you mean 'num_frames'?"),
    ({"../x": 4}, "parameter '../x' is not known"),
    ({"\ud800": 4}, "parameter '\\ud800' is not known"),
    ({"num_frames": "4"}, "num_frames '4' is not possible; use a whole number from 1 to 1000000 frames"),
    ({"num_frames": 4.5}, "num_frames 4.5 is not possible"),
    ({"num_frames": True}, "num_frames true is not possible"),
    ({"num_frames": [4]}, "num_frames [4] is not possible"),
    ({"guidance_scale": 1e300}, "guidance_scale 1e+300 is not possible"),
    ({"seed": -1}, "seed -1 is not possible"),
    ({"seed": 10**40}, "seed 1"),
    ({"sampler": "dimm"}, "sampler 'dimm' is not known; did you mean 'ddim'?"),
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": "x" * 2001}, "the prompt has 2001 characters"),
    ({"prompt": "\ud800"}, "the prompt is no UTF-8 text"),
    ({"prompt": 3}, "prompt 3 is not possible"),
    ({"overlap": 2}, "animate does not read overlap; leave it out"),
    ({"device": "cpu"}, "device is what the server decides; leave it out"),
    ({"preset": "512"}, "preset is what the server decides; leave it out; give model"),
    ({"output": "/tmp/x.mp4"}, "output names a file of the server"),
    ({"mode": "anmate"}, "mode 'anmate' is not known; did you mean 'animate'?"),
    ({"mode": 3}, "mode 3 is not possible; use text"),
    ({"mode": "interpolate"}, "give two images, the first and the last frame"),
    ({"mode": "extend", "input_reference": None}, "extend needs a video, and none was given"),
    ({"mode": "text-to-video"}, "text-to-video does not read image"),
    ({"input_reference": None}, "checkpoint small needs an image and cannot make a video from text alone; use animate"),
    ({"mode": "animate", "input_reference": None}, "animate needs image, and none was given"),
    (
        {"mode": "structure", "input_reference": None},
        "checkpoint small reads no depth and cannot follow structure; use",
    ),
    ({"mode": "keyframes"}, "mode keyframes takes key frames: give one or more"),
    ({"camera": ["x"]}, "camera ['x'] is not possible; use text such as zoom_in:amount=0.5"),
    ({"prompts_at": [[1, "a"], ["x", "b"]]}, "prompts_at ['x', 'b'] should be FRAME=PROMPT"),
    ({"model": "../tiny"}, "model '../tiny' is not known"),
    ({"model": ["tiny"]}, "model ['tiny'] is not possible; use text"),
    ({"image": data_url(CAT)}, "image was given twice (as input_reference too)"),
    ({"size": "64"}, "size '64' is not possible; use WIDTHxHEIGHT"),
    ({"size": "64x64", "width": 64}, "size and width or height were given; leave out one"),
    ({"size": "8x8"}, "width 8 is not possible; use a whole number from 16 to 8192 pixels"),
    ({"seconds": "long"}, "seconds 'long' is not possible"),
    ({"seconds": "nan"}, "seconds 'nan' is not possible"),
    ({"seconds": 0}, "seconds 0 is not possible"),
    ({"seconds": 1, "num_frames": 8}, "seconds and num_frames were given; leave out one"),
    ({"keyframes": [data_url(CAT)]}, "keyframes should be pairs of a frame and an image"),
    ({"keyframes": [[9, data_url(CAT)]]}, "key frame 9 is not among frames 1 to 3"),
    ({"keyframes": [[2, "b.png"]]}, "keyframes[2] is not a file in base64"),
    ({"keyframes": [[2, data_url(CAT)], [2, data_url(CAT)]]}, "keyframe_2 was given twice"),
    ({"prompts_at": ["x=it stops"]}, "prompts_at 'x=it stops' should be FRAME=PROMPT"),
    ({"camera": "\ud800"}, "camera"),
    ({"free_init": "iterations=1000"}, "free_init: iterations 1000 is not possible; use 1 to 10"),
    ({"num_frames": 513}, "num_frames 513 is more than is made here; use at most 512"),
    ({"num_inference_steps": 251}, "num_inference_steps 251 is more than is made here"),
    ({"num_videos_per_prompt": 9}, "num_videos_per_prompt 9 is more than is made here"),
    ({"width": 4096, "height": 2048}, "the video is 4096x2048, 8.39 megapixels, more than is made here"),
    ({"keep": "best"}, "keep best needs several videos to choose from; add num_videos_per_prompt 4, or more"),
]


@pytest.mark.parametrize(("fields", "words"), WRONG)
def test_values_that_are_not_possible(server: Server, fields: dict[str, Any], words: str) -> None:
    assert server.refusal(**fields).startswith(words)


def test_no_refusal_speaks_of_options_or_of_models_that_are_not_here(server: Server) -> None:
    for fields, _ in WRONG:
        said = server.refusal(**fields)
        assert not re.search("--|preset|replay", said.removeprefix("preset is what")), said


def test_the_words_are_those_of_the_command_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(CAT)
    model = server.settings.models["tiny"].values
    for wrong in (
        {"fs": 9999.0},
        {"anchor": "exacty"},
        {"between": "trff"},
        {"num_frames": 4, "perturbed_guidance": "stg:scale=x"},
    ):
        with pytest.raises(ValueError) as error:
            plan_videos("animate", image=tmp_path / "cat.png", prompt="a", **wrong, **model)
        assert server.refusal(**wrong) == str(error.value)


BODIES: list[tuple[bytes, str, int, str]] = [
    (b"", "application/json", 400, "the body is empty; give a JSON object"),
    (b"{}", "application/json", 400, "nothing was given; send prompt, and with input_reference the image"),
    (b"{", "application/json", 400, "the body: is not valid JSON"),
    (b"[1]", "application/json", 400, "the body is not a JSON object"),
    (b"{" * 100_000, "application/json", 400, "the body: is"),
    (b'{"seed": NaN}', "application/json", 400, "the body: holds NaN"),
    (b'{"prompt": "\xff"}', "application/json", 400, "the body: is not UTF-8"),
    (b"prompt=a", "application/x-www-form-urlencoded", 415, "the body is neither JSON nor a form"),
    (b"a", "", 415, "the body is neither JSON nor a form"),
    (b"a", "multipart/form-data", 400, ""),
    (b"--b\r\nContent-Disposition: form-data; name=x", "multipart/form-data; boundary=b", 400, ""),
]


@pytest.mark.parametrize(("body", "kind", "status", "words"), BODIES)
def test_bodies_that_are_none(server: Server, body: bytes, kind: str, status: int, words: str) -> None:
    answer = server.client.post("/v1/videos", content=body, headers={"content-type": kind} if kind else {})
    assert server.message(answer, status, [".incoming"]).startswith(words)


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"num_frames": "many"}, "num_frames 'many' is not possible; use a whole number"),
    ({"fix_final_step": "maybe"}, "fix_final_step 'maybe' is not possible; use yes or no"),
    ({"seed": ["1", "2"]}, "seed was given twice; leave out one"),
    ({"keyframes": "2=b.png"}, "of a form, the image of frame 15 is the field keyframes[15]"),
    ({"image": "cat.png"}, "image is not a file in base64"),
    ({"overlapp": "1"}, "parameter 'overlapp' is not known; did you mean 'overlap'?"),
    ({"loras": "a.safetensors"}, "loras names a file of the server"),
]


@pytest.mark.parametrize(("fields", "words"), FORMS)
def test_fields_of_a_form(server: Server, fields: dict[str, Any], words: str) -> None:
    files = {} if "image" in fields else {"image": CAT}
    answer = server.client.post("/v1/videos", data={"prompt": "a"} | fields, files={**files, "keep_mask": CAT})
    assert server.message(answer, 400, [".incoming"]).startswith(words)


def test_a_file_in_the_place_of_a_number(server: Server) -> None:
    answer = server.client.post("/v1/videos", data={"prompt": "a"}, files={"image": CAT, "seed": b"1"})
    assert server.message(answer, 400, [".incoming"]) == "seed is not a file; give its value as text"


def test_videos_that_are_none_or_too_long(start: Callable[..., Server]) -> None:
    server = start(limits=Limits(max_frames=8))
    playlist = b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n"
    for content, words in ((playlist, "video: "), (b"", "video: the file is empty"), (CAT[:40], "video: ")):
        message = server.refusal(mode="extend", video=data_url(content, "video/mp4"), input_reference=None)
        assert message.startswith(words)
        assert "127.0.0.1" not in message
    frames = [picture(seed=seed) for seed in range(9)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:])
    answer = server.refusal(mode="extend", video=data_url(buffer.getvalue(), "video/gif"), input_reference=None)
    assert answer == "video has 9 frames, and with new ones at most 8 are made here; cut it"


def test_images_that_are_too_large_together(start: Callable[..., Server]) -> None:
    server = start(limits=Limits(max_image_megapixels=0.004))
    fields = {"mode": "interpolate", "end_image": data_url(CAT)}
    server.ask(**fields, dry_run=True)
    keyframes = [[frame, data_url(CAT)] for frame in (1, 2, 3)]
    assert server.refusal(keyframes=keyframes) == "the images have more than 0.004 megapixels together; scale them down"


def test_a_body_that_is_too_large_is_not_read(start: Callable[..., Server]) -> None:
    server = start(limits=Limits(max_upload=0.1))
    told = server.client.post("/v1/videos", data={"prompt": "a"}, files={"image": bytes(200_000)})
    words = "the request is larger than 0.1 MB; send smaller files"
    assert server.message(told, 413, [".incoming"]) == words
    sent = 0

    def endless() -> Iterator[bytes]:  # without a length
        nonlocal sent
        while sent < 10_000_000:
            sent += 50_000
            yield bytes(50_000)

    for kind in ("application/json", "multipart/form-data; boundary=b"):
        untold = server.client.post("/v1/videos", content=endless(), headers={"content-type": kind})
        assert untold.status_code in (400, 413), "a boundary that is missing may be seen first"
    assert untold.json()["error"]["message"]


def test_addresses_that_are_none(server: Server) -> None:
    for path in ("/v1/videos/none", "/v1/videos/none/content", "/v1/videos/none/events", "/v1/videos/%2e%2e", "/x"):
        answer = server.client.get(path)
        assert answer.status_code == 404, path
        said = "there is no such job; it may have expired|no such address, .* GET /openapi.json has them all"
        assert re.fullmatch(said, answer.json()["error"]["message"])
    assert server.client.delete("/v1/videos/none").status_code == 404
    assert server.client.put("/v1/videos").json()["error"]["code"] == 405
    job = server.wait(server.ask())
    answer = server.client.get(f"/v1/videos/{job['id']}/content?variant=../../x")
    server.client.delete(f"/v1/videos/{job['id']}")
    assert answer.json()["error"]["code"] == 422
    assert "\n" not in answer.json()["error"]["message"]


def test_base64_without_a_data_url(server: Server) -> None:
    assert server.ask(dry_run=True, input_reference=base64.b64encode(CAT).decode())["mode"] == "animate"
    message = server.refusal(input_reference="data:image/png;base64,ab%")
    assert message == "input_reference is not valid base64; encode the file again"

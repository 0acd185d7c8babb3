"""The page's endpoints, called as programs do: every control arrives, and what is wrong is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from served import LIMITS, PageClient, call, refused
from small_model import FRAMES, picture

from lvdm.app.controls import OF_THE_SERVER, OF_THE_TABS, offered, read_by
from lvdm.declaration.parameter import ALL_MODES
from lvdm.media.video_reader import VideoReader
from lvdm.model_files import REPOSITORY
from lvdm.request.layers import all_parameters

PROMPT = "a red ball moves to the right"
STATUS, VIDEO, REPORT, SHEET, FILES, RECORD, SEED, JOBS = range(8)


def path_of(given: Any) -> str:
    return str(given["path"])


def frames_of(path: str) -> Any:
    with VideoReader(path) as reader:
        return reader.read(range(reader.num_frames))


def test_every_parameter_has_a_control_or_a_reason() -> None:
    assert set(offered()) | set(OF_THE_SERVER) | set(OF_THE_TABS) == set(all_parameters())


@pytest.mark.parametrize("mode", [mode for mode in ALL_MODES if mode != "keyframes"])
def test_an_endpoint_takes_what_its_mode_reads(mode: str, client: PageClient) -> None:
    names = [parameter["parameter_name"] for parameter in client.endpoints[f"/{mode}"]]
    assert set(read_by(mode)) | {"model", "prompt"} <= set(names)
    foreign = {name for name, found in all_parameters().items() if mode not in found.parameter.modes}
    assert not foreign & set(names)
    assert all(parameter["parameter_has_default"] for parameter in client.endpoints[f"/{mode}"])


CHANGED: dict[str, Any] = {
    "negative_prompt": "blur",
    "prompts_at": "2=it stops",
    "schedule": "file",
    "height": "40",
    "width": "48",
    "fit": "stretch",
    "num_frames": 5,
    "attention": "plain",
    "long_video": "freelong",
    "image_token_policy": "nearest",
    "motion": "0.25",
    "num_inference_steps": 3,
    "guidance_scale": "3.5",
    "image_guidance_scale": "1.5",
    "guidance_rescale": "0.4",
    "eta": "0.5",
    "timestep_spacing": "uniform",
    "fix_final_step": "yes",
    "seed": str(2**62 + 1),
    "scale": "off",
    "anchor": "exact",
    "color_lock": "0.5",
    "keep_feather": "2",
    "camera": "zoom_in:amount=0.3",
    "low_pass": "0.3",
    "low_pass_until": "0.5",
    "truncated_start": "0.95",
    "free_u": "b1=1.1,b2=1.2,s1=0.9,s2=0.9",
    "deep_cache": "interval=2,blocks=1",
    "guidance_steps": "until=0.7,interval=2",
    "second_stage_unet": "tiny/model.safetensors",
    "second_stage_below": "0.3",
    "perturbed_guidance": "stg:scale=1,blocks=middle",
    "playback_fps": 12,
    "dtype": "fp32",
    "low_memory": "yes",
    "decode_chunk_size": 2,
    "vae_tile": 8,
}
"""A value for every control of `animate` but those that exclude one of these."""
EXCLUDED: list[dict[str, Any]] = [
    {"free_init": "iterations=2,level=0.9", "fps": 20, "sampler": "unipc", "format": "gif"},
    {"fs": 20, "chunk_frames": 4, "carry": "drag:right=0.2"},
]
"""The same for two more. `frame_stride` is not what the small model reads; others are tested on their own."""
ELSEWHERE = {
    "frame_stride": "the small model reads frames per second",
    "offload": "there is no accelerator here",
    "storage": "tests/pipeline/test_placement.py",
    "max_memory": "tests/jobs/test_fitting.py",
    "effort": "test_efforts_and_several_videos",
    "fast": "test_efforts_and_several_videos",
    "num_videos_per_prompt": "test_efforts_and_several_videos",
    "keep": "test_efforts_and_several_videos",
    "keep_mask": "test_a_mask_and_key_frames",
    "encoders": "a checkpoint without encoders",
    "loras": "test_files_are_named_from_the_list",
    "start_statistics": "test_files_are_named_from_the_list",
    "carry_flow": "test_files_are_named_from_the_list",
}


def in_record(name: str, record: dict[str, Any]) -> Any:
    places = record["settings"], record["input"], record["output"], record["runtime"]
    return next(place[name] for place in places if name in place)


def test_every_control_is_found_in_the_record(client: PageClient, image: str) -> None:
    assert {*CHANGED, *EXCLUDED[0], *EXCLUDED[1], *ELSEWHERE} == set(read_by("animate"))
    given = {"image": Path(image), "keep_mask": Path(image), "prompt": PROMPT}
    made = call(client, "animate", **given, **CHANGED)
    record = made[RECORD]
    for name, value in CHANGED.items():
        found = in_record(name, record)
        wanted = (
            value
            if name == "second_stage_unet"
            else all_parameters()[name].read(str(value))
            if name != "prompts_at"
            else None
        )
        if name == "prompts_at":
            assert found == [[2, "it stops"]]
        elif name == "long_video":
            assert found == "freelong"
        else:
            assert found == getattr(wanted, "text", wanted), f"{name} is {found!r} in the record"
    assert record["input"]["prompt"] == PROMPT
    assert record["model"]["checkpoint"] == "tiny/model.safetensors", "a place of the server is told"
    assert made[SEED] == CHANGED["seed"]


def test_what_excludes_one_another_is_found_as_well(client: PageClient, image: str) -> None:
    for changed in EXCLUDED:
        more = {"num_frames": 6} if "chunk_frames" in changed else {}
        record = call(client, "animate", image=Path(image), prompt=PROMPT, **changed, **more)[RECORD]
        for name, value in changed.items():
            found = record["video"].partition(".")[2] if name == "format" else in_record(name, record)
            assert found == value, f"{name} is {found!r} in the record"


def test_a_video_comes_in_every_format_with_its_sheet_and_its_settings(client: PageClient, image: str) -> None:
    made = call(client, "animate", image=Path(image), prompt=PROMPT)
    names = [Path(path_of(file)).name for file in made[FILES]]
    assert names == ["video.mp4", "video.gif", "video.webp", "video_sheet.png", "settings.json"]
    frames = frames_of(path_of(made[VIDEO]))
    assert len(frames) == FRAMES
    assert (frames[0].float() - frames[-1].float()).abs().mean() > 0, "nothing moves"
    for file in made[FILES][1:3]:
        with Image.open(path_of(file)) as animation:
            assert animation.n_frames == FRAMES
    stored = json.loads(Path(path_of(made[FILES][4])).read_text(encoding="utf-8"))
    assert stored["input"]["image"] == "image.png", "the folder of the server is no business of the visitor"
    assert made[REPORT].startswith("frame 0 ")
    assert f"<td>animate</td><td>{PROMPT}</td><td>completed</td>" in made[JOBS]


def test_single_frames_come_packed_and_play_all_the_same(client: PageClient, image: str) -> None:
    made = call(client, "animate", image=Path(image), prompt=PROMPT, format="png")
    with zipfile.ZipFile(path_of(made[FILES][0])) as packed:
        assert len([name for name in packed.namelist() if name.endswith(".png")]) == FRAMES
    assert len(frames_of(path_of(made[VIDEO]))) == FRAMES


def test_efforts_and_several_videos(client: PageClient, image: str) -> None:
    given = {"image": Path(image), "prompt": PROMPT}
    assert call(client, "animate", **given, effort="draft")[RECORD]["settings"]["num_inference_steps"] == 10
    assert call(client, "animate", **given, fast=3)[RECORD]["settings"]["sampler"] == "unipc"
    best = call(client, "animate", **given, num_videos_per_prompt=2, keep="best")
    assert best[RECORD]["chosen"]["of"] == 2
    assert "number" in best[REPORT]
    several = call(client, "animate", **given, num_videos_per_prompt="2")
    assert "best first" in several[REPORT]


def test_a_mask_and_key_frames(client: PageClient, image: str, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((32, 32)).save(tmp_path / "mask.png")
    kept = call(client, "loop", image=Path(image), prompt=PROMPT, keep_mask=tmp_path / "mask.png")
    record = kept[RECORD]
    assert record["input"]["keep_mask"] == "keep_mask.png"
    uploaded = (tmp_path / "mask.png").read_bytes()
    assert record["input"]["keep_mask_sha256"] == hashlib.sha256(uploaded).hexdigest(), "an upload was changed"
    assert record["output"]["drop_last_frame"] is True
    for seed in (1, 2):
        picture(seed=seed).save(tmp_path / f"{seed}.png")
    first, last = Path(image), tmp_path / "1.png"
    joined = call(client, "interpolate", image=first, end_image=last, prompt=PROMPT)
    assert joined[RECORD]["settings"]["mode"] == "interpolate"
    further = [tmp_path / "2.png"]
    made = call(client, "interpolate", image=first, end_image=last, further_images=further, prompt=PROMPT)
    frames = [entry[0] if isinstance(entry, list) else entry["frame"] for entry in made[RECORD]["input"]["keyframes"]]
    assert frames == [2, 3]
    said = refused(client, "interpolate", image=first, further_images=further, at_frames="1 2", prompt=PROMPT)
    assert "1 further images need as many numbers" in said


def test_a_mask_that_is_painted_is_a_file_like_one_that_is_uploaded(
    client: PageClient, image: str, tmp_path: Path
) -> None:
    layer = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), (0, 0, 16, 32))
    content = encoded(layer, "PNG")
    painted = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    given = {"image": Path(image), "prompt": PROMPT}
    record = call(client, "animate", **given, painted_mask=painted)[RECORD]
    assert record["input"]["keep_mask_sha256"] == hashlib.sha256(content).hexdigest(), "what was painted was changed"
    for wrong, said in (
        ({"keep_mask": upload_of(content, "layer.png", tmp_path)}, "the mask is given twice, as a file and painted"),
        ({"painted_mask": "/etc/passwd"}, "painted_mask is not a file in base64; give a data URL"),
        ({"painted_mask": "data:image/png;base64,aGVsbG8="}, "painted_mask.png: not an image that can be read"),
    ):
        assert said in refused(client, "animate", **{**given, "painted_mask": painted, **wrong})


def test_other_models_and_their_modes(client: PageClient, image: str) -> None:
    assert call(client, "text-to-video", model="words", prompt=PROMPT)[RECORD]["settings"]["mode"] == "text-to-video"
    assert "needs an image" in refused(client, "text-to-video", model="small", prompt=PROMPT)
    said = refused(client, "animate", model="words", image=Path(image), prompt=PROMPT)
    assert "makes videos from text alone" in said


def test_a_video_is_extended_and_two_are_compared(client: PageClient, image: str) -> None:
    made = call(client, "animate", image=Path(image), prompt=PROMPT)
    longer = call(client, "extend", video=Path(path_of(made[VIDEO])), prompt=PROMPT, num_frames=2, overlap=1)
    assert len(frames_of(path_of(longer[VIDEO]))) == FRAMES + 2
    assert longer[REPORT].startswith("4 frames, now 6")
    both = call(client, "compare", image=Path(image), prompt=PROMPT, seed_b="7", guidance_scale_b="1")
    first, second = (frames_of(path_of(both[i])).float() for i in (1, 3))
    assert (first - second).abs().mean() > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": ""}, "the prompt is empty; say what should happen"),
        ({"num_frames": "13"}, "num_frames 13 is more than is made here; use at most 12"),
        ({"num_frames": "0"}, "num_frames 0 is not possible; use a whole number from 1 to"),
        ({"num_frames": "many"}, "num_frames 'many' is not possible"),
        ({"num_inference_steps": "61"}, "61 is more than is made here; use at most 60"),
        ({"num_videos_per_prompt": "4"}, "num_videos_per_prompt 4 is more than is made here"),
        ({"height": "256", "width": "128"}, "the video is 128x256, 0.03 megapixels, more than is made here"),
        ({"sampler": "dpm"}, "sampler 'dpm' is not known"),
        ({"motion": "0.5", "fps": "8"}, "fps and motion set the same thing"),
        ({"camera": "spin"}, "spin"),
        ({"model": "../tiny"}, "model '../tiny' is not known"),
        ({"second_stage_unet": "/etc/passwd"}, "second_stage_unet '/etc/passwd' is not known"),
        ({"loras": ["../../x.safetensors:1"]}, "is not known"),
        ({"prompts_at": "soon=it stops"}, "should be FRAME=PROMPT"),
    ],
)
def test_fields_that_are_refused_are_named(given: dict[str, Any], said: str, client: PageClient, image: str) -> None:
    found = refused(client, "animate", **{"image": Path(image), "prompt": PROMPT, **given})
    assert said in found
    assert "\n" not in found
    assert "Traceback" not in found


def test_files_are_named_from_the_list(client: PageClient, image: str) -> None:
    given = {"image": Path(image), "prompt": PROMPT}
    assert "LoRA" in refused(client, "animate", **given, loras=["tiny/model.safetensors:0.5"])
    said = refused(client, "animate", **given, start_statistics="tiny/model.safetensors", truncated_start="0.9")
    assert "tiny/model.safetensors" in said
    said = refused(client, "animate", **given, carry_flow="tiny/model.safetensors")
    assert "tiny/model.safetensors" in said


def upload_of(content: bytes, name: str, folder: Path) -> Any:
    (folder / name).write_bytes(content)
    return folder / name


def encoded(image: Image.Image, format: str) -> bytes:
    stored = io.BytesIO()
    image.save(stored, format)
    return stored.getvalue()


WHOLE = encoded(picture(), "PNG")
BAD_UPLOADS = {
    "text.png": (b"not an image at all", "text.png: not an image that can be read"),
    "half.png": (WHOLE[: len(WHOLE) // 2], "half.png: "),
    "page.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not an image that can be read"),
    "bomb.png": (encoded(Image.new("1", (20_000, 20_000)), "PNG"), "bomb.png: too large to decode safely"),
    "wide.png": (encoded(Image.new("1", (300, 200)), "PNG"), "wide.png: 300x200 is"),
    "tiny.png": (encoded(Image.new("RGB", (4, 4)), "PNG"), "tiny.png: 4x4 is too small"),
    "clip.gif.png": (b"GIF89a", "clip.gif.png: "),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_bad_uploads_are_refused_by_their_name_and_removed(
    name: str, client: PageClient, tmp_path: Path, server_folder: Path
) -> None:
    content, said = BAD_UPLOADS[name]
    found = refused(client, "animate", image=upload_of(content, name, tmp_path), prompt=PROMPT)
    assert said in found
    assert str(server_folder) not in found, "the folder of the server is no business of the visitor"
    assert not list(server_folder.rglob(name)), "the upload is still there"


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:9/cat.png", "https://example.org/cat.png", "cat.png", "/etc/passwd"]
)
def test_addresses_and_paths_are_not_opened(path: str, client: PageClient, address: str, image: str) -> None:
    """As a client of its own would ask: gradio's uploads every path that it is given."""
    where = image if path == "cat.png" else path
    given = {"image": {"path": where, "meta": {"_type": "gradio.FileData"}}, "prompt": PROMPT}
    said = client.send("animate", given)
    assert "event: error" in said
    assert "event: complete" not in said
    assert ("addresses are not opened" in said) == path.startswith("http"), said


@pytest.mark.parametrize("name", ["/etc/passwd", "MODELS/tiny/config.yaml", "HERE/pyproject.toml"])
def test_no_file_of_the_server_is_served(name: str, address: str, models: Path) -> None:
    path = name.replace("MODELS", str(models)).replace("HERE", str(REPOSITORY))
    assert Path(path).is_file()
    answer = httpx.get(f"{address}gradio_api/file={path}")
    assert answer.status_code == 403, f"{path}: {answer.status_code}"


def test_a_file_that_is_too_large_is_turned_away(client: PageClient, tmp_path: Path) -> None:
    large = upload_of(WHOLE + bytes(LIMITS.upload_bytes), "large.png", tmp_path)
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        client.send("animate", {"image": large, "prompt": PROMPT})
    url = f"data:image/png;base64,{base64.b64encode(bytes(LIMITS.upload_bytes + 1)).decode()}"
    assert "the painted mask is larger than 0.3 MB" in refused(client, "animate", painted_mask=url, prompt=PROMPT)


@pytest.mark.parametrize("place", ["queue/join", "call/animate", "component_server"])
def test_a_request_that_is_too_large_is_not_read(place: str, client: PageClient) -> None:
    most = 2 * LIMITS.upload_bytes
    told = client.http.post(f"{client.address}gradio_api/{place}", content=bytes(most + 1))
    assert (told.status_code, told.text) == (413, f"the request is larger than {most / 1e6:g} MB; send smaller files")

    def endless() -> Iterator[bytes]:  # without a length
        yield from [b" " * 100_000] * 30

    headers = {"content-type": "application/json"}
    untold = client.http.post(f"{client.address}gradio_api/{place}", content=endless(), headers=headers)
    assert untold.status_code in (400, 413), untold.text

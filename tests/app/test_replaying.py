"""The record of an earlier video sets the controls of the page, and what it names on a disk is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_model import picture

from lvdm.app.controls import offered
from lvdm.app.endpoints import Desk
from lvdm.app.replaying import read_request, taken_over
from lvdm.app.work import Work
from lvdm.hosting.library import Library
from lvdm.jobs.extend import plan_extension, run_extension
from lvdm.jobs.plan import plan_videos
from lvdm.jobs.run import make_videos

GIVEN: list[tuple[str, dict[str, Any]]] = [
    ("animate", {}),
    (
        "animate",
        {
            **{
                "negative_prompt": "blur",
                "prompts_at": [(2, "it stops")],
                "seed": 2**62 + 1,
                "height": 40,
                "width": 48,
            },
            **{"num_frames": 5, "motion": 0.25, "guidance_scale": 3.5, "image_guidance_scale": 1.5, "eta": 0.5},
            **{"camera": "zoom_in:amount=0.3", "color_lock": 0.5, "fix_final_step": True, "playback_fps": 12.0},
            **{"low_pass": 0.3, "free_u": "b1=1.1,b2=1.2,s1=0.9,s2=0.9", "vae_tile": 8},
        },
    ),
    ("animate", {"sampler": "unipc", "fps": 20.0, "num_frames": 8, "output": "made.gif", "dtype": "bf16"}),
    ("animate", {"second_stage_unet": "tiny/model.safetensors", "second_stage_below": 0.3}),
    ("loop", {"long_video": "plain", "anchor": "exact"}),
    ("interpolate", {"end_image": "dog.png", "num_inference_steps": 3}),
    ("keyframes", {"keyframes": [(2, "dog.png"), (3, "cat.png")]}),
]


@pytest.fixture
def desk(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    from served import LIMITS

    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("cat", "dog")):
        picture(seed=seed).save(f"{name}.png")
    return Desk(library, LIMITS, tmp_path / "jobs", "cpu")


def record_of(library: Library, mode: str, given: dict[str, Any]) -> Path:
    """The record of a small video that the command line makes."""
    usual = {"image": "cat.png", "prompt": "a ball", "num_inference_steps": 2, "output": "made.mp4", "device": "cpu"}
    if "second_stage_unet" in given:
        given = given | {"second_stage_unet": str(library.files["tiny/model.safetensors"])}
    (made,) = make_videos(mode, **{**usual, **library.models["small"].values, **given})  # type: ignore[arg-type]
    return made.output.with_suffix(".json")


@pytest.mark.parametrize(("mode", "given"), GIVEN)
def test_the_controls_make_the_same_video_again(mode: str, given: dict[str, Any], desk: Desk, library: Library) -> None:
    record = record_of(library, mode, given)
    found = read_request(record, library, "cpu")
    values = {"model": found.model, "prompt": found.prompt, **found.controls}
    parameters = desk.values(list(values), list(values.values()))
    images = {name: given.get(name) for name in ("end_image", "keyframes") if name in given}
    made = "keyframes" if found.at else found.mode
    suffix = parameters.get("format") or "mp4"
    plan = plan_videos(made, **parameters, image="cat.png", **images, output=f"again.{suffix}")
    assert plan.videos[0].digest == json.loads(record.read_text())["digest"]
    assert "image: cat.png" in found.files
    assert found.at == ("2 3" if mode == "keyframes" else "")
    assert found.controls.keys() & {"eta", "scale", "fs", "chunk_frames"} <= given.keys(), "more is set than was given"


def test_a_record_of_an_extension_sets_the_controls_of_its_tab(desk: Desk, library: Library) -> None:
    record_of(library, "animate", {"num_frames": 5, "playback_fps": 12.0})
    model = library.models["small"].values
    given = {"overlap": 2, "num_frames": 2, "num_inference_steps": 2, "guidance_scale": 3.0, "color_lock": 0.3}
    longer = run_extension(plan_extension(Path("made.mp4"), prompt="it stops", seed=3, device="cpu", **given, **model))
    found = read_request(longer.record, library, "cpu")
    assert (found.mode, found.prompt, found.files) == ("extend", "it stops", ("video: made.mp4",))
    parameters = desk.values(
        ["model", "prompt", *found.controls], [found.model, found.prompt, *found.controls.values()]
    )
    fresh = plan_extension(Path("made.mp4"), **parameters, output="again.mp4")
    again = plan_extension(replay=longer.record, output="again.mp4", device="cpu")
    assert fresh.digest == again.digest
    assert fresh.written.playback_fps == 12


def test_one_of_several_is_the_last_of_so_many(library: Library, desk: Desk) -> None:
    record = record_of(library, "animate", {})
    tree = json.loads(record.read_text())
    tree["input"]["index"] = 2
    record.write_text(json.dumps(tree))
    assert read_request(record, library, "cpu").controls["num_videos_per_prompt"] == "3"


def test_files_of_a_record_are_not_opened(desk: Desk, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(library, "animate", {})
    tree = json.loads(record.read_text())
    secret = Path("secret.png").resolve()
    picture(seed=9).save(secret)
    tree["input"] |= {"image": str(secret), "keep_mask": str(secret), "keep_mask_sha256": "0" * 64}
    record.write_text(json.dumps(tree))
    seen = list[str]()
    plain = open

    def watched(file: Any, *more: Any, **options: Any) -> Any:
        seen.append(str(file))
        return plain(file, *more, **options)

    monkeypatch.setattr("builtins.open", watched)
    found = read_request(record, library, "cpu")
    assert str(secret) not in seen
    assert found.files == ("image: secret.png", "keep mask: secret.png"), "a place of another machine is told"
    assert "keep_mask" not in found.controls


def test_what_is_no_record_changes_nothing_and_goes(desk: Desk, library: Library) -> None:
    record = record_of(library, "animate", {})
    tree = json.loads(record.read_text())
    other = {**tree, "model": {**tree["model"], "checkpoint_sha256": "0" * 64}}
    weights = {**tree, "settings": {**tree["settings"], "second_stage_unet": "/etc/passwd"}}
    for content, said in (
        ("[1]", "is not the record of a video made here"),
        ("{", "is not valid JSON"),
        ("<" * 1_000_001, "is larger than 1 MB, which no record of a video is"),
        (json.dumps(other), "was made with another model than those of the list (model.safetensors)"),
        (json.dumps(weights), "second_stage_unet passwd is not among the weight files"),
    ):
        upload = Path("upload.json")
        upload.write_text(content)
        words, *rest = taken_over(desk, ["animate"], list(offered()), [upload])
        assert said in words, words
        assert f">{upload}" in words or "second_stage" in words
        assert all(change == {"__type__": "update"} for change in rest), "a control was set"
        assert not upload.exists()


def test_a_record_of_the_page_is_replayed_on_the_command_line(desk: Desk, library: Library, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    values = desk.values(["model", "prompt", "seed"], ["small", "a ball", "7"])
    given = {**values, "image": Path("cat.png")}
    work: Any = Work(lambda own: desk.maker.make(own, "animate", given, tmp_path / "job"), desk.turn)
    work.start()
    settings = next(path for path in work.result().downloads if path.name == "settings.json")
    (tmp_path / "home").mkdir()
    shutil.copy(settings, tmp_path / "home")
    model = library.models["small"].values
    plan = plan_videos("animate", replay=tmp_path / "home" / "settings.json", image="cat.png", **model)
    assert plan.videos[0].digest == json.loads(settings.read_text())["digest"]

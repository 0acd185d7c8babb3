"""What was typed is applied or refused, never ignored; a finished video is skipped if and only if nothing changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from frozen_videos import write_small_lora
from golden_vectors import rand
from safetensors.torch import load_file, save_file
from small_model import FRAMES, SIDE, picture
from test_commands import PROMPT, fail, frames_of, run, succeed

from lvdm.media.video_writer import write_video

SKIPPED = "finished already and skipped"


def record(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


@pytest.fixture
def made(here: Path) -> Path:
    """A folder with a.mp4 and its record."""
    picture(seed=1).save("dog.png")
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--seed", 3)
    return here


def test_a_replay_takes_what_was_typed_and_says_what_changed(made: Path) -> None:
    typed = ("--steps", 3, "--seed", 7, "--prompt", "other", "--guidance", 3, "--frames", 5, "--format", "gif")
    result = run("animate", "--replay", "a.json", *typed, "--num-videos", 2, "--dtype", "bf16", "--low-memory")
    assert result.exit_code == 0, result.output
    again = record("a_replay_02.json")
    assert again["settings"]["num_inference_steps"] == 3
    assert again["settings"]["guidance_scale"] == 3
    assert (again["input"]["seed"], again["input"]["prompt"], again["input"]["index"]) == (7, "other", 1)
    assert (again["runtime"]["dtype"], again["runtime"]["low_memory"]) == ("bf16", True)
    assert frames_of(made / "a_replay_01.gif") == 5
    said = " ".join(result.stderr.split())
    for change in ("num_inference_steps 2 to 3", "seed 3 to 7", f"prompt {PROMPT} to other", "num_frames 4 to 5"):
        assert change in said, f"{change!r} is not said: {said}"


def test_a_replay_says_what_changed_by_content_and_as_it_is_typed(made: Path, checkpoints: Path) -> None:
    def said(*typed: Any) -> str:
        return " ".join(run("animate", "--replay", "a.json", "--dry-run", *typed).stderr.split())

    shutil.copy("cat.png", "copy.png")
    assert "changed against" not in said("copy.png", "--preset", "tiny", "--scale", "auto"), "the same image and model"
    assert said("dog.png").endswith("to dog.png"), "nothing else"
    assert "changed against a.json: keyframes nothing to 2=dog.png" in said("--keyframe", "2=dog.png")
    assert "changed against a.json: motion nothing to 0.9" in said("--motion", 0.9)
    assert said("--negative-prompt", "bad", "--guidance", 2).count("negative_prompt nothing to bad") == 1
    picture().resize((2 * SIDE, SIDE)).save("wide.png")
    assert f"size {SIDE}x{SIDE} to " in said("wide.png"), "another size is another video"


def test_a_replay_of_nothing_else_says_nothing_and_makes_the_same_bytes(made: Path) -> None:
    result = run("animate", "--replay", "a.json", "-o", "b.mp4")
    assert "changed against" not in result.stderr
    assert (made / "b.mp4").read_bytes() == (made / "a.mp4").read_bytes()
    assert record("b.json")["digest"] == record("a.json")["digest"]


def test_another_image_may_take_the_place_of_the_record_s(made: Path) -> None:
    succeed("animate", "dog.png", "--replay", "a.json", "-o", "b.mp4")
    assert Path(record("b.json")["input"]["image"]).name == "dog.png"
    picture(seed=9).save("cat.png")
    succeed("animate", "dog.png", "--replay", "a.json", "-o", "b.mp4")
    assert "cat.png is no longer the image" in fail("animate", "--replay", "a.json")


def test_what_was_derived_from_a_changed_value_is_derived_anew(made: Path) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "m.mp4", "--motion", 0.9)
    succeed("animate", "--replay", "m.json", "--condition-fps", 8, "-o", "n.mp4")
    assert (record("n.json")["settings"]["motion"], record("n.json")["output"]["fs"]) == (None, 8)
    succeed("animate", "--replay", "a.json", "--sampler", "unipc", "-o", "u.mp4")
    assert record("u.json")["settings"]["eta"] == 0, "the eta of a record with ddim is not one of unipc"
    succeed("animate", "--replay", "a.json", "--num-frames", FRAMES + 2, "-o", "l.mp4")
    assert record("l.json")["settings"]["long_video"] == "freenoise"


def test_the_end_image_of_a_record_is_checked(made: Path) -> None:
    succeed("interpolate", "cat.png", "dog.png", "-p", PROMPT, "-o", "i.mp4")
    picture(seed=5).save("dog.png")
    message = fail("interpolate", "--replay", "i.json")
    assert "dog.png is no longer the end image that i.json was made with; put the old one back" in message


def test_a_record_that_was_moved_with_its_images_is_replayed(made: Path) -> None:
    (made / "there").mkdir()
    for name in ("a.mp4", "a.json", "cat.png"):
        shutil.move(made / name, made / "there" / name)
    succeed("animate", "--replay", "there/a.json")
    assert (made / "there/a_replay.mp4").read_bytes() == (made / "there/a.mp4").read_bytes()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("input", "seed"), "abc", "seed 'abc' is not possible; use a whole number from 0"),
        (("input", "seed"), None, "it has no seed"),
        (("input", "seed"), -1, "seed -1 is not possible"),
        (("input", "seed"), 1.5, "seed 1.5 is not possible"),
        (("input", "index"), "first", "index 'first' is not possible"),
        (("input", "keyframes"), [{"frame": "x", "image": "cat.png", "sha256": ""}], "keyframes"),
        (("settings", "mode"), "anmate", "mode 'anmate' is not known; did you mean 'animate'"),
        (("settings", "eta"), "much", "eta 'much' is not possible"),
        (("settings", "stepps"), 3, "setting 'stepps' is not known"),
        (("output", "drop_last_frame"), 5, "drop_last_frame 5 is not possible"),
        (("runtime", "threads"), 10**9, "threads 1000000000 is not possible"),
        (("runtime", "dtype"), "fp8", "dtype 'fp8' is not known"),
        (("model", "loras"), [{"file": 3}], "lora.json"),
    ],
)
def test_a_record_is_not_believed(
    here: Path, no_weights: None, place: tuple[str, str], value: Any, message: str
) -> None:
    stored = record(str(Path(__file__).parents[1] / "golden/frozen/records/animate.json"))
    text = json.dumps(stored).replace("{FOLDER}", str(here)).replace("models/tiny", "tiny")
    edited = json.loads(text)
    edited[place[0]][place[1]] = value
    Path("lora.json").write_text(json.dumps(edited))
    line = fail("animate", "--replay", "lora.json")
    assert message in line
    assert "lora.json is not the record of a video made here" in line


def test_a_guide_video_is_followed_recorded_and_looked_at_again(made: Path) -> None:
    for number, name in enumerate(("guide.mp4", "other.mp4")):
        write_video(rand(f"guide {number}", (3, FRAMES, SIDE, SIDE)).mul(0.3).clamp(-1, 1), Path(name), 8)
    words = ("animate", "cat.png", "-p", PROMPT, "--steps", 2)
    for name, more in (
        ("p.mp4", ()),
        ("g.mp4", ("--guide-video", "guide.mp4")),
        ("o.mp4", ("--guide-video", "other.mp4")),
    ):
        succeed(*words, *more, "-o", name)
    videos = [Path(name).read_bytes() for name in ("p.mp4", "g.mp4", "o.mp4")]
    assert len(set(videos)) == 3, "the guide changes nothing"
    succeed("animate", "--replay", "g.json", "-o", "again.mp4")
    assert Path("again.mp4").read_bytes() == videos[1], "a replay is another video"
    Path("guide.mp4").write_bytes(Path("other.mp4").read_bytes())
    assert "guide.mp4 is no longer the guide video that g.json" in fail("animate", "--replay", "g.json")
    assert f"has {FRAMES} frames, fewer than the" in fail(*words, "--guide-video", "guide.mp4", "--frames", FRAMES + 1)
    assert "loop does not read guide_video" in fail("loop", *words[1:], "--guide-video", "guide.mp4")
    frames = torch.zeros(3, FRAMES + 9, SIDE, SIDE)
    write_video(frames, Path("long.mp4"), 8)
    told = fail(*words, "--guide-video", "long.mp4", "--frames", FRAMES + 9, "--long", "fifo")
    assert "leave out guide_video, or long_video" in told


def test_extend_applies_or_refuses(made: Path) -> None:
    ways = {("--keyframe", "3=dog.png"): "keyframes", ("--keep", "best"): "keep", ("--prompt-at", "1=b"): "prompts_at"}
    for words, name in ways.items():
        assert f"extend does not read {name}" in fail("extend", "a.mp4", "-p", PROMPT, *words)
    succeed("extend", "a.mp4", "-p", PROMPT, "--frames", 2, "--overlap", 2, "--format", "gif")
    assert frames_of(made / "outputs/a_extended_123.gif") == FRAMES + 2
    result = run("extend", "--replay", "outputs/a_extended_123.json", "--frames", 3, "--seed", 5, "-o", "e.gif")
    said = " ".join(result.stderr.split())
    assert "changed against outputs/a_extended_123.json: num_frames 2 to 3; seed 123 to 5" in said, said
    assert frames_of(made / "e.gif") == FRAMES + 3
    assert record("e.json")["seed"] == 5


def test_an_extension_s_second_network_is_checked_by_its_content(made: Path, checkpoints: Path) -> None:
    shutil.copy(checkpoints / "tiny/model.safetensors", "late.safetensors")
    succeed("extend", "a.mp4", "-p", PROMPT, "--frames", 1, "--second-stage-unet", "late.safetensors", "-o", "e.mp4")
    words = ("extend", "--replay", "e.json", "--dry-run")
    assert "another" not in run(*words).stderr
    weights = load_file("late.safetensors")
    save_file({key: 0.9 * value for key, value in weights.items()}, "late.safetensors")
    assert "late.safetensors is another checkpoint than the one in e.json" in " ".join(run(*words).stderr.split())


def test_what_was_typed_holds_for_all_rows_that_have_none(made: Path) -> None:
    Path("l.csv").write_text("image\ncat.png\ndog.png\n")
    succeed("animate", "--prompts", "l.csv", "--prompt", "a ball falls", "-o", "out")
    assert {record(f"out/{name}.json")["input"]["prompt"] for name in ("cat", "dog")} == {"a ball falls"}


def test_a_list_has_key_frames_as_a_column_and_for_all_rows(made: Path) -> None:
    Path("k.csv").write_text("image,prompt,keyframes\ncat.png,left,2=dog.png\ndog.png,right,\n")
    succeed("animate", "--prompts", "k.csv", "-o", "out")
    assert [key["frame"] for key in record("out/cat.json")["input"]["keyframes"]] == [2]
    assert record("out/dog.json")["settings"]["mode"] == "animate"
    Path("all.csv").write_text("image,prompt\ncat.png,left\ndog.png,right\n")
    succeed("animate", "--prompts", "all.csv", "--keyframe", "3=dog.png", "-o", "all")
    for name in ("cat", "dog"):
        assert [key["frame"] for key in record(f"all/{name}.json")["input"]["keyframes"]] == [3]


def test_a_list_says_what_it_is_made_without(made: Path) -> None:
    Path("l.csv").write_text("image,prompt\ncat.png,left\ndog.png,\n")
    words = ("animate", "--prompts", "l.csv", "-o", "out", "--format", "gif")
    assert "1 of 2 videos have no prompt" in " ".join(run(*words).stderr.split())
    said = " ".join(run(*words, "--contact-sheet").stderr.split())
    assert "contact_sheet (--contact-sheet) has no effect on 2 finished videos, which have none" in said
    assert "loop is not the mode of a.json, which is animate; use animate" in fail(
        "loop", "--prompts", "l.csv", "--replay", "a.json"
    )


def test_encoders_that_are_not_missing_are_refused(made: Path, checkpoints: Path, no_weights: None) -> None:
    message = fail("animate", "cat.png", "-p", PROMPT, "--encoders", checkpoints / "tiny/model.safetensors")
    assert "has its own text and image encoders; leave out --encoders" in message
    assert "cat.png" in fail("animate", "cat.png", "-p", PROMPT, "--encoders", "cat.png")


def write_list() -> None:
    rows = [
        {"image": "cat.png", "end_image": "dog.png", "prompt": "left"},
        {"image": "dog.png", "end_image": "owl.png", "prompt": "right"},
    ]
    Path("l.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for number, name in enumerate(("cat", "dog", "owl")):
        picture(seed=number).save(f"{name}.png")


LIST = ("interpolate", "--prompts", "l.jsonl", "-o", "out", "--format", "gif")


def test_an_edited_end_image_remakes_its_video_and_no_other(here: Path) -> None:
    write_list()
    succeed(*LIST)
    before = {name: Path("out", f"{name}.gif").read_bytes() for name in ("cat", "dog")}
    assert f"2 of 2 videos are {SKIPPED}" in run(*LIST).stderr
    picture(seed=8).save("owl.png")
    assert f"1 of 2 videos are {SKIPPED}" in run(*LIST).stderr
    assert Path("out/cat.gif").read_bytes() == before["cat"]
    assert Path("out/dog.gif").read_bytes() != before["dog"]


def test_another_request_is_made_again_and_a_machine_s_options_are_not(here: Path) -> None:
    write_list()
    succeed(*LIST)
    others = {"--playback-fps": 5, "--dtype": "bf16", "--schedule": "file", "--guidance-rescale": 0.5, "--height": 40}
    for option, value in others.items():
        assert SKIPPED not in run(*LIST, option, value).stderr, f"{option} changes the video"
        assert f"2 of 2 videos are {SKIPPED}" in run(*LIST, option, value).stderr, f"{option}: made again and again"
    for same in (("--decode-chunk-size", 2), ("--low-memory",), ("--device", "cpu"), ("--vae-tile", 8)):
        assert f"2 of 2 videos are {SKIPPED}" in run(*LIST, "--height", 40, *same).stderr, f"{same[0]} changes no video"


def test_edited_masks_weights_and_models_remake(here: Path, tmp_path: Path, checkpoints: Path) -> None:
    shutil.copytree(checkpoints / "tiny", "model")
    weights = load_file("model/model.safetensors")
    save_file({key: 0.9 * value for key, value in weights.items()}, "late.safetensors")
    Path("l.csv").write_text("image,prompt\ncat.png,left\n")
    image = picture().convert("L").point(lambda level: 255 if level > 128 else 0)
    image.save("mask.png")
    words = ("animate", "--prompts", "l.csv", "-o", "out", "--checkpoint", "model", "--format", "gif")
    words = (*words, "--keep-mask", "mask.png", "--second-stage-unet", "late.safetensors")
    succeed(*words)
    assert SKIPPED in run(*words).stderr

    def edit_mask() -> None:
        image.point(lambda level: 255 - level).save("mask.png")

    def edit_weights() -> None:
        save_file({key: 0.8 * value for key, value in weights.items()}, "late.safetensors")

    def edit_model() -> None:
        tree = yaml.safe_load(Path("model/config.yaml").read_text())
        tree["model"]["params"]["base_scale"] = 0.6
        Path("model/config.yaml").write_text(yaml.safe_dump(tree))

    for edit in (edit_mask, edit_weights, edit_model):
        edit()
        assert SKIPPED not in run(*words).stderr, f"{edit.__name__}: the old video stayed"
        assert SKIPPED in run(*words).stderr, f"{edit.__name__}: made again and again"


def test_a_folder_that_is_moved_is_not_made_again(here: Path) -> None:
    write_list()
    succeed(*LIST)
    (here / "elsewhere").mkdir()
    for path in (*here.glob("*.png"), here / "l.jsonl", here / "out"):
        shutil.move(path, here / "elsewhere" / path.name)
    moved = ("interpolate", "--prompts", "elsewhere/l.jsonl", "-o", "elsewhere/out", "--format", "gif")
    assert f"2 of 2 videos are {SKIPPED}" in run(*moved).stderr


@pytest.mark.parametrize(
    ("base", "without_effect"),
    [
        (
            ("--guidance", 1, "--sampler", "unipc", "--dry-run"),
            {
                ("--negative-prompt", "bad"): "negative_prompt (--negative-prompt) has no effect",
                ("--guidance-rescale", 0.9): "guidance_rescale (--guidance-rescale) has no effect",
                ("--fix-final-step",): "fix_final_step (--fix-final-step) has no effect",
            },
        ),
        (
            (),
            {
                ("--low-pass-until", 0.3): "low_pass_until (--low-pass-until) has no effect: low_pass is 0",
                ("--perturbed-guidance", "stg:until=0.1"): "perturbed_guidance (--perturbed-guidance) has no effect: "
                "its scale is 0, or no step lies between",
                ("--second-stage-below", 0.3): "second_stage_below (--second-stage-below) has no effect",
                ("--image-token-policy", "nearest"): "image_token_policy (--image-token-policy) has no effect",
                ("--scale", "scalecrafter"): "scale (--scale) has no effect",
                ("--chunk-frames", 9): "chunk_frames (--chunk-frames) has no effect",
            },
        ),
        (
            (),
            {
                ("--low-pass", 0.5): "low_pass (--low-pass) has no effect: no step lies before low_pass_until",
                ("--fit", "pad"): "fit (--fit) has no effect: the image has the shape of the video",
            },
        ),
        ((), {("--frames", FRAMES, "--long", "fifo"): "long_video (--long-video) has no effect"}),
    ],
    ids=["without guidance", "methods", "late", "frames"],
)
def test_what_has_no_effect_is_said_once_and_makes_the_plain_video(
    made: Path, base: tuple[Any, ...], without_effect: dict[tuple[Any, ...], str]
) -> None:
    """Together: each is left out of the request by itself."""
    typed = [word for words in without_effect for word in words]
    result = run("animate", "cat.png", "-p", PROMPT, "-o", "b.mp4", "--seed", 3, *base, *typed)
    assert result.exit_code == 0, result.output
    for because in without_effect.values():
        assert " ".join(result.stderr.split()).count(because) == 1, result.stderr
    if not base:
        assert (made / "b.mp4").read_bytes() == (made / "a.mp4").read_bytes()
        assert record("b.json")["digest"] == record("a.json")["digest"]


@pytest.mark.parametrize(
    ("more", "neutral"),
    [
        (("--guidance", 3), {"free-init": "iterations=1", "free-u": "b1=1,b2=1,s1=1,s2=1"}),
        (("--guidance", 3), {"guidance-steps": "interval=1", "lora": "lora.safetensors:0"}),
        (("--guidance", 3, "--steps", 1), {"guidance-steps": "interval=2", "deep-cache": "interval=2,blocks=1"}),
        ((), {"low-pass": 0.5}),
        (("--timestep-spacing", "uniform_trailing"), {"truncated-start": 0.9999}),
    ],
)
def test_options_that_leave_a_method_without_effect_are_said_and_make_the_plain_video(
    made: Path, checkpoints: Path, more: tuple[Any, ...], neutral: dict[str, Any]
) -> None:
    write_small_lora(Path("lora.safetensors"), checkpoints / "tiny/model.safetensors")
    shutil.copy(checkpoints / "tiny/model.safetensors", "late.safetensors")
    plain = ("animate", "cat.png", "-p", PROMPT, *more, "--dry-run")
    result = run(*plain, *(word for name, value in neutral.items() for word in (f"--{name}", value)))
    for name in neutral:
        assert f"(--{name}) has no effect: " in " ".join(result.stderr.split()), result.stderr
    assert result.stdout == succeed(*plain), "the digest is another"


@pytest.mark.parametrize(
    "words",
    [
        ("--low-pass", 0.5, "--low-pass-until", 0.05),
        ("--second-stage-unet", "late.safetensors", "--second-stage-below", 0),
    ],
)
def test_what_is_switched_off_by_another_option_has_the_plain_digest(
    made: Path, checkpoints: Path, words: tuple[Any, ...]
) -> None:
    shutil.copy(checkpoints / "tiny/model.safetensors", "late.safetensors")
    plain = ("animate", "cat.png", "-p", PROMPT, "--dry-run")
    result = run(*plain, *words)
    assert f"({words[0]}) has no effect: " in " ".join(result.stderr.split()), result.stderr
    assert result.stdout == succeed(*plain), "the digest is another"


def test_a_bundle_that_changes_nothing_is_said(made: Path) -> None:
    plain = ("animate", "cat.png", "-p", PROMPT, "--dry-run")
    for words, name in (
        (("--fast", 1, "--steps", 1), "fast"),
        (("--effort", "draft", "--steps", 2, "--fix-final-step"), "effort"),
    ):
        said = " ".join(run(*plain, *words).stderr.split())
        assert f"{name} (--{name}) has no effect: " in said, said
        assert "has no effect" not in run(*plain, *words[:2]).stderr, f"{words[:2]} has one"
    Path("l.csv").write_text("image,prompt\ncat.png,left\ndog.png,right\n")
    listed = run("animate", "--prompts", "l.csv", "--fast", 1, "--steps", 1, "--dry-run")
    assert listed.stderr.count("fast (--fast) has no effect: ") == 1, listed.stderr
    longer = run("extend", "a.mp4", "-p", PROMPT, "--fast", 1, "--steps", 1, "--dry-run")
    assert "fast (--fast) has no effect: " in " ".join(longer.stderr.split()), longer.stderr


def test_a_schedule_that_the_weights_do_not_bring_is_said(made: Path) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "p.mp4")
    said = " ".join(run("animate", "cat.png", "-p", PROMPT, "--schedule", "file", "-o", "b.mp4").stderr.split())
    assert "schedule (--schedule) has no effect: " in said, said
    assert Path("b.mp4").read_bytes() == Path("p.mp4").read_bytes()


def test_late_weights_that_no_step_reaches_are_said(made: Path, checkpoints: Path) -> None:
    weights = load_file(checkpoints / "tiny/model.safetensors")
    save_file({key: 0.5 * value for key, value in weights.items()}, "late.safetensors")
    plain = ("animate", "cat.png", "-p", PROMPT, "--timestep-spacing", "uniform_trailing")
    succeed(*plain, "-o", "p.mp4")
    for below, same in ((0.3, True), (0.6, False)):
        late = ("--second-stage-unet", "late.safetensors", "--second-stage-below", below)
        said = " ".join(run(*plain, *late, "-o", "b.mp4", "--overwrite").stderr.split())
        assert ("second_stage_unet (--second-stage-unet) has no effect: no step lies below" in said) == same, said
        assert (Path("b.mp4").read_bytes() == Path("p.mp4").read_bytes()) == same


def test_more_steps_than_a_truncated_start_leaves_are_refused(made: Path, no_weights: None) -> None:
    words = ("animate", "cat.png", "-p", PROMPT, "--truncated-start", 0.01)
    assert "truncated_start 0.01 leaves 10 time steps" in fail(*words, "--steps", 11)
    succeed(*words, "--steps", 10, "--dry-run")


def test_what_rows_give_without_effect_is_said(made: Path) -> None:
    rows = "cat.png,left,bad,0.4,scalecrafter\ndog.png,right,,,\n"
    Path("l.csv").write_text(f"image,prompt,negative_prompt,low_pass_until,scale\n{rows}")
    for words in (("animate", "--prompts", "l.csv"), ("batch", "l.csv")):
        said = " ".join(run(*words, "--guidance", 1, "-o", "out", "--dry-run").stderr.split())
        for name in ("negative_prompt (--negative-prompt)", "low_pass_until (--low-pass-until)", "scale (--scale)"):
            assert said.count(f"{name} has no effect on 1 of 2 videos: ") == 1, said


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(made: Path, no_weights: None) -> None:
    said = succeed("animate", "cat.png", "-p", PROMPT, "-o", "b.mp4", "--seed", 3, "--dry-run")
    assert f"b.mp4: animate, {SIDE}x{SIDE}, {FRAMES} frames, 2 steps of ddim, fs 10, seed 3" in said
    assert record("a.json")["digest"][:12] in said
    assert "of memory needed on cpu" in said
    assert "expected time: about" in said
    assert not Path("b.mp4").exists()
    assert "2 new frames in 1 segment," in succeed("extend", "a.mp4", "-p", PROMPT, "--frames", 2, "--dry-run")


def test_a_prompt_that_is_not_read_to_its_end_is_said_and_recorded(here: Path) -> None:
    words = "a red ball moves to the right and a blue ball falls to the ground where a green square grows"
    result = run("animate", "cat.png", "-p", words, "-o", "a.mp4")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    tokens = record("a.json")["input"]["tokens"]
    assert tokens["read"] == 16, "the small text encoder reads 16 tokens"
    assert tokens["prompt"] > 16
    assert f"the prompt has {tokens['prompt']} tokens and the text encoder reads 16; not read: '" in said
    assert said.split("not read: '")[1].split("'")[0].endswith("where a green square grows")
    result = run("animate", "cat.png", "-p", "a (red:1.3) ball", "-o", "b.mp4")
    assert "weights such as (word:1.3) are read as plain text" in " ".join(result.stderr.split())
    assert "not read" not in result.stderr
    assert record("b.json")["input"]["tokens"]["prompt"] == record("b.json")["input"]["tokens"]["read"]

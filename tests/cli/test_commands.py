"""The command line from arguments to files, and every wrong input as one line and an exit code."""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import signal
import sys
import zlib
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from processes import start_command
from safetensors.torch import load_file, save_file
from small_model import FRAMES, SIDE, picture, small_yaml, write_small_model
from typer.testing import CliRunner

import lvdm.jobs.memory
import lvdm.pipeline
from lvdm.cli.app import app
from lvdm.jobs.plan import plan_videos
from lvdm.media import video_formats
from lvdm.media.video_reader import VideoReader

PROMPT = "a red ball moves to the right"


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def succeed(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output}"
    return result.stdout


def fail(*args: object, code: int = 2) -> str:
    """The one line that a refused command prints."""
    result = run(*args)
    assert result.exit_code == code, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, f"not one line: {result.stderr}"
    assert "Traceback" not in result.output
    return lines[0]


def frames_of(path: Path) -> int:
    with VideoReader(path) as reader:
        return len(reader)


def test_an_image_and_a_prompt_are_enough(here):
    succeed("animate", "cat.png", "--prompt", PROMPT)
    video = here / "outputs/cat_animate_123.mp4"
    record = json.loads(video.with_suffix(".json").read_text())
    assert frames_of(video) == FRAMES
    assert record["input"]["prompt"] == PROMPT
    assert record["settings"]["num_inference_steps"] == 2, "the card's default was not used"
    assert set(record["measured"]["seconds"]) == {"encode", "sample", "decode"}
    assert len(record["model"]["checkpoint_sha256"]) == 64
    assert record["measured"]["first_frame_psnr_db"] is not None
    assert not [p for p in here.rglob("*") if p.name.startswith(".")], "temporary files were left"


def test_replay_makes_the_same_bytes(here):
    succeed(
        "animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--seed", 7, "--motion", 0.3, "--height", 30, "--width", 34
    )
    succeed("animate", "--replay", "a.json")
    assert (here / "a_replay.mp4").read_bytes() == (here / "a.mp4").read_bytes()
    picture(seed=9).save("cat.png")
    assert "no longer the image" in fail("animate", "--replay", "a.json")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["12:30", "100%done", "a b;c|d", "new\nline", "--x", "%d_%d", "é" * 60])
def test_images_of_any_name_are_planned(name: str, here: Path) -> None:
    Path("cat.png").rename(f"{name}.png")
    (video,) = plan_videos("animate", image=Path(f"{name}.png"), prompt=PROMPT).videos
    assert video.output == Path(f"outputs/{name}_animate_123.mp4"), "the name that is derived is another one"


def test_bad_rows_are_refused_together_and_before_any_video(here):
    Path("list.csv").write_text(f"image,prompt,name\ncat.png,a,one\ncat.png,b,{'y' * 300}\n", encoding="utf-8")
    message = fail("animate", "--prompts", "list.csv")
    assert "line 3: request 'yyyy" in message, message
    assert "the name is too long" in message
    Path("list.csv").write_text("image,prompt,sampler\ncat.png,a,ddim\ncat.png,b,none\ncat.png,c,nil\n")
    message = fail("animate", "--prompts", "list.csv")
    assert "2 problems" in message
    assert "line 3" in message
    assert "line 4" in message
    for name in ("one", "two"):
        (here / "outputs/list").mkdir(parents=True, exist_ok=True)
        (here / f"outputs/list/{name}.mp4").write_bytes(b"of the user")
    Path("list.csv").write_text("image,prompt,name\ncat.png,a,zero\ncat.png,a,one\ncat.png,b,two\n")
    message = fail("animate", "--prompts", "list.csv")
    assert "one.mp4 is there and was not made here" in message
    assert "two.mp4 is there and was not made here" in message
    assert not list(here.rglob("zero*")), "a video was made before the others were refused"


def test_a_region_is_kept_and_replayed(here):
    mask = Image.new("L", (SIDE, SIDE), 255)
    mask.paste(0, (SIDE - 1, 0, SIDE, SIDE))
    mask.save("mask.png")
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.gif", "--keep-mask", "mask.png", "--keep-feather", 1)
    with Image.open("a.gif") as still:
        assert getattr(still, "n_frames", 1) == 1 or not _moves(still), "nothing should move"
    succeed("animate", "--replay", "a.json", "-o", "again.gif")
    assert (here / "again.gif").read_bytes() == (here / "a.gif").read_bytes()
    mask.rotate(90).save("mask.png")
    assert "no longer the mask" in fail("animate", "--replay", "a.json")
    mask.resize((SIDE, 2 * SIDE), Image.Resampling.NEAREST).save("mask.png")
    assert "make the mask as large" in fail("animate", "cat.png", "-p", PROMPT, "--keep-mask", "mask.png")


def _moves(animation: Image.Image) -> bool:
    frames = []
    for i in range(animation.n_frames):  # type: ignore[attr-defined]
        animation.seek(i)
        frames.append(animation.convert("RGB").crop((0, 0, SIDE // 2, SIDE)).tobytes())
    return len(set(frames)) > 1


def test_two_formats_of_one_name_have_a_record_each(here):
    Path("mine.json").write_text('{"title": "not a record"}')
    for name, seed in (("a.mp4", 1), ("a.gif", 2), ("mine.webp", 3)):
        succeed("animate", "cat.png", "-p", PROMPT, "-o", name, "--seed", seed)
    made = {name: json.loads(Path(name).read_text()) for name in ("a.json", "a.gif.json", "mine.webp.json")}
    assert [record["video"] for record in made.values()] == ["a.mp4", "a.gif", "mine.webp"]
    assert "title" in Path("mine.json").read_text(), "a file that is no record was replaced"
    succeed("animate", "--replay", "a.gif.json")
    succeed("animate", "--replay", "a.json")
    assert Path("a_replay.gif").read_bytes() == Path("a.gif").read_bytes()
    assert Path("a_replay.mp4").read_bytes() == Path("a.mp4").read_bytes()
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--seed", 4)
    assert json.loads(Path("a.json").read_text())["input"]["seed"] == 4, "made again, it has its record elsewhere"


def test_several_videos_of_one_image_can_each_be_replayed(here):
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.gif", "--num-videos", 2)
    assert (here / "a_01.gif").read_bytes() != (here / "a_02.gif").read_bytes()
    succeed("animate", "--replay", "a_02.json")
    assert (here / "a_02_replay.gif").read_bytes() == (here / "a_02.gif").read_bytes(), "a replay keeps the format"


def test_interpolation_and_loops(here):
    picture(seed=1).save("dog.png")
    succeed("interpolate", "cat.png", "dog.png", "-p", PROMPT, "-o", "between.mp4", "--frames", 5)
    assert frames_of(here / "between.mp4") == 5
    succeed("loop", "cat.png", "-p", PROMPT, "-o", "loop.mp4", "--contact-sheet")
    assert frames_of(here / "loop.mp4") == FRAMES - 1, "the last frame of a loop is its first"
    assert (here / "loop_sheet.png").is_file()


def test_too_little_memory_is_said_beforehand(here, monkeypatch):
    monkeypatch.setattr("lvdm.device.free_memory", lambda device: 1000)
    messages = run("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4").stderr
    assert " GB of memory needed on cpu (process" in messages
    assert "cpu has 0.0 MB free; use --low-memory (about" in messages
    assert (here / "a.mp4").is_file(), "an estimate should not stop anyone"


def test_memory_is_told_in_a_unit_that_shows_it():
    told = {0: "0.0 MB", 360_000: "0.4 MB", 99_900_000: "99.9 MB", 100_000_000: "0.1 GB", 15_100_000_000: "15.1 GB"}
    assert {count: lvdm.jobs.memory.in_bytes(count) for count in told} == told


@pytest.mark.parametrize("kind", ["webm", "webp", "apng"])
def test_formats(here, kind):
    succeed("animate", "cat.png", "-p", PROMPT, "--format", kind, "--playback-fps", 12)
    assert (here / f"outputs/cat_animate_123.{kind}").stat().st_size > 0


def test_single_frames(here):
    succeed("animate", "cat.png", "-p", PROMPT, "--format", "png")
    assert len(list((here / "outputs").glob("*.png"))) == FRAMES
    assert (here / "outputs/cat_animate_123.json").is_file()


def test_a_list_is_made_and_resumed(here):
    picture(48, 24, seed=2).save("tall.png")
    with open("list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["image", "prompt", "seed"], ["cat.png", "left", 3], ["tall.png", "right", ""]])
    succeed("animate", "--prompts", "list.csv", "-o", "made")
    first, second = here / "made/cat.mp4", here / "made/tall.mp4"
    before = first.stat().st_mtime_ns
    second.with_suffix(".json").unlink()
    assert "tall.mp4 is there and was not made here" in fail("animate", "--prompts", "list.csv", "-o", "made")
    result = run("animate", "--prompts", "list.csv", "-o", "made", "--overwrite")
    assert "1 of 2 videos are finished already" in result.stderr
    assert first.stat().st_mtime_ns == before, "a finished video was made again"
    assert second.with_suffix(".json").is_file()
    succeed("animate", "cat.png", "-p", "left", "--seed", 3, "-o", "alone.mp4")
    assert (here / "alone.mp4").read_bytes() == first.read_bytes(), "a listed video differs from the same one alone"


def test_what_is_finished_is_what_was_asked_for(here):
    Path("list.jsonl").write_text(json.dumps({"image": "cat.png", "prompt": "left"}))
    listed = ("animate", "--prompts", "list.jsonl", "-o", "made")
    succeed(*listed)
    video = here / "made/cat.mp4"

    def is_made(*options: object) -> bool:
        before = video.stat().st_mtime_ns if video.exists() else 0
        succeed(*listed, *options)
        return video.exists() and video.stat().st_mtime_ns != before

    assert not is_made(), "a finished video was made again"
    picture(seed=3).save("cat.png")
    assert is_made(), "another image of the same name was skipped"
    assert is_made("--negative-prompt", "blurred"), "another negative prompt was skipped"
    video.unlink()
    assert is_made("--negative-prompt", "blurred"), "a video that is gone was taken for finished, by its record"
    succeed(*listed, "--format", "png")
    assert (here / "made/cat_00000.png").is_file(), "a record of another format counted"
    assert "1 of 1 videos are finished" in run(*listed, "--format", "png").stderr, "made again for lack of a record"
    assert not is_made("--negative-prompt", "blurred"), "another format took the record away"


def test_info_convert_and_doctor(here, checkpoints):
    weights = checkpoints / "tiny/model.safetensors"
    assert "frames per second, 5 to 30" in succeed("info")
    succeed("convert", weights, "half.safetensors", "--dtype", "fp16", "--config", checkpoints / "tiny/config.yaml")
    assert "small" in (here / "half.safetensors").read_bytes()[:20000].decode(errors="ignore")
    told = " ".join(succeed("doctor").split())
    assert "precision" in told
    for line in ("attention auto: sdpa", "sdpa runs here", "pip install sageattention", "imageio runs here"):
        assert line in told, f"doctor does not say: {line}"
    assert "dtype 'fp8' is not known" in fail("convert", weights, "x.safetensors", "--dtype", "fp8")


IMAGES = {
    "missing.png": ("there is no such file", lambda path: None),
    "empty.png": ("is empty", lambda path: path.write_bytes(b"")),
    "text.png": ("not an image", lambda path: path.write_text("hello")),
    "dot.png": ("too small", lambda path: Image.new("RGB", (1, 1)).save(path)),
    "cut.png": ("damaged", lambda path: (picture(200, 200).save(path), path.write_bytes(path.read_bytes()[:2000]))),
    "bomb.png": ("", lambda path: path.write_bytes(_bomb())),
    "folder.png": ("is a folder", lambda path: path.mkdir()),
}


def _bomb() -> bytes:
    """A PNG whose header promises 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_cannot_be_used(here, no_weights, name):
    message, make = IMAGES[name]
    make(here / name)
    assert name in (line := fail("animate", name, "-p", PROMPT))
    assert message in line


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "I;16", "P", "L"])
def test_images_of_every_kind_are_animated(here, mode):
    image = Image.new("I;16", (SIDE, SIDE), 40_000) if mode == "I;16" else picture().convert(mode)
    image.save("odd.tif")
    succeed("animate", "odd.tif", "-p", PROMPT, "-o", "odd.mp4")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--prompt", ""), "the prompt is empty"),
        (("--prompt", "x" * 10_000), "10000 characters"),
        (("--height", 0), "height 0 is not possible"),
        (("--height", -8), "height -8 is not possible"),
        (("--width", 100_000), "width 100000 is not possible"),
        (("--frames", 0), "num_frames 0"),
        (("--steps", 0), "num_inference_steps 0"),
        (("--steps", 1001), "num_inference_steps 1001"),
        (("--motion", 2), "motion 2.0"),
        (("--motion", 0.5, "--condition-fps", 8), "fps and motion set the same thing"),
        (("--frame-stride", 3), "does not take frame_stride"),
        (("--sampler", "ddmi"), "did you mean 'ddim'"),
        (("--fit", "corp"), "did you mean 'crop'"),
        (("--image-token-policy", "exact16", "--frames", 9), "exactly 4 frames"),
        (("--device", "abacus"), "device 'abacus' cannot be used"),
        (("--dtype", "fp8"), "dtype 'fp8' is not known"),
        (("--schedule", "yaml"), "schedule 'yaml' is not known"),
        (("--preset", "1024"), "dynamicrafter_1024_v1"),
        (("--preset", "tinny"), "did you mean 'tiny'"),
        (("--checkpoint", "gone.ckpt"), "gone.ckpt is neither a file"),
        (("--output", "a.txt"), "a.txt"),
        (("--output", "cat.png/a.mp4"), "cat.png"),
        (("--output", "a.mp4", "--format", "gif"), "is not a gif file"),
        (("--output", "a.png", "--format", "png"), "is not a png file"),
        (("--output", "a_%d.png", "--format", "apng"), "is not a apng file"),
        (("--num-videos", 0), "num_videos"),
        (("--playback-fps", 0), "playback_fps 0.0 is not possible"),
        (("--playback-fps", "nan"), "playback_fps nan is not possible"),
        (("--device", "meta"), "device 'meta' cannot be used"),
        (("--output", ""), "is a folder, give the name of a file"),
        (("--output", "cat.png"), "would replace the image"),
        (("--output", f"{'n' * 300}.mp4"), "the name is too long"),
        (("--checkpoint", "cat.png"), "cat.png is no model: neither weights (.safetensors, "),
    ],
)
def test_wrong_options_are_refused_before_weights_are_loaded(here, no_weights, args, message):
    assert message in fail("animate", "cat.png", *(() if "--prompt" in args else ("-p", PROMPT)), *args)
    assert not [p for p in here.rglob("*") if p.suffix in (".mp4", ".json")], "something was written"


@pytest.mark.parametrize(
    ("output", "kind"), [("a/%03d.png", "png"), ("frames", "png"), ("a.png", "apng"), ("a.MP4", "mp4")]
)
def test_a_format_goes_with_every_name_that_means_it(here, no_weights, output, kind):
    assert run("animate", "cat.png", "-p", PROMPT, "--output", output, "--format", kind, "--dry-run").exit_code == 0


def test_lists_that_do_not_fit_together(here, no_weights):
    (here / "none").mkdir()
    assert "holds no images" in fail("animate", "--prompts", "none")
    picture().save(here / "none/a.png")
    (here / "none/test_prompts.txt").write_text("one\ntwo\n")
    assert "2 prompts for 1 image" in fail("animate", "--prompts", "none")
    assert "no such folder or file" in fail("animate", "--prompts", "gone.csv")
    assert "1. a.png | 'one'; 2. (no image) | 'two'" in fail("animate", "--prompts", "none"), "the lists run together"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"num_frames": 0}, "list.jsonl, line 1: num_frames 0"),
        ({"motion": 3}, "list.jsonl, line 1: motion 3"),
        ({"prompt": "x" * 10_000}, "the prompt has 10000 characters"),
        ({"image": "gone.png"}, "gone.png"),
    ],
)
def test_a_wrong_row_of_a_list_is_named(here, no_weights, row, message):
    Path("list.jsonl").write_text(json.dumps({"image": "cat.png", "prompt": "left"} | row))
    assert message in fail("animate", "--prompts", "list.jsonl")


def test_records_that_are_none(here, no_weights):
    Path("a.json").write_text("{}")
    assert "not the record of a video" in fail("animate", "--replay", "a.json")
    assert "there is no such file" in fail("animate", "--replay", "b.json")


class _Code:
    def __reduce__(self):
        return (print, ("code in a checkpoint was run",))


@pytest.mark.parametrize("kind", ["truncated", "text", "pickle with code", "other family"])
def test_checkpoints_that_cannot_be_used(here, checkpoints, kind, capsys):
    weights = Path("model.ckpt")
    if kind == "truncated":
        weights = Path("model.safetensors")
        weights.write_bytes((checkpoints / "tiny/model.safetensors").read_bytes()[:50_000])
    elif kind == "text":
        weights.write_text("not a checkpoint")
    elif kind == "pickle with code":
        weights.write_bytes(pickle.dumps({"state_dict": _Code()}, protocol=2))
    else:
        torch.save({"state_dict": {"unet.weight": torch.zeros(3)}}, weights)
    line = fail(
        "animate", "cat.png", "-p", PROMPT, "--checkpoint", weights, "--config", checkpoints / "tiny/config.yaml"
    )
    assert weights.name in line
    assert "code in a checkpoint was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "params", "timesteps"), "many", "timesteps"),
        (("model", "params", "tiemsteps"), 1000, "did you mean 'timesteps'"),
        (("model", "target"), "os.system", "not allowed"),
        (("sampling", "height"), "tall", "height"),
        (("sampling", "sampler"), "ddmi", "sampling: sampler 'ddmi' is not known; did you mean 'ddim'"),
        (("sampling", "timestep_spacing"), "trailing", "sampling: timestep_spacing 'trailing' is not known"),
        (("sampling", "image_token_policy"), "nearst", "did you mean 'nearest'"),
        (("sampling", "eta"), 1.5, "sampling: eta 1.5 is not possible"),
        (("sampling", "num_inference_steps"), 2000, "sampling: num_inference_steps 2000"),
    ],
)
def test_configurations_that_cannot_be_used(here, checkpoints, no_weights, path, value, message):
    tree = small_yaml()
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    Path("config.yaml").write_text(yaml.safe_dump(tree))
    weights = checkpoints / "tiny/model.safetensors"
    line = fail("animate", "cat.png", "-p", PROMPT, "--config", "config.yaml", "--checkpoint", weights)
    assert "config.yaml" in line, f"the error does not name the file: {line}"
    assert message in line


def test_two_images_into_an_image_to_video_checkpoint(here, no_weights, tmp_path):
    write_small_model(tmp_path / "i2v", capabilities=("i2v",))
    line = fail("interpolate", "cat.png", "cat.png", "-p", PROMPT, "--checkpoint", tmp_path / "i2v")
    assert "animates one image and cannot interpolate" in line


def test_interrupting_leaves_no_file(here, monkeypatch):
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lvdm.pipeline.DynamiCrafterPipeline, "generate", interrupt)
    assert "interrupted" in fail("animate", "cat.png", "-p", PROMPT, "-o", "made/a.mp4", code=130)
    assert not [p for p in here.rglob("*") if p.is_file() and p.name != "cat.png"], "a file was left"


@pytest.fixture
def heard_interrupts():
    """SIGINT raises KeyboardInterrupt also where the tests were started in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize("moment", ["encoded", "moved", "recorded"])
def test_interrupting_while_writing_leaves_no_half_file(here, monkeypatch, moment):
    replace = os.replace

    def interrupt(source: Path, destination: Path) -> None:
        if Path(destination).suffix == {"moved": ".mp4", "recorded": ".json"}[moment]:
            signal.raise_signal(signal.SIGINT)
        replace(source, destination)

    if moment == "encoded":
        monkeypatch.setattr(video_formats, "VideoReader", lambda *args: signal.raise_signal(signal.SIGINT))
    else:
        monkeypatch.setattr("os.replace", interrupt)
    assert "interrupted" in fail("animate", "cat.png", "-p", PROMPT, "-o", "made/a.mp4", code=130)
    left = [path.name for path in (here / "made").iterdir()]
    assert left == [], "a file that is not whole, or a video without its record, was left"


def test_a_list_that_was_killed_goes_on_where_it_was(here):
    for number in (1, 2, 3):
        picture(seed=number).save(f"{number}.png")
    lines = [{"image": f"{number}.png", "prompt": "left"} for number in (1, 2, 3)]
    Path("list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    succeed("animate", "--prompts", "list.jsonl", "-o", "whole")
    listed = ("animate", "--prompts", "list.jsonl", "-o", "made")
    killed = start_command(listed, here / "log.txt", killed_at="2.mp4")
    killed.join()
    assert killed.exitcode == 9, (here / "log.txt").read_text()
    assert [path.name for path in sorted(Path("made").glob("[!.]*"))] == ["1.json", "1.mp4"]
    first = Path("made/1.mp4").stat().st_mtime_ns
    assert "1 of 3 videos are finished already" in run(*listed).stderr
    assert Path("made/1.mp4").stat().st_mtime_ns == first, "a finished video was made again"
    for number in (1, 2, 3):
        same = Path(f"made/{number}.mp4").read_bytes() == Path(f"whole/{number}.mp4").read_bytes()
        assert same, f"video {number} of the broken run differs from that of the whole one"


def test_a_full_disk_is_one_line(here, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "the disk is full" in fail("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4")
    assert not [p for p in here.rglob("*") if p.suffix == ".mp4"], "a file was left"


@pytest.mark.parametrize(("bad", "said"), [("nan", "out.2.bias holds NaN"), ("inf", "the weights are damaged")])
def test_weights_that_give_no_numbers_are_found_before_decoding(here, checkpoints, bad, said):
    tensors = load_file(checkpoints / "tiny/model.safetensors")
    tensors["model.diffusion_model.out.2.bias"].fill_(float(bad))
    save_file(tensors, "broken.safetensors")
    files = ("--checkpoint", "broken.safetensors", "--config", checkpoints / "tiny/config.yaml")
    assert said in fail("animate", "cat.png", "-p", PROMPT, *files)
    assert not list(here.rglob("*.mp4"))


def test_a_far_fs_is_warned_about_once(here):
    messages = run("animate", "cat.png", "-p", PROMPT, "--condition-fps", 60).stderr
    assert messages.count("fs 60 is outside what small was trained on") == 1, messages


def test_exactly_one_source_of_work(here, no_weights):
    for args in ((), ("cat.png", "--prompts", "list.csv")):
        assert "give one of" in fail("animate", *args)
    assert "give two images" in fail("interpolate", "cat.png", "-p", PROMPT)


def test_lists_are_checked_whole_before_weights_are_loaded(here, no_weights):
    lines = [{"image": "cat.png", "prompt": "left"}, {"image": "cut.png", "prompt": "right"}]
    Path("list.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    Path("cut.png").write_bytes(Path("cat.png").read_bytes()[:60])
    assert "cut.png" in fail("animate", "--prompts", "list.jsonl")
    Path("list.jsonl").write_text(json.dumps({"image": "cat.png", "prompt": "x" * 10_000}))
    assert "10000 characters" in fail("animate", "--prompts", "list.jsonl")

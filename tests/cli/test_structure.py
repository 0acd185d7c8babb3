"""`dynamicrafter structure` from depth to files, and what is refused before weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_model import FRAMES, small_structure_yaml, write_model, write_small_model
from typer.testing import CliRunner

from lvdm.batch.planning import plan_batch
from lvdm.cli.app import app
from lvdm.config import parse_dataclass
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import write_video
from lvdm.model_files import find_preset
from lvdm.modules.encoders.depth import DepthEstimatorConfig
from lvdm.pipeline import structure
from lvdm.request.layers import Values

PROMPT = "a red ball rolls"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    write_small_model(folder / "tiny")
    write_model(folder / "makeyourvideo_256_v1", small_structure_yaml())
    write_model(folder / "tiny-structure", small_structure_yaml(estimator=False))
    return folder


def moving_depth(count: int = FRAMES, height: int = 24, width: int = 40) -> np.ndarray:
    """A near square that goes to the right over a ramp, (t, H, W)."""
    depth = np.tile(np.linspace(0, 1, width, dtype=np.float32), (count, height, 1))
    for number in range(count):
        depth[number, 6:18, 4 + 5 * number : 16 + 5 * number] = 4
    return depth


def as_video(depth: np.ndarray, path: Path) -> Path:
    grey = torch.from_numpy(depth / depth.max() * 2 - 1)
    write_video(grey[None].expand(3, -1, -1, -1), path, 8)
    return path


def run(*args: object):
    return CliRunner().invoke(app, ["structure", "--preset", "myv", *(str(arg) for arg in args)])


def succeed(*args: object) -> str:
    result = run(*args)
    assert result.exit_code == 0, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return result.stdout


def fail(*args: object) -> str:
    """The one line that a refused command prints."""
    result = run(*args)
    assert result.exit_code == 2, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, f"not one line: {result.stderr}"
    return lines[0]


def test_depth_is_enough_and_what_was_fed_lies_beside_the_video(here):
    np.savez(here / "depth.npz", depth=moving_depth())
    succeed("--depth", "depth.npz", "-p", PROMPT, "-o", "out/clip.mp4", "--contact-sheet")
    with VideoReader(here / "out/clip.mp4") as reader:
        assert (reader.num_frames, reader.width > reader.height) == (FRAMES, True), "the shape of the depth"
        height, width = reader.height, reader.width
    fed = np.load(here / "out/clip_depth.npz")["depth"]
    assert fed.shape[0] == FRAMES
    assert (fed.min(), fed.max()) == (-1, pytest.approx(1, abs=1e-5)), "over the whole clip"
    with Image.open(here / "out/clip_sheet.png") as sheet:
        assert sheet.height > 2 * height, "depth stands above each frame"
        assert sheet.width > FRAMES * width
    record = json.loads((here / "out/clip.json").read_text())
    assert record["settings"]["mode"] == "structure"
    assert record["input"]["depth"].endswith("depth.npz")
    succeed("--replay", "out/clip.json", "-o", "again.mp4")
    assert (here / "again.mp4").read_bytes() == (here / "out/clip.mp4").read_bytes()
    np.savez(here / "depth.npz", depth=moving_depth()[::-1])
    assert "depth.npz is no longer the depth that" in fail("--replay", "out/clip.json", "-o", "other.mp4")


def test_other_depth_is_another_video(here):
    np.savez(here / "a.npz", depth=moving_depth())
    np.savez(here / "b.npz", depth=moving_depth()[:, :, ::-1])
    common = ("-p", PROMPT, "--steps", 1, "--height", 32, "--width", 32)
    made = {}
    for name, options in (("a", ()), ("b", ()), ("a", ("--depth-range", "frame"))):
        succeed("--depth", f"{name}.npz", *common, *options, "-o", f"{name}{len(made)}.mp4")
        made[f"{name}{len(made)}"] = np.load(here / f"{name}{len(made)}_depth.npz")["depth"]
    a, b, per_frame = made.values()
    assert np.abs(a - b).max() > 0.5
    assert all(frame.max() == pytest.approx(1, abs=1e-5) for frame in per_frame), "each frame has the whole range"
    assert (here / "a0.mp4").read_bytes() != (here / "b1.mp4").read_bytes()


def test_depth_as_video_and_as_folder_and_from_a_driving_video(here):
    depth = moving_depth(2 * FRAMES)
    as_video(depth, here / "depth.mp4")
    (here / "images").mkdir()
    for number, frame in enumerate(depth[::2]):
        Image.fromarray((frame * 10000).astype(np.uint16)).save(here / f"images/{number:03d}.png")
    common = ("-p", PROMPT, "--steps", 1, "--height", 32, "--width", 32)
    succeed("--depth", "depth.mp4", "--depth-stride", 2, *common, "-o", "a.mp4")
    succeed("--depth", "images", *common, "-o", "b.mp4")
    a, b = (np.load(here / f"{name}_depth.npz")["depth"] for name in "ab")
    assert np.abs(a - b).max() < 0.2, "the same depth, but for compression"
    succeed("--driving-video", "depth.mp4", *common, "-o", "c.mp4")
    assert np.load(here / "c_depth.npz")["depth"].shape == a.shape
    for record, *other in (("c.json", "--depth", "images"), ("a.json", "--driving-video", "depth.mp4")):
        said = run("--replay", record, *other, "--dry-run")
        assert said.exit_code == 0, f"{other} takes the place of what {record} has: {said.stderr}"


@pytest.mark.parametrize(
    ("name", "depth", "expected"),
    [
        ("longer", moving_depth(FRAMES + 2), "is the depth of 6 frames and the video has 4; use --num-frames 6"),
        ("single", moving_depth(1), "is the depth of one frame; give that of each of the 4 frames"),
        ("nan", np.where(moving_depth() == 4, np.nan, 1.0), "frame 0 holds values that are no numbers"),
        ("constant", np.full((FRAMES, 8, 8), 7.3), "the depth is 7.3 everywhere, which shows no structure"),
        ("flat_array", np.zeros((8, 8)), "`depth` should be numbers (frames, height, width)"),
        ("text", np.full((FRAMES, 2, 2), "near"), "`depth` should be numbers (frames, height, width)"),
    ],
)
def test_depth_that_cannot_be_used_is_named(here, name, depth, expected):
    np.savez(here / f"{name}.npz", depth=depth)
    said = fail("--depth", f"{name}.npz", "-p", PROMPT)
    assert f"{name}.npz: " in said
    assert expected in said
    assert not list(here.glob("outputs/*")), "nothing was made"


def test_the_usual_model_follows_depth_and_estimates_none(here, no_weights):
    """Said before weights are loaded, and in a list by its rows."""
    as_video(moving_depth(), here / "ball.mp4")
    np.savez(here / "depth.npz", depth=moving_depth())
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(app, ["structure", "-p", PROMPT, "--driving-video", "ball.mp4", *more])
        assert result.exit_code == 2, result.output
        said = " ".join(result.stderr.split())
        assert "tiny-structure/model.safetensors has no depth estimator; give depth (--depth), or " in said
    (here / "list.csv").write_text(f"prompt,depth\n{PROMPT},depth.npz\n")
    (plan,) = plan_batch(here / "list.csv", output=here / "out").plans
    assert plan.model.files == find_preset("tiny-structure"), "the row has depth, so its model reads depth"


def test_an_estimator_of_a_record_goes_with_its_driving_video():
    of_video = Values().under({"driving_video": Path("a.mp4"), "depth_model": Path("midas.pt")}, "record")
    assert of_video.under({"depth": Path("b.npz")}, "typed").values == {"depth": Path("b.npz")}
    assert set(of_video.under({"driving_video": Path("b.mp4")}, "typed").values) == {"driving_video", "depth_model"}


def test_what_does_not_go_together_is_named(here):
    np.savez(here / "depth.npz", depth=moving_depth())
    np.savez(here / "other.npz", distance=moving_depth())
    (here / "empty").mkdir()
    as_video(moving_depth(FRAMES - 1), here / "short.mp4")
    for options, expected in (
        ((), "structure follows the depth of every frame: give it"),
        (("--depth", "depth.npz", "--driving-video", "short.mp4"), "give depth or driving_video, one of them"),
        (("--depth", "missing.npz"), "missing.npz: there is no such file or folder"),
        (("--depth", "other.npz"), "holds no array `depth` but distance"),
        (("--depth", "empty"), "holds no images"),
        (("--driving-video", "short.mp4"), "has 3 frames, fewer than the 4 of the video; use --num-frames 3"),
        (("--depth", "depth.npz", "--long", "freenoise"), "structure does not read long_video"),
        (("--depth", "depth.npz", "--camera", "pan_left"), "structure does not read camera"),
        (("--depth", "depth.npz", "--depth-model", "x.pt"), "leave it out, or depth (--depth)"),
        (("--depth", "depth.npz", "--prompts", "list.csv"), "give one of: depth (--depth), --prompts or --replay"),
    ):
        assert expected in fail(*options, "-p", PROMPT), options


def test_lists_name_the_depth_of_each_video(here):
    (here / "list/images").mkdir(parents=True)
    np.savez(here / "list/near.npz", depth=moving_depth())
    for number, frame in enumerate(moving_depth()[:, :, ::-1]):
        Image.fromarray((frame * 10000).astype(np.uint16)).save(here / f"list/images/{number:03d}.png")
    table = here / "list/list.csv"
    rows = f"prompt,depth,driving_video,name\n{PROMPT},near.npz,,near\n{PROMPT},images,,folder\n"
    table.write_text(rows)
    common = ("--prompts", table, "--steps", 1, "--height", 32, "--width", 32)
    succeed(*common, "-o", "out")
    near, folder = (np.load(here / f"out/{name}_depth.npz")["depth"] for name in ("near", "folder"))
    assert np.abs(near - folder[:, :, ::-1]).mean() < 0.1 < np.abs(near - folder).mean(), "each row has its own depth"
    plans = plan_batch(table, output=here / "out", preset="myv").plans
    assert [plan.videos[0].request.settings.mode for plan in plans] == ["structure"], "by the column"
    table.write_text(f"prompt,depth,driving_video\n{PROMPT},,\n{PROMPT},near.npz,near.npz\n{PROMPT},missing,\n")
    said = run(*common, "-o", "other").stderr
    for line in (2, 3):
        assert f"list.csv, line {line}: structure needs one of the columns 'depth' and 'driving_video'" in said
    table.write_text(f"prompt,depth\n{PROMPT},missing\n")
    assert "the file for depth" in fail(*common, "-o", "other")
    assert "takes a .csv or .jsonl table" in fail("--prompts", here / "list")


def test_an_estimator_of_ones_own_for_a_checkpoint_without_one(here, checkpoints, monkeypatch):
    """Its own file holds MiDaS's keys, and gives the depth that the same estimator in a checkpoint gives."""
    as_video(moving_depth(), here / "drive.mp4")
    whole = load_file(checkpoints / "makeyourvideo_256_v1/model.safetensors")
    prefix = "depth_stage_model.model."
    own = {key.removeprefix(prefix): value.clone() for key, value in whole.items() if key.startswith(prefix)}
    torch.save(own, here / "dpt.pt")
    write_model(here / "without", small_structure_yaml(estimator=False))
    common = ("-p", PROMPT, "--steps", 1, "--height", 32, "--width", 32, "--driving-video", "drive.mp4")
    succeed(*common, "-o", "inside.mp4")

    def other(*args: object):
        return CliRunner().invoke(app, ["structure", "--checkpoint", "without", *(str(arg) for arg in args)])

    network = small_structure_yaml()["model"]["params"]["depth_stage_config"]["params"]["network"]
    config = parse_dataclass(DepthEstimatorConfig, {"network": network}, "network")
    monkeypatch.setattr(structure, "DepthEstimatorConfig", lambda: config)  # the real one has 123 million weights
    result = other(*common, "--depth-model", "dpt.pt", "-o", "own.mp4")
    assert result.exit_code == 0, result.output
    inside, beside = (np.load(here / f"{name}_depth.npz")["depth"] for name in ("inside", "own"))
    np.testing.assert_allclose(beside, inside, atol=1e-5)
    record = json.loads((here / "own.json").read_text())
    assert record["input"]["depth_model"].endswith("dpt.pt")
    assert "has no depth estimator; give depth" in other(*common, "-o", "none.mp4").stderr
    torch.save({"other": torch.zeros(1)}, here / "other.pt")
    assert "holds no depth estimator" in other(*common, "--depth-model", "other.pt", "-o", "none.mp4").stderr


def test_other_models_and_modes_say_what_they_are_for(here):
    np.savez(here / "depth.npz", depth=moving_depth())
    assert "reads no depth and cannot follow structure" in fail(
        "--depth", "depth.npz", "-p", PROMPT, "--preset", "tiny"
    )
    result = CliRunner().invoke(app, ["animate", "cat.png", "-p", PROMPT, "--preset", "myv"])
    assert "needs depth and does not animate; use structure" in result.stderr
    result = CliRunner().invoke(app, ["animate", "cat.png", "-p", PROMPT, "--depth", "depth.npz"])
    assert "animate does not read depth (--depth)" in result.stderr

"""Plug-ins from the command line into the record and back, and what makes no sense before weights are read."""

from __future__ import annotations

import json

import pytest
import torch
from cached_clips import write_training
from small_model import SIDE
from typer.testing import CliRunner

import lvdm.pipeline.pipeline
from lvdm.cli.app import app
from lvdm.plugins.latent_statistics import read_statistics, write_statistics
from lvdm.plugins.truncated_start import LatentStatistics

PROMPT = "a red ball moves to the right"


@pytest.fixture
def here(here):
    write_statistics("stats.safetensors", LatentStatistics(torch.ones(4, 4, 8, 8), 0.5), 3, "a test")
    return here


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.parametrize(
    "options",
    [
        ("--anchor", "exact", "--color-lock", 0.5, "--free-u", "b1=1.2", "--camera", "zoom_in:amount=0.4"),
        (
            "--truncated-start",
            0.9,
            "--start-statistics",
            "stats.safetensors",
            "--low-pass",
            0.5,
            "--low-pass-until",
            0.5,
        ),
        ("--height", 2 * SIDE, "--width", 2 * SIDE, "--free-init", "iterations=2"),
        ("--perturbed-guidance", "stg:scale=0.5,blocks=output", "--scale", "scalecrafter:factor=2,until=1"),
        ("--height", 2 * SIDE, "--width", 2 * SIDE, "--scale", "freescale:level=0.6"),
    ],
    ids=["fidelity", "motion", "larger", "scale", "freescale"],
)
def test_videos_of_plug_ins_are_made_again_to_the_byte(here, options) -> None:
    made = run("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", *options)
    assert made.exit_code == 0, made.output
    settings = json.loads((here / "a.json").read_text())["settings"]
    given = dict(zip(options[::2], options[1::2], strict=True))
    for name, value in given.items():
        value = str(here / value) if name == "--start-statistics" else value
        assert settings[name.removeprefix("--").replace("-", "_")] == value, f"{name} is not in the record"
    again = run("animate", "--replay", "a.json")
    assert again.exit_code == 0, again.output
    assert (here / "a_replay.mp4").read_bytes() == (here / "a.mp4").read_bytes()


def test_a_record_tells_what_auto_came_to_and_old_records_are_off(here) -> None:
    assert run("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--height", 64, "--width", 64).exit_code == 0
    record = json.loads((here / "a.json").read_text())
    assert record["settings"]["scale"] == "auto"
    assert record["output"]["scale"].startswith("scalecrafter:factor=2.0")
    del record["settings"]["scale"], record["output"]["scale"]
    (here / "old.json").write_text(json.dumps(record))
    assert run("animate", "--replay", "old.json").exit_code == 0
    assert json.loads((here / "old_replay.json").read_text())["output"]["scale"] == "off"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--camera", "spin"), "camera 'spin' is not known"),
        (("--camera", "hold", "--free-init", "iterations=2"), "give only one"),
        (("--truncated-start", 0.9, "--start-statistics", "cat.png"), "holds no latent statistics"),
        (("--truncated-start", 0.9, "--start-statistics", "gone.safetensors"), "there is no such file"),
        (("--scale", "scalecrafter:factor=100"), "factor 100 is not possible"),
        (("--anchor", "very"), "anchor 'very' is not known"),
        (("--perturbed-guidance", "stg:blocks=output.9"), "no block 'output.9'"),
    ],
)
def test_what_makes_no_sense_is_said_before_weights_are_read(here, monkeypatch, options, message: str) -> None:
    def load(*args: object) -> None:
        raise AssertionError("weights were loaded before the input was checked")

    monkeypatch.setattr(lvdm.pipeline.pipeline, "load_model", load)
    result = run("animate", "cat.png", "-p", PROMPT, *options)
    assert result.exit_code == 2
    assert message in result.output


def test_statistics_that_changed_are_noticed(here, caplog) -> None:
    options = ("--truncated-start", 0.9, "--start-statistics", "stats.safetensors")
    assert run("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", *options).exit_code == 0
    write_statistics("stats.safetensors", LatentStatistics(torch.zeros(4, 4, 8, 8), 0.5), 3, "a test")
    result = run("animate", "--replay", "a.json")
    assert result.exit_code == 2
    assert "no longer the statistics" in result.output


def test_statistics_are_taken_of_the_clips_of_a_training(tmp_path) -> None:
    config = write_training(tmp_path / "data")
    result = run("stats", "analytic-init", tmp_path / "s.safetensors", "--config", config, "--clips", 4)
    assert result.exit_code == 0, result.output
    statistics = read_statistics(tmp_path / "s.safetensors")
    assert statistics.mean.shape == (4, 4, 8, 8)
    assert statistics.variance > 0
    again = run("stats", "analytic-init", tmp_path / "t.safetensors", "--config", config, "--clips", 4)
    assert again.exit_code == 0
    assert torch.equal(read_statistics(tmp_path / "t.safetensors").mean, statistics.mean), "not repeatable"
    assert run("stats", "analytic-init", tmp_path / "s.safetensors", "--config", config, "--clips", 0).exit_code == 2


def test_statistics_name_the_weights_that_are_missing_and_take_others(tmp_path) -> None:
    config = write_training(tmp_path / "data")
    arguments = ("stats", "analytic-init", tmp_path / "s.safetensors", "--config", config, "--clips", 2)
    missing = f"model.pretrained_checkpoint=[{tmp_path}/gone.safetensors]"
    result = run(*arguments, missing)
    assert result.exit_code == 2
    assert "gone.safetensors, which the autoencoder is to come from, does not exist" in result.output
    (weights,) = tmp_path.rglob("model.safetensors")
    result = run(*arguments, missing, "--checkpoint", weights)
    assert result.exit_code == 0, result.output
    assert read_statistics(tmp_path / "s.safetensors").variance > 0


def test_levels_of_motion_are_measured_once_and_printed_as_a_card_has_them(here) -> None:
    rows = [f'{{"image": "cat.png", "prompt": "{PROMPT} {number}", "name": "{number}"}}' for number in range(3)]
    (here / "list.jsonl").write_text("\n".join(rows))
    asked = ("stats", "motion", "list.jsonl", "levels.json", "--steps", 2)
    result = run(*asked)
    assert result.exit_code == 0, result.output
    found = json.loads((here / "levels.json").read_text())
    assert all(len(level["motion"]) == len(level["first_frame_psnr"]) == 3 for level in found["levels"])
    assert "motion_levels:" in result.output
    settings = {name: found["levels"][0][name] for name in ("fs", "truncated_start", "low_pass")}
    assert found["motion_levels"][0] == settings | {"at": 0.0}
    stopped = found | {"levels": found["levels"][:-1]}
    (here / "levels.json").write_text(json.dumps(stopped))
    assert run(*asked).exit_code == 0
    assert json.loads((here / "levels.json").read_text()) == found, "going on gives other figures"
    other = run(*asked[:-1], 3)
    assert other.exit_code == 2
    assert "other steps" in other.output
    for option in ("--steps", "--batch-size", "--count"):
        assert "give at least 1" in run(*asked, option, -1).output

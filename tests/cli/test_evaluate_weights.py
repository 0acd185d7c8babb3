"""`dynamicrafter evaluate` with weights that the user has, and of interpolations, from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_trunks import trunk_weights
from torchvision.models.optical_flow import raft_small
from typer.testing import CliRunner

from lvdm.cli.app import app

FRAMES, SIDE, CLIPS = 4, 40, 3
SIZES = [f"frames={FRAMES}", "stride=1", f"height={SIDE}", f"width={SIDE}", f"clips={CLIPS}", "resamples=20"]
SMALL = [part for setting in SIZES for part in ("--set", setting)]


def run(*args: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["evaluate", *(str(arg) for arg in args)])
    assert result.exit_code == code, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return result


def write_clips(folder: Path, noise: float, given: int | None = None) -> None:
    """Clips of random frames with noise in those between; the first and the last one are kept, or of one grey."""
    folder.mkdir()
    for number in range(CLIPS):
        values = np.random.default_rng(number)
        frames = values.integers(60, 200, (FRAMES, SIDE, SIDE, 3))
        frames[1:-1] += np.rint(noise * values.standard_normal(frames[1:-1].shape)).astype(np.int64)
        if given is not None:
            frames[[0, -1]] = given
        np.save(folder / f"clip{number}.npy", frames.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder / "real", 0)
    write_clips(folder / "noise", 20)
    write_clips(folder / "spoiled", 20, given=0)
    torch.save(trunk_weights("alex"), folder / "alexnet.pth")
    return folder


def scored(clips: Path, fake: str, output: Path, *options: object) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The rows of results.json by metric, of the generated clips, and those of per_video.csv."""
    inputs = ("--fake", clips / fake, "--real", clips / "real", "--fps", 8, "--device", "cpu", *SMALL)
    run("score", *inputs, "--cache", output / "cache", "--extract", "--output", output, *options)
    metrics = json.loads((output / "results.json").read_text())["metrics"]
    with open(output / "per_video.csv", encoding="utf-8", newline="") as file:
        videos = [row for row in csv.DictReader(file) if row["set"] == "fake"]
    return {row["name"]: row for row in metrics if row["set"] == "fake"}, videos


def test_interpolations_are_scored_without_the_given_frames(clips: Path, tmp_path: Path) -> None:
    lpips = ("--weights", f"lpips-alex={clips / 'alexnet.pth'}")
    options = ("--protocol", "interpolation-v1", "--set", "metrics=[reconstruction]", *lpips)
    kept, videos = scored(clips, "noise", tmp_path / "kept", *options)
    assert set(kept) == {"PSNR[dB]", "SSIM", "LPIPS[alex]"}
    assert kept["PSNR[dB]"]["n"] == CLIPS
    assert 20 < kept["PSNR[dB]"]["value"] < 24, "noise of 20 grey levels is 22.1 dB"
    assert kept["LPIPS[alex]"]["higher_is_better"] is False
    spoiled, _ = scored(clips, "spoiled", tmp_path / "spoiled", *options)
    assert {name: row["value"] for name, row in spoiled.items()} == {name: row["value"] for name, row in kept.items()}
    same, _ = scored(clips, "real", tmp_path / "same", *options)
    assert [same[name]["value"] for name in ("PSNR[dB]", "LPIPS[alex]")] == [100, 0]
    assert all(float(row["LPIPS[alex]"]) > 0 for row in videos)


def test_the_interpolation_protocol_has_motion_too(clips: Path, tmp_path: Path) -> None:
    found, _ = scored(clips, "noise", tmp_path, "--protocol", "interpolation-v1")
    assert {"PSNR[dB]", "SSIM", "motion[flow-v1, diagonals/s]"} <= set(found)


def test_motion_by_raft(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvdm.evaluation.raft.UPDATES", 1)
    torch.manual_seed(0)
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    options = (
        "--set",
        "extractors=[]",
        "--set",
        "metrics=[motion]",
        "--weights",
        f"raft-small={tmp_path / 'raft.pth'}",
    )
    found, _ = scored(clips, "noise", tmp_path, *options, "--workers", 1)
    assert "motion[raft-small, diagonals/s]" in found
    assert not any("flow-v1" in name for name in found)
    notes = json.loads((tmp_path / "results.json").read_text())["extractors"]
    assert [(note["id"], len(note["weights_sha256"])) for note in notes] == [("measures-v2-raft-small", 64)]


def test_weights_that_cannot_be_used_are_one_line(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvdm.evaluation.dreamsim_distance.installed_version", lambda _: None)
    inputs = ("extract", "--fake", clips / "noise", "--fps", 8, "--cache", tmp_path, *SMALL)
    for options, message in (
        (
            ("--weights", f"dreamsim={tmp_path}"),
            "PIC[DreamSim] needs the package dreamsim 0.2.x, which is not installed",
        ),
        (("--weights", f"raft-large={clips / 'alexnet.pth'}"), "holds no RAFT of torchvision"),
        (("--weights", f"lpips-vgg={clips / 'alexnet.pth'}"), "give the file vgg16-397923af.pth"),
        (("--weights", "raft-large=none.pth", "--set", "metrics=[frechet]"), "has no metrics of the group motion"),
    ):
        lines = [line for line in run(*inputs, *options, code=2).stderr.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1
        assert message in lines[0]

"""`dynamicrafter evaluate` from videos to results; killed, shared out or resumed, it writes the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import start_command
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.evaluation.manifest import read_manifest
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import write_video

CLIPS, FRAMES = 6, 4
SETTINGS = (f"frames={FRAMES}", f"clips={CLIPS}", "resamples=50", "distance_resamples=10")
SMALL = tuple(word for setting in SETTINGS for word in ("--set", setting))
RESULTS = ("results.json", "per_video.csv")


def run(*args: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["evaluate", *(str(arg) for arg in args)])
    assert result.exit_code == code, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return result


def error_of(*args: object, code: int = 2) -> str:
    """The one line that a wrong request is answered with."""
    lines = [line for line in run(*args, code=code).stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Procedural clips, and the same with noise as the generated ones, in folder `noise_20` and `noise_60`."""
    folder = tmp_path_factory.mktemp("evaluate")
    run("manifest", folder / "real" / "real.jsonl", "--procedural", *SMALL)
    for noise in (20, 60):
        for path in sorted((folder / "real" / "videos").glob("*.mp4")):
            with VideoReader(path) as reader:
                frames = reader.read(range(FRAMES)).float()
            generator = torch.Generator().manual_seed(int(path.stem))
            frames = (frames + noise * torch.randn(frames.shape, generator=generator)).clamp(0, 255).to(torch.uint8)
            write_video(frames, folder / f"noise_{noise}" / path.name, 8)
    return folder


def inputs(videos: Path, cache: Path, fake: str = "noise_20") -> tuple[object, ...]:
    real = videos / "real" / "real.jsonl"
    return ("--fake", videos / fake, "--real", real, "--cache", cache, "--device", "cpu", *SMALL)


@pytest.fixture(scope="module")
def scored(videos: Path) -> Path:
    """The results of an undisturbed run."""
    run("extract", *inputs(videos, videos / "cache"))
    run("score", *inputs(videos, videos / "cache"), "--output", videos / "results")
    return videos / "results"


def same_bytes(first: Path, second: Path) -> bool:
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in RESULTS)


def test_scores_have_metrics_baselines_and_where_they_come_from(scored: Path, videos: Path) -> None:
    tree = json.loads((scored / "results.json").read_text())
    names = {(row["name"], row["set"]) for row in tree["metrics"]}
    for name in ("FD[stpyr-v1]", "CLIPSIM[tiny-clip]", "PIC[tiny-clip cosine]", "motion[flow-v1, diagonals/s]"):
        assert {set_name for found, set_name in names if found == name} == {"fake", "real", "still"}, name
    assert tree["protocol"]["name"].startswith("custom+")
    assert [(note["name"], note["read"]) for note in tree["sets"]] == [("fake", 6), ("real", 6), ("still", 6)]
    assert {note["id"] for note in tree["extractors"]} >= {"stpyr-v1"}
    assert str(videos).encode() not in (scored / "results.json").read_bytes(), "results tell where the files lie"
    run("score", *inputs(videos, videos / "cache"), "--output", videos / "again")
    assert same_bytes(scored, videos / "again")


def test_batches_workers_and_shards_change_no_digit(scored: Path, videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run("extract", *inputs(videos, cache), "--shard", "2/3", "--batch-size", 1, "--workers", 2)
    run("extract", *inputs(videos, cache), "--shard", "0/3", "--batch-size", 5)
    report = run("extract", *inputs(videos, cache), "--shard", "1/3").stdout
    assert "0 left" not in report
    run("score", *inputs(videos, cache), "--output", tmp_path)
    assert same_bytes(scored, tmp_path)
    assert "0 records made, 54 were there, 0 clips failed" in run("extract", *inputs(videos, cache)).stdout


def started(log: Path, *args: object) -> ForkServerProcess:
    return start_command(["evaluate", *map(str, args)], log)


def test_an_extraction_that_is_killed_goes_on_to_the_same_result(scored: Path, videos: Path, tmp_path: Path) -> None:
    cache, moment = tmp_path / "cache", random.Random()
    wanted = moment.randint(1, 40)
    process = started(tmp_path / "log.txt", "extract", *inputs(videos, cache), "--batch-size", 1)
    deadline = time.monotonic() + 300

    def records() -> int:
        return sum(not path.name.startswith(".") for path in cache.rglob("*.safetensors"))

    while records() < wanted and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01 * moment.random())
    process.kill()
    process.join()
    there = records()
    assert 0 < there < 54, f"killed too early or too late to tell anything, with {there} records"
    assert f"{54 - there} records made, {there} were there" in run("extract", *inputs(videos, cache)).stdout
    run("score", *inputs(videos, cache), "--output", tmp_path)
    assert same_bytes(scored, tmp_path), f"killed after {there} records, the result is another one"


def test_several_devices_make_the_same_records(scored: Path, videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    log = tmp_path / "log.txt"
    process = started(log, "extract", *inputs(videos, cache), "--devices", 2)
    process.join()
    assert process.exitcode == 0, log.read_text()
    assert log.read_text().count("54 records made") == 1, "only one process should report"
    run("score", *inputs(videos, cache), "--output", tmp_path)
    assert same_bytes(scored, tmp_path)


def test_broken_videos_are_named_counted_and_kept_apart(videos: Path, tmp_path: Path) -> None:
    for name in ("real", "noise_20"):
        shutil.copytree(videos / name, tmp_path / name)
    path = tmp_path / "noise_20" / "00002.mp4"
    path.write_bytes(path.read_bytes()[:400])
    arguments = (*inputs(tmp_path, tmp_path / "cache"), "--set", "metrics=[frechet, similarity]")
    result = run("extract", *arguments, "--failures", tmp_path / "failures.json", code=3)
    assert "00002.mp4: the video stream holds no frames" in result.stdout
    assert "34 records made, 0 were there, 1 clip failed" in result.stdout, "two extractors read 18 clips"
    failures = json.loads((tmp_path / "failures.json").read_text())["failures"]
    assert {failure["id"] for failure in failures} == {"00002"}
    run("score", *arguments, "--output", tmp_path)
    tree = json.loads((tmp_path / "results.json").read_text())
    assert [(problem["set"], problem["id"]) for problem in tree["problems"]] == [("fake", "00002")]
    shutil.copy(videos / "noise_20" / "00002.mp4", path)
    assert "2 records made, 34 were there, 0 clips failed" in run("extract", *arguments).stdout


def test_a_comparison_ranks_only_what_separates(scored: Path, videos: Path, tmp_path: Path) -> None:
    options = inputs(videos, videos / "cache")[2:]
    run("compare", videos / "noise_20", videos / "noise_60", *options, "--extract", "--output", tmp_path)
    differences = {row["name"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["differences"]}
    assert differences["flicker[grey levels]"]["verdict"] == "A is better"
    assert differences["flicker[grey levels]"]["n"] == CLIPS
    run("compare", videos / "noise_20", videos / "noise_20", *options, "--output", tmp_path)
    tree = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["verdict"] for row in tree["differences"]} == {"not separated"}


def test_a_manifest_of_generated_videos_takes_inputs_by_id(videos: Path, tmp_path: Path) -> None:
    real = videos / "real" / "real.jsonl"
    options = ("--videos", videos / "noise_20", "--role", "fake", "--like", real, *SMALL)
    run("manifest", tmp_path / "fake.csv", *options)
    fake = read_manifest(tmp_path / "fake.csv")
    assert [entry.prompt for entry in fake.entries] == [entry.prompt for entry in read_manifest(real).entries]
    assert all((tmp_path / entry.image).is_file() for entry in fake.entries)


def test_selftest_and_export(videos: Path, tmp_path: Path) -> None:
    assert ", 0 off" in run("selftest").stdout
    assert "6 videos" in run("vbench-export", videos / "real" / "real.jsonl", tmp_path / "suite").stdout


def test_wrong_requests_are_one_line(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, cache = videos / "real" / "real.jsonl", ("--cache", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    shutil.copytree(videos / "noise_20", tmp_path / "fewer")
    os.unlink(tmp_path / "fewer" / "00003.mp4")
    fake = ("--fake", videos / "noise_20", "--real", real, *cache)
    assert "holds no videos" in error_of("extract", "--fake", tmp_path / "empty", *cache, *SMALL)
    assert "there is no such file" in error_of("extract", "--fake", tmp_path / "absent", *cache, *SMALL)
    assert "lacks 1 ids of real.jsonl: 00003" in error_of(
        "extract", "--fake", tmp_path / "fewer", "--real", real, *cache, *SMALL
    )
    assert f"has {FRAMES} frames with stride 1, wanted are 16" in error_of("extract", *fake)
    assert "did you mean 'frames'" in error_of("extract", *fake, "--set", "frame=6")
    assert "there is no protocol 'fvd'" in error_of("extract", *fake, "--protocol", "fvd")
    assert "54 of 54 records are missing" in error_of("score", *fake, *SMALL, "-o", tmp_path)
    i3d = (*fake, *SMALL, "--set", "extractors=[i3d-logits]")
    assert "needs the weights of I3D" in error_of("extract", *i3d)
    (tmp_path / "i3d.safetensors").write_bytes(b"no weights")
    assert "i3d.safetensors" in error_of("extract", *i3d, "--weights", f"i3d-logits={tmp_path / 'i3d.safetensors'}")
    assert "should be EXTRACTOR=FILE" in error_of("extract", *fake, *SMALL, "--weights", "i3d")
    assert "should be a part and the number of parts" in error_of("extract", *fake, *SMALL, "--shard", "1")
    assert "--videos or --procedural" in error_of("manifest", tmp_path / "m.jsonl")
    drawn, listed = (("manifest", tmp_path / "m.jsonl", *kind) for kind in (("--procedural",), ("--videos", videos)))
    for flag, value in (("--role", "fake"), ("--like", real), ("--fps", 8)):
        assert f"{flag} is not for procedural clips" in error_of(*drawn, flag, value)
    assert "--count is not for videos" in error_of(*listed, "--count", 3)
    assert "add --extract" in error_of("score", *fake, *SMALL, "-o", tmp_path, "--workers", 2)


@pytest.mark.parametrize("rate", ["nan", "inf", "-1", "0"])
def test_a_rate_that_is_none_is_refused(rate: str, tmp_path: Path) -> None:
    words = ["evaluate", "manifest", str(tmp_path / "m.jsonl"), "--videos", str(tmp_path), "--fps", rate]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "from 0.01 to 1000" in " ".join(result.output.split())


def test_a_video_that_cannot_be_read_is_counted_as_such(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.zeros((64, 8, 8, 3), np.uint8))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:1000])
    said = run("manifest", tmp_path / "m.jsonl", "--videos", tmp_path, "--fps", 8).stdout
    assert "2 clips by" in said
    assert "0 of them skipped; 1 of the videos cannot be read, which counts as failed" in said

"""`dynamicrafter data check`: every file is in the report with its verdict, and an interrupted check goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_videos import write_video
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.data.check_report import name_bins, number_bins
from lvdm.data.checking import Examination, Facts, judge
from lvdm.data.clip_frames import ClipOptions
from lvdm.data.video_folder import VideoFolder, VideoFolderConfig

SETTINGS = ("--video-length", 8, "--resolution", "32x48", "--workers", 2)


def run(*args: object) -> Any:
    return CliRunner().invoke(app, ["data", "check", *(str(arg) for arg in args)])


def report_of(result: Any, folder: Path, code: int) -> dict[str, Any]:
    assert result.exit_code == code, f"exit {result.exit_code}: {result.output} {result.exception!r}"
    return json.loads((folder / "report.json").read_text())


def add(folder: Path, name: str, caption: str | None = "a caption", frames: int = 12, **size: int) -> Path:
    write_video(folder / name, frames, **size)
    if caption is not None:
        (folder / name).with_suffix(".txt").write_text(caption)
    return folder / name


def write_uneven(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for each verdict."""
    folder = tmp_path_factory.mktemp("mixed")
    add(folder, "good.mp4", "fine <script>alert(1)</script>")
    add(folder, "deep/short.mp4", frames=5)
    add(folder, "silent.mp4", caption=None)
    add(folder, "small.mp4", height=16, width=24)
    add(folder, "uneven.mp4")
    write_uneven(folder / "uneven.mp4")
    (folder / "text.mp4").write_bytes(b"no video")
    (folder / "text.txt").write_text("of a text")
    cut = add(folder, "cut.mkv", frames=20)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    (folder / "orphan.txt").write_text("of nothing")
    return folder


def test_every_file_is_in_the_report_with_its_verdict(mixed: Path, tmp_path: Path) -> None:
    result = run(mixed, *SETTINGS, "--output", tmp_path)
    report = report_of(result, tmp_path, code=1)
    files = {Path(file["name"]).name: file for file in report["files"]}
    assert {name: file["status"] for name, file in files.items()} == {
        "good.mp4": "ok",
        "short.mp4": "broken",
        "silent.mp4": "broken",
        "small.mp4": "note",
        "uneven.mp4": "note",
        "text.mp4": "broken",
        "cut.mkv": "broken",
    }
    reasons = {name: "; ".join(file["reasons"]) for name, file in files.items()}
    assert reasons["short.mp4"] == "has 5 frames, a clip needs 8"
    assert reasons["silent.mp4"] == "has no caption"
    assert "is enlarged: 16x24 to 32x48" in reasons["small.mp4"]
    assert "variable frame rate" in reasons["uneven.mp4"]
    assert "not a readable video" in reasons["text.mp4"]
    assert report["problems"][0]["names"] == ["silent.mp4"]
    assert report["left_out"][0]["names"] == ["orphan.txt"]
    assert "short.mp4: has 5 frames" in result.stdout
    assert Image.open(tmp_path / "contact_sheet.png").width > 100


def test_the_page_needs_nothing_else_and_shows_captions_as_text(mixed: Path, tmp_path: Path) -> None:
    run(mixed, *SETTINGS, "--quick", "--output", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'(?:src|href)="([^"]*)', page))
    assert "<script" not in page, "a caption became a part of the page"
    assert "fine &lt;script&gt;" in page
    for path in mixed.rglob("*.m[pk][4v]"):
        assert path.name in page, f"{path.name} is not in the page"
    for title in ("frames", "seconds", "frames per second", "height x width"):
        assert f"<figcaption>{title}</figcaption><svg" in page


def test_names_that_are_no_utf8_are_checked_and_known_again(tmp_path: Path) -> None:
    path = add(tmp_path / "clips", "a.mp4").rename(tmp_path / "clips" / os.fsdecode(b"caf\xe9.mp4"))
    for _ in range(2):
        result = run(tmp_path / "clips", *SETTINGS, "--captions", "none", "--output", tmp_path / "report")
        assert [file["name"] for file in report_of(result, tmp_path / "report", 0)["files"]] == [str(path)]
    journal = (tmp_path / "report" / "examined.jsonl").read_text(encoding="utf-8")
    assert journal.count("caf\\udce9.mp4") == 1, "it is looked at again, though nothing changed"


def test_damage_inside_a_video_is_found_by_decoding_all_of_it(tmp_path: Path) -> None:
    path = add(tmp_path / "set", "v.mp4", frames=20)
    content = bytearray(path.read_bytes())
    with av.open(str(path), mode="r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        positions = [(packet.pos, packet.size) for packet in packets]
    for position, size in positions[5:8]:
        content[position + 4 : position + size] = b"\x55" * (size - 4)
    path.write_bytes(bytes(content))
    report = report_of(run(tmp_path / "set", *SETTINGS, "--output", tmp_path), tmp_path, code=1)
    assert "damaged" in report["files"][0]["reasons"][0]


def test_a_good_folder_in_every_layout(tmp_path: Path) -> None:
    add(tmp_path / "videos", "a.mp4")
    shutil.copytree(tmp_path / "videos", tmp_path / "images")
    (tmp_path / "images" / "a.mp4").unlink()
    Image.new("RGB", (96, 64)).save(tmp_path / "images" / "a.png")
    shutil.make_archive(str(tmp_path / "tars" / "a"), "tar", tmp_path / "videos")
    for name in ("videos", "images", "tars"):
        report = report_of(run(tmp_path / name, *SETTINGS, "--output", tmp_path / "r"), tmp_path / "r", code=0)
        assert report["counts"] == {"broken": 0, "note": 0, "ok": 1}, f"{name}: {report['files']}"
        assert report["files"][0]["caption"] == "a caption"


def test_a_check_goes_on_where_it_was_and_looks_again_at_changes(tmp_path: Path) -> None:
    for number in range(4):
        add(tmp_path / "set", f"{number}.mp4")
    files = VideoFolder(VideoFolderConfig(data_dir=str(tmp_path / "set"))).files
    journal = tmp_path / "examined.jsonl"
    first = Examination(files, journal, quick=False, workers=1)
    steps = first.run()
    next(steps), next(steps)
    steps.close()  # as Ctrl-C does
    with journal.open("a") as file:
        file.write('{"name": "cut of')
    again = Examination(files, journal, quick=False, workers=1)
    kept = len(again.facts)
    assert kept >= 2, "what was examined is not kept"
    assert len(list(again.run())) == 4 - kept, "files are examined twice"
    assert not Examination(files, journal, quick=True, workers=1).todo, "a full decoding also serves a quick look"
    add(tmp_path / "set", "2.mp4", frames=9)
    changed = Examination(files, journal, quick=False, workers=1)
    assert changed.todo == [2]


def test_the_sources_of_a_configuration_are_checked_with_their_settings(tmp_path: Path) -> None:
    add(tmp_path / "set", "a.mp4", caption=None)
    source = {"target": "lvdm.data.video_folder.VideoFolder", "params": {"data_dir": str(tmp_path / "set")}}
    source["params"] |= {"caption": "x", "resolution": [32, 48], "video_length": 4}
    tree = {
        "target": "utils_data.DataModuleFromConfig",
        "params": {"batch_size": 1, "train": source, "validation": {**source, "params": {**source["params"]}}},
    }
    tree["params"]["validation"]["params"]["video_length"] = 13
    (tmp_path / "train.yaml").write_text(yaml.safe_dump({"data": tree}))
    result = run("--config", tmp_path / "train.yaml", "--output", tmp_path / "r")
    assert report_of(result, tmp_path / "r" / "train", code=1)["counts"]["ok"] == 1
    assert report_of(result, tmp_path / "r" / "validation", code=1)["counts"]["broken"] == 1


def test_files_are_checked_by_the_reader_of_the_training(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    add(tmp_path / "set", "a.mp4")
    with av.open(str(add(tmp_path / "set", "turned.mp4")), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.set_display_rotation(90)
        for number in range(12):
            picture = np.full((48, 80, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    for reader, code, reason in (("pyav", 0, ""), ("decord", 1, "turned by 90 degrees"), ("pyav", 0, "")):
        result = run(tmp_path / "set", *SETTINGS, "--output", tmp_path / "r", "--reader", reader)
        assert report_of(result, tmp_path / "r", code)["counts"]["broken"] == code, reader
        assert reason in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give a folder or --config"),
        (("absent",), "there is no folder absent"),
        ((".",), "holds no videos, images, tar shards or LitData chunks"),
        ((".", "--resolution", "big"), "'big' should be height x width"),
        ((".", "--video-length", "0"), "--video-length '0' is not possible; use 1 or more"),
        ((".", "--workers", "2000"), "--workers '2000' is not possible; use 1024 or less"),
        (("--config", "absent.yaml"), "absent.yaml does not exist"),
        (("--config", "model.yaml"), "no top-level `data:` key; it has model"),
        (("--config", "procedural.yaml"), "no source in it reads files of its own"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text("model: {}\n")
    node = {"target": "lvdm.data.procedural.ProceduralClips", "params": {}}
    tree = {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 1, "train": node}}
    Path("procedural.yaml").write_text(yaml.safe_dump({"data": tree}))
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_verdicts_depend_on_the_clip_settings_only_through_facts() -> None:
    facts = Facts("v.mp4", "s", False, num_frames=30, fps=30.0, height=45, width=80, presentation="mirrored")
    options = {"video_length": 16, "resolution": (32, 48)}
    assert judge(facts, "c", ClipOptions(**options)).reasons == ("odd size 45x80", "mirrored")
    fixed = judge(facts, "c", ClipOptions(**options, frame_stride=8, fixed_fps=30.0))
    assert fixed.status == "broken"
    assert "less than half of the 121 wanted" in fixed.reasons[0]
    crop = judge(facts, "c", ClipOptions(video_length=4, resolution=(64, 64), spatial_transform="center_crop"))
    assert crop.reasons[0] == "45x80 is smaller than the crop of 64x64"
    assert judge(facts, "", ClipOptions(**options)).reasons[-1] == "empty caption"


def test_histograms_count_every_value_once() -> None:
    values = [0.5 * number for number in range(100)]
    bins = number_bins(values)
    assert len(bins) == 12
    assert sum(count for _, count in bins) == 100
    assert bins[0][0] == "0 to 4.125"
    assert number_bins([25.0, 30.0, 25.0]) == [("25", 2), ("30", 1)]
    names = name_bins(f"{number}x{number}" for number in range(15) for _ in range(number + 1))
    assert (names[0], names[-1]) == (("14x14", 15), ("3 others", 6))

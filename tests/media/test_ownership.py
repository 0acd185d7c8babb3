"""`lvdm.media.ownership`: what was not made here is not replaced, and never removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lvdm.media.atomic import OutputError, write_json
from lvdm.media.contact_sheet import write_contact_sheet
from lvdm.media.html_page import document
from lvdm.media.ownership import (
    check_replaceable,
    check_video_replaceable,
    own_frames,
    record_path,
    sheet_path,
)
from lvdm.media.video_writer import write_video


def clip(frames: int = 3, level: int = 90) -> torch.Tensor:
    return torch.full((frames, 16, 16, 3), level, dtype=torch.uint8)


def make(path: Path, frames: int = 3, record_format: str = "dynamicrafter-video/1", **changes: Any) -> None:
    """A video as the commands leave it: with its record."""
    written = write_video(clip(frames), path, 8)
    output = {"num_frames": frames, "bytes": written.bytes, **changes}
    write_json(record_path(path), {"format": record_format, "video": path.name, "output": output})


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a_%03d.png", "frames"])
@pytest.mark.parametrize("record_format", ["dynamicrafter-video/1", "dynamicrafter-extension/1"])
def test_what_we_made_may_be_made_anew(tmp_path: Path, name: str, record_format: str) -> None:
    check_video_replaceable(tmp_path / name)
    make(tmp_path / name, record_format=record_format)
    check_video_replaceable(tmp_path / name)
    make(tmp_path / name, 2, record_format)
    assert record_path(tmp_path / name).name == {"frames": "frames.json"}.get(name, "a.json")
    assert len(list(tmp_path.rglob("*.json"))) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a_%03d.png", "frames"])
def test_what_others_made_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_video(clip(), path, 8)  # of the user: there is no record
    with pytest.raises(OutputError, match="is there and was not made here; choose another name, or allow it by"):
        check_video_replaceable(path)
    check_video_replaceable(path, overwrite=True)


@pytest.mark.parametrize("name", ["a.mp4", "a_%03d.png", "frames"])
def test_a_record_of_something_else_is_no_permission(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    make(path)
    record = record_path(path)
    told = json.loads(record.read_text())
    for wrong in ({"format": "other/1"}, {"video": "b.mp4"}, {"output": {"num_frames": 3, "bytes": 1}}):
        write_json(record, told | wrong)
        with pytest.raises(OutputError, match="was not made here"):
            check_video_replaceable(path)
    record.write_text("[" * 100_000)
    with pytest.raises(OutputError, match="was not made here"):
        check_video_replaceable(path)
    write_json(record, told)
    check_video_replaceable(path)


def test_a_video_that_was_edited_since_is_no_longer_ours(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4")
    with (tmp_path / "a.mp4").open("ab") as file:
        file.write(b"edited")
    with pytest.raises(OutputError, match=r"a\.mp4 is there and was not made here"):
        check_video_replaceable(tmp_path / "a.mp4")


def test_records_from_before_sizes_were_told_fit_by_their_name(tmp_path: Path) -> None:
    write_video(clip(), tmp_path / "a.mp4", 8)
    write_json(tmp_path / "a.json", {"format": "dynamicrafter-video/1", "video": "a.mp4"})
    check_video_replaceable(tmp_path / "a.mp4")


def test_pictures_of_the_user_are_neither_replaced_nor_removed(tmp_path: Path) -> None:
    """Six pictures of one's own, then two frames to the same names: two were replaced and four deleted."""
    for number in range(6):
        (tmp_path / f"{number:03d}.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"000\.png is there and was not made here"):
        check_video_replaceable(tmp_path / "%03d.png")
    write_video(clip(2), tmp_path / "%03d.png", 8)  # as by --overwrite
    assert [(tmp_path / f"{number:03d}.png").read_bytes() == b"mine" for number in range(6)] == [False] * 2 + [True] * 4


def test_only_frames_of_our_longer_video_are_removed(tmp_path: Path) -> None:
    pattern = tmp_path / "a_%03d.png"
    make(pattern, 5)
    for name in ("a_005.png", "a_5.png", "a_0007.png", "b_004.png"):
        (tmp_path / name).write_bytes(b"mine")
    assert [frame.name for frame in own_frames(pattern)] == [f"a_00{i}.png" for i in range(5)]
    with pytest.raises(OutputError, match=r"a_005\.png is there"):
        check_video_replaceable(pattern)
    (tmp_path / "a_005.png").rename(tmp_path / "mine.png")
    check_video_replaceable(pattern)
    make(pattern, 2)
    names = ["a.json", "a_000.png", "a_0007.png", "a_001.png", "a_5.png", "b_004.png", "mine.png"]
    assert sorted(os.listdir(tmp_path)) == names


@pytest.mark.parametrize("count", [-1, "6", 1e400, None, [6], True, 10**30])
def test_a_record_that_tells_nonsense_removes_nothing(tmp_path: Path, count: Any) -> None:
    pattern = tmp_path / "a_%03d.png"
    make(pattern, 3)
    told = {"format": "dynamicrafter-video/1", "video": pattern.name, "output": {"num_frames": count}}
    (tmp_path / "a.json").write_text(json.dumps(told))
    write_video(clip(1), pattern, 8)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a_000.png", "a_001.png", "a_002.png"]


def test_a_record_goes_beside_what_is_there(tmp_path: Path) -> None:
    for content in ('{"mine": 1}', "no json", '{"format": "dynamicrafter-video/1", "video": "a.mp4"}'):
        (tmp_path / "a.json").write_text(content)
        assert record_path(tmp_path / "a.gif").name == "a.gif.json"
        check_video_replaceable(tmp_path / "a.gif")
    (tmp_path / "a.gif.json").write_text("mine as well")
    with pytest.raises(OutputError, match=r"a\.gif\.json is there and is not the record of"):
        check_video_replaceable(tmp_path / "a.gif")
    check_video_replaceable(tmp_path / "a.gif", overwrite=True)
    (tmp_path / "a.gif.json").write_text("")
    check_video_replaceable(tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["a.mp4", "a_%03d.png"])
def test_a_kill_between_video_and_record_leaves_a_video_of_ours(tmp_path: Path, name: str) -> None:
    """The record is whole then, under the name that it had while it waited."""
    path = tmp_path / name
    make(path, 4)
    old = json.loads((tmp_path / "a.json").read_text())
    written = write_video(clip(2, 10), path, 8)
    if name == "a_%03d.png":
        assert len(list(tmp_path.glob("a_*.png"))) == 2
        write_video(clip(4), tmp_path / "old_%03d.png", 8)
        (tmp_path / "old_003.png").rename(tmp_path / "a_003.png")  # not removed yet
    waiting = tmp_path / ".a.4711.part.json"
    write_json(waiting, old | {"output": {"num_frames": 2, "bytes": written.bytes}})
    check_video_replaceable(path)
    write_json(waiting, old | {"video": "b.mp4"})
    with pytest.raises(OutputError, match="was not made here"):
        check_video_replaceable(path)


def test_contact_sheets(tmp_path: Path) -> None:
    make(tmp_path / "a.mp4")
    sheet = sheet_path(record_path(tmp_path / "a.mp4"))
    assert sheet.name == "a_sheet.png"
    sheet.write_bytes(b"mine")
    check_video_replaceable(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match=r"a_sheet\.png is there"):
        check_video_replaceable(tmp_path / "a.mp4", contact_sheet=True)
    write_contact_sheet(clip(), sheet)
    check_video_replaceable(tmp_path / "a.mp4", contact_sheet=True)


def test_other_files_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(document("t", "b", ""))
    write_json(tmp_path / "x.json", {"schema": "dynamicrafter-evaluation/1"})
    save_file({"a": torch.zeros(100)}, tmp_path / "x.safetensors", {"format": "dynamicrafter-latent-statistics/1"})
    for name in ("page.html", "x.json", "x.safetensors", "absent"):
        check_replaceable(tmp_path / name)
    (tmp_path / "table.csv").write_text("id,a\n")
    check_replaceable(tmp_path / "table.csv", beside=tmp_path / "x.json")
    with pytest.raises(OutputError, match=r"table\.csv is there"):
        check_replaceable(tmp_path / "table.csv")
    with pytest.raises(OutputError, match=r"table\.csv is there"):
        check_replaceable(tmp_path / "table.csv", beside=tmp_path / "absent")
    save_file({"a": torch.zeros(100)}, tmp_path / "y.safetensors")
    with pytest.raises(OutputError, match=r"y\.safetensors is there"):
        check_replaceable(tmp_path / "y.safetensors")


def test_what_is_no_file_is_not_ours_and_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    names = ["folder.mp4", "broken.mp4", "loop.mp4"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")
        names.append("pipe.mp4")
    for name in names:
        with pytest.raises(OutputError, match="was not made here"):
            check_replaceable(tmp_path / name)

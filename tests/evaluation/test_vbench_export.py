"""The folder that VBench-I2V reads, and what is kept out of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lvdm.evaluation.vbench_export import ExportedVideo, export_name, export_videos
from lvdm.media.atomic import OutputError

PROMPT = "A teddy bear is climbing over a wooden fence."


@pytest.fixture
def videos(tmp_path: Path) -> list[ExportedVideo]:
    made = []
    for index in range(5):
        path = tmp_path / "made" / f"{index}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"video %d" % index)
        made.append(ExportedVideo(PROMPT, index, path))
    return made


def test_names_are_those_that_the_suite_looks_for(videos: list[ExportedVideo], tmp_path: Path) -> None:
    export = export_videos(videos, tmp_path / "suite")
    expected = [f"{PROMPT}-{index}.mp4" for index in range(5)]
    assert sorted(os.listdir(tmp_path / "suite")) == expected
    assert [path.name for path in export.files] == expected
    assert [path.read_bytes() for path in export.files] == [b"video %d" % index for index in range(5)]
    assert export.incomplete == ()


def test_links_take_no_space_and_copies_do(videos: list[ExportedVideo], tmp_path: Path) -> None:
    linked = export_videos(videos, tmp_path / "linked")
    assert linked.files[0].samefile(videos[0].path)
    copied = export_videos(videos, tmp_path / "copied", transfer="copy")
    assert not copied.files[0].samefile(videos[0].path)
    with pytest.raises(ValueError, match="unknown transfer"):
        export_videos(videos, tmp_path / "other", transfer="move")  # type: ignore[arg-type]


def test_where_no_link_can_be_made_files_are_copied(
    videos: list[ExportedVideo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_device(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_device)
    export = export_videos(videos, tmp_path / "suite")
    assert export.files[4].read_bytes() == b"video 4"


def test_prompts_with_too_few_videos_are_told(videos: list[ExportedVideo], tmp_path: Path) -> None:
    other = ExportedVideo("A boat", 0, videos[0].path)
    assert export_videos([*videos, other], tmp_path / "suite").incomplete == ("A boat",)


def test_an_empty_folder_is_filled_and_a_full_one_is_left(videos: list[ExportedVideo], tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    export_videos(videos[:1], tmp_path / "suite")
    with pytest.raises(OutputError, match="is not empty"):
        export_videos(videos, tmp_path / "suite")
    assert len(os.listdir(tmp_path / "suite")) == 1


def test_nothing_is_left_of_an_export_that_fails(
    videos: list[ExportedVideo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, links = os.link, []

    def full_disk(source: Path, target: Path) -> None:
        if len(links) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        links.append(target)
        link(source, target)

    monkeypatch.setattr(os, "link", full_disk)
    with pytest.raises(OutputError, match="the disk is full"):
        export_videos(videos, tmp_path / "suite")
    assert sorted(os.listdir(tmp_path)) == ["made"]
    assert all(video.path.is_file() for video in videos)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("../../etc/passwd", "'/' cannot be"),
        ("a\\b", "cannot be"),
        ("a\0b", "cannot be"),
        ("a\nb", "cannot be"),
        ("a\u202eb", "cannot be"),
        ("", "empty"),
        ("  ", "empty"),
        (".hidden", "begin with a dot"),
        ("a ", "spaces at its ends"),
        ("é" * 130, "of 266 bytes, file systems take 255"),
    ],
)
def test_prompts_that_are_no_safe_names_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export_name(prompt, 0)


def test_punctuation_is_kept_where_the_system_takes_it() -> None:
    assert export_name("A cat's toy, 3 mice; and a dog!", 2) == "A cat's toy, 3 mice; and a dog!-2.mp4"


def test_bad_lists_are_refused(videos: list[ExportedVideo], tmp_path: Path) -> None:
    first = videos[0]
    with pytest.raises(ValueError, match="no video"):
        export_videos([], tmp_path / "suite")
    with pytest.raises(ValueError, match="index should be 0 or more"):
        export_videos([ExportedVideo(PROMPT, -1, first.path)], tmp_path / "suite")
    with pytest.raises(ValueError, match="different indices"):
        export_videos([first, ExportedVideo(PROMPT.upper(), 0, videos[1].path)], tmp_path / "suite")
    with pytest.raises(ValueError, match="there is no such file"):
        export_videos([ExportedVideo(PROMPT, 0, tmp_path / "none.mp4")], tmp_path / "suite")
    with pytest.raises(ValueError, match="convert it first"):
        export_videos([ExportedVideo(PROMPT, 0, tmp_path / "clip.gif")], tmp_path / "suite")
    assert not (tmp_path / "suite").exists()

"""The choice of frames against executed examples of the original, and reading of real videos."""

from __future__ import annotations

import csv
import json
import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_vectors import GOLDEN
from tiny_videos import write_video

from lvdm.config import parse_component, parse_dataclass
from lvdm.data.clip_frames import ClipError, ClipFrames, choose_frames, convert_stride
from lvdm.data.clips import Clip, ClipSize
from lvdm.data.webvid import WebVid, WebVidConfig

CASES = json.loads((GOLDEN / "webvid_cases.json").read_text())
COMPOUNDING = 12
"""The example in which the original converts an already converted stride (2 -> 5 -> 6)."""


class Replay:
    """Gives the recorded draws and checks that the ranges asked for are the recorded ones."""

    def __init__(self, calls: list[list[int]]) -> None:
        self.calls = [tuple(call) for call in calls]

    def __call__(self, low: int, high: int) -> int:
        assert self.calls, f"randint({low}, {high}) was not drawn by the original"
        expected_low, expected_high, value = self.calls.pop(0)
        assert (low, high) == (expected_low, expected_high), "another range than the original's"
        return value


def replay(entry: dict[str, Any], first_stride: int | None = None) -> tuple[int, ClipFrames, Replay]:
    """The retry rule over the described videos: number of the video taken, and the frames."""
    options = entry["kwargs"]
    randint = Replay(entry["randint_calls"])
    stride = first_stride or options["frame_stride"]
    if options["random_fs"]:
        stride = randint(options.get("frame_stride_min", 1), stride)
    for number, video in enumerate(entry["videos"]):
        if video is None:
            continue
        try:
            clip = choose_frames(
                *video,
                entry["video_length"],
                stride,
                randint,
                fixed_fps=options.get("fixed_fps"),
                fps_max=options.get("fps_max"),
            )
        except ClipError:
            continue
        return number, clip, randint
    pytest.fail("no video of the example was accepted")


@pytest.mark.parametrize("number", range(len(CASES)))
def test_frames_equal_the_original(number: int) -> None:
    entry = CASES[number]
    # In that example our stride does not compound, so the original's is reached by asking for what it had become.
    first_stride = convert_stride(2, fps=60.0, fixed_fps=24) if number == COMPOUNDING else None
    video, clip, randint = replay(entry, first_stride)
    assert entry["caption"] == f"cap{video}", "another video was taken"
    assert list(clip.indices) == entry["frame_indices"]
    assert (clip.fps, clip.frame_stride) == (entry["fps"], entry["frame_stride"])
    assert not randint.calls, "the original drew more random numbers"


def test_stride_does_not_compound_across_videos() -> None:
    entry = CASES[COMPOUNDING]
    num_frames, fps = entry["videos"][1]
    clip = choose_frames(num_frames, fps, 16, entry["kwargs"]["frame_stride"], lambda low, high: high, fixed_fps=24)
    assert clip.frame_stride == 2, "2 frames at 24 fps are 2.5 frames at 30 fps, rounded down"


def make_dataset(folder: Path, lengths: list[int | None], **options: Any) -> WebVid:
    """A folder of videos with these numbers of frames; None is a file that is not a video."""
    with (folder / "meta.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("videoid", "page_dir", "name"))
        for number, length in enumerate(lengths):
            rows.writerow((number, "p", f"caption, {number}"))
            path = folder / "videos" / "p" / f"{number}.mp4"
            if length is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"not a video at all")
            else:
                write_video(path, length, fps=24)
    params = {
        "meta_path": str(folder / "meta.csv"),
        "data_dir": str(folder),
        "video_length": 4,
        "resolution": [32, 48],
        "spatial_transform": "resize_center_crop",
        "load_raw_resolution": True,
        **options,
    }
    return parse_component({"target": "lvdm.data.webvid.WebVid", "params": params}, "data").build()


def clip(source: WebVid, index: int, seed: int = 0, size: ClipSize | None = None) -> Clip:
    return source.clip(index, random.Random(seed), size)


def test_clip_holds_the_frames_of_the_stride(tmp_path: Path) -> None:
    item = clip(make_dataset(tmp_path, [20], frame_stride=3), 0)
    assert item["video"].shape == (3, 4, 32, 48)
    assert item["video"].dtype == torch.float32
    brightness = (item["video"].mean((0, 2, 3)) + 1) * 127.5
    steps = brightness.diff()
    assert steps.sub(24).abs().max() < 3, f"frames 3 apart differ by 24 levels, these by {steps.tolist()}"
    assert (item["fps"], item["frame_stride"], item["caption"]) == (8.0, 3, "caption, 0")
    assert item["path"].endswith("videos/p/0.mp4")


def test_random_choices_come_from_the_generator_only(tmp_path: Path) -> None:
    source = make_dataset(tmp_path, [28], frame_stride=6, random_fs=True)
    first, again = ([clip(source, 0, seed) for seed in range(8)] for _ in range(2))
    assert all(torch.equal(a["video"], b["video"]) for a, b in zip(first, again, strict=True))
    assert len({item["frame_stride"] for item in first}) > 1, "the stride never varies"
    assert len({item["video"][0, 0, 0, 0].item() for item in first}) > 1, "the start never varies"


def test_the_size_of_a_batch_overrides_the_configured_one(tmp_path: Path) -> None:
    source = make_dataset(tmp_path, [12])
    assert clip(source, 0, size=ClipSize(9, 16, 40))["video"].shape == (3, 9, 16, 40)
    assert clip(source, 0)["video"].shape == (3, 4, 32, 48)
    with pytest.raises(ClipError, match="has 12 frames, a clip needs 13"):
        clip(source, 0, size=ClipSize(13, 16, 40))


def test_native_size_is_that_of_the_file(tmp_path: Path) -> None:
    source = make_dataset(tmp_path, [20, None])
    assert source.native_size(0) == ClipSize(20, 48, 80)
    assert source.native_size(1) is None, "a damaged file has no size"


def test_broken_videos_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = make_dataset(tmp_path, [None, 2, 20])
    with caplog.at_level(logging.WARNING):
        item = clip(source, 0)
    assert item["caption"] == "caption, 2", "neither the damaged nor the short video can be used"
    assert [line.partition(": ")[0][-5:] for line in item["failures"].split("\n")] == ["0.mp4", "1.mp4"]
    assert "has 2 frames, a clip needs 4" in item["failures"]
    assert [record.getMessage().split(" skipped")[0][-5:] for record in caplog.records] == ["0.mp4", "1.mp4"]
    assert clip(source, 2)["failures"] == ""


def test_a_dataset_without_usable_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"none of 3 videos.*1\.mp4: .*2\.mp4: .*0\.mp4: "):
        clip(make_dataset(tmp_path, [None, 2, None]), 1)


def test_reduced_resolution_and_crops(tmp_path: Path) -> None:
    reduced = make_dataset(tmp_path, [8], load_raw_resolution=False, spatial_transform=None, resolution=[300, 530])
    assert clip(reduced, 0)["video"].shape == (3, 4, 300, 530)
    cropped = make_dataset(tmp_path, [8], spatial_transform="random_crop", crop_resolution=[16, 24])
    assert clip(cropped, 0)["video"].shape == (3, 4, 16, 24)
    too_large = make_dataset(tmp_path, [8], spatial_transform="center_crop", resolution=[64, 64])
    with pytest.raises(ClipError, match="cannot center_crop 64x64 from frames of 48x80"):
        clip(too_large, 0)


def test_subsample_is_always_the_same(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [8, 8, 8], subsample=2)
    assert len(dataset) == 2
    again = WebVid(dataset.config)
    assert [clip(again, i)["caption"] for i in range(2)] == [clip(dataset, i)["caption"] for i in range(2)]


def test_bad_metadata_is_named(tmp_path: Path) -> None:
    config = WebVidConfig(meta_path=str(tmp_path / "meta.csv"), data_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"meta\.csv: there is no such file; give a CSV"):
        WebVid(config)
    (tmp_path / "meta.csv").write_text("videoid,name,page_dir, name\n1,a,p,b\n")
    with pytest.raises(ValueError, match=r"meta\.csv, line 1: the column 'name' stands there twice; leave one out"):
        WebVid(config)
    (tmp_path / "meta.csv").write_text("videoid,name\n1,a\n")
    with pytest.raises(ValueError, match="no column page_dir"):
        WebVid(config)
    (tmp_path / "meta.csv").write_text("videoid,name,page_dir\n")
    with pytest.raises(ValueError, match="lists no videos"):
        WebVid(config)


def test_a_data_dir_without_the_videos_is_refused_before_the_first_step(tmp_path: Path) -> None:
    config = make_dataset(tmp_path, [8]).config
    with pytest.raises(ValueError, match=r"data_dir: there is no folder <WebVid10M DATA>"):
        WebVid(replace(config, data_dir="<WebVid10M DATA>"))
    (tmp_path / "videos").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"none of 1 videos looked for is there, the first is .*videos/p/0\.mp4"):
        WebVid(config)


@pytest.mark.parametrize(
    "options",
    [{"video_length": 0}, {"random_fs": True, "frame_stride_min": 3}, {"crop_resolution": 8}, {"resolution": (0, 8)}],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(options))):
        parse_dataclass(WebVidConfig, {"meta_path": "m", "data_dir": "d", **options}, "videos")

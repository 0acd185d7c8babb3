"""Animated WebP is a video like others: the same frames, upright, on white, at their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvdm.data.video_header import probe_size
from lvdm.media.containers import ContainerError, open_container
from lvdm.media.presentation import Presentation, upright_frame
from lvdm.media.video_backends import open_video
from lvdm.media.video_reader import VideoError, VideoReader

HEIGHT, WIDTH = 24, 40
FRAMES = np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)


def write(path: Path, orientation: int = 1, durations: tuple[int, ...] = (100, 100, 100, 100)) -> Path:
    images = [Image.fromarray(frame) for frame in FRAMES]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"save_all": True, "append_images": images[1:], "lossless": True, "exif": exif}
    images[0].save(path, "WEBP", duration=list(durations), **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_are_those_of_the_file_upright(orientation: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.webp", orientation)
    expected = [upright_frame(frame, Presentation.of_exif(orientation)) for frame in FRAMES]
    with VideoReader(path) as reader, VideoReader("held", path.read_bytes()) as held:
        assert (reader.num_frames, reader.fps) == (4, 10.0)
        assert (reader.height, reader.width) == expected[0].shape[:2]
        for read in (reader, held):
            assert np.array_equal(read.read([2, 0, 3]).numpy(), np.stack([expected[i] for i in (2, 0, 3)]))
    size = probe_size(path)
    assert size is not None
    assert (size.num_frames, size.height, size.width) == (4, *expected[0].shape[:2])


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / "a.webp", durations=(50, 150, 100, 7))) as reader:
        assert reader.has_variable_rate
        assert reader.fps == pytest.approx(3 / 0.3)


def test_a_still_webp_is_a_video_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / "a.webp", lossless=True)
    with VideoReader(tmp_path / "a.webp") as reader:
        assert np.array_equal(reader.read([0])[0].numpy(), FRAMES[0])


def test_other_readers_refuse_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"not read by imageio, it is an animated WebP; choose reader: pyav"):
        open_video(write(tmp_path / "a.webp"), backend="imageio")


def test_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    content = write(tmp_path / "a.webp").read_bytes()
    huge = bytearray(content)
    huge[24:30] = b"\xff" * 6  # 16,777,216 pixels a side
    for damaged in (content[:40], content[: len(content) // 2], bytes(huge), content[:12] + bytes(500)):
        with pytest.raises(ContainerError, match=r"WebP|too many"):
            open_container("a.webp", damaged)
        with pytest.raises(
            VideoError, match=r"^a\.webp: not a readable video \((a damaged or incomplete WebP|\d+ frames)"
        ):
            VideoReader("a.webp", damaged)

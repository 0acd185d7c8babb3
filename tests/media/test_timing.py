"""Rates and headers that lie: what can be read is read, what is lost is said, and nothing usable is an error."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from lvdm.media.atomic import OutputError
from lvdm.media.video_reader import VideoError, VideoReader
from lvdm.media.video_writer import write_video

COUNT = 30


def write(path: Path, rate: int = 30, step: int = 1, group: int = 1, movflags: str = "") -> Path:
    """Frames of rising grey, the first of each `group` a key frame."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": str(group), "bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 6 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * step, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def patched(path: Path, box: bytes, offset: int, value: int) -> Path:
    """The file with a number of 32 bits behind the name of a box replaced."""
    content = bytearray(path.read_bytes())
    at = content.index(box) + 4 + offset
    content[at : at + 4] = struct.pack(">I", value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("fps", [1e-300, 1e-9, 0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_rates_that_no_file_has_are_refused(fps: float, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"frames per second cannot be played, choose 0\.01 to 1000"):
        write_video(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), tmp_path / "a.mp4", fps)


@pytest.mark.parametrize("scale", [0, 1, 0xFFFFFFFF])
def test_files_with_absurd_clocks_are_read(scale: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with VideoReader(patched(write(tmp_path / "a.mp4"), b"mdhd", 12, scale)) as reader:
        assert reader.num_frames == COUNT
        assert 0.01 <= reader.fps <= 1000, "a rate that no video has is handed on"
        levels = reader.read([0, 20]).float().mean((1, 2, 3))
    assert levels.tolist() == pytest.approx([20, 140], abs=3)


def test_a_clock_that_stands_still_is_one_frame_per_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with VideoReader(write(tmp_path / "a.mkv", rate=1, step=500)) as reader:
        assert (reader.num_frames, reader.fps) == (COUNT, 1.0)
    assert "cut off" not in caplog.text


def test_a_file_that_is_cut_off_says_how_much_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with VideoReader(path) as reader:
        assert 5 < reader.num_frames < 25
        assert reader.lost_frames == COUNT - reader.num_frames, "frames that the header announces were not missed"
        assert len(reader.read(range(reader.num_frames))) == reader.num_frames, "a frame that is there is not read"
    assert f"read are {reader.num_frames} frames, and {reader.lost_frames} more" in caplog.text


def test_a_frame_without_data_in_the_table_of_an_mp4_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = patched(write(tmp_path / "a.mp4"), b"stsz", 12 + 4 * (COUNT - 1), 0)
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.lost_frames) == (COUNT - 1, 1)
    assert f"read are {COUNT - 1} frames, and 1 more" in caplog.text


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("shown", [COUNT, 20])
def test_frames_that_an_edit_list_leaves_out_are_not_lost(
    shown: int, movflags: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.mp4", movflags=movflags)
    if b"elst" in path.read_bytes():
        patched(path, b"elst", 8, shown * 1000 // 30)
    with VideoReader(path) as reader:
        assert abs(reader.num_frames - (COUNT if movflags else shown)) <= 1
        assert reader.lost_frames == 0
    assert not caplog.text


def test_frames_before_the_first_key_frame_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        av.open(str(write(tmp_path / "a.mp4", group=10))) as whole,
        av.open(str(tmp_path / "late.mkv"), "w") as container,
    ):
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in list(whole.demux(video=0))[3:-1]:
            packet.stream = stream
            container.mux(packet)
    with VideoReader(tmp_path / "late.mkv") as reader:
        assert reader.num_frames == COUNT - 10
        assert reader.read([0]).float().mean().item() == pytest.approx(80, abs=3)
    assert "late.mkv: 7 frames before the first key frame cannot be decoded, and are left out" in caplog.text


def test_an_uneven_video_is_not_taken_for_a_cut_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Thirty frames of which one stands for a minute: the header's rate and length would make thousands."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + 1800 * (number > 20), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        assert (reader.num_frames, reader.lost_frames) == (COUNT, 0)
    assert not caplog.text


def test_a_damaged_frame_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        places = [packet.pos or 0 for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[places[12] : places[13]] = bytes(places[13] - places[12])
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert reader.num_frames == COUNT
        levels = reader.read([11, 13]).float().mean((1, 2, 3))
        assert levels.tolist() == pytest.approx([86, 98], abs=3), "the frames beside the damaged one are read"
        with pytest.raises(VideoError, match=rf"a\.mp4: frame 12 of {COUNT} cannot be decoded, it is damaged"):
            reader.read([12])


def test_frames_of_another_size_become_that_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    content = b""
    for size in (64, 96):
        with av.open(str(path), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=10, options={"g": "1"})
            assert isinstance(stream, av.VideoStream)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((size, size, 3), size, np.uint8))))
            container.mux(stream.encode())
        content += path.read_bytes()
    path.write_bytes(content)
    with VideoReader(path) as reader:
        frames = reader.read(range(reader.num_frames))
    assert frames.shape[1:] == (64, 64, 3)
    assert frames.float().mean((1, 2, 3)).tolist() == pytest.approx([64, 96], abs=3)


def test_frames_of_a_gigapixel_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    Image.new("P", (16, 16)).save(path)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<2H", 12_000, 12_000)
    path.write_bytes(content)
    with pytest.raises(VideoError, match="frames are 12000x12000, more than 100 MP"):
        VideoReader(path)

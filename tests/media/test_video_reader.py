"""The reader gives the same frames by number as decoding everything, in presentation order, whatever the container."""

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lvdm.media.video_reader import VideoError, VideoReader

COUNT = 60
STEP = 3  # grey levels per frame, so that a frame tells its number


def make_video(path: Path, codec: str, options: dict[str, str], times: list[int] | None = None) -> Path:
    """60 frames of rising grey, with B-frames if the codec has them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(COUNT):
            picture = np.full((48, 64, 3), 20 + STEP * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers_shown(frames: torch.Tensor) -> list[int]:
    return [round((level - 20) / STEP) for level in frames.float().mean((1, 2, 3)).tolist()]


UNEVEN = list(itertools.accumulate([1, 3, 1, 1, 7, 2] * 10))
FILES = {
    "b_frames.mp4": ("libx264", {"g": "15", "bf": "3"}, None),
    "open_gop.mkv": ("libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}, None),
    "uneven_times.mp4": ("libx264", {"g": "15", "bf": "3"}, UNEVEN),
    "all_intra.mov": ("libx264", {"g": "1"}, None),
    "no_times.avi": ("libx264", {"bf": "3"}, None),
    "hidden_packets.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}, None),
    "raw.h264": ("libx264", {"g": "15", "bf": "3"}, None),
}


@pytest.mark.parametrize("name", FILES)
def test_frames_are_exact(name: str, tmp_path: Path) -> None:
    codec, options, times = FILES[name]
    with VideoReader(make_video(tmp_path / name, codec, options, times)) as reader:
        assert reader.num_frames == COUNT, f"{name}: {reader.num_frames} frames counted, {COUNT} written"
        assert (reader.height, reader.width) == (48, 64)
        everything = reader.read(range(COUNT))
        assert numbers_shown(everything) == list(range(COUNT)), f"{name}: frames are not in presentation order"
        order = [59, 3, 3, 15, 14, 12, 11, 40, 0, 23]
        assert torch.equal(reader.read(order), everything[order]), f"{name}: random access gives other frames"
        for index in range(0, COUNT, 7):
            assert torch.equal(reader.read([index])[0], everything[index]), f"{name}: frame {index} alone differs"


def test_fps_is_the_average_of_the_times(tmp_path: Path) -> None:
    even = make_video(tmp_path / "even.mp4", "libx264", {})
    uneven = make_video(tmp_path / "uneven.mp4", "libx264", {}, UNEVEN)
    with VideoReader(even) as reader:
        assert reader.fps == pytest.approx(30)
    with VideoReader(uneven) as reader:
        assert reader.fps == pytest.approx(30 * (COUNT - 1) / (UNEVEN[-1] - UNEVEN[0]))


def test_scaling_and_bounds(tmp_path: Path) -> None:
    with VideoReader(make_video(tmp_path / "a.mp4", "libx264", {})) as reader:
        scaled = reader.read([5, 50], height=30, width=70)
        assert scaled.shape == (2, 30, 70, 3)
        assert numbers_shown(scaled) == [5, 50]
        assert reader.read([]).shape == (0, 48, 64, 3)
        with pytest.raises(IndexError, match=r"no frame 60, the video has 60"):
            reader.read([60])
        with pytest.raises(ValueError, match="both height and width"):
            reader.read([0], height=10)


def test_bad_files_are_one_line_errors(tmp_path: Path) -> None:
    good = make_video(tmp_path / "good.mp4", "libx264", {"movflags": "+faststart"}).read_bytes()
    cases = {"empty.mp4": b"", "text.mp4": b"this is no video at all\n" * 50, "truncated.mp4": good[: len(good) // 3]}
    reasons = {"empty.mp4": "empty", "text.mp4": "not a readable video", "truncated.mp4": "not a readable video"}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError, match=reasons[name]) as caught:
            VideoReader(tmp_path / name)
        assert name in str(caught.value), f"{name}: the error does not name the file"
        assert "\n" not in str(caught.value), f"{name}: the error has several lines"
    with pytest.raises(VideoError, match="no such file"):
        VideoReader(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="folder"):
        VideoReader(tmp_path)


def test_damage_in_the_middle_is_an_error_not_another_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.mkv", "libx264", {"g": "10", "bf": "2"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with VideoReader(path) as reader:
        assert 0 < reader.num_frames < COUNT
        first_half = range(reader.num_frames // 2)
        assert numbers_shown(reader.read(first_half)) == list(first_half)


def test_rotation_of_phones_is_applied(tmp_path: Path) -> None:
    """A quarter turn clockwise, written into the track header by hand (ISO/IEC 14496-12, 8.3.2)."""
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:16] = 255  # white above: on the right when turned clockwise
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray((tmp_path / "phone.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(content)
    with VideoReader(tmp_path / "phone.mp4") as reader:
        assert (reader.height, reader.width) == (64, 48)
        upright = reader.read([0])[0].float()
        small = reader.read([0], height=32, width=24)
    assert upright[:, -12:].mean() > 230, "the video is not turned clockwise"
    assert upright[:, :24].mean() < 20
    assert small.shape == (1, 32, 24, 3)

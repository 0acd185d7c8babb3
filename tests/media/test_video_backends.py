"""All backends that run here return the frames that plain decoding gives, to the bit: which, when and how they look.

PyAV is always among them; torchcodec where it finds the FFmpeg libraries that it needs (`pytest -rA` names the cases).
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lvdm.data.video_folder import VideoFolderConfig
from lvdm.media.torchcodec_reader import BackendError, TorchCodecReader, load_torchcodec
from lvdm.media.video_backends import Backend, open_video
from lvdm.media.video_reader import VideoError


def torchcodec_runs() -> bool:
    """Whether torchcodec and the FFmpeg libraries that it needs are installed."""
    try:
        load_torchcodec()
    except BackendError:
        return False
    return True


BACKENDS: list[Backend] = ["pyav", "torchcodec"] if torchcodec_runs() else ["pyav"]
COUNT = 40
UNEVEN = list(itertools.accumulate([1, 3, 1, 1, 7, 2, 1, 4] * 5))
X264 = {"g": "12", "crf": "18", "threads": "1"}
FILES: dict[str, tuple[str, dict[str, str], list[int] | None, tuple[int, int]]] = {
    "constant.mp4": ("libx264", {**X264, "bf": "0"}, None, (48, 64)),
    "b_frames.mp4": ("libx264", {**X264, "bf": "3"}, None, (48, 64)),
    "variable.mp4": ("libx264", {**X264, "bf": "0"}, UNEVEN, (48, 64)),
    "variable_b_frames.mkv": ("libx264", {**X264, "bf": "3"}, UNEVEN, (48, 64)),
    "open_gop.mkv": ("libx264", {**X264, "bf": "3", "x264-params": "open-gop=1"}, None, (48, 64)),
    "hidden_packets.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}, None, (48, 64)),
    "odd_width.mp4": ("libx264", {**X264, "bf": "2"}, None, (50, 70)),
    "untagged_hd.mp4": ("libx264", {**X264, "preset": "ultrafast"}, None, (720, 1280)),
}
"""Codec, its options, times of the frames in 1/30 s, height and width."""

NOT_READ = {("torchcodec", "open_gop.mkv")}
"""torchcodec 0.17 does not find the last frame behind an open group of pictures: an error, never another frame."""


def make_video(path: Path) -> Path:
    """Coloured blocks that move, so that colours and edges differ in every frame."""
    codec, options, times, (height, width) = FILES[path.name]
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(8 if height > 500 else COUNT):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * number, 1), format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_in_order(path: Path) -> tuple[torch.Tensor, list[Fraction]]:
    """All frames, without any seeking, and their times."""
    with av.open(str(path), mode="r") as container:
        frames = list(container.decode(video=0))
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        return torch.from_numpy(pictures), [frame.pts * Fraction(frame.time_base) for frame in frames]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FILES)
def test_frames_are_identical_to_plain_decoding(name: str, backend: Backend, tmp_path: Path) -> None:
    path = make_video(tmp_path / name)
    expected, times = decode_in_order(path)
    if (backend, name) in NOT_READ:
        with pytest.raises(VideoError, match=name):
            open_video(path, backend=backend)
        return
    with open_video(path, backend=backend) as reader:
        assert reader.num_frames == len(expected), f"{backend} counts other frames of {name}"
        assert (reader.height, reader.width) == expected.shape[1:3]
        assert reader.fps == float((len(times) - 1) / (times[-1] - times[0])), f"{backend} tells another fps of {name}"
        assert torch.equal(reader.read(range(len(expected))), expected), f"{backend} decodes other pictures of {name}"
        order = [number % len(expected) for number in (39, 2, 2, 14, 13, 11, 25, 0, 31, 24)]
        assert torch.equal(reader.read(order), expected[order]), f"{backend} seeks to other frames of {name}"
    for number in (len(expected) - 1, 5):
        with open_video(path, path.read_bytes(), backend) as reader:
            assert torch.equal(reader.read([number])[0], expected[number]), f"{backend}: frame {number} alone differs"


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_files_are_one_line_errors(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video at all\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for name, reason in {"text.mp4": "not a", "empty.mp4": "empty", "absent.mp4": "no such file"}.items():
        with pytest.raises(VideoError, match=reason) as caught:
            open_video(tmp_path / name, backend=backend)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    with (
        open_video(make_video(tmp_path / "constant.mp4"), backend=backend) as reader,
        pytest.raises(IndexError, match="no frame 40, the video has 40"),
    ):
        reader.read([40])


WITHOUT = """
import sys
sys.modules["torchcodec"] = None  # what Python itself does for a package that cannot be imported
from lvdm.media.torchcodec_reader import TorchCodecReader
try:
    TorchCodecReader(sys.argv[1])
except ValueError as error:
    print(type(error).__name__, error)
"""


def test_torchcodec_that_is_not_there_is_an_error_and_no_other_choice(tmp_path: Path) -> None:
    path = make_video(tmp_path / "constant.mp4")
    run = subprocess.run([sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=True)
    assert "BackendError torchcodec is not installed: pip install torchcodec, or choose reader: pyav" in run.stdout
    if "torchcodec" not in BACKENDS:
        with pytest.raises(BackendError, match=r"torchcodec .*choose reader: pyav"):
            TorchCodecReader(path)


def test_torchcodec_refuses_the_originals_squeezing() -> None:
    with pytest.raises(ValueError, match="set load_raw_resolution: true"):
        VideoFolderConfig(data_dir="d", reader="torchcodec", load_raw_resolution=False)

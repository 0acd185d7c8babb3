"""All readers that run here return the frames that plain decoding gives, to the bit: which, when and how they look.

PyAV and imageio are always among them; decord where it is installed, torchcodec where it also finds the FFmpeg
libraries that it needs (`pytest -rA` names the cases).
"""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
import typing
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from lvdm.data.video_folder import VideoFolderConfig
from lvdm.media.decord_reader import DecordReader, load_decord
from lvdm.media.torchcodec_reader import BackendError, TorchCodecReader
from lvdm.media.video_backends import READERS, Backend, open_video, why_not
from lvdm.media.video_reader import VideoError

BACKENDS: list[Backend] = [name for name in READERS if not why_not(name)]
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
    "turned.mp4": ("libx264", {**X264, "bf": "0"}, None, (48, 64)),
    "untagged_hd.mp4": ("libx264", {**X264, "preset": "ultrafast"}, None, (720, 128)),
}
"""Codec, its options, times of the frames in 1/30 s, height and width."""

NOT_READ = {
    ("torchcodec", "open_gop.mkv"): "not a video that torchcodec reads",
    ("decord", "open_gop.mkv"): "open GOPs; choose reader: pyav",
    ("decord", "hidden_packets.webm"): "no times of frames; choose reader: pyav",
    ("decord", "turned.mp4"): "does not show it as a player does .turned by 90 degrees.; choose reader: pyav",
}
"""An error, never another frame: torchcodec 0.17 does not find the last frame behind an open group of pictures, decord
3.4 shows others there, and takes turned frames for frames of six channels."""


def make_video(path: Path) -> Path:
    """Coloured blocks that move, so that colours and edges differ in every frame."""
    codec, options, times, (height, width) = FILES[path.name]
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if path.stem == "turned":
            stream.set_display_rotation(90)
        for number in range(6 if height > 500 else COUNT):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 3 * number, 1), format="rgb24")
            frame.pts, frame.time_base = (times[number] if times else number), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_in_order(path: Path) -> tuple[torch.Tensor, list[Fraction]]:
    """All frames upright, without any seeking, and their times."""
    with av.open(str(path), mode="r") as container:
        frames = list(container.decode(video=0))
        pictures = np.stack([np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames])
        return torch.from_numpy(pictures), [frame.pts * Fraction(frame.time_base) for frame in frames]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> typing.Callable[[str], tuple]:
    """From a name in `FILES` to the file, its frames and their times; each is made once."""
    folder = tmp_path_factory.mktemp("videos")
    return functools.cache(lambda name: (make_video(folder / name), *decode_in_order(folder / name)))


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """imageio collects the garbage of the whole process, torch's too, whenever it closes a video."""
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FILES)
def test_frames_are_identical_to_plain_decoding(name: str, backend: Backend, videos: typing.Callable) -> None:
    path, expected, times = videos(name)
    if (backend, name) in NOT_READ:
        with pytest.raises(VideoError, match=f"{name}.* {NOT_READ[backend, name]}"):
            open_video(path, backend=backend)
        return
    with open_video(path, backend=backend) as reader:
        assert len(reader) == reader.num_frames == len(expected), f"{backend} counts other frames of {name}"
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_video_that_ends_early_shows_no_frame_twice(
    backend: Backend, videos: typing.Callable, tmp_path: Path
) -> None:
    """decord repeats the frame before a damaged one unless it is told not to."""
    path, expected, _ = videos("variable_b_frames.mkv")
    (tmp_path / "cut.mkv").write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with suppress(VideoError), open_video(tmp_path / "cut.mkv", backend=backend) as reader:
        there = reader.num_frames - 1  # the last is damaged, and may look it
        assert there < len(expected)
        assert torch.equal(reader.read(range(there)), expected[:there]), f"{backend} shows other frames"


WITHOUT = """
import sys
sys.modules[sys.argv[2]] = None  # what Python itself does for a package that cannot be imported
from lvdm.media.video_backends import open_video
try:
    open_video(sys.argv[1], backend=sys.argv[2])
except ValueError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(
    "decord" not in BACKENDS or not Path("/proc/self/maps").exists(),
    reason="decord is not there, or what a process has loaded is not told",
)
def test_decord_does_not_put_another_library_in_the_place_of_torch_s() -> None:
    """It loads all of NVIDIA's that pip installed; with NVBLAS the next matrix product ended the process."""
    load_decord()
    assert "nvblas" not in Path("/proc/self/maps").read_text(), "decord was imported with NVIDIA's libraries"


@pytest.mark.parametrize(("backend", "package"), [("torchcodec", "torchcodec"), ("decord", "decord2")])
def test_a_reader_that_is_not_there_is_an_error_and_no_other_choice(
    backend: Backend, package: str, videos: typing.Callable
) -> None:
    path = videos("constant.mp4")[0]
    run = subprocess.run([sys.executable, "-c", WITHOUT, path, backend], capture_output=True, text=True, check=True)
    assert f"BackendError {backend} is not installed: pip install {package}, or choose reader: pyav" in run.stdout
    if backend not in BACKENDS:
        with pytest.raises(BackendError, match=rf"{backend} .*choose reader: pyav"):
            (DecordReader if backend == "decord" else TorchCodecReader)(path)


def test_an_unknown_reader_is_named_with_those_there_are() -> None:
    assert set(READERS) == set(typing.get_args(Backend)), "a reader is declared and not there, or there and undeclared"
    with pytest.raises(ValueError, match="unknown video reader 'pyaw'; did you mean 'pyav'"):
        open_video("a.mp4", backend="pyaw")  # type: ignore[arg-type]


@pytest.mark.parametrize("reader", [name for name, backend in READERS.items() if not backend.scales])
def test_readers_that_do_not_scale_refuse_the_originals_squeezing(reader: Backend, videos: typing.Callable) -> None:
    with pytest.raises(ValueError, match=f"reader: {reader} .*set load_raw_resolution: true"):
        VideoFolderConfig(data_dir="d", reader=reader, load_raw_resolution=False)
    if reader in BACKENDS:
        with (
            open_video(videos("constant.mp4")[0], backend=reader) as opened,
            pytest.raises(ValueError, match=f"{reader} does not scale"),
        ):
            opened.read([0], 24, 32)

"""Videos come back as they were written, or nothing is left and what was there before stays."""

import errno
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lvdm.media import atomic, video_formats
from lvdm.media.atomic import OutputError, check_writable, write_json
from lvdm.media.contact_sheet import write_contact_sheet
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import check_output, to_uint8, write_video

FILES = ["a.mp4", "a.webm", "a.gif", "a.webp", "a.apng", "a.png"]
LOSSLESS = {"a.apng", "a.png"}


def smooth_video(frames: int = 16, height: int = 48, width: int = 64) -> torch.Tensor:
    """Soft moving colours, float (3, t, H, W) in [-1, 1]."""
    t = torch.arange(frames).view(-1, 1, 1) / 5
    y, x = torch.linspace(0, 3, height).view(1, -1, 1), torch.linspace(0, 4, width).view(1, 1, -1)
    return torch.stack([torch.sin(x + y - t), torch.cos(y * 2 + t) + 0 * x, torch.sin(x - t) * torch.cos(y)])


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second.astype(float)) ** 2)))


def read_back(path: Path) -> np.ndarray:
    if path.suffix in (".mp4", ".webm"):
        with VideoReader(path) as reader:
            return reader.read(range(reader.num_frames)).numpy()
    with Image.open(path) as animation:
        frames = []
        for index in range(getattr(animation, "n_frames", 1)):
            animation.seek(index)
            frames.append(np.asarray(animation.convert("RGB")))
        return np.stack(frames)


def test_to_uint8_rounds_and_is_the_inverse_of_scaling() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    assert torch.equal(to_uint8((levels.float() / 127.5 - 1).permute(3, 0, 1, 2)), levels)
    almost = torch.full((3, 1, 8, 8), 200 / 127.5 - 1 - 1e-4)  # the original cuts this down to 199
    assert bool((to_uint8(almost) == 200).all()), "levels are cut off instead of rounded"
    assert to_uint8(torch.full((3, 1, 8, 8), 1.5)).max() == 255
    with pytest.raises(OutputError, match="not finite"):
        to_uint8(torch.full((3, 1, 8, 8), torch.nan))
    with pytest.raises(OutputError, match=r"\(3, t, H, W\)"):
        to_uint8(torch.zeros(1, 3, 4, 8, 8))


@pytest.mark.parametrize("name", FILES)
def test_formats_read_back(name: str, tmp_path: Path) -> None:
    video = smooth_video()
    written = write_video(video, tmp_path / name, 8)
    assert (written.num_frames, written.height, written.width) == (16, 48, 64)
    back, expected = read_back(tmp_path / name), to_uint8(video).numpy()
    assert back.shape == expected.shape
    if name in LOSSLESS:
        assert np.array_equal(back, expected), f"{name} is not lossless"
    else:
        enough = 26 if name == "a.gif" else 35  # gif: 256 colours, dithered
        assert psnr(back, expected) > enough, f"{name}: {psnr(back, expected):.1f} dB"
        drift = np.abs(back.mean((0, 1, 2)) - expected.mean((0, 1, 2))).max()
        assert drift < 0.6, f"{name}: the colours drift by {drift:.2f} levels"
    assert os.listdir(tmp_path) == [name], "a temporary file was left"


@pytest.mark.parametrize("name", FILES)
def test_same_video_same_bytes(name: str, tmp_path: Path) -> None:
    contents = set()
    for repetition in range(15 if name == "a.mp4" else 2):  # x264 alone differs now and then, see _X264_REPRODUCIBLE
        np.random.default_rng(repetition).bytes(50_000 * repetition)  # other memory contents
        write_video(smooth_video(6), tmp_path / name, 12, metadata={"comment": "a boat"})
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1, "the same video gave different files"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("frames", [1, 5])
def test_still_videos_and_odd_sizes(name: str, frames: int, tmp_path: Path) -> None:
    """Encoders that merge equal frames, and codecs that need even sides."""
    still = smooth_video(1, 33, 65).expand(3, frames, 33, 65)
    written = write_video(still, tmp_path / name, 23.976)
    assert written.num_frames == frames
    assert name not in LOSSLESS or len(read_back(tmp_path / name)) == frames, "who reads it counts too few frames"
    padded = name in ("a.mp4", "a.webm")
    assert (written.height, written.width) == ((34, 66) if padded else (33, 65))


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "frames"])
def test_a_video_in_parts_is_the_same_file(name: str, tmp_path: Path) -> None:
    video = smooth_video(7, 33, 48)
    taken = []

    def parts() -> Iterator[torch.Tensor]:
        for part in video.split(3, dim=1):
            taken.append(part.shape[1])
            yield part

    written = write_video(parts(), tmp_path / name, 8)
    assert (taken, written.num_frames) == ([3, 3, 1], 7)
    write_video(video, tmp_path / f"whole_{name}", 8)
    pairs = [(tmp_path / name, tmp_path / f"whole_{name}")]
    if name == "frames":
        pairs = [(path, tmp_path / f"whole_{name}" / path.name) for path in sorted((tmp_path / name).iterdir())]
    assert all(part.read_bytes() == whole.read_bytes() for part, whole in pairs), "parts make another file"


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_parts_that_end_early_leave_nothing(name: str, tmp_path: Path) -> None:
    def parts(then: object) -> Iterator[torch.Tensor]:
        yield smooth_video(3)
        if isinstance(then, BaseException):
            raise then
        yield then

    with pytest.raises(MemoryError):
        write_video(parts(MemoryError()), tmp_path / name, 8)
    with pytest.raises(OutputError, match="follows those of"):
        write_video(parts(smooth_video(1, 32)), tmp_path / name, 8)
    with pytest.raises(OutputError, match="no frames"):
        write_video([], tmp_path / name, 8)
    assert os.listdir(tmp_path) == [], "a half-written file was left"


def boxes(content: bytes) -> list[str]:
    """The names of the top-level boxes of an mp4 file."""
    names, place = [], 0
    while place < len(content):
        size, name = struct.unpack(">I4s", content[place : place + 8])
        names.append(name.decode())
        place += size
    return names


def test_mp4_plays_everywhere(tmp_path: Path) -> None:
    write_video(smooth_video(), tmp_path / "a.mp4", 8, metadata={"comment": "a boat"})
    order = boxes((tmp_path / "a.mp4").read_bytes())
    assert order.index("moov") < order.index("mdat"), "the index does not come first (faststart)"
    with VideoReader(tmp_path / "a.mp4") as reader:
        context = reader._stream.codec_context
        assert context.pix_fmt == "yuv420p"
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert tags == (1, 1, 1, 1), "not tagged as BT.709 in limited range"
        assert reader._container.metadata["comment"] == "a boat"
        assert reader.fps == pytest.approx(8)
        assert reader._container.duration == pytest.approx(2_000_000), "16 frames at 8 per second are not 2 s"


def test_saturated_colours_survive_bt709(tmp_path: Path) -> None:
    colors = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [18, 52, 86]], dtype=torch.uint8)
    video = colors.view(5, 1, 1, 3).expand(5, 32, 32, 3)
    write_video(video, tmp_path / "a.mp4", 5)
    assert np.abs(read_back(tmp_path / "a.mp4").astype(int) - video.numpy()).max() <= 4


@pytest.mark.parametrize("fps", [8, 29.97, 7.3])
@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.apng"])
def test_animations_last_as_long_as_they_should(name: str, fps: float, tmp_path: Path) -> None:
    write_video(smooth_video(16, 12, 16), tmp_path / name, fps)
    with Image.open(tmp_path / name) as animation:
        total = 0.0
        for index in range(animation.n_frames):
            animation.seek(index)
            animation.load()
            total += animation.info["duration"]
    assert total == pytest.approx(16_000 / fps, abs=10)


def test_png_sequences(tmp_path: Path) -> None:
    video = smooth_video(4)
    expected = to_uint8(video).numpy()
    written = write_video(smooth_video(6), tmp_path / "frames", 8)
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    (tmp_path / "frames" / "frame_00006.png").write_text("mine too")
    output = {"num_frames": 6, "bytes": written.bytes}
    write_json(tmp_path / "frames.json", {"format": "dynamicrafter-video/1", "video": "frames", "output": output})
    write_video(video, tmp_path / "frames", 8)
    names = sorted(os.listdir(tmp_path / "frames"))
    ours = [f"frame_{i:05d}.png" for i in range(4)]
    assert names == [*ours, "frame_00006.png", "notes.txt"], "stale frames, or a lost file of the user"
    write_video(video, tmp_path / "shot_%02d.png", 8)
    for index in range(4):
        for path in (tmp_path / "frames" / f"frame_{index:05d}.png", tmp_path / f"shot_{index:02d}.png"):
            assert np.array_equal(np.asarray(Image.open(path)), expected[index]), f"{path.name} differs"


@contextmanager
def small_files_only(limit: int) -> Iterator[None]:
    """Let the system refuse writes beyond `limit` bytes per file: as on a full disk, also inside the encoders."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", [*FILES, "shot_%03d.png"])
def test_failed_write_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    target.write_bytes(b"before")
    noise = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with small_files_only(3000), pytest.raises(OutputError, match="nothing was written") as caught:
        write_video(noise, target, 8)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == [name], f"left behind: {os.listdir(tmp_path)}"
    assert target.read_bytes() == b"before"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "frames"])
def test_interruption_leaves_nothing(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(video_formats, "check_frames", fail)  # after the temporary file is complete
    expected, message = (OutputError, "disk is full") if isinstance(error, OSError) else (KeyboardInterrupt, None)
    with pytest.raises(expected, match=message):
        write_video(smooth_video(3), tmp_path / name, 8)
    assert os.listdir(tmp_path) == [], "a half-written file was left"


def test_a_file_that_shows_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = video_formats._to_yuv420
    monkeypatch.setattr(video_formats, "_to_yuv420", lambda picture: convert(255 - picture))
    with pytest.raises(OutputError, match="not those that were written"):
        write_video(smooth_video(3), tmp_path / "a.mp4", 8)
    assert os.listdir(tmp_path) == []


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"unknown video format '.avi', choose from .mp4"):
        check_output(tmp_path / "a.avi")
    with pytest.raises(OutputError, match="a file stands where its folder should be"):
        check_output(tmp_path / "file" / "a.mp4")
    with pytest.raises(OutputError, match="the name is too long"):
        check_output(tmp_path / f"{'n' * 300}.mp4")
    for whole in ("", "..", "/"):
        with pytest.raises(OutputError, match="is a folder, give the name of a file"):
            check_output(whole)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "folder.mp4")
    with pytest.raises(OutputError, match=r"shot_%05d.png"):
        check_output(tmp_path / "shot_%05d.jpg")
    check_output(tmp_path / "new" / "a.mp4")
    check_output(tmp_path / "frames")
    with pytest.raises(OutputError, match="frames per second"):
        write_video(smooth_video(2), tmp_path / "a.mp4", 0)


def test_closed_folder_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, which may write anywhere, a folder cannot really be closed: so the system call refuses instead."""

    def refuse(path: Path, data: bytes) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(atomic.Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match="permission denied, choose another folder"):
        check_writable(tmp_path / "a.mp4")


def test_a_full_disk_is_found_out_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk an empty file can still be made; it is the first byte that fails."""

    def refuse(path: Path, data: bytes) -> int:
        if data:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return 0

    monkeypatch.setattr(atomic.Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        check_writable(tmp_path / "a.mp4")


def test_json_is_deterministic_and_atomic(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"prompt": "ein Boot, größer", "seed": 1, "seconds": 0.5})
    first = path.read_bytes()
    assert json.loads(first) == {"prompt": "ein Boot, größer", "seed": 1, "seconds": 0.5}
    assert first.endswith(b"}\n")
    write_json(path, {"prompt": "ein Boot, größer", "seed": 1, "seconds": 0.5})
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"psnr": float("nan")})
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["a.json"]


def test_contact_sheet_shows_every_frame(tmp_path: Path) -> None:
    video = smooth_video(10, 40, 40)  # too small for numbers, so that the pixels stay
    write_contact_sheet(video, tmp_path / "sheet.png", columns=4)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 44 + 4, 4 * 44 + 4, 3)
    for index, picture in enumerate(to_uint8(video).numpy()):
        top, left = 4 + 44 * (index // 4), 4 + 44 * (index % 4)
        assert np.array_equal(sheet[top : top + 40, left : left + 40], picture), f"frame {index} is not in its place"


def test_a_counter_counts_in_the_names_of_single_frames_alone(tmp_path: Path) -> None:
    video = torch.zeros(3, 2, 16, 16)
    assert write_video(video, tmp_path / "100%done.mp4", 8).path.is_file(), "a name that the file system takes"
    write_video(video, tmp_path / "50%_%02d.png", 8)
    assert sorted(path.name for path in tmp_path.glob("50*")) == ["50%_00.png", "50%_01.png"]
    with pytest.raises(OutputError, match="frames are counted once, give a name with one counter"):
        check_output(tmp_path / "x%d_%d.png")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.mp4", "100%done.gif", "a|b;c.webm", "new\nline.apng"])
def test_names_are_files_and_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name with a colon is no protocol, and a counter means something for single PNGs only."""
    monkeypatch.chdir(tmp_path)
    frames = torch.arange(2, dtype=torch.uint8).mul(200)[:, None, None, None].expand(-1, 16, 16, 3).contiguous()
    write_video(frames, name, 8)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with VideoReader(name) as reader:
        assert reader.read([0, 1]).float().mean((1, 2, 3)).tolist() == pytest.approx([0, 200], abs=6)


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"quality": 95, "method": 4}), ("a.apng", {})])
def test_imageio_writes_the_bytes_that_pillow_does(name: str, options: dict, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    video = torch.randint(0, 255, (4, 24, 32, 3), generator=draw, dtype=torch.uint8)
    write_video(video, tmp_path / name, 8)
    frames = [Image.fromarray(frame) for frame in video.numpy()]
    kind = "WEBP" if name == "a.webp" else "PNG"
    expected = tmp_path / "expected"
    frames[0].save(
        expected, format=kind, save_all=True, append_images=frames[1:], duration=[125] * 4, loop=0, **options
    )
    assert (tmp_path / name).read_bytes() == expected.read_bytes(), f"{name} has other bytes than Pillow's own"

"""Clips out of every kind of file, at the protocol's size; what cannot be read says why in one line."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_videos import write_video

from lvdm.evaluation.clip_files import (
    ClipSpec,
    FrameScaling,
    ReferencedClip,
    inspect_file,
    load_clip,
    resize_frames,
)
from lvdm.media.file_names import natural_order


def spec(path: Path, frames: int = 4, **fields: object) -> ClipSpec:
    return ClipSpec(**{"id": "a", "video": path, "start": 0, "stride": 1, "frames": frames, "fps": 8.0, **fields})


def levels(frames: torch.Tensor) -> list[int]:
    return [round((value - 16) / 8) for value in frames.float().mean(dim=(1, 2, 3)).tolist()]


def ramp(frames: int = 12, height: int = 16, width: int = 24) -> np.ndarray:
    """Frame i is 8 i + 16."""
    return np.broadcast_to((8 * np.arange(frames) + 16)[:, None, None, None], (frames, height, width, 3)).astype(
        np.uint8
    )


def written(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"v{kind}"
    if kind in (".mp4", ".mkv"):
        write_video(path, 12)
    elif kind == ".gif":
        pictures = [Image.fromarray(frame) for frame in ramp()]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    elif kind == ".npy":
        np.save(path, ramp())
    elif kind == ".npz":
        np.savez(path, video=ramp().astype(np.float64) / 255, other=np.zeros(3))
    else:
        path.mkdir()
        for number, frame in enumerate(ramp()):
            Image.fromarray(frame).save(path / f"{number}.png")
    return path


@pytest.mark.parametrize("kind", [".mp4", ".mkv", ".gif", ".npy", ".npz", ""])
def test_every_kind_of_file_gives_the_frames_asked_for(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, kind)
    clip = load_clip(spec(path, start=1, stride=3), FrameScaling())
    assert clip.frames.dtype == torch.uint8
    assert levels(clip.frames) == [1, 4, 7, 10]
    assert clip.fps == pytest.approx(8 / 3), "fps is that of the frames of the clip"
    assert inspect_file(path).num_frames == 12


def test_the_rate_of_a_file_is_its_own_unless_told(tmp_path: Path) -> None:
    clip = load_clip(spec(written(tmp_path, ".mp4"), fps=None, stride=2), FrameScaling())
    assert clip.fps == pytest.approx(12)
    assert load_clip(spec(written(tmp_path, ".npy"), fps=None), FrameScaling()).fps is None, "an array tells none"


def test_a_still_is_the_image_or_the_first_frame(tmp_path: Path) -> None:
    path = written(tmp_path, ".npy")
    clip = load_clip(spec(path, start=2, still=True), FrameScaling())
    assert levels(clip.frames) == [2, 2, 2, 2]
    Image.new("RGB", (60, 40), (96, 96, 96)).save(tmp_path / "image.png")
    clip = load_clip(spec(path, still=True, image=tmp_path / "image.png"), FrameScaling("crop", 16, 16))
    assert levels(clip.frames) == [10] * 4
    assert clip.image is not None
    assert torch.equal(clip.image, clip.frames[0])


def test_sizes_are_those_of_the_protocol() -> None:
    frames = torch.arange(2 * 12 * 20 * 3, dtype=torch.int64).remainder(256).to(torch.uint8).view(2, 12, 20, 3)
    assert resize_frames(frames, FrameScaling()) is frames
    stretched = resize_frames(frames, FrameScaling("stretch", 6, 10))
    planes = torch.nn.functional.interpolate(frames.permute(0, 3, 1, 2).float(), (6, 10), mode="bilinear")
    assert torch.equal(stretched, planes.round().to(torch.uint8).permute(0, 2, 3, 1))
    cropped = resize_frames(frames, FrameScaling("crop", 12, 12))
    assert torch.equal(cropped, frames[:, :, 4:16]), "the shorter side fits already: only the centre is cut out"
    assert resize_frames(frames, FrameScaling("crop", 9, 7)).shape == (2, 9, 7, 3)


def test_a_clip_with_a_reference_has_its_frames(tmp_path: Path) -> None:
    path = written(tmp_path, ".npy")
    clip = load_clip(spec(path, reference=spec(path, start=5)), FrameScaling())
    assert isinstance(clip, ReferencedClip)
    assert levels(clip.reference) == [5, 6, 7, 8]
    with pytest.raises(ValueError, match="4 16x24 frames cannot be compared with 3 16x24 of"):
        load_clip(spec(path, reference=spec(path, frames=3)), FrameScaling())


def test_names_with_numbers_are_in_the_order_of_the_numbers() -> None:
    assert natural_order(["f10.png", "f2.png", "f1.png", "a"]) == ["a", "f1.png", "f2.png", "f10.png"]


def noisy_video(path: Path, options: dict[str, str] | None = None) -> None:
    values = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        for _ in range(40):
            picture = values.integers(0, 255, (48, 80, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v.mp4", None, "not a readable video"),
        ("v.mp4", {"movflags": "faststart"}, "cut off, its header announces 40 frames and it has 2"),
        ("v.mkv", None, "cut off, its header announces 40 frames and it has 2"),
    ],
)
def test_a_video_that_was_cut_off_says_so(
    name: str, options: dict[str, str] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    noisy_video(path, options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(ValueError, match=message):
        load_clip(spec(path), FrameScaling())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ramp().astype(np.float32), r"should lie in \[0, 1\]"),
        (np.full((4, 8, 8, 3), np.nan), "not finite"),
        (ramp()[0], r"should be \(t, H, W, 3\)"),
        (ramp().astype(np.int64), "should be uint8 or float"),
        (np.array([{"a": 1}], dtype=object), "not a readable array"),
        (ramp(3), "has 3 frames, the clip needs frames 0 to 3"),
    ],
)
def test_arrays_that_are_no_clip_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(spec(tmp_path / "v.npy"), FrameScaling())
    assert "\n" not in str(caught.value)


def test_other_files_that_are_no_clip_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "")
    Image.new("RGB", (30, 30)).save(folder / "3.png")
    with pytest.raises(ValueError, match="different sizes"):
        load_clip(spec(folder), FrameScaling())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no frames"):
        load_clip(spec(tmp_path / "empty"), FrameScaling())
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "text.mp4").write_text("text")
    np.savez(tmp_path / "two.npz", a=ramp(), b=ramp())
    for name, message in (
        ("text.npz", "not a readable array"),
        ("text.mp4", "not a"),
        ("two.npz", "`video` but a, b"),
    ):
        with pytest.raises(ValueError, match=message):
            load_clip(spec(tmp_path / name), FrameScaling())
    with pytest.raises(ValueError, match="there is no such file"):
        load_clip(spec(tmp_path / "absent.mp4"), FrameScaling())

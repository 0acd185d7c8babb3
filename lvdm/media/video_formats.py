"""How each video format is encoded and read back: mp4, webm, gif, webp, apng, PNG sequence.

One encoder thread, no times, no random identifiers: the same frames give the same bytes.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio.v3 as iio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lvdm.media.atomic import OutputError
from lvdm.media.ownership import COUNTER, frame_name, frames_at, names_frames
from lvdm.media.reading_back import check_count, check_frames
from lvdm.media.video_reader import VideoReader

logger = logging.getLogger(__name__)

_X264_REPRODUCIBLE = "cpu-independent=1"
"""Without it, x264's macroblock tree gave other bytes in one of ten runs with the same input (small frames)."""

_PALETTE_PIXELS = 250_000
_BT709 = 1
"""Primaries, transfer and matrix of BT.709 (ITU-T H.273)."""
_LIMITED_RANGE = 1


@dataclass(frozen=True)
class WrittenVideo:
    """What lies on the disk. `height` and `width` may be one pixel more than asked for (see `write_video`).

    bytes  of the file, or of all single frames
    """

    path: Path
    num_frames: int
    height: int
    width: int
    bytes: int = 0


@dataclass(frozen=True)
class EncoderInput:
    """One video on its way to a file; `frames` gives its frames, uint8 (H, W, 3), one by one and once."""

    frames: Iterator[np.ndarray]
    fps: Fraction
    crf: int | None
    metadata: Mapping[str, str]

    def edges(self, count: int, per_second: int) -> list[int]:
        """Start times of `count` frames, and the end, in ticks; rounded one by one, so that the length stays right."""
        return [round(i * per_second / self.fps) for i in range(count + 1)]


Encoder = Callable[[EncoderInput, Path, Path], WrittenVideo]
"""Writes a video to a temporary file; the last argument is the place that it will have."""


def encoder_of(path: Path) -> Encoder:
    if names_frames(path):
        if len(COUNTER.findall(path.name)) > 1:
            raise OutputError(f"{path}: frames are counted once, give a name with one counter, like shot_%05d.png")
        return _write_sequence
    suffix = path.suffix.lower()
    if suffix not in _ENCODERS:
        if COUNTER.search(path.name):
            raise OutputError(f"{path}: a sequence of frames is written as PNG, give a name like shot_%05d.png")
        known = ", ".join(name or "a folder without suffix" for name in _ENCODERS)
        raise OutputError(f"{path}: unknown video format {suffix!r}, choose from {known}")
    return _ENCODERS[suffix]


def _write_mp4(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    crf = str(16 if output.crf is None else output.crf)
    options = {"crf": crf, "preset": "medium", "x264-params": _X264_REPRODUCIBLE}
    return _write_stream(output, temporary, path, "libx264", options, {"movflags": "+faststart"})


def _write_webm(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    options = {"crf": str(24 if output.crf is None else output.crf), "b": "0", "deadline": "good", "cpu-used": "2"}
    return _write_stream(output, temporary, path, "libvpx-vp9", options, {})


def _write_stream(
    output: EncoderInput,
    temporary: Path,
    path: Path,
    codec: str,
    options: dict[str, str],
    muxer_options: dict[str, str],
) -> WrittenVideo:
    original = next(output.frames)
    first = last = _pad_to_even(original)
    if first.shape != original.shape:
        logger.info("%s: padded by repeating the border to even sides, %dx%d", path, first.shape[1], first.shape[0])
    count = 0
    with av.open(f"file:{temporary}", "w", options={"fflags": "+bitexact", **muxer_options}) as container:
        container.metadata.update(output.metadata)
        stream = container.add_stream(codec, rate=output.fps, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # the bytes would depend on the number of cores
        context.time_base = 1 / output.fps
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        for image in itertools.chain([original], output.frames):
            last = _pad_to_even(image)
            frame = av.VideoFrame.from_ndarray(_to_yuv420(last), format="yuv420p")
            frame.colorspace, frame.color_range = _BT709, _LIMITED_RANGE
            frame.pts, frame.time_base = count, 1 / output.fps
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    with VideoReader(temporary) as reader:
        back = reader.read(sorted({0, reader.num_frames - 1})).numpy()
        check_count(path, reader.num_frames, count)
        check_frames(path, back[[0, -1]], np.stack([first, last]))
        return WrittenVideo(path, reader.num_frames, reader.height, reader.width)


def _to_yuv420(image: np.ndarray) -> np.ndarray:
    """uint8 RGB (H, W, 3) to the planes (3 H / 2, W) of BT.709 in limited range, chroma sited left as H.264 assumes."""
    rgb = image.astype(np.float32) / 255
    luma = rgb @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    blue = (rgb[..., 2] - luma) / 1.8556
    red = (rgb[..., 0] - luma) / 1.5748
    planes = [16 + 219 * luma, 128 + 224 * _halve(blue), 128 + 224 * _halve(red)]
    height, width = luma.shape
    flat = np.concatenate([plane.ravel() for plane in planes])
    return np.rint(flat).astype(np.uint8).reshape(height * 3 // 2, width)


def _halve(plane: np.ndarray) -> np.ndarray:
    """Average pairs of rows, and columns with the weights 1 2 1 around the even ones."""
    rows = (plane[0::2] + plane[1::2]) / 2
    before = np.concatenate([rows[:, :1], rows[:, 1:-1:2]], axis=1)
    return (before + 2 * rows[:, 0::2] + rows[:, 1::2]) / 4


def _pad_to_even(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_gif(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    if output.fps > 50:
        logger.warning("%s: browsers slow gif down above 50 frames per second, use mp4 or webp", path)
    pixels = np.stack(list(output.frames))
    palette = _shared_palette(pixels)
    frames = [Image.fromarray(image).quantize(palette=palette) for image in pixels]
    comment = "\n".join(f"{key}: {value}" for key, value in output.metadata.items()).encode()
    edges = output.edges(len(pixels), per_second=100)
    durations = [10 * max(end - start, 1) for start, end in itertools.pairwise(edges)]
    extra = {"comment": comment} if comment else {}
    # by Pillow itself: imageio gives each frame a palette of its own, so that still areas flicker
    options: dict[str, Any] = {"duration": durations, "loop": 0, "optimize": False, "disposal": 1, **extra}
    frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], **options)
    return _check_animation(pixels, temporary, path, durations)


def _shared_palette(pixels: np.ndarray) -> Image.Image:
    """One palette for all frames, so that still areas do not flicker; refined by k-means on part of the pixels."""
    step = math.isqrt(max(pixels[..., 0].size // _PALETTE_PIXELS, 1))
    chosen = pixels[:, ::step, ::step]
    mosaic = Image.fromarray(chosen.reshape(-1, *chosen.shape[2:]))
    return mosaic.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1)


def _write_webp(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    pixels = np.stack(list(output.frames))
    durations = _milliseconds(output, len(pixels))
    _write_animation(pixels, temporary, ".webp", duration=durations, quality=95, method=4)
    return _check_animation(pixels, temporary, path, durations)


def _write_apng(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    pixels = np.stack(list(output.frames))
    durations = _milliseconds(output, len(pixels))
    text = _png_text(output.metadata)
    _write_animation(pixels, temporary, ".apng", duration=durations, blend=_blends(pixels), pnginfo=text)
    return _check_animation(pixels, temporary, path, durations, lossless=True)


def _milliseconds(output: EncoderInput, count: int) -> list[int]:
    edges = output.edges(count, per_second=1000)
    return [max(end - start, 1) for start, end in itertools.pairwise(edges)]


def _blends(pixels: np.ndarray) -> list[int]:
    """How frames without transparency are laid over each other, which shows the same in any case.

    Pillow makes one longer frame of equal neighbours that are laid alike, and a reader would count too few.
    """
    blends = [0]
    for before, frame in itertools.pairwise(pixels):
        blends.append(1 - blends[-1] if np.array_equal(before, frame) else 0)
    return blends


def _write_animation(pixels: np.ndarray, temporary: Path, extension: str, **options: Any) -> None:
    """Write frames uint8 (t, H, W, 3) that are played again and again."""
    iio.imwrite(temporary, pixels, plugin="pillow", extension=extension, is_batch=True, loop=0, **options)


def _write_sequence(output: EncoderInput, temporary: Path, path: Path) -> WrittenVideo:
    """All frames are written and checked in a temporary folder; `place_frames` moves them."""
    place = frames_at(path)
    assert place is not None
    temporary.mkdir()
    count, shape = 0, (0, 0)
    for number, image in enumerate(output.frames):
        name, shape = frame_name(place[1], number), image.shape[:2]
        count += 1
        with (temporary / name).open("wb") as file:
            iio.imwrite(file, image, plugin="pillow", extension=".png", pnginfo=_png_text(output.metadata))
            file.flush()
            os.fsync(file.fileno())
        with Image.open(temporary / name, formats=("PNG",)) as back:
            check_frames(path, np.asarray(back)[None], image[None], lossless=True)
    return WrittenVideo(path, count, *shape)


def _png_text(metadata: Mapping[str, str]) -> PngInfo:
    text = PngInfo()
    for key, value in metadata.items():
        text.add_itxt(key, value)
    return text


def _check_animation(
    pixels: np.ndarray, temporary: Path, path: Path, durations: list[int], lossless: bool = False
) -> WrittenVideo:
    """Compare every frame at its time: encoders may merge equal neighbours into one longer frame."""
    shown: list[np.ndarray] = []
    with Image.open(temporary, formats=("GIF", "WEBP", "PNG")) as animation:
        frames = getattr(animation, "n_frames", 1)
        starts = np.cumsum([0, *durations[:-1]]) + 0.5
        end = 0.0
        for index in range(frames):
            animation.seek(index)
            image = np.asarray(animation.convert("RGB"))
            end += float(animation.info.get("duration", 0)) if frames > 1 else sum(durations)  # a still has no time
            shown += [image] * (int(np.searchsorted(starts, end)) - len(shown))
    check_count(path, len(shown), len(pixels))
    check_frames(path, np.stack(shown), pixels, lossless)
    return WrittenVideo(path, *pixels.shape[:3])


_ENCODERS: Mapping[str, Encoder] = {
    ".mp4": _write_mp4,
    ".webm": _write_webm,
    ".gif": _write_gif,
    ".webp": _write_webp,
    ".apng": _write_apng,
    ".png": _write_apng,
    "": _write_sequence,
}

"""Videos to files: mp4, webm, gif, webp, apng, PNG sequence. Written whole or not at all, read back and checked.

The same video gives the same bytes on the same machine: one encoder thread, no times, no random identifiers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from lvdm.declaration.values import MAX_FPS, MIN_FPS
from lvdm.media.atomic import OutputError, Together, check_writable, output_error, together
from lvdm.media.images import is_tensor
from lvdm.media.ownership import SEQUENCE_PATTERN, place_frames, record_path
from lvdm.media.video_formats import Encoder, EncoderInput, WrittenVideo, encoder_of
from lvdm.media.video_reader import VideoError

if TYPE_CHECKING:
    from torch import Tensor


def write_video(
    video: Tensor | Iterable[Tensor],
    path: str | Path,
    fps: float,
    *,
    crf: int | None = None,
    metadata: Mapping[str, str] | None = None,
    files: Together | None = None,
) -> WrittenVideo:
    """Write `video`, uint8 (t, H, W, 3) or float (3, t, H, W) in [-1, 1], in the format that `path`'s suffix names.

    A video may also be given as its parts, in their order: the file is the same, to the byte. mp4, webm and single PNGs
    take each part as it comes and hold a few frames; animations hold all of them, as bytes, because all are packed
    together.

    .mp4 (H.264, yuv420p, BT.709, index first), .webm (VP9), .gif, .webp, .apng or .png (animated), a name with a
    counter (shot_%03d.png) or a folder without suffix for single PNGs. mp4 and webm need even sides: an odd one gets
    one more pixel that repeats the border. `crf` is the quality of mp4 (default 16) and webm (default 24); lower is
    better. `metadata` is stored where the format has a place for it (mp4 keeps only the usual names: title, comment).
    With `files` the video appears together with these, such as its record.

    What lies at `path` is replaced: ask `lvdm.media.ownership.check_replaceable` first. Single frames of our earlier
    video, by its record, are removed where the new one has fewer; others never are.
    Raises `OutputError`, and leaves what was there before, if anything goes wrong.
    """
    path = Path(path)
    encode = encoder_of(path)
    check_fps(fps)
    parts = [video] if is_tensor(video) else video
    output = EncoderInput(_arrays(parts, path), Fraction(fps).limit_denominator(1001), crf, metadata or {})
    if files is None:
        with together() as alone:
            return _write(encode, output, path, alone)
    return _write(encode, output, path, files)


def _write(encode: Encoder, output: EncoderInput, path: Path, files: Together) -> WrittenVideo:
    with files.path(path, functools.partial(place_frames, path=path)) as temporary:
        try:
            written = encode(output, temporary, path)
        except VideoError as error:
            raise OutputError(f"{path}: nothing was written, the file could not be read back: {error}") from error
        except av.FFmpegError as error:
            raise output_error(path, error) from error
        parts = temporary.iterdir() if temporary.is_dir() else (temporary,)
        return replace(written, bytes=sum(part.stat().st_size for part in parts))


def _arrays(parts: Iterable[Tensor], path: Path) -> Iterator[np.ndarray]:
    """The frames of the parts of a video. Raises `OutputError` where there is none, and where their sizes differ."""
    shape = None
    for part in parts:
        for image in to_uint8(part).cpu().numpy():
            shape = shape or image.shape
            if image.shape != shape:
                raise OutputError(f"{path}: nothing was written, a frame of {image.shape} follows those of {shape}")
            yield image
    if shape is None:
        raise OutputError(f"{path}: nothing was written, the video has no frames")


def check_fps(fps: float) -> None:
    """Raise `OutputError` for a playback speed that no file can have."""
    if not MIN_FPS <= fps <= MAX_FPS:
        raise OutputError(f"{fps:g} frames per second cannot be played, choose {MIN_FPS:g} to {MAX_FPS:g}")


def check_output(path: str | Path) -> None:
    """Raise `OutputError` if `write_video` could not write `path`: unknown suffix, or a folder that is not writable."""
    path = Path(path)
    encoder_of(path)
    if path.name in ("", ".."):  # frames could be written there, a record beside them could not
        raise OutputError(f"{path}: is a folder, give the name of a file, or of a folder to make in it")
    check_writable(path / SEQUENCE_PATTERN if not path.suffix else path)
    try:
        record_path(path).exists()  # its name may be longer
    except OSError as error:
        raise output_error(path, error) from error


def to_uint8(video: Tensor) -> Tensor:
    """Float (3, t, H, W) in [-1, 1] to uint8 (t, H, W, 3), rounded to the nearest level (the original cuts off).

    Values outside are clipped; uint8 (t, H, W, 3) passes unchanged. Raises `OutputError` for other shapes and for NaN.
    """
    import torch  # places and formats are checked without

    if video.dtype == torch.uint8:
        if video.ndim != 4 or video.shape[-1] != 3 or 0 in video.shape:
            raise OutputError(f"a uint8 video should be (t, H, W, 3), it is {tuple(video.shape)}")
        return video
    if not video.is_floating_point() or video.ndim != 4 or video.shape[0] != 3 or 0 in video.shape:
        raise OutputError(f"a video should be float (3, t, H, W), it is {video.dtype} {tuple(video.shape)}")
    if not all(bool(torch.isfinite(frame).all()) for frame in video.unbind(1)):
        raise OutputError("the video holds values that are not finite (NaN or infinite): it cannot be written")
    levels = torch.empty((*video.shape[1:], 3), dtype=torch.uint8, device=video.device)
    for number, frame in enumerate(video.unbind(1)):  # a long video is not there a second time in float
        levels[number] = ((frame.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return levels

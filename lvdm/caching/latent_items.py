"""What there is to put into a latent cache: the frames of every video of a source, and what these depend on.

Sources that cut clips give all frames of a video. Sources whose clips are fixed give these whole: the procedural
generator, and stills.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from torch import Tensor

from lvdm.caching.latent_index import Rule
from lvdm.caching.latent_records import CacheError
from lvdm.content_hash import HashStore, hash_bytes, read_hash
from lvdm.data.clip_frames import ClipOptions, FrameOptions, read_frames
from lvdm.data.clips import ClipSize, ClipSource
from lvdm.data.image_folder import ImageFolder
from lvdm.data.procedural import ProceduralClips
from lvdm.data.sampling import assign_buckets
from lvdm.data.source_files import SourceFiles
from lvdm.data.video_source import VideoSource

_READ_BYTES = 128 << 20
"""Decoded frames held at once: reading few at a time would decode from the key frame again and again."""


@dataclass(frozen=True)
class VideoFrames:
    """The `count` frames of one video. `batches` gives them once, in order, as (n, 3, H, W) in [-1, 1].

    `num_frames` is what the index says: the same, but for a still the length of its clips.
    """

    count: int
    num_frames: int
    fps: float
    frame_stride: int
    batches: Iterator[Tensor]


class CacheItems(Protocol):
    """Videos by their number."""

    rule: Rule

    def __len__(self) -> int:
        """How many there are."""

    def path(self, index: int) -> str:
        """Where it comes from."""

    def caption(self, index: int) -> str | None:
        """Its caption; None when it has none."""

    def size(self, index: int) -> ClipSize | None:
        """About how many frames it has, and the height and width that they are brought to; None if unreadable."""

    def identity(self, index: int, verify: bool = False) -> str:
        """Changes whenever a frame does. `verify` reads the content even of files whose size and time are known.

        Raises ValueError or OSError for a video that cannot be used.
        """

    def open(self, index: int) -> Any:
        """A context manager that gives its `VideoFrames`. Raises ValueError or OSError as `identity` does."""


def cache_items(source: ClipSource, sizes: Sequence[ClipSize], hashes: HashStore) -> CacheItems:
    """The videos of `source` at the sizes of their buckets (its own without any).

    Raises `CacheError` for a source whose clips change each time they are taken, other than by the choice of frames.
    """
    options = source.options if isinstance(source, VideoSource) else getattr(source, "config", None)
    if getattr(options, "spatial_transform", None) == "random_crop":
        raise CacheError(
            "spatial_transform: random_crop cuts another part of the frame each time, a cache holds one; "
            "use resize_center_crop or center_crop, or train from the videos"
        )
    if isinstance(source, VideoSource):
        return VideoItems(source, sizes, hashes)
    if isinstance(source, ImageFolder):
        return StillItems(source, sizes, hashes)
    if isinstance(source, ProceduralClips):
        return ProceduralItems(source, sizes)
    raise CacheError(f"{type(source).__name__} cannot be cached, only videos, images and procedural clips")


class VideoItems:
    """All frames of every video file."""

    rule: Rule = "cut"

    def __init__(self, source: VideoSource, sizes: Sequence[ClipSize], hashes: HashStore) -> None:
        self._source, self._hashes = source, hashes
        self._sizes = _bucket_sizes(source, sizes, source.options.size)
        chosen_later = {field.name for field in fields(FrameOptions)} | {"resolution", "crop_resolution"}
        names = [field.name for field in fields(ClipOptions) if field.name not in chosen_later]
        self._pixels = {name: getattr(source.options, name) for name in names}

    def __len__(self) -> int:
        return len(self._source)

    def path(self, index: int) -> str:
        """Where the file lies."""
        return str(self._source.files.path(index))

    def caption(self, index: int) -> str | None:
        """Its caption."""
        return self._source.files.caption(index)

    def size(self, index: int) -> ClipSize | None:
        """Frames by the header, and the size of its bucket."""
        native = self._source.native_size(index)
        return native and ClipSize(native.num_frames, *self._sizes(index))

    def identity(self, index: int, verify: bool = False) -> str:
        """Content, size, and how frames are read."""
        content = _content(self._hashes, self._source.files, index, verify)
        return json.dumps([content, self._sizes(index), self._pixels], sort_keys=True)

    @contextmanager
    def open(self, index: int) -> Iterator[VideoFrames]:
        """All frames."""
        with self._source.open(index) as reader:
            count = max(_READ_BYTES // (reader.height * reader.width * 3), 16)
            starts = range(0, reader.num_frames, count)
            chunks = (range(start, min(start + count, reader.num_frames)) for start in starts)
            batches = (
                read_frames(reader, self._source.options, chunk, random.Random(0), self._sizes(index)).transpose(0, 1)
                for chunk in chunks
            )
            yield VideoFrames(reader.num_frames, reader.num_frames, reader.fps, 1, batches)


class StillItems:
    """Every image once: its clips repeat it."""

    rule: Rule = "still"

    def __init__(self, source: ImageFolder, sizes: Sequence[ClipSize], hashes: HashStore) -> None:
        self._source, self._hashes = source, hashes
        self._sizes = _bucket_sizes(source, sizes, source.config.size)

    def __len__(self) -> int:
        return len(self._source)

    def path(self, index: int) -> str:
        """Where the file lies."""
        return str(self._source.files.path(index))

    def caption(self, index: int) -> str | None:
        """Its caption."""
        return self._source.files.caption(index) or ""

    def size(self, index: int) -> ClipSize:
        """One frame of the size of its bucket."""
        return ClipSize(1, *self._sizes(index))

    def identity(self, index: int, verify: bool = False) -> str:
        """Content, size, how it is cropped, and what its clips say of themselves."""
        content, config = _content(self._hashes, self._source.files, index, verify), self._source.config
        conditions = [config.video_length, config.fps, config.frame_stride]
        return json.dumps(["still", content, self._sizes(index), config.spatial_transform, conditions])

    @contextmanager
    def open(self, index: int) -> Iterator[VideoFrames]:
        """The image."""
        image = self._source.image(index, random.Random(0), self._sizes(index))  # (3, 1, H, W)
        config = self._source.config
        batches = iter([image.transpose(0, 1)])
        yield VideoFrames(1, config.video_length, config.fps, config.frame_stride, batches)


class ProceduralItems:
    """Procedural clips, whole."""

    rule: Rule = "whole"

    def __init__(self, source: ProceduralClips, sizes: Sequence[ClipSize]) -> None:
        if len(sizes) > 1:
            raise CacheError("procedural clips are drawn at one size, data.params.buckets names several; name one")
        self._source = source
        self._size = sizes[0] if sizes else source.native_size(0)
        space = {name: value for name, value in asdict(source.config).items() if name != "length"}
        # What the code draws today stands for the code.
        drawn = hash_bytes(self._clip(0)["video"].numpy().tobytes())
        self._space = [drawn, space, str(self._size)]

    def _clip(self, index: int) -> dict[str, Any]:
        return self._source.clip(index, random.Random(0), self._size)

    def __len__(self) -> int:
        return len(self._source)

    def path(self, index: int) -> str:
        """The clip's name."""
        return f"procedural/{self._source.config.seed}/{index}"

    def caption(self, index: int) -> str:
        """Its caption."""
        return self._source.caption(index)

    def size(self, index: int) -> ClipSize:
        """The configured size."""
        return self._size

    def identity(self, index: int, verify: bool = False) -> str:
        """The space of clips, and the number in it."""
        return json.dumps([index, *self._space], sort_keys=True)

    @contextmanager
    def open(self, index: int) -> Iterator[VideoFrames]:
        """All frames of the clip."""
        clip = self._clip(index)
        video: Tensor = clip["video"]
        count = video.shape[1]
        yield VideoFrames(count, count, clip["fps"], clip["frame_stride"], iter([video.transpose(0, 1)]))


def _content(hashes: HashStore, files: SourceFiles, index: int, verify: bool) -> str:
    """The hash of file `index`, which may lie inside another one; with `verify` of its content as it is now."""

    def read() -> str:
        content = files.content(index)
        return read_hash(files.path(index)) if content is None else hash_bytes(content)

    return hashes.remember(str(files.path(index)), lambda: files.stamp(index), read, verify)


def _bucket_sizes(
    source: ClipSource, sizes: Sequence[ClipSize], default: tuple[int, int]
) -> Callable[[int], tuple[int, int]]:
    """Height and width that each video is brought to."""
    if not sizes:
        return lambda index: default
    which = {i: bucket.size for bucket in assign_buckets(source, sizes) for i in bucket.members}

    def size_of(index: int) -> tuple[int, int]:
        size = which[index]
        return default if size is None else (size.height, size.width)

    return size_of

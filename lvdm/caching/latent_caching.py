"""Making a latent cache: every frame of every video through the frozen encoders, once.

What is there already is not made again, so that an interrupted run goes on where it stopped and a changed input costs
no more than its own records.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lvdm.caching.encoders import FrozenEncoders
from lvdm.caching.latent_index import CODE_VERSION, CacheEntry, CacheFormat, CacheIndex
from lvdm.caching.latent_items import CacheItems, VideoFrames
from lvdm.caching.latent_records import DTYPES, CacheError, Kind, RecordStore, RecordWriter, record_key
from lvdm.documents import parse_json
from lvdm.media.atomic import OutputError
from lvdm.progress import ProgressCallback, report_progress

logger = logging.getLogger(__name__)

_PROBED = 64
"""Videos whose headers are read to estimate the size of a cache."""

_CAPTIONS = 64
"""Captions that are encoded together."""


@dataclass(frozen=True)
class CachingOptions:
    """How a cache is made; `shard` (i, n) makes every n-th video from the i-th on, and no index.

    verify reads the content of every file again, and that of every record.
    """

    batch_frames: int = 16
    shard: tuple[int, int] = (0, 1)
    verify: bool = False

    def __post_init__(self) -> None:
        if self.batch_frames < 1:
            raise CacheError(f"batch_frames must be at least 1, it is {self.batch_frames}")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise CacheError(f"shard {self.shard[0]}/{self.shard[1]}: the first number is from 0 to the second less 1")


@dataclass(frozen=True)
class SizeEstimate:
    """Bytes that a whole cache will take, those of its records that are there already, and what the disk has free."""

    total: int
    present: int
    free: int


@dataclass(frozen=True)
class CachingReport:
    """What was done. `made` and `kept` count videos; `broken` are lines "path: reason"."""

    made: int
    kept: int
    broken: tuple[str, ...]
    finished: bool


class LatentCaching:
    """One cache: the videos, the encoders, and the folder that it goes to."""

    def __init__(
        self,
        items: CacheItems,
        encoders: FrozenEncoders,
        cache_format: CacheFormat,
        store: RecordStore,
        options: CachingOptions,
    ) -> None:
        self.items, self.encoders, self.format, self.store, self.options = items, encoders, cache_format, store, options
        self._dtype = DTYPES[cache_format.dtype]
        self._device = next(encoders.parameters()).device
        self._made_count = 0

    # ------------------------------------------------------------------ names

    def _text_key(self, caption: str) -> str:
        return record_key(kind="text", caption=caption, tower=self.format.hashes.text, **self._common())

    def _moments_key(self, identity: str) -> str:
        return record_key(kind="moments", pictures=identity, vae=self.format.hashes.vae, **self._common())

    def _tokens_key(self, identity: str) -> str:
        every, encoder = self.format.token_every, self.format.hashes.image
        return record_key(kind="tokens", pictures=identity, every=every, tower=encoder, **self._common())

    def _common(self) -> dict[str, object]:
        return {"dtype": self.format.dtype, "code": CODE_VERSION}

    def _missing(self, kind: Kind, key: str) -> bool:
        if not self.store.has(kind, key):
            return True
        if self.options.verify:
            try:
                self.store.read(kind, key)
            except CacheError as error:
                logger.warning("%s: made again", error)
                return True
        return False

    # ------------------------------------------------------------------ size

    def estimate(self) -> SizeEstimate:
        """The size of a whole cache, from the headers of some of the videos."""
        step = max(len(self.items) // _PROBED, 1)
        sizes = [self.items.size(index) for index in range(0, len(self.items), step)]
        known = [size for size in sizes if size is not None]
        if not known:
            raise CacheError(f"none of {len(sizes)} videos looked at can be read, the first is {self.items.path(0)}")
        text = self.encoders.text([""])[0].numel()
        frames = {size: torch.zeros(1, 3, *size, device=self._device) for size in {(k.height, k.width) for k in known}}
        moments = {size: self.encoders.moments(frame).numel() for size, frame in frames.items()}
        tokens = self.encoders.tokens(next(iter(frames.values()))).numel()  # the encoder has one size for all images
        values = sum(
            size.num_frames * moments[size.height, size.width] + self._token_rows(size.num_frames) * tokens + text
            for size in known
        )
        total = values * self._dtype.itemsize * len(self.items) // len(sizes)
        self.store.folder.mkdir(parents=True, exist_ok=True)
        present = sum(self.store.path(kind, key).stat().st_size for kind, key in self.store.records())
        return SizeEstimate(total, present, shutil.disk_usage(self.store.folder).free)

    def check_space(self, estimate: SizeEstimate) -> None:
        """Raise `CacheError` if what is missing would not fit on the disk."""
        needed = max(estimate.total - estimate.present, 0)
        if needed > estimate.free:
            raise CacheError(
                f"{self.store.folder}: needs about {needed / 1e9:.1f} GB more, {estimate.free / 1e9:.1f} GB are free; "
                "make room, choose another folder, or keep fewer image tokens (--image-tokens first or a number)"
            )

    def _token_rows(self, frames: int) -> int:
        every = self.format.token_every
        return -(-frames // every) if every else 1

    # ------------------------------------------------------------------ making

    def run(self, on_progress: ProgressCallback | None = None) -> CachingReport:
        """Fill the gaps; write the index, unless this is one of several shards. What is finished stays."""
        number, count = self.options.shard
        mine = range(number, len(self.items), count)
        nulls = self._nulls()
        self._make_texts(mine, on_progress)
        entries = []
        for done, index in enumerate(mine):
            report_progress(on_progress, "videos", done, len(mine))
            entries.append(self._make(index))
        report_progress(on_progress, "videos", len(mine), len(mine))
        broken = tuple(f"{entry.path}: {entry.broken}" for entry in entries if entry.broken)
        if count == 1:
            CacheIndex(self.format, self.items.rule, *nulls, entries).write(self.store.folder)
        return CachingReport(self._made_count, len(entries) - len(broken) - self._made_count, broken, count == 1)

    def _nulls(self) -> tuple[str, str]:
        """Records of the empty caption and of the grey image, which the encoder brings to its own size."""
        text, tokens = self._text_key(""), self._tokens_key("grey")
        self._write_texts([""])
        if self._missing("tokens", tokens):
            side = self.encoders.first_stage_model.downsample_factor
            self._write("tokens", tokens, self.encoders.tokens(torch.zeros(1, 3, side, side, device=self._device)))
        return text, tokens

    def _make_texts(self, mine: range, on_progress: ProgressCallback | None) -> None:
        waiting: dict[str, None] = {}
        for done, index in enumerate(mine):
            report_progress(on_progress, "captions", done, len(mine))
            try:
                caption = self.items.caption(index)
            except (ValueError, OSError):
                continue  # reported by `_make`
            if caption is not None:
                waiting[caption] = None
            if len(waiting) == _CAPTIONS:
                self._write_texts(list(waiting))
                waiting.clear()
        self._write_texts(list(waiting))

    def _write_texts(self, captions: list[str]) -> None:
        missing = [caption for caption in captions if self._missing("text", self._text_key(caption))]
        if missing:
            for caption, values in zip(missing, self.encoders.text(missing), strict=True):
                self._write("text", self._text_key(caption), values)

    def _write(self, kind: Kind, key: str, values: Tensor) -> None:
        with self.store.writing(kind, key, values.shape, self._dtype) as writer:
            writer.append(values)

    def _make(self, index: int) -> CacheEntry:
        """The records of one video. A video that cannot be used is an entry that says why."""
        entry = CacheEntry(self.items.path(index))
        try:
            caption = self.items.caption(index)
            if caption is None:
                return replace(entry, broken="has no caption")
            entry = replace(entry, caption=caption, text=self._text_key(caption))
            identity = self.items.identity(index, self.options.verify)
            moments, tokens = self._moments_key(identity), self._tokens_key(identity)
            kinds = {"moments": self._missing("moments", moments), "tokens": self._missing("tokens", tokens)}
            if any(kinds.values()):
                with self.items.open(index) as video:
                    self._encode(video, moments if kinds["moments"] else None, tokens if kinds["tokens"] else None)
                self._made_count += 1
        except (CacheError, OutputError):
            raise
        except (ValueError, OSError) as error:  # all about this video
            reason = str(error).removeprefix(f"{entry.path}: ")
            logger.warning("%s cannot be cached: %s", entry.path, reason)
            return replace(entry, broken=reason)
        facts = parse_json(self.store.header("moments", moments)[1]["entry"], str(self.store.path("moments", moments)))
        return replace(entry, moments=moments, tokens=tokens, **facts)

    def _encode(self, video: VideoFrames, moments: str | None, tokens: str | None) -> None:
        """Write the missing records, a batch of frames in memory at a time; they appear together at the end."""
        every, first = self.format.token_every, 0
        writers: dict[Kind, RecordWriter] = {}
        with ExitStack() as stack:

            def append(kind: Kind, key: str, rows: int, values: Tensor) -> None:
                if kind not in writers:
                    metadata = {"entry": json.dumps(_facts(video, frames))}
                    record = self.store.writing(kind, key, (rows, *values.shape[1:]), self._dtype, metadata)
                    writers[kind] = stack.enter_context(record)
                writers[kind].append(values)

            for frames in self._batches(video):
                if moments is not None:
                    append("moments", moments, video.count, self.encoders.moments(frames))
                chosen = [i for i in range(len(frames)) if ((first + i) % every if every else first + i) == 0]
                if tokens is not None and chosen:
                    append("tokens", tokens, self._token_rows(video.count), self.encoders.tokens(frames[chosen]))
                first += len(frames)

    def _batches(self, video: VideoFrames) -> Iterator[Tensor]:
        for chunk in video.batches:
            for frames in chunk.split(self.options.batch_frames):
                yield frames.to(self._device)


def _facts(video: VideoFrames, frames: Tensor) -> dict[str, float]:
    """What the index says of a video, beside its keys."""
    return {
        "num_frames": video.num_frames,
        "height": frames.shape[-2],
        "width": frames.shape[-1],
        "fps": video.fps,
        "frame_stride": video.frame_stride,
    }


def stale_records(store: RecordStore, index: CacheIndex) -> list[tuple[Kind, str]]:
    """Records that no entry of the index names: of inputs that have changed or are gone."""
    named: set[tuple[Kind, str]] = {("text", index.null_text), ("tokens", index.null_tokens)}
    for entry in index.entries:
        named |= {("moments", entry.moments), ("tokens", entry.tokens), ("text", entry.text)}
    return [record for record in store.records() if record not in named]

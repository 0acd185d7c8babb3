"""Clips out of a latent cache: what `dynamicrafter data cache` made of videos, instead of the videos.

The frames of a clip are chosen as from the video, by the same rule and the same draws, so that training from the cache
sees the clips that training from the videos would.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from typing import Literal

from torch import Tensor

from lvdm.caching.latent_index import CacheEntry, read_index
from lvdm.caching.latent_records import CacheError, RecordStore
from lvdm.data.clip_frames import ClipError, ClipFrames, FrameOptions, choose_frames
from lvdm.data.clips import Clip, ClipSize
from lvdm.data.video_source import first_usable
from lvdm.declaration.ranges import Side, with_ranges


@with_ranges
@dataclass(frozen=True, kw_only=True)
class CachedLatentsConfig(FrameOptions):
    """The folder of a cache, and which frames make a clip.

    The other options are those of the video source, and are to be the same. A cache of whole clips, as of procedural
    ones, takes none. `resolution` (height, width) is checked if given. `condition` says which frames may condition a
    clip: with `first` the image tokens of the others are not read; `model.params.rand_cond_frame` needs `any`.
    """

    folder: str
    resolution: Side | tuple[Side, Side] | None = None
    condition: Literal["any", "first"] = "any"


class CachedLatents:
    """A `ClipSource` whose clips hold, instead of `video`, what the encoders made of it:

    moments      (2c, t, h, w) mean and log-variance of the autoencoder's posterior
    clip_tokens  (t, m, e) image encoder tokens of each frame, or (1, m, e) where only the first frame's are read
    text_emb     (n, d) tokens of the caption
    null_text, null_tokens   (n, d) and (m, e), of the empty caption and the grey image

    Raises `CacheError` at once for a folder without a finished cache, and for options that do not go with it.
    """

    Config = CachedLatentsConfig

    def __init__(self, config: CachedLatentsConfig) -> None:
        self.config = config
        self.index = read_index(config.folder)
        self._entries = self.index.entries
        self._store = RecordStore(config.folder)
        self._sizes = {(entry.height, entry.width) for entry in self._entries if not entry.broken}
        self._check()
        self._null = {
            "null_text": self._store.read("text", self.index.null_text),
            "null_tokens": self._store.read("tokens", self.index.null_tokens)[0],
        }

    def _check(self) -> None:
        folder, wanted = self.config.folder, self.config.resolution
        if not self._sizes:
            raise CacheError(
                f"{folder}: none of its {len(self)} videos could be cached, see `dynamicrafter data check`"
            )
        size = (wanted, wanted) if isinstance(wanted, int) else wanted
        if size is not None and self._sizes != {size}:
            held = ", ".join(f"{height}x{width}" for height, width in sorted(self._sizes))
            raise CacheError(f"{folder}: was made at {held}, the configuration says {size[0]}x{size[1]}; make it again")
        if self.index.rule != "cut":
            changed = [f.name for f in fields(FrameOptions) if getattr(self.config, f.name) != f.default]
            if changed:
                raise CacheError(
                    f"{folder}: holds whole clips, from which {', '.join(changed)} cuts nothing; remove it"
                )

    def __len__(self) -> int:
        return len(self._entries)

    def native_size(self, index: int) -> ClipSize | None:
        """Frames, and the height and width that they were cached at; None for a broken video."""
        entry = self._entries[index]
        return None if entry.broken else ClipSize(entry.num_frames, entry.height, entry.width)

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        """A clip of video `index`, or of the next ones where that was broken; see `CachedLatents` and `Clip`."""
        entry = self._entries[index]
        if size is None and len(self._sizes) > 1:
            raise CacheError(f"{self.config.folder}: holds frames of several sizes; name them in data.params.buckets")
        if size is not None and not entry.broken and (entry.height, entry.width) != (size.height, size.width):
            raise CacheError(
                f"{entry.path}: is cached at {entry.height}x{entry.width} and wanted at {size.height}x{size.width}; "
                "use the buckets that the cache was made with"
            )
        stride = self.config.draw_stride(rng) if self.index.rule == "cut" else 1

        def cut(number: int) -> Clip:
            return self._cut(self._entries[number], stride, rng, size)

        return first_usable(index, len(self), self.config.folder, lambda number: self._entries[number].path, cut)

    def _cut(self, entry: CacheEntry, stride: int, rng: random.Random, size: ClipSize | None) -> Clip:
        if entry.broken:
            raise ClipError(entry.broken)
        if size is not None and (entry.height, entry.width) != (size.height, size.width):
            raise ClipError(f"is cached at {entry.height}x{entry.width}, not {size.height}x{size.width}")
        frames = self._choose(entry, stride, rng, size.num_frames if size else None)
        moments = self._store.read("moments", entry.moments, frames.indices)  # (t, 2c, h, w)
        return {
            "moments": moments.transpose(0, 1).contiguous(),
            "clip_tokens": self._tokens(entry, frames),
            "text_emb": self._store.read("text", entry.text),
            **self._null,
            "caption": entry.caption,
            "path": entry.path,
            "fps": frames.fps,
            "frame_stride": frames.frame_stride,
        }

    def _choose(self, entry: CacheEntry, stride: int, rng: random.Random, length: int | None) -> ClipFrames:
        config = self.config
        if self.index.rule == "cut":
            return choose_frames(
                entry.num_frames,
                entry.fps,
                length or config.video_length,
                stride,
                rng.randint,
                fixed_fps=config.fixed_fps,
                fps_max=config.fps_max,
            )
        if self.index.rule == "still":
            return ClipFrames((0,) * (length or entry.num_frames), entry.frame_stride, entry.fps)
        if length not in (None, entry.num_frames):
            raise ClipError(f"is a whole clip of {entry.num_frames} frames, {length} are wanted")
        return ClipFrames(tuple(range(entry.num_frames)), entry.frame_stride, entry.fps)

    def _tokens(self, entry: CacheEntry, frames: ClipFrames) -> Tensor:
        """Tokens of the clip's frames; where not every frame has its own, those of the last frame before that has."""
        every = self.index.format.token_every
        if every == 0 or self.index.rule == "still":
            return self._store.read("tokens", entry.tokens, [0])
        wanted = frames.indices[:1] if self.config.condition == "first" else frames.indices
        return self._store.read("tokens", entry.tokens, [number // every for number in wanted])

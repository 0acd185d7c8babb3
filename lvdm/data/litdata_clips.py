"""LitData's optimised chunks of videos and captions, an optional dependency (`pip install litdata`).

Items are dictionaries with the content of a video file (bytes) and a caption (text). Clips are asked for by number, so
that order and resuming are those of every other source; LitData's own shuffling and resuming are not used.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.data.clip_frames import ClipOptions
from lvdm.data.source_files import Inventory, SourceError, SourceProblem, check_folder
from lvdm.data.video_source import VideoSource, usable_files
from lvdm.declaration.ranges import with_ranges
from lvdm.documents import read_json, short_text
from lvdm.media.file_names import check_name


@with_ranges
@dataclass(frozen=True, kw_only=True)
class LitDataClipsConfig(ClipOptions):
    """The folder with LitData's index.json, and the keys of its items.

    `captions` is `item` (under `caption_key`) or `none`; `caption` is one for all items instead.
    """

    data_dir: str
    video_key: str = "video"
    caption_key: str = "caption"
    captions: Literal["item", "none"] = "item"
    caption: str | None = None
    index_file: str | None = None


class LitDataFiles:
    """Videos inside chunks. The stream is opened anew in every process, for it does not survive a fork."""

    def __init__(self, config: LitDataClipsConfig, length: int) -> None:
        self.config = config
        self.folder = Path(config.data_dir)
        self._length = length
        self._stream: Any = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None}

    def __len__(self) -> int:
        return self._length

    def path(self, index: int) -> Path:
        """folder/number"""
        return self.folder / f"{index:08d}"

    def caption(self, index: int) -> str | None:
        """Its caption; None when the item holds none."""
        if self.config.caption is not None or self.config.captions == "none":
            return self.config.caption or ""
        caption = self._item(index).get(self.config.caption_key)
        return " ".join(caption.split()) or None if isinstance(caption, str) else None

    def content(self, index: int) -> bytes:
        """The video's bytes. Raises `SourceError` for an item without them."""
        item = self._item(index)
        value = item.get(self.config.video_key)
        if not isinstance(value, bytes | bytearray | memoryview):
            raise SourceError(
                f"{self.path(index)}: {self.config.video_key!r} should be the bytes of a video file, it is "
                f"{type(value).__name__}; the item has {', '.join(map(repr, item))}; set video_key"
            )
        return bytes(value)

    def stamp(self, index: int) -> str:
        """Size and time of the index: chunks are never changed singly."""
        status = (self.folder / "index.json").stat()
        return f"{status.st_size}-{status.st_mtime_ns}"

    def _item(self, index: int) -> dict[str, Any]:
        if self._stream is None or self._process != os.getpid():
            self._stream = load_litdata().StreamingDataset(str(self.folder), shuffle=False)
            self._process = os.getpid()
        try:
            item = self._stream[index]
        except (RuntimeError, OSError, ValueError, IndexError, KeyError) as error:
            raise SourceError(f"{self.path(index)}: cannot be read ({' '.join(str(error).split())})") from error
        if not isinstance(item, dict):
            raise SourceError(f"{self.path(index)}: should be a dictionary, it is {type(item).__name__}")
        return item


class LitDataClips(VideoSource):
    """The videos of a LitData folder. Raises `SourceError` at once for missing or damaged chunks and missing keys."""

    Config = LitDataClipsConfig

    def __init__(self, config: LitDataClipsConfig) -> None:
        self.config = config
        files = usable_files(self.inventory(config), config.data_dir)
        super().__init__(files, config, config.data_dir, config.index_file)
        files.content(0)
        if files.caption(0) is None:
            raise SourceError(
                f"{config.data_dir}: its first item has no {config.caption_key!r}; set caption_key, or captions: none"
            )

    @staticmethod
    def inventory(config: LitDataClipsConfig) -> Inventory:
        """The items and what is wrong with the chunks."""
        load_litdata()
        folder = check_folder(config.data_dir, "data_dir")
        chunks, compressed = _read_index(folder / "index.json")
        damaged = []
        for chunk in chunks:
            path = folder / chunk["filename"]
            if not path.is_file():
                damaged.append(f"{path.name} is missing")
            elif not compressed and path.stat().st_size != chunk["chunk_bytes"]:
                damaged.append(f"{path.name} has {path.stat().st_size} bytes instead of {chunk['chunk_bytes']}")
        problems = (
            (SourceProblem("chunks cannot be used", tuple(damaged), "make or copy them again"),) if damaged else ()
        )
        return Inventory(LitDataFiles(config, sum(chunk["chunk_size"] for chunk in chunks)), problems)


_DATA_FORMATS = ("str", "bool", "int", "float", "bytes", "numpy", "no_header_numpy", "tensor", "no_header_tensor")
"""LitData's names of what the parts of an item may be: nothing that runs code or is decoded on the way."""


def load_litdata() -> Any:
    """The package litdata. Raises `SourceError` where it is not installed."""
    try:
        return importlib.import_module("litdata")
    except ModuleNotFoundError as error:
        raise SourceError('litdata is not installed: pip install "dynamicrafter[litdata]"') from error


def _read_index(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The chunks that the index lists, and whether they are compressed."""
    if not path.is_file():
        raise SourceError(f"data_dir: {path.parent} holds no index.json; make it with litdata.optimize")
    try:
        index = read_json(path)
        chunks, compressed = index["chunks"], index["config"]["compression"] is not None
        sizes = [
            (check_name(chunk["filename"], "a chunk's filename"), chunk["chunk_bytes"], chunk["chunk_size"])
            for chunk in chunks
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path}: is not an index of LitData ({type(error).__name__}: {error})") from error
    if not sizes:
        raise SourceError(f"{path}: lists no chunks")
    formats = index["config"].get("data_format") or []
    for name in formats if isinstance(formats, list) else [formats]:
        if str(name).partition(":")[0] not in _DATA_FORMATS:
            raise SourceError(
                f"{path}: its items hold {short_text(name)}, which is not read, because pickles run code when they are "
                "opened; write bytes, texts, numbers and arrays with litdata.optimize"
            )
    return chunks, compressed

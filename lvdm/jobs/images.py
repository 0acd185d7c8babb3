"""Images, masks and depth of many requests: each file is decoded once, and only so many are held."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lvdm.content_hash import stamp
from lvdm.media.depth import read_depth, read_video
from lvdm.media.images import load_image
from lvdm.media.masks import to_masks

MAX_PIXELS = 64_000_000
"""Pixels that are held at a time (192 MB)."""


_Key = tuple[str, str, str]
"""Kind, path, and what changes with the content."""


class ImageStore:
    """Decoded images by path, the last used ones; several threads may use it. A file that changed is read again."""

    def __init__(self, max_pixels: int | None = None) -> None:
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._lock = threading.Lock()
        self._images: OrderedDict[_Key, Image.Image] = OrderedDict()
        self._sizes: dict[_Key, tuple[int, int]] = {}
        self._frames: tuple[_Key, np.ndarray] | None = None

    def __reduce__(self) -> tuple[type[ImageStore], tuple[int]]:
        """Another process gets an empty one."""
        return ImageStore, (self._max_pixels,)

    def image(self, path: Path) -> Image.Image:
        """The image, upright RGB. Raises `ImageError`."""
        return self._held(_key("image", path), lambda: load_image(path))

    def mask(self, path: Path) -> Image.Image:
        """The mask, 8-bit grey. Raises `ImageError`."""
        return self._held(_key("mask", path), lambda: to_masks(path)[0])

    def frames(self, path: Path, kind: str, num_frames: int, stride: int) -> np.ndarray:
        """The frames of a file, a `kind` of `FRAMES_OF_FILES`, see `lvdm.media.depth`; the last file is held."""
        key = _key(f"{kind} {num_frames} {stride}", path)
        with self._lock:
            if self._frames is not None and self._frames[0] == key:
                return self._frames[1]
        frames = (read_depth if kind == "depth" else read_video)(path, num_frames, stride)
        with self._lock:
            self._frames = key, frames
        return frames

    def size(self, path: Path) -> tuple[int, int]:
        """Width and height of the image; once decoded, without decoding it again."""
        known = self._sizes.get(_key("image", path))
        return known if known is not None else self.image(path).size

    def _held(self, key: _Key, decode: Callable[[], Image.Image]) -> Image.Image:
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        image = decode()
        with self._lock:
            self._images[key] = image
            self._sizes[key] = image.size
            while len(self._images) > 1 and sum(i.width * i.height for i in self._images.values()) > self._max_pixels:
                self._images.popitem(last=False)
        return image


def _key(kind: str, path: Path) -> _Key:
    try:
        return kind, str(path.absolute()), stamp(path)
    except OSError:
        return kind, str(path.absolute()), ""  # loading says what is wrong

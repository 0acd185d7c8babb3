"""Images, masks and depth of many requests: each file is decoded once, and only so many are held."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
from PIL import Image

from lvdm.content_hash import stamp
from lvdm.media.depth import read_depth, read_driving_video
from lvdm.media.images import load_image
from lvdm.media.masks import to_masks

MAX_PIXELS = 64_000_000
"""Pixels that are held at a time (192 MB)."""


class ImageStore:
    """Decoded images by path, the last used ones; several threads may use it. A file that changed is read again."""

    def __init__(self, max_pixels: int | None = None) -> None:
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._lock = threading.Lock()
        self._images: OrderedDict[tuple[str, str], Image.Image] = OrderedDict()
        self._sizes: dict[tuple[str, str], tuple[int, int]] = {}
        self._frames: tuple[tuple[str, str, str], np.ndarray] | None = None

    def image(self, path: Path) -> Image.Image:
        """The image, upright RGB. Raises `ImageError`."""
        key = self._key(path)
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        image = load_image(path)
        with self._lock:
            self._images[key] = image
            self._sizes[key] = image.size
            while len(self._images) > 1 and sum(i.width * i.height for i in self._images.values()) > self._max_pixels:
                self._images.popitem(last=False)
        return image

    def size(self, path: Path) -> tuple[int, int]:
        """Its width and height; once decoded, without decoding it again."""
        known = self._sizes.get(self._key(path))
        return known if known is not None else self.image(path).size

    def mask(self, path: Path) -> Image.Image:
        """The mask, 8-bit grey. Raises `ImageError`."""
        return to_masks(self.image(path))[0]

    def frames(self, path: Path, kind: str, num_frames: int, stride: int) -> np.ndarray:
        """The frames of a depth or a driving_video, see `lvdm.media.depth`; those of the last file are held."""
        key = *self._key(path), f"{kind} {num_frames} {stride}"
        with self._lock:
            if self._frames is not None and self._frames[0] == key:
                return self._frames[1]
        frames = (read_depth if kind == "depth" else read_driving_video)(path, num_frames, stride)
        with self._lock:
            self._frames = key, frames
        return frames

    def _key(self, path: Path) -> tuple[str, str]:
        try:
            return str(path.absolute()), stamp(path)
        except OSError:
            return str(path.absolute()), ""  # loading says what is wrong

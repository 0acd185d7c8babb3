"""A folder of still images, as clips that do not move.

For the stages of training that look at single images (the query transformer on a text-to-image base), and to keep a
video model's images sharp: a clip is one image repeated `video_length` times.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lvdm.data.captions import CaptionOptions
from lvdm.data.clip_frames import ImageOptions, fit_frames
from lvdm.data.clips import Clip, ClipSize
from lvdm.data.folders import captioned_folder
from lvdm.data.source_files import Inventory
from lvdm.data.video_source import first_usable, usable_files
from lvdm.declaration.ranges import FrameRate, Frames, Stride, with_ranges
from lvdm.media.images import DAMAGED, FORMATS, load_image
from lvdm.regular_files import check_regular

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")

_ORIENTATION = 274
"""The EXIF tag of how a camera was held; 5 to 8 mean on its side."""


@with_ranges
@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig(ImageOptions, CaptionOptions):
    """The folder, searched at any depth, and what a still says of its motion.

    A clip is `video_length` times the same image. `fps` and `frame_stride` are the values that are reported: a model
    reads them as its motion condition (`fs`), so choose one that no video of the same training has, or train stills
    alone.
    """

    data_dir: str
    video_length: Frames = 1
    fps: FrameRate = 1.0
    frame_stride: Stride = 1

    def __post_init__(self) -> None:
        """Raise `ValueError` for options that do not fit together."""
        ImageOptions.__post_init__(self)
        CaptionOptions.__post_init__(self)


class ImageFolder:
    """A `ClipSource` of stills, in the order of their names. Raises `SourceError` at once for what is wrong with it.

    An image that cannot be used is passed over like a broken video, see `VideoSource`.
    """

    Config = ImageFolderConfig

    def __init__(self, config: ImageFolderConfig) -> None:
        self.config = config
        self.files = usable_files(self.inventory(config), config.data_dir)

    @staticmethod
    def inventory(config: ImageFolderConfig) -> Inventory:
        """The images and what is wrong with them as a set."""
        return captioned_folder(config.data_dir, config, IMAGE_SUFFIXES, "images")

    def __len__(self) -> int:
        return len(self.files)

    def native_size(self, index: int) -> ClipSize | None:
        """The configured number of frames, and height and width of image `index` as shown; None if unreadable."""
        try:
            path = self.files.path(index)
            check_regular(path)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if image.getexif().get(_ORIENTATION, 1) >= 5:
                    width, height = height, width
        except DAMAGED:
            return None
        return ClipSize(self.config.video_length, height, width)

    def clip(self, index: int, rng: random.Random, size: ClipSize | None = None) -> Clip:
        """Image `index` repeated, or the next one if it cannot be used; see `Clip`. Raises `ClipError`."""
        size = size or ClipSize(self.config.video_length, *self.config.size)

        def repeated(number: int) -> Clip:
            image = self.image(number, rng, (size.height, size.width))
            return {
                "video": image.repeat(1, size.num_frames, 1, 1),  # (3, t, H, W)
                "caption": self.files.caption(number) or "",
                "path": str(self.files.path(number)),
                "fps": self.config.fps,
                "frame_stride": self.config.frame_stride,
            }

        return first_usable(index, len(self), self.config.data_dir, self.files.path, repeated, noun="images")

    def image(self, number: int, rng: random.Random, size: tuple[int, int]) -> Tensor:
        """Image `number` as (3, 1, height, width) in [-1, 1]. Raises ValueError if it cannot be used."""
        pixels = torch.from_numpy(np.array(load_image(self.files.path(number))))[None]  # (1, h, w, 3)
        return fit_frames(pixels, self.config.spatial_transform, size, rng)

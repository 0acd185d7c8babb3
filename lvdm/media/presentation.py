"""From the pixels that a file stores to what a player shows: upright, with square pixels, on white, as 8-bit RGB.

Every reader of moving images ends here, whatever decodes for it, and still images share the rule for transparency.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

_MAX_PIXEL_ASPECT = 8
"""Pixels longer than this in one direction are a mistake of the file; television has at most 2."""

_UPRIGHT_OF_EXIF = {1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3)}
_UPRIGHT_OF_EXIF |= {7: (True, 3), 8: (False, 1)}
"""(mirrored, turns) for the orientations of EXIF (CIPA DC-008, tag 274)."""


@dataclass(frozen=True)
class Presentation:
    """How stored pixels are shown.

    mirrored      left and right are swapped, before anything is turned
    turns         quarter turns counter-clockwise, 0 to 3
    pixel_aspect  width over height of a stored pixel
    """

    mirrored: bool = False
    turns: int = 0
    pixel_aspect: Fraction = Fraction(1)

    @staticmethod
    def of(matrix: Sequence[int] | None, pixel_aspect: Fraction | None, path: Path) -> Presentation:
        """From a display matrix of 9 numbers (ISO/IEC 14496-12, 6.2.2) and the aspect of pixels, as FFmpeg gives them.

        A matrix that turns by another angle counts as the nearest quarter turn. An aspect that no video has is left
        out with a warning that names `path`.
        """
        aspect = pixel_aspect or Fraction(1)
        if not Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT:
            logger.warning("%s: says that its pixels are %s as wide as high, which is left out", path, aspect)
            aspect = Fraction(1)
        mirrored, turns = (False, 0) if matrix is None else _nearest(matrix)
        return Presentation(mirrored, turns, aspect)

    @staticmethod
    def of_exif(orientation: int | None) -> Presentation:
        """From the orientation that animated WebP and PNG files may carry; unknown ones are upright."""
        mirrored, turns = _UPRIGHT_OF_EXIF.get(orientation or 1, (False, 0))
        return Presentation(mirrored, turns)

    @property
    def is_plain(self) -> bool:
        """Whether stored pixels are shown as they are."""
        return self == Presentation()

    def __str__(self) -> str:
        """What is done to the pixels, in words; "" where nothing is."""
        parts = ["mirrored"] * self.mirrored
        parts += [f"turned by {90 * self.turns} degrees"] if self.turns else []
        parts += [f"pixels {self.pixel_aspect} as wide as high"] if self.pixel_aspect != 1 else []
        return ", ".join(parts)

    def shown_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as shown, of stored pixels of this size. Of two sides the one that is too short grows."""
        if self.pixel_aspect > 1:
            width = max(round(width * self.pixel_aspect), 1)
        else:
            height = max(round(height / self.pixel_aspect), 1)
        return (width, height) if self.turns % 2 else (height, width)

    def unturned(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before turning, of a size as shown."""
        return (width, height) if self.turns % 2 else (height, width)


def upright_frame(pixels: np.ndarray, presentation: Presentation) -> np.ndarray:
    """The frame as shown: uint8 (H, W, 3), from stored pixels uint8 (h, w, 3), or (h, w, 4) with straight opacity."""
    if pixels.shape[2] == 4:
        pixels = np.asarray(laid_on_white(Image.fromarray(pixels)))
    target = presentation.unturned(*presentation.shown_size(*pixels.shape[:2]))
    if pixels.shape[:2] != target:
        resized = Image.fromarray(pixels).resize((target[1], target[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(resized)
    if presentation.mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, presentation.turns))


def laid_on_white(image: Image.Image) -> Image.Image:
    """An image with opacity, over white, as RGB: what is clear is white, as on a page."""
    straight = image.convert("RGBA")
    white = Image.new("RGBA", straight.size, "white")
    return Image.alpha_composite(white, straight).convert("RGB")


def _nearest(matrix: Sequence[int]) -> tuple[bool, int]:
    """(mirrored, turns) of the eight that `matrix` (rows a b u, c d v, x y w; points are rows) is nearest to."""
    given = np.array([[matrix[0], matrix[1]], [matrix[3], matrix[4]]], np.float64)
    turn = np.array([[0, -1], [1, 0]])
    best, found = 0.0, (False, 0)
    for mirrored in (False, True):
        placed = np.diag([-1 if mirrored else 1, 1])
        for turns in range(4):
            likeness = float((given * placed).sum())
            if likeness > best * (1 + 1e-9):
                best, found = likeness, (mirrored, turns)
            placed = placed @ turn
    return found

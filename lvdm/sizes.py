"""From the size that was asked for, or none, to the size of the video."""

from __future__ import annotations

import logging
import math

from lvdm.declaration.values import MAX_SIDE, MIN_SIDE
from lvdm.media.geometry import PaddedSize, padded_size

SAME_SHAPE = 1.25
"""An image whose aspect is within this factor of the trained one takes the trained size."""

FAR_FROM_TRAINED = 2.0
"""Areas beyond this factor of the trained one get a warning."""

logger = logging.getLogger(__name__)


def check_side(name: str, value: int | None) -> None:
    """Raise `ValueError` for a height or width, when given, outside `MIN_SIDE`..`MAX_SIDE` pixels."""
    if value is not None and not MIN_SIDE <= value <= MAX_SIDE:
        raise ValueError(f"{name} {value} is not possible; use {MIN_SIDE} to {MAX_SIDE} pixels, or leave it out")


def choose_size(
    height: int | None,
    width: int | None,
    image_size: tuple[int, int],
    trained_size: tuple[int, int],
    multiple: int,
) -> PaddedSize:
    """The size of the video, and around it the one the network runs at; all sizes are (height, width).

    Both sides given: they are taken. One given: the other follows the image's aspect. None given: the trained size
    when the image has about that shape (within `SAME_SHAPE`), otherwise the trained area in the image's shape, in
    multiples of `multiple`. A size that is no multiple is padded up inside.
    """
    check_side("height", height)
    check_side("width", width)
    aspect = image_size[1] / image_size[0]
    if height is not None and width is not None:
        chosen = height, width
    elif height is not None:
        chosen = height, _to_multiple(height * aspect, multiple)
    elif width is not None:
        chosen = _to_multiple(width / aspect, multiple), width
    else:
        chosen = _follow_image(aspect, trained_size, multiple)
    return padded_size(*chosen, multiple)


def explain_size(size: PaddedSize, follows_image: bool, trained_size: tuple[int, int], name: str) -> None:
    """Log what a user should know about the size of a video from checkpoint `name`, trained at (height, width)."""
    trained_height, trained_width = trained_size
    width, height = size.inner.width, size.inner.height
    if follows_image and (height, width) != trained_size:
        logger.info(
            "the image is %s than the %dx%d of the training: using %dx%d, about the same area (width x height)",
            "narrower" if width / height < trained_width / trained_height else "wider",
            *(trained_width, trained_height, width, height),
        )
    if not size.is_exact:
        logger.info(
            "the network runs at %dx%d, which is cropped to %dx%d afterwards (width x height)",
            *(size.width, size.height, width, height),
        )
    ratio = size.height * size.width / (trained_height * trained_width)
    if not 1 / FAR_FROM_TRAINED <= ratio <= FAR_FROM_TRAINED:
        logger.warning(
            "%dx%d has %.2g times the area that checkpoint %s was trained at (%dx%d): expect worse motion",
            *(size.width, size.height, ratio, name, trained_width, trained_height),
        )


def _follow_image(aspect: float, trained_size: tuple[int, int], multiple: int) -> tuple[int, int]:
    trained_height, trained_width = trained_size
    trained_aspect = trained_width / trained_height
    if 1 / SAME_SHAPE <= aspect / trained_aspect <= SAME_SHAPE:
        return trained_size
    area = trained_height * trained_width
    return _to_multiple(math.sqrt(area / aspect), multiple), _to_multiple(math.sqrt(area * aspect), multiple)


def _to_multiple(side: float, multiple: int) -> int:
    largest = MAX_SIDE // multiple
    return min(max(round(side / multiple), 1), largest) * multiple

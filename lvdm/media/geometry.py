"""Where an image lies inside another: fitted into a size asked for, or padded to a size that the model runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lvdm.declaration.values import MAX_SIDE, Fit
from lvdm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = TypeVar("Pixels", "Tensor", np.ndarray)


class SizeError(UserError):
    """A height or width that cannot be used."""


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels inside a larger image."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Pixels) -> Pixels:
        """The inside of the box; height and width are the last two dimensions of `image`."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class PaddedSize:
    """The size `height` x `width` at which to run the model, and the box inside it that holds the requested image."""

    height: int
    width: int
    inner: Box

    @property
    def is_exact(self) -> bool:
        """Whether nothing has to be padded."""
        return (self.height, self.width) == (self.inner.height, self.inner.width)

    def pad(self, image: Tensor) -> Tensor:
        """Repeat the border pixels of (c, h, w) or (b, c, h, w) outwards, so that the model sees no artificial edge."""
        if tuple(image.shape[-2:]) != (self.inner.height, self.inner.width):
            raise SizeError(f"expected {self.inner.height}x{self.inner.width} pixels, got {tuple(image.shape[-2:])}")
        if self.is_exact:
            return image
        from torch.nn import functional  # sizes are known before anything is loaded

        bottom = self.height - self.inner.top - self.inner.height
        right = self.width - self.inner.left - self.inner.width
        return functional.pad(image, (self.inner.left, right, self.inner.top, bottom), mode="replicate")

    def crop(self, image: Pixels) -> Pixels:
        """Undo `pad` on (..., height, width)."""
        return self.inner.crop(image)


def check_size(height: int, width: int) -> None:
    """Raise `SizeError` unless both sides lie in 1..`MAX_SIDE` pixels."""
    for name, side in (("height", height), ("width", width)):
        if not 1 <= side <= MAX_SIDE:
            raise SizeError(f"{name} {side} is out of range, choose 1 to {MAX_SIDE} pixels")


def padded_size(height: int, width: int, multiple: int) -> PaddedSize:
    """The smallest size with both sides a multiple of `multiple` that holds `height` x `width`, centred."""
    check_size(height, width)
    full_height = -(-height // multiple) * multiple
    full_width = -(-width // multiple) * multiple
    inner = Box((full_height - height) // 2, (full_width - width) // 2, height, width)
    return PaddedSize(full_height, full_width, inner)


def covering_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) with the aspect of `size` that covers `target`.

    Rounded like torchvision's `Resize(short side)`, which the original uses, wherever that covers the target.
    """
    (height, width), (target_height, target_width) = size, target
    if width * target_height >= height * target_width:
        return target_height, max(int(target_height * width / height), target_width)
    return max(int(target_width * height / width), target_height), target_width


def contained_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) with the aspect of `size` that lies inside `target`, at least one pixel a side."""
    scale = min(target[0] / size[0], target[1] / size[1])
    return tuple(min(max(round(side * scale), 1), limit) for side, limit in zip(size, target, strict=True))  # type: ignore[return-value]


def fit_box(size: tuple[int, int], target: tuple[int, int], mode: Fit) -> Box:
    """The part of a `target` (height, width) that an image of `size` (height, width) fills when fitted by `mode`."""
    height, width = contained_size(size, target) if mode == "pad" else target
    return Box((target[0] - height) // 2, (target[1] - width) // 2, height, width)

"""Decoding in tiles, for frames whose decoder does not fit into memory at once: the result is that of the whole.

Two things in a VAE's decoder look farther than a convolution. Attention, at the lowest resolution, is left whole: there
it is small. Group normalisation needs mean and variance of the whole frame: so the decoder runs layer by layer, each
over all tiles, and the statistics of a layer are known before the next begins. What remains, rounding aside, is a tile
with the border that the next convolution reads. No tile is blended with another, and none shows.

What is held of the whole frame is one map at half the resolution and two of the layer at work; a plain decoder holds
four, of twice the channels at the widest. The last up-sampling is computed twice for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvdm.media.geometry import Box
from lvdm.modules.networks.ae_modules import Decoder, Level, ResnetBlock, UpLevel, Upsample


@dataclass(frozen=True)
class Region:
    """A tile of a frame of `height` x `width` with `halo` pixels around it, as far as the frame goes."""

    tile: Box
    height: int
    width: int
    halo: int

    @property
    def inside(self) -> Box:
        """The part of it that lies in the frame."""
        top, left = max(self.tile.top - self.halo, 0), max(self.tile.left - self.halo, 0)
        bottom = min(self.tile.top + self.tile.height + self.halo, self.height)
        right = min(self.tile.left + self.tile.width + self.halo, self.width)
        return Box(top, left, bottom - top, right - left)

    def pad(self, part: Tensor) -> Tensor:
        """Zeros around what `inside` holds, wherever the frame ended, as a padded convolution would see them."""
        inside, tile = self.inside, self.tile
        left, top = inside.left - (tile.left - self.halo), inside.top - (tile.top - self.halo)
        right = tile.left + tile.width + self.halo - inside.left - inside.width
        bottom = tile.top + tile.height + self.halo - inside.top - inside.height
        return F.pad(part, (left, right, top, bottom)) if left or right or top or bottom else part


class Source(Protocol):
    """A map (n, c, h, w) that is read in parts."""

    @property
    def shape(self) -> torch.Size: ...

    def read(self, box: Box) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Held:
    """A map that lies in memory."""

    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """(n, c, h, w)."""
        return self.values.shape

    def read(self, box: Box) -> Tensor:
        """(n, c, box height, box width)."""
        return box.crop(self.values)


@dataclass(frozen=True, eq=False)
class Enlarged:
    """What an `Upsample` makes of `small` (n, c, h, w), computed where it is read: (n, c, 2 h, 2 w)."""

    small: Tensor
    layer: Upsample

    @property
    def shape(self) -> torch.Size:
        """(n, c, 2 h, 2 w)."""
        n, c, height, width = self.small.shape
        return torch.Size((n, c, 2 * height, 2 * width))

    def read(self, box: Box) -> Tensor:
        """(n, c, box height, box width)."""
        region = Region(box, self.shape[-2], self.shape[-1], halo=1)
        inside = region.inside
        top, left = inside.top // 2, inside.left // 2
        bottom, right = -(-(inside.top + inside.height) // 2), -(-(inside.left + inside.width) // 2)
        part = self.small[..., top:bottom, left:right]
        part = F.interpolate(part, scale_factor=2.0, mode="nearest")  # n c h' w'
        exact = Box(inside.top - 2 * top, inside.left - 2 * left, inside.height, inside.width)
        return _convolve(self.layer.conv, region.pad(exact.crop(part)))


class Statistics:
    """Mean and variance of each group of channels over a whole map, gathered from parts (Chan et al. 1983)."""

    def __init__(self, groups: int) -> None:
        self._groups, self._count = groups, 0
        self._mean = self._squares = torch.zeros(())

    def add(self, part: Tensor) -> None:
        """Take in a part (n, c, h, w); sums are kept in float64 where there is float64, else in float32."""
        values = part.flatten(2).unflatten(1, (self._groups, -1)).flatten(2)  # n groups (c / groups h w)
        count = values.shape[-1]
        variance, mean = torch.var_mean(values.float(), dim=-1, correction=0)  # n groups
        if mean.device.type != "mps":
            variance, mean = variance.double(), mean.double()
        total = self._count + count
        shift = mean - self._mean
        self._squares = self._squares + variance * count + shift**2 * (self._count * count / total)
        self._mean = self._mean + shift * (count / total)
        self._count = total

    def normalise(self, norm: nn.GroupNorm) -> Callable[[Tensor], Tensor]:
        """`norm` followed by SiLU, for any part of the map."""
        per_group = norm.num_channels // norm.num_groups
        scale = (self._squares / self._count + norm.eps).rsqrt()
        scale, mean = (value.repeat_interleave(per_group, dim=1) for value in (scale, self._mean))  # n c
        slope = scale * norm.weight
        offset = norm.bias - mean * slope

        def apply(part: Tensor) -> Tensor:
            normal = part.float() * slope.float()[..., None, None]
            normal += offset.float()[..., None, None]
            return F.silu(normal.to(part.dtype), inplace=True)

        return apply


def decode_in_tiles(autoencoder: Any, latents: Tensor, tile: int) -> Tensor:
    """Images (n, 3, f h, f w) of latents (n, c, h, w), as `autoencoder.decode` makes them, up to rounding.

    tile  side of a tile, latent pixels; at higher resolutions, tiles have as many more pixels. Latents that fit into
          one tile are decoded as they are.
    """
    if max(latents.shape[-2:]) <= tile:
        return cast(Tensor, autoencoder.decode(latents))
    decoder: Decoder = autoencoder.decoder
    h: Tensor = decoder.mid(decoder.conv_in(autoencoder.post_quant_conv(latents)))
    source: Source = Held(h)
    for level in reversed(cast("nn.ModuleList", decoder.up)):
        h = _level(cast(UpLevel, level), source, tile * (source.shape[-1] // latents.shape[-1]))
        source = Enlarged(h, level.upsample) if isinstance(level.upsample, Upsample) else Held(h)
    side = tile * (h.shape[-1] // latents.shape[-1])
    return _normalised_convolution(Held(h), decoder.norm_out, decoder.conv_out, side)


def tiles_of(height: int, width: int, side: int) -> Iterator[Box]:
    """Boxes of at most `side` pixels that cover a frame once."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(side, height - top), min(side, width - left))


def _level(level: Level, source: Source, side: int) -> Tensor:
    """The blocks of a level over all of `source`, without the resampling that follows."""
    values = torch.empty(0)
    for index, block in enumerate(level.block):
        values = _resnet_block(cast(ResnetBlock, block), source, side)
        if len(level.attn):
            values = level.attn[index](values)
        source = Held(values)
    return values


def _resnet_block(block: ResnetBlock, source: Source, side: int) -> Tensor:
    """(n, in, h, w) -> (n, out, h, w); may write into what a `Held` source holds."""
    n, _, height, width = source.shape
    normalise = _statistics(source, block.norm1, side).normalise(block.norm1)
    hidden = shortcut = torch.empty(0)
    in_place = isinstance(source, Held) and isinstance(block.nin_shortcut, nn.Identity)
    for box in tiles_of(height, width, side):
        region = Region(box, height, width, halo=1)
        part = source.read(region.inside)
        made = _convolve(block.conv1, region.pad(normalise(part)))
        if hidden.numel() == 0:
            hidden = made.new_empty(n, made.shape[1], height, width)
            shortcut = source.values if in_place else torch.empty_like(hidden)  # type: ignore[attr-defined]
        box.crop(hidden).copy_(made)
        if not in_place:
            inner = Box(box.top - region.inside.top, box.left - region.inside.left, box.height, box.width)
            box.crop(shortcut).copy_(block.nin_shortcut(inner.crop(part)))
        del part, made  # before the next tile takes its memory
    return _normalised_convolution(Held(hidden), block.norm2, block.conv2, side, shortcut)


def _normalised_convolution(
    source: Held, norm: nn.GroupNorm, convolution: nn.Conv2d, side: int, onto: Tensor | None = None
) -> Tensor:
    """The convolution of the normalised and activated map, added to `onto` in place if that is given."""
    n, _, height, width = source.shape
    normalise = _statistics(source, norm, side).normalise(norm)
    result = torch.empty(0) if onto is None else onto
    for box in tiles_of(height, width, side):
        region = Region(box, height, width, halo=1)
        made = _convolve(convolution, region.pad(normalise(source.read(region.inside))))
        if onto is not None:
            box.crop(result).add_(made)
            continue
        if result.numel() == 0:
            result = made.new_empty(n, made.shape[1], height, width)
        box.crop(result).copy_(made)
    return result


def _statistics(source: Source, norm: nn.GroupNorm, side: int) -> Statistics:
    statistics = Statistics(norm.num_groups)
    for box in tiles_of(source.shape[-2], source.shape[-1], side):
        statistics.add(source.read(box))
    return statistics


def _convolve(convolution: nn.Conv2d, padded: Tensor) -> Tensor:
    """A 3x3 convolution of what has its border already: (n, c, h + 2, w + 2) -> (n, out, h, w)."""
    return F.conv2d(padded, convolution.weight, convolution.bias)

"""Decoding in overlapping tiles, for pictures whose decoder does not fit into memory at once.

A decoder with attention and group normalisation sees one tile as if it were the whole picture, so tiles change pixels
a little: tone and texture drift with what lies in each tile. The overlap is blended so that no seam shows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next one, at least."""


def decode_tiled(decode: Callable[[Tensor], Tensor], latents: Tensor, tile: int, factor: int) -> Tensor:
    """`decode` (n, c, h, w) -> (n, 3, factor h, factor w), in tiles of at most `tile` x `tile` latent pixels.

    Latents that fit into one tile are decoded as they are.
    """
    height, width = latents.shape[-2:]
    if height <= tile and width <= tile:
        return decode(latents)
    rows, columns = min(tile, height), min(tile, width)
    tops, lefts = tile_starts(height, tile), tile_starts(width, tile)
    row_weights = blending_weights(height, tile, factor).to(latents.device)
    column_weights = blending_weights(width, tile, factor).to(latents.device)
    picture = torch.empty(0)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            part = decode(latents[..., top : top + rows, left : left + columns])
            if picture.numel() == 0:
                picture = part.new_zeros(*part.shape[:2], factor * height, factor * width)
            weight = row_weights[i, :, None] * column_weights[j]  # (factor rows, factor columns)
            place = picture[..., factor * top :, factor * left :]
            place[..., : factor * rows, : factor * columns] += (part * weight).to(picture.dtype)
    return picture


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles begin that cover `length` evenly, each overlapping the next by at least `OVERLAP` of its side."""
    if length <= tile:
        return [0]
    stride = max(1, int(tile * (1 - OVERLAP)))
    steps = -(-(length - tile) // stride)
    return [round(i * (length - tile) / steps) for i in range(steps + 1)]


def blending_weights(length: int, tile: int, factor: int) -> Tensor:
    """How much each tile counts at each of its pixels, (tiles, factor x tile) float32: at every pixel they sum to one.

    Weights rise linearly from a tile's edges over the overlap; where a picture ends, the tile there counts alone.
    """
    tile = min(tile, length)
    starts, side = tile_starts(length, tile), factor * tile
    from_edge = torch.arange(side, dtype=torch.float32) + 0.5
    ramp = torch.minimum(from_edge, from_edge.flip(0)).clamp(max=max(1.0, OVERLAP * side))
    total = torch.zeros(factor * length)
    for start in starts:
        total[factor * start : factor * start + side] += ramp
    return torch.stack([ramp / total[factor * start : factor * start + side] for start in starts])

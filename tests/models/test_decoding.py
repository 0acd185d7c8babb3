"""Decoding in tiles: weights sum to one, one tile is the plain path, and pictures change little."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from small_model import picture
from tiny_models import reference_model
from torch import Tensor
from torch.nn import functional as F

from lvdm.config import ConfigError
from lvdm.data.images import fit_image
from lvdm.device import Precision
from lvdm.model_files import find_preset
from lvdm.models.decoding import OVERLAP, blending_weights, decode_tiled, tile_starts
from lvdm.pipeline import load_model
from lvdm.results import psnr

SIZES = [(8, 8), (9, 8), (16, 8), (23, 8), (64, 24), (72, 64), (128, 64), (5, 8), (100, 9)]


@pytest.mark.parametrize(("length", "tile"), SIZES)
def test_tiles_cover_everything_and_overlap(length: int, tile: int) -> None:
    starts = tile_starts(length, tile)
    assert starts[0] == 0
    assert starts[-1] + tile == max(length, tile), "the last tile does not end where the picture does"
    overlaps = [before + tile - after for before, after in pairwise(starts)]
    assert all(overlap >= int(OVERLAP * tile) for overlap in overlaps), f"overlaps {overlaps}"


@pytest.mark.parametrize(("length", "tile"), SIZES)
@pytest.mark.parametrize("factor", [1, 8])
def test_weights_sum_to_one_at_every_pixel(length: int, tile: int, factor: int) -> None:
    weights = blending_weights(length, tile, factor)
    total = torch.zeros(factor * length)
    for start, weight in zip(tile_starts(length, tile), weights, strict=True):
        total[factor * start :][: len(weight)] += weight
    assert weights.min() > 0, "a pixel of a tile counts for nothing"
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def enlarge(latents: Tensor) -> Tensor:
    """A decoder that treats every pixel alone: tiles cannot change what it gives."""
    return F.interpolate(latents[:, :3], scale_factor=4.0, mode="nearest")


@pytest.mark.parametrize("size", [(8, 8), (20, 33), (7, 40), (64, 12)])
def test_a_decoder_without_context_gives_the_same_picture(size: tuple[int, int]) -> None:
    latents = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1))
    actual = decode_tiled(enlarge, latents, 8, 4)
    torch.testing.assert_close(actual, enlarge(latents), rtol=0, atol=1e-6)


def test_no_tile_is_larger_than_asked_for() -> None:
    seen: list[tuple[int, ...]] = []
    decode_tiled(lambda z: (seen.append(tuple(z.shape[-2:])), enlarge(z))[1], torch.zeros(1, 4, 20, 6), 8, 4)
    assert set(seen) == {(8, 6)}, f"tiles of {set(seen)}"


@torch.no_grad()
def test_frames_that_fit_into_a_tile_are_not_touched() -> None:
    model = reference_model("512")
    latents = torch.randn(1, 4, 2, 8, 12, generator=torch.Generator().manual_seed(2))
    plain = model.decode_first_stage(latents)
    for tile in (12, 100):
        assert torch.equal(model.decode_first_stage(latents, tile=tile), plain), f"tile {tile} is not the plain path"
    tiled = model.decode_first_stage(latents, chunk_size=1, tile=8)
    assert tiled.shape == plain.shape
    assert not torch.equal(tiled, plain), "tile 8 had no effect"


@torch.no_grad()
def test_a_smooth_picture_changes_little() -> None:
    """With the trained autoencoder; random weights would spread the edge of a tile over the whole of it."""
    try:
        files = find_preset("tiny")
    except ConfigError:
        pytest.skip("the embedded model is not here")
    model = load_model(files, Precision(torch.float32, torch.float32), None, torch.device("cpu"))
    latents = model.encode_first_stage(fit_image(picture(), 96, 128)[None, :, None])
    plain = model.decode_first_stage(latents).clamp(-1, 1)
    quality = psnr(model.decode_first_stage(latents, tile=16), plain)
    assert quality > 25, f"tiles are {quality:.1f} dB from the whole picture"

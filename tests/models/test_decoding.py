"""Decoding in tiles: the same picture as in one piece, without a seam, in less memory."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_model import picture
from tiny_models import released_tree, shared_reference_model
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvdm.config import ConfigError, parse_component
from lvdm.device import Precision
from lvdm.media.images import fit_image
from lvdm.model_files import find_preset
from lvdm.models.autoencoder import AutoencoderKL
from lvdm.models.decoding import Enlarged, Statistics, decode_in_tiles, tiles_of
from lvdm.modules.networks.ae_modules import AttnBlock, AutoencoderNetworkConfig, Upsample
from lvdm.pipeline.loading import load_model
from lvdm.pipeline.memory import Workload, decoder_activations
from lvdm.training_memory.tracking import LiveMemory, module_tensors

TOLERANCE = 1e-4
"""Of pixels with a deviation of about 0.4: convolutions of another size round differently."""


@pytest.mark.parametrize(("height", "width", "side"), [(8, 8, 8), (23, 7, 5)])
def test_tiles_cover_every_pixel_once(height: int, width: int, side: int) -> None:
    covered = torch.zeros(height, width)
    for box in tiles_of(height, width, side):
        assert max(box.height, box.width) <= side
        box.crop(covered).add_(1)
    assert covered.eq(1).all()


def test_statistics_of_parts_are_those_of_the_whole() -> None:
    norm = nn.GroupNorm(4, 8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 100 + torch.randn(2, 8, 9, 12, generator=torch.Generator().manual_seed(0))  # a mean far from zero
    statistics = Statistics(4)
    for box in tiles_of(9, 12, 5):
        statistics.add(box.crop(x))
    expected = nn.functional.silu(norm(x))
    torch.testing.assert_close(statistics.normalise(norm)(x), expected, rtol=0, atol=2e-4)


def test_an_enlarged_map_is_read_as_if_it_were_there() -> None:
    layer, small = Upsample(3), torch.randn(1, 3, 5, 7)
    whole = layer(small)
    enlarged = Enlarged(small, layer)
    assert enlarged.shape == whole.shape
    for box in tiles_of(10, 14, 3):
        torch.testing.assert_close(enlarged.read(box), box.crop(whole), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return torch.randn(1, 4, 2, 12, 24, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def plain(latents: Tensor) -> Tensor:
    """The picture of the whole."""
    with torch.no_grad():
        return shared_reference_model("512").decode_first_stage(latents)


@torch.no_grad()
@pytest.mark.parametrize("tile", [8, 11, 16])
def test_tiles_give_the_picture_of_the_whole_without_seams(tile: int, latents: Tensor, plain: Tensor) -> None:
    """Measured where seams would be as well: rows and columns at the borders of tiles are as near as the others."""
    model = shared_reference_model("512")
    difference = (model.decode_first_stage(latents, tile=tile) - plain).abs()
    assert difference.max() < TOLERANCE, f"tiles of {tile} differ by {difference.max():.3g}"
    seam = difference[..., 8 * tile - 1 : 8 * tile + 1].mean()
    assert seam < 5 * difference.mean() + 1e-7, f"at the seam {seam:.3g}, elsewhere {difference.mean():.3g}"


@torch.no_grad()
def test_frames_that_fit_into_a_tile_are_not_touched() -> None:
    model = shared_reference_model("512")
    latents = torch.randn(1, 4, 2, 8, 12, generator=torch.Generator().manual_seed(2))
    plain = model.decode_first_stage(latents)
    for tile in (12, 100):
        assert torch.equal(model.decode_first_stage(latents, tile=tile), plain), f"tile {tile} is not the plain path"


@torch.no_grad()
def test_the_trained_autoencoder_decodes_alike() -> None:
    try:
        files = find_preset("tiny")
    except ConfigError:
        pytest.skip("the embedded model is not here")
    model = load_model(files, Precision(torch.float32, torch.float32), None, torch.device("cpu"))
    latents = model.encode_first_stage(fit_image(picture(), 96, 128)[None, :, None])
    plain = model.decode_first_stage(latents)
    assert (model.decode_first_stage(latents, tile=8) - plain).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("tile", "height", "width"), [(16, 36, 64), (32, 72, 128)])
def test_tiles_take_the_memory_that_is_planned(tile: int, height: int, width: int) -> None:
    """The released autoencoder at 288x512 and 576x1024, on the meta device: live bytes of one frame in float32."""
    tree = released_tree("configs/inference_1024_v1.0.yaml")["params"]["first_stage_config"]
    with torch.device("meta"):
        autoencoder: AutoencoderKL = parse_component(tree, "autoencoder").build().eval()
    latents = torch.empty(1, 4, height, width, device="meta")
    peaks = []
    for decode in (autoencoder.decode, lambda z: decode_in_tiles(autoencoder, z, tile)):
        memory = LiveMemory(module_tensors(autoencoder))
        with memory:
            result: Tensor = decode(latents)
        peaks.append(memory.peak)
        assert result.shape == (1, 3, 8 * height, 8 * width)
    workload = Workload(8 * height, 8 * width, 1, vae_tile=tile)
    planned = 4 * decoder_activations(autoencoder.config.ddconfig, workload)
    whole = 4 * decoder_activations(autoencoder.config.ddconfig, dataclasses.replace(workload, vae_tile=None))
    assert planned * 0.9 <= peaks[1] <= planned * 1.05, f"{peaks[1] / 1e9:.2f} GB, planned {planned / 1e9:.2f} GB"
    assert peaks[1] < 0.6 * peaks[0], "tiles save too little"
    assert planned < 0.45 * whole


def test_attention_over_pixels_holds_no_scores() -> None:
    """A fused kernel takes it; the scores of all pixels of a 1024 frame would be 340 MB for each frame."""
    networks = AutoencoderNetworkConfig(True, 4, 32, 3, 3, 8, (1, 2), 1, norm_num_groups=4)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert AttnBlock(networks, 16)(torch.randn(2, 16, 6, 5)).shape == (2, 16, 6, 5)

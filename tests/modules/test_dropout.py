"""What acts in training only: how much is dropped out, and where, as the original trains."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import fill_module
from small_model import small_yaml
from tiny_models import unet_config
from torch import Tensor, nn

from lvdm.config import parse_component
from lvdm.modules.attention import CrossAttention, FeedForward
from lvdm.modules.layers import ResBlock, TemporalConvBlock
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel

SPATIAL, TEMPORAL = 0.3, 0.1


@pytest.fixture(scope="module")
def unet() -> UNetModel:
    """A UNet whose YAML gives a rate for the layers over pixels, and none for those over frames."""
    params = small_yaml()["model"]["params"]["unet_config"]
    params["params"] |= {"dropout": SPATIAL}
    unet: UNetModel = parse_component(params, "unet_config").build()
    fill_module(unet, "")
    return unet.train()


def rates(module: nn.Module) -> dict[str, float]:
    """The rate of every dropout in `module` that drops anything."""
    found = {name: part.p for name, part in module.named_modules() if isinstance(part, nn.Dropout)}
    return {name: p for name, p in found.items() if p > 0}


def test_the_original_s_rates_are_what_a_yaml_gets_that_names_none() -> None:
    assert UNetConfig.temporal_conv_dropout == TEMPORAL
    assert TemporalConvBlock(32).conv4[2].p == TEMPORAL
    assert unet_config("512").dropout == 0.1, "the released YAML files train with dropout"


def test_blocks_drop_out_before_their_last_convolution_and_three_of_the_temporal_ones(unet: UNetModel) -> None:
    blocks = {name: block for name, block in unet.named_modules() if isinstance(block, ResBlock)}
    assert blocks
    expected = {}
    for name in blocks:
        expected[f"{name}.out_layers.2"] = SPATIAL
        expected |= {f"{name}.temopral_conv.conv{i}.2": TEMPORAL for i in (2, 3, 4)}
    assert rates(unet) == expected, "dropout belongs there and nowhere else"


def test_attention_and_its_feed_forward_drop_nothing() -> None:
    assert isinstance(CrossAttention(32).to_out[1], nn.Dropout), "the released keys count it"
    assert rates(CrossAttention(32)) == rates(FeedForward(32)) == {}


def arrived(block: nn.Module, convolution: nn.Module, *inputs: Tensor) -> Tensor:
    """What `convolution`, a part of `block`, is given when `block` computes."""
    seen: list[Tensor] = []
    handle = convolution.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        torch.manual_seed(0)
        block(*inputs)
    finally:
        handle.remove()
    return seen[0]


def assert_dropped_at_random(given: Tensor, rate: float, where: str) -> None:
    share = (given == 0).float().mean().item()
    slack = 5 * (rate * (1 - rate) / given.numel()) ** 0.5
    assert abs(share - rate) <= slack, f"{where} gets {share:.1%} zeros, {rate:.0%} should be dropped out"


@torch.no_grad()
def test_a_temporal_convolution_gets_a_tenth_less_and_the_rest_scaled_up() -> None:
    block = TemporalConvBlock(32, norm_num_groups=8)
    fill_module(block, "block.")
    clip = torch.randn(2, 32, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    for name in ("conv1", "conv2", "conv3", "conv4"):
        part = block.get_submodule(name)
        whole = arrived(block.eval(), part[-1], clip)
        part.train()  # this one alone, so that what it is given is what it was given in evaluation
        thinned = arrived(block, part[-1], clip)
        if name == "conv1":
            assert torch.equal(thinned, whole), "nothing is dropped out before the first convolution"
            continue
        assert_dropped_at_random(thinned, TEMPORAL, f"the convolution of {name}")
        kept = thinned != 0
        torch.testing.assert_close(thinned[kept], whole[kept] / (1 - TEMPORAL))


@torch.no_grad()
def test_a_spatial_block_drops_out_by_the_rate_of_its_yaml(unet: UNetModel) -> None:
    block = next(part for part in unet.modules() if isinstance(part, ResBlock))
    channels = block.in_layers[0].num_channels
    x = torch.randn(4, channels, 16, 16, generator=torch.Generator().manual_seed(1))
    emb = torch.randn(1, 1, block.emb_layers[1].in_features, generator=torch.Generator().manual_seed(2))
    given = arrived(block, block.out_layers[-1], x, emb)
    assert_dropped_at_random(given, SPATIAL, "the second convolution")


@torch.no_grad()
def test_training_is_random_and_evaluation_is_not(unet: UNetModel) -> None:
    block = next(part.temopral_conv for part in unet.modules() if isinstance(part, ResBlock))
    assert block is not None
    clip = torch.randn(1, block.conv1[0].num_channels, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    first, second = block(clip), block(clip)
    assert not torch.equal(first, second), "two steps of a training see the same network"
    block.eval()
    assert torch.equal(block(clip), block(clip))
    block.train()

"""The network in pieces gives what it gives in one piece."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from golden_vectors import WithoutRandomValues, fill_module, rand
from tiny_models import unet_config
from torch import Tensor

from lvdm.modules.attention import CrossAttention
from lvdm.modules.hooks import NO_HOOKS, active_hooks
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.plugins.activation_offload import OFFLOADS
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Samples, attached, plain_hooks

FRAMES, SAMPLES = 18, Samples((1,), (0,))
HOOKS = plain_hooks(SAMPLES, lambda conditions: None)  # type: ignore[arg-type, return-value]


def build(num_frames: int = 16, **options: Any) -> UNetModel:
    """The 256 model's network with two of its four levels."""
    levels = {"channel_mult": (1, 2), "attention_resolutions": (2, 1), "num_res_blocks": 1}
    with WithoutRandomValues():
        network = UNetModel(dataclasses.replace(unet_config("256", num_frames), **levels | options))
    fill_module(network, "model.diffusion_model.")
    return network.eval()


@cache
def unet() -> UNetModel:
    return build()


@cache
def inputs(tokens: int, per_frame_time: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    t = torch.tensor([601, 33]) if not per_frame_time else torch.arange(2 * FRAMES).reshape(2, FRAMES) * 20
    return rand("x", (2, 8, FRAMES, 4, 8)), t, rand("context", (2, tokens, 64)), torch.tensor([3, 9])


@cache
def whole(tokens: int, per_frame_time: bool = False) -> Tensor:
    with torch.no_grad(), FreeNoise().attach(unet(), HOOKS, SAMPLES).layers.active():
        return unet()(*inputs(tokens, per_frame_time))


@pytest.mark.parametrize(
    ("frames", "tokens", "per_frame_time"),
    [(4, 77 + 16 * FRAMES, False), (5, 77 + 16, False), (1, 77, True), (64, 77 + 16 * FRAMES, True)],
)
@torch.no_grad()
def test_pieces_equal_the_whole(frames: int, tokens: int, per_frame_time: bool) -> None:
    with attached([FreeNoise(), Chunked(frames)], unet(), HOOKS, SAMPLES).layers.active():
        y = unet()(*inputs(tokens, per_frame_time))
    expected = whole(tokens, per_frame_time)
    assert (y - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("offload", [name for name in OFFLOADS if name != "device"])
@torch.no_grad()
def test_where_skips_wait_changes_no_bit(offload: str) -> None:
    x, t, context, fs = (value[:1] for value in inputs(77))
    results = []
    for name in ("device", offload):
        with Chunked(8, name).attach(unet(), HOOKS, SAMPLES).layers.active():
            results.append(unet()(x, t, context, fs))
    assert torch.equal(*results)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shelves_give_back_what_they_got(dtype: torch.dtype) -> None:
    turned = torch.randn(4, 3, 2, 5).to(dtype, memory_format=torch.channels_last)
    tensors = [torch.randn(3, 2, 5).to(dtype), torch.randn(4, 1).to(dtype)[::2], turned]
    for name, offload in OFFLOADS.items():
        with offload() as keep:
            fetches = [keep(tensor) for tensor in tensors]
            for tensor, fetch in reversed(list(zip(tensors, fetches, strict=True))):
                fetched = fetch()
                assert torch.equal(fetched, tensor), name
                assert fetched.stride() == torch.empty_like(tensor).stride() or name != "disk", "laid out otherwise"


@torch.no_grad()
def test_half_precision() -> None:
    half = build().to(torch.bfloat16)
    x, t, context, fs = (value[:1] for value in inputs(77))
    with Chunked(4).attach(half, HOOKS, SAMPLES).layers.active():
        y = half(x.bfloat16(), t, context.bfloat16(), fs)
    assert y.dtype == torch.bfloat16
    expected = half(x.bfloat16(), t, context.bfloat16(), fs)
    assert (y - expected).abs().mean() <= 0.02 * expected.abs().max()


@torch.no_grad()
def test_convolutions_over_frames_that_see_pixels() -> None:
    network = build(4, temporal_conv_spans_pixels=True)
    x, t, context = rand("x", (1, 8, 5, 8, 4)), torch.tensor([601]), rand("context", (1, 77, 64))
    expected = network(x, t, context)
    with Chunked(2).attach(network, HOOKS, SAMPLES).layers.active():
        y = network(x, t, context)
    assert (y - expected).abs().max() <= 2e-5 * expected.abs().max(), "pieces end at rows that a convolution looks over"


@torch.no_grad()
def test_text_to_video_with_text_only() -> None:
    network = build(in_channels=4, image_cross_attention=False)
    x, context = rand("x", (1, 4, 20, 4, 4)), rand("context", (1, 77, 64))
    expected = network(x, torch.tensor([7]), context)
    with Chunked(6).attach(network, HOOKS, SAMPLES).layers.active():
        y = network(x, torch.tensor([7]), context)
    assert (y - expected).abs().max() <= 2e-5 * expected.abs().max()


@torch.no_grad()
def test_taken_off_again_even_after_an_error() -> None:
    def fail() -> None:
        with Chunked(4).attach(unet(), HOOKS, SAMPLES).layers.active():
            assert active_hooks().functions
            raise RuntimeError

    before = whole(77)
    with pytest.raises(RuntimeError):
        fail()
    assert active_hooks() is NO_HOOKS
    with FreeNoise().attach(unet(), HOOKS, SAMPLES).layers.active():
        assert torch.equal(unet()(*inputs(77)), before)
    assert any(isinstance(module, CrossAttention) for module in unet().modules())


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="chunks of 0 frames are not possible; use 1 or more"):
        Chunked(0)
    with pytest.raises(ValueError, match="offload 'attic' is not known; use one of device, host, disk"):
        Chunked(4, "attic")

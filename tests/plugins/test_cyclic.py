"""Loops on a cycle: nothing tells where it begins."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import rand
from small_model import FRAMES, picture, write_small_model
from tiny_models import reference_unet

from lvdm.conditioning import Conditioning
from lvdm.modules.attention_processors import AttentionMeta, attend
from lvdm.modules.hooks import NO_HOOKS, active_hooks
from lvdm.modules.layers import TemporalConv3d
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.chunked import Chunked
from lvdm.plugins.cyclic import CyclicLoop, forward_and_backward
from lvdm.plugins.hooks import Samples, attached, plain_hooks

SAMPLES = Samples((1,), (0,))
HOOKS = plain_hooks(SAMPLES, lambda conditions: None)  # type: ignore[arg-type, return-value]


def test_attention_turns_with_the_ring() -> None:
    """Cycles as short as a window, where relative positions would tell first from last, and longer ones."""
    for frames in (4, 10):
        q, k, v = (rand(name, (3, 2, frames, 8)) for name in "qkv")
        meta, cycle = AttentionMeta("temporal", frames), CyclicLoop(4, 2)
        straight = cycle.windowed(attend, q, k, v, meta)
        turned = cycle.windowed(attend, *(x.roll(2, dims=2) for x in (q, k, v)), meta)
        torch.testing.assert_close(turned, straight.roll(2, dims=2), rtol=0, atol=1e-5, msg=f"{frames} frames")


@torch.no_grad()
def test_the_network_does_not_know_where_the_ring_begins() -> None:
    """Turned by a stride, it gives what it gave, turned; also in pieces."""
    unet, cycle = reference_unet("256", 4), CyclicLoop(4, 2)
    x, t, context = rand("x", (1, 8, 6, 8, 8)), torch.tensor([601]), rand("context", (1, 77, 64))
    with cycle.attach(unet, HOOKS, SAMPLES).layers.active():
        straight, turned = unet(x, t, context), unet(x.roll(2, dims=2), t, context)
    with attached([cycle, Chunked(3)], unet, HOOKS, SAMPLES).layers.active():
        pieces = unet(x, t, context)
    torch.testing.assert_close(turned, straight.roll(2, dims=2), rtol=0, atol=1e-4)
    torch.testing.assert_close(pieces, straight, rtol=0, atol=1e-4)
    plain = unet(x, t, context)
    assert not torch.allclose(unet(x.roll(2, dims=2), t, context), plain.roll(2, dims=2), atol=1e-3), "it never knew"
    assert any(isinstance(module, TemporalConv3d) for module in unet.modules())
    assert active_hooks() is NO_HOOKS, "the network was not left as it was"


def test_tokens_go_there_and_back() -> None:
    def tokens(num_frames: int) -> list[int]:
        image = torch.arange(num_frames).repeat_interleave(2)[None, :, None].float()
        empty = torch.zeros(1, 4, num_frames, 2, 2)
        turned = forward_and_backward(Conditioning(torch.zeros(1, 3, 1), image, empty, torch.zeros(1)), 2)
        return turned.image[0, ::2, 0].int().tolist()

    assert tokens(8) == [0, 2, 4, 6, 7, 6, 4, 2]
    assert tokens(5) == [0, 2, 4, 4, 2]
    shared = Conditioning(torch.zeros(1, 3, 1), torch.zeros(1, 5, 1), torch.zeros(1, 4, 8, 2, 2), torch.zeros(1))
    assert forward_and_backward(shared, 2) is shared, "tokens that all frames share stay"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small", ("i2v",))
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.mark.parametrize("num_frames", [FRAMES, 3 * FRAMES])
def test_a_model_for_one_image_makes_a_loop(pipe, num_frames) -> None:
    result = pipe(picture(), "a ball", loop=True, long_video="cyclic", num_frames=num_frames)
    assert result.video.shape[2] == num_frames
    assert torch.isfinite(result.video).all()
    assert torch.equal(result.latents[:, :, -1], result.latents[:, :, 0]), "the last frame is the first one again"
    cycle = pipe(picture(), "a ball", long_video="cyclic", num_frames=num_frames - 1)
    assert torch.equal(cycle.latents, result.latents[:, :, :-1]), "the clip on the cycle is that of animate"
    unasked = pipe(picture(), "a ball", loop=True, num_frames=num_frames)
    assert torch.equal(unasked.latents, result.latents), "a model that animates one image does not loop by itself"
    with pytest.raises(ValueError, match="or --long-video cyclic"):
        pipe(picture(), "a ball", loop=True, long_video="plain")
    with pytest.raises(ValueError, match="goes back to where it began; leave out long_video cyclic to interpolate"):
        pipe(picture(), "a ball", end_image=picture(), long_video="cyclic")


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="stride 5 is not possible"):
        CyclicLoop(4, 5)

"""FreeLong: windows for detail, all frames for what is slow and smooth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from golden_vectors import rand
from tiny_models import reference_unet
from torch import Tensor

from lvdm.modules.attention_processors import AttentionMeta, attend
from lvdm.modules.hooks import NO_HOOKS
from lvdm.plugins.freelong import FreeLong
from lvdm.plugins.freenoise import FreeNoise
from lvdm.plugins.hooks import Samples, plain_hooks

SAMPLES = Samples((1,), (0,))
HOOKS = plain_hooks(SAMPLES, lambda conditions: None)  # type: ignore[arg-type, return-value]
HEIGHT, WIDTH, FRAMES, WINDOW = 4, 3, 9, 4
META = AttentionMeta("temporal", FRAMES)


def qkv(frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (rand(name, (2 * HEIGHT * WIDTH, 2, frames, 8)) for name in "qkv")
    return q, k, v


def blend(method: FreeLong, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return method.blended(attend, q, k, v, META, (HEIGHT, WIDTH))


def test_at_its_ends_it_is_windows_or_all_frames() -> None:
    q, k, v = qkv()
    local, whole = FreeNoise(WINDOW, 2).windowed(attend, q, k, v, META), attend(q, k, v, META)
    assert torch.equal(blend(FreeLong(WINDOW, 2, 0.0, 0.25), q, k, v), local), "a filter that passes nothing"
    everything = blend(FreeLong(WINDOW, 2, 1e6, 1e6), q, k, v)
    torch.testing.assert_close(everything, whole, rtol=0, atol=1e-5, msg="a filter that passes everything")
    between = blend(FreeLong(WINDOW, 2), q, k, v)
    assert min((between - other).abs().max() for other in (local, whole)) > 1e-3


def test_the_mean_is_that_of_all_frames() -> None:
    """What does not vary over frames, rows and columns is passed as it is."""
    q, k, v = qkv()
    means = [
        out.unflatten(0, (2, -1)).mean(dim=(1, 3))
        for out in (blend(FreeLong(WINDOW, 2), q, k, v), attend(q, k, v, META))
    ]
    torch.testing.assert_close(*means, rtol=0, atol=1e-6)


def test_equal_features_stay_what_they_are() -> None:
    q, k, v = qkv()
    v = v[:, :, :1].expand_as(v)  # all frames tell the same: whoever attends to whom
    out = blend(FreeLong(WINDOW, 2), q, k, v)
    torch.testing.assert_close(out, v, rtol=0, atol=1e-6)


@torch.no_grad()
def test_short_videos_are_plain_and_the_network_is_left_as_it_was() -> None:
    unet = reference_unet("256", 16)
    x, t, context, fs = rand("x", (1, 8, 8, 8, 8)), torch.tensor([601]), rand("context", (1, 77, 64)), torch.tensor([3])
    plain = unet(x, t, context, fs)
    with FreeLong(8, 2).attach(unet, HOOKS, SAMPLES).layers.active():
        assert torch.equal(unet(x, t, context, fs), plain), "a window as long as the video changes it"
    hooks = FreeLong(4, 2).attach(unet, HOOKS, SAMPLES)
    assert replace(hooks, layers=NO_HOOKS) == HOOKS, "the noise is not its business"
    with hooks.layers.active():
        changed = unet(x, t, context, fs)
    assert torch.isfinite(changed).all()
    assert not torch.equal(changed, plain)
    assert torch.equal(unet(x, t, context, fs), plain)


def test_at_full_resolution_there_are_windows_alone() -> None:
    q, k, v = qkv()
    local = FreeNoise(WINDOW, 2).windowed(attend, q, k, v, META)
    assert torch.equal(FreeLong(WINDOW, 2).blended(attend, q, k, v, META, None), local)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="stride 5 is not possible"):
        FreeLong(4, 5)
    with pytest.raises(ValueError, match="spatial -1 is not possible"):
        FreeLong(4, 2, -1)

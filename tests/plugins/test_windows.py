"""Windows of frames: which there are, how they are blended, and that one product gives what one by one gives."""

from __future__ import annotations

import pytest
import torch
from golden_vectors import GOLDEN, case, fill_module, rand
from safetensors.torch import load_file
from torch import Tensor

from lvdm.modules.attention_processors import UNORDERED, AttentionMeta, FrameOrder, RelativePosition, attend
from lvdm.plugins import windows
from lvdm.plugins.windows import (
    Windows,
    attend_in_bands,
    attend_in_windows,
    attend_windowed,
    cyclic_windows,
    sliding_windows,
    triangle,
    window_starts,
)

LENGTHS = [(24, 16, 4), (26, 16, 4), (17, 16, 4), (64, 16, 4), (41, 16, 8), (23, 5, 2), (31, 16, 16), (257, 16, 4)]


def test_windows_and_weights_are_the_originals() -> None:
    meta = case("fn/views_and_weights").meta
    for num_frames in (24, 64, 16):
        views = meta[f"views_{num_frames}_16_4"]
        assert window_starts(num_frames, 16, 4) == [begin for begin, _ in views]
    for length in (1, 2, 3, 4, 5, 8, 15, 16):
        assert triangle(length).tolist() == meta[f"w_{length}"]
    stored = load_file(GOLDEN / "fn/views_and_weights.safetensors")
    for num_frames in (24, 64):
        starts = window_starts(num_frames, 16, 4)
        total = stored[f"out.weight_sum_{num_frames}"].float()
        shares = sliding_windows(num_frames, 16, 4).shares
        for start, share in zip(starts, shares, strict=True):
            assert torch.allclose(share * total[start : start + 16], triangle(16))


@pytest.mark.parametrize(("num_frames", "window", "stride"), LENGTHS)
def test_every_frame_is_covered_once_in_sum(num_frames: int, window: int, stride: int) -> None:
    made = sliding_windows(num_frames, window, stride)
    assert made.frames[:, 0].tolist() == window_starts(num_frames, window, stride)
    assert int(made.frames.max()) == num_frames - 1, "the last window ends at the last frame"
    assert_shares_sum_to_one(made, num_frames)


@pytest.mark.parametrize(("num_frames", "window", "stride"), [(12, 4, 2), (9, 4, 3), (3, 3, 1), (1, 1, 1)])
def test_windows_cover_the_ring_and_shares_sum_to_one(num_frames: int, window: int, stride: int) -> None:
    made = cyclic_windows(num_frames, window, stride)
    assert_shares_sum_to_one(made, num_frames)
    if num_frames > window:
        assert any({num_frames - 1, 0} <= set(row) for row in made.frames.tolist()), "no window goes over the seam"


def assert_shares_sum_to_one(made: Windows, num_frames: int) -> None:
    total = torch.zeros(num_frames).index_add_(0, made.frames.flatten(), made.shares.flatten())
    torch.testing.assert_close(total, torch.ones(num_frames))


def queries_keys_values(num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    return rand("q", (3, 2, num_frames, 8)), rand("k", (3, 2, num_frames, 8)), rand("v", (3, 2, num_frames, 8))


def relative(reach: int) -> FrameOrder:
    keys, values = (fill_module(RelativePosition(8, reach), f"{name}.") for name in ("keys", "values"))
    return FrameOrder(False, keys, values)


@pytest.mark.parametrize("order", [UNORDERED, relative(16), relative(3)], ids=["unordered", "relative", "clipped"])
@pytest.mark.parametrize("made", [*(sliding_windows(*sizes) for sizes in LENGTHS), cyclic_windows(40, 16, 4)])
@torch.no_grad()
def test_one_product_gives_what_windows_give_one_by_one(made: Windows, order: FrameOrder) -> None:
    num_frames = int(made.frames.max()) + 1
    q, k, v = queries_keys_values(num_frames)
    meta = AttentionMeta("temporal", num_frames, order)
    bands = attend_in_bands(q, k, v, order, made)
    assert bands is not None
    one_by_one = attend_in_windows(attend, q, k, v, meta, made.frames, made.shares)
    torch.testing.assert_close(bands, one_by_one, rtol=0, atol=2e-6)
    assert torch.equal(attend_windowed(attend, q, k, v, meta, made), bands), "the faster way is not taken"


@torch.no_grad()
def test_what_one_product_cannot_give_is_left_to_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings in which two frames are apart in two ways, windows that vanish beside others, causal ones, plug-ins."""
    asked: list[int] = []

    def by_windows(inner: object, q: Tensor, *rest: object) -> Tensor:
        asked.append(1)
        return q

    monkeypatch.setattr(windows, "attend_in_windows", by_windows)
    q, k, v = queries_keys_values(20)
    meta, sliding = AttentionMeta("temporal", 20), sliding_windows(20, 8, 2)
    attend_windowed(attend, q, k, v, AttentionMeta("temporal", 20, relative(16)), cyclic_windows(20, 16, 4))
    assert len(asked) == 1, "relative positions that differ from window to window"
    attend_windowed(attend, q, k, v, meta, cyclic_windows(20, 16, 4))
    assert len(asked) == 1, "without relative positions that ring needs no windows"
    attend_windowed(attend, q, k, v, AttentionMeta("temporal", 20, FrameOrder(causal=True)), sliding)
    assert len(asked) == 2, "causal attention"
    attend_windowed(lambda *arguments: attend(*arguments), q, k, v, meta, sliding)
    assert len(asked) == 3, "attention that a plug-in has changed"
    loud = k.clone()
    loud[:, :, 0] = 1000 * q[:, :, 0]
    attend_windowed(attend, q, loud, v, meta, sliding)
    assert len(asked) == 4, "one key so loud that windows without it vanish"

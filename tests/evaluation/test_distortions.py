"""Distortions do what their names say, and nothing at the strength that means nothing."""

from __future__ import annotations

import pytest
import torch
from distortions import DISTORTIONS
from torch import Tensor

NEUTRAL = {name: 1.0 if name in ("slow", "fast") else 0.0 for name in DISTORTIONS}


@pytest.fixture
def frames() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(60, 196, (8, 20, 24, 3), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_kind_shape_seed_and_the_strength_that_means_nothing(name: str, frames: Tensor) -> None:
    distortion, original = DISTORTIONS[name], frames.clone()
    spoilt = distortion(frames, seed=3)
    assert spoilt.shape == frames.shape
    assert spoilt.dtype == torch.uint8
    assert not torch.equal(spoilt, frames), "the default strength changes something"
    assert torch.equal(distortion(frames, seed=3), spoilt), "the same seed spoils in the same way"
    assert torch.equal(distortion(frames, seed=3, strength=NEUTRAL[name]), frames)
    assert torch.equal(frames, original), "the clip that was handed in is left alone"


def test_noise_has_its_standard_deviation(frames: Tensor) -> None:
    difference = DISTORTIONS["noise"](frames, strength=8.0).double() - frames.double()
    assert difference.std().item() == pytest.approx(8.0, rel=0.05)


def test_blur_keeps_the_mean_of_an_impulse_and_spreads_it() -> None:
    frames = torch.zeros(1, 21, 21, 3, dtype=torch.uint8)
    frames[:, 10, 10] = 255
    blurred = DISTORTIONS["blur"](frames, strength=1.5).double()[0, :, :, 0]
    places = torch.arange(21.0, dtype=torch.float64) - 10
    assert blurred.sum().item() == pytest.approx(255, rel=0.1)
    assert ((blurred.sum(1) * places**2).sum() / blurred.sum()).item() == pytest.approx(1.5**2, rel=0.15)


def test_flicker_moves_whole_frames(frames: Tensor) -> None:
    difference = DISTORTIONS["flicker"](frames, strength=5.0).double() - frames.double()
    assert torch.equal(difference.amin(dim=(1, 2, 3)), difference.amax(dim=(1, 2, 3)))


def test_jitter_moves_pixels_and_repeats_edges(frames: Tensor) -> None:
    moved = DISTORTIONS["jitter"](frames, seed=1, strength=2)
    inner = frames[:, 4:-4, 4:-4]
    for frame, shown in zip(frames, moved, strict=True):
        found = [
            torch.equal(shown[4:-4, 4:-4], frame[4 + dy : 16 + dy, 4 + dx : 20 + dx])
            for dy in range(-2, 3)
            for dx in range(-2, 3)
        ]
        assert sum(found) == 1, f"no shift of at most 2 pixels explains the frame ({inner.shape})"


def test_shuffle_keeps_the_frames_and_freeze_the_first_ones(frames: Tensor) -> None:
    shuffled = DISTORTIONS["shuffle"](frames, seed=2)
    order = [next(i for i, frame in enumerate(frames) if torch.equal(frame, shown)) for shown in shuffled]
    assert sorted(order) == list(range(8))
    assert order != list(range(8))
    frozen = DISTORTIONS["freeze"](frames, strength=0.5)
    assert torch.equal(frozen[:4], frames[:4])
    assert torch.equal(frozen[4:], frozen[4:5].expand(4, -1, -1, -1))
    assert torch.equal(DISTORTIONS["freeze"](frames, strength=1.0), frames[:1].expand_as(frames))


def counting(frames: int = 9) -> Tensor:
    """Frame i is of the level 10 i."""
    return (10 * torch.arange(frames, dtype=torch.uint8))[:, None, None, None].expand(-1, 2, 2, 3)


def test_temporal_blur_is_the_mean_of_the_frames_around() -> None:
    blurred = DISTORTIONS["temporal-blur"](counting(), strength=1)[:, 0, 0, 0].tolist()
    assert blurred == [5, 10, 20, 30, 40, 50, 60, 70, 75]


def test_speeds_blend_and_run_back() -> None:
    def levels(name: str, strength: float, frames: int) -> list[int]:
        return DISTORTIONS[name](counting(frames), strength=strength)[:, 0, 0, 0].tolist()

    assert levels("slow", 0.5, 9) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert levels("fast", 2.0, 9) == [0, 20, 40, 60, 80, 60, 40, 20, 0]
    assert levels("fast", 2.0, 8) == [10, 30, 50, 70, 50, 30, 10, 30]


@pytest.mark.parametrize(("name", "strength"), [("noise", -1.0), ("blur", float("nan")), ("slow", 0.0), ("fast", 9.0)])
def test_strengths_that_make_no_sense_are_refused(name: str, strength: float, frames: Tensor) -> None:
    with pytest.raises(ValueError, match="should be"):
        DISTORTIONS[name](frames, strength=strength)


def test_other_frames_are_refused(frames: Tensor) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(t, H, W, 3\)"):
        DISTORTIONS["noise"](frames.float())

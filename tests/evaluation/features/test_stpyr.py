"""stpyr-v1 against closed forms and stored numbers, and what it must see."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from distortions import DISTORTIONS
from torch import Tensor

from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.features.stpyr import FLOOR, NAMES, SIDE, SpaceTimePyramid, space_time_features
from lvdm.evaluation.frechet import frechet_distance


def features(frames: Tensor) -> dict[str, float]:
    return dict(zip(NAMES, space_time_features(frames.numpy()).tolist(), strict=True))


def ramp(frames: int = 5) -> Tensor:
    """16 + x + y + 3 t in all channels, at the working size."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return (16 + x + y + 3 * t).to(torch.uint8)[..., None].expand(-1, -1, -1, 3)


def test_a_ramp_has_the_features_of_the_closed_form() -> None:
    found, floor = features(ramp()), FLOOR
    variance = 2 * (SIDE**2 - 1) / 12 + 9 * 2
    expected = {
        "gradient": math.log(2 + 2 * floor),
        "change": math.log(9 + floor),
        "brightness_change": math.log(9 + floor),
        "brightness_acceleration": math.log(floor),
        "mean_red": 3 * (16 + 95 + 6) / 255,
        "spread_green": math.log(variance + floor),
        "green_with_blue": variance / (variance + floor),
        "chroma_change": math.log(2 * floor),
    }
    expected |= dict.fromkeys(("first_half", "second_half", "least_change", "most_change"), 0.0)
    for scale in range(3):
        slope = 2**scale  # levels per pixel; the change of 3 levels per frame stays
        step = math.sqrt(slope**2 + floor)
        expected |= {
            f"direction_{scale}": 0.0,
            f"sharpness_{scale}": 3 * math.log(floor / (2 * step**2)),
            f"acceleration_{scale}": 3 * math.log(floor / (9 + floor)),
            f"distant_change_{scale}": math.log((81 + floor) / (9 + floor)),
            f"sparsity_{scale}": 0.0,
            f"x_with_change_{scale}": 3 * slope * 3 / step / math.sqrt(9 + floor),
            f"x_with_y_{scale}": 3 * slope**2 / step**2,
            f"edges_with_change_{scale}": 3 * 2 * slope * 3 / math.sqrt((4 * slope**2 + floor) * (9 + floor)),
            f"change_with_next_{scale}": 3 * 9 / (9 + floor),
        }
        if scale:
            expected[f"gradient_{scale}"] = 3 * math.log((2 * slope**2 + 2 * floor) / (slope**2 / 2 + 2 * floor))
            expected[f"change_{scale}"] = 0.0
    wrong = {name: (found[name], value) for name, value in expected.items() if abs(found[name] - value) > 1e-5}
    assert not wrong, f"found, expected: {wrong}"


def test_the_strongest_contrasts_do_not_overflow() -> None:
    """A chessboard of black and white whose squares of one pixel change places from frame to frame."""
    t, y, x = torch.meshgrid(torch.arange(4), torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    found = features((255 * ((t + y + x) % 2)).to(torch.uint8)[..., None].expand(-1, -1, -1, 3))
    step = 255**2 + FLOOR
    assert found["change"] == pytest.approx(math.log(step))
    assert found["sharpness_0"] == pytest.approx(3 * math.log((1020**2 + FLOOR) / (2 * step)))
    assert found["acceleration_0"] == pytest.approx(3 * math.log((510**2 + FLOOR) / step))
    assert found["change_with_next_0"] == pytest.approx(-3, abs=1e-5)
    assert found["gradient_1"] == pytest.approx(3 * math.log(2 * FLOOR / (2 * step))), "it is grey from afar"


def test_stored_numbers_of_a_clip_by_formula() -> None:
    """At a size that areas have to be averaged for, and another aspect."""
    t, y, x, c = torch.meshgrid(*(torch.arange(n) for n in (5, 40, 150, 3)), indexing="ij")
    found = features(((7 * x + 3 * y * y // 8 + 11 * t + 2 * t * x + 50 * c) % 256).to(torch.uint8))
    stored = {
        "gradient": 7.048079,
        "change": 8.24799,
        "sharpness_0": 2.619146,
        "acceleration_1": 3.195902,
        "x_with_change_0": 0.80889,
        "edges_with_change_2": 2.154076,
        "change_2": -0.841983,
        "brightness_change": -1.626323,
        "least_change": -0.17978,
        "spread_blue": 8.43713,
        "red_with_green": 0.081325,
        "chroma_change": 10.395046,
    }
    for name, value in stored.items():
        assert found[name] == pytest.approx(value, abs=2e-6), f"{name} of stpyr-v1 has changed: give it another id"


def test_still_and_black_clips_are_finite() -> None:
    for frames in (torch.zeros(3, 8, 8, 3, dtype=torch.uint8), ramp(1).expand(4, -1, -1, -1)):
        values = space_time_features(frames.numpy())
        assert np.isfinite(values).all()
        assert np.abs(values).max() < 30
    assert features(ramp(1).expand(4, -1, -1, -1))["change"] == pytest.approx(math.log(FLOOR))


@pytest.mark.parametrize("side", [(96, 96), (64, 80), (300, 220)])
def test_a_uniform_frame_stays_uniform_at_any_size(side: tuple[int, int]) -> None:
    frames = torch.full((3, *side, 3), 77, dtype=torch.uint8)
    found = features(frames)
    assert found["mean_blue"] == pytest.approx(3 * 77 / 255, abs=1e-6)
    assert found["gradient"] == pytest.approx(math.log(2 * FLOOR))


def test_large_frames_are_reduced_exactly() -> None:
    """Frames whose sums no longer fit into float32: each pixel four times gives the same means."""
    small = torch.randint(0, 256, (3, 150, 170, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    large = small.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    assert np.array_equal(space_time_features(small.numpy()), space_time_features(large.numpy()))


def test_features_are_the_same_bits_in_any_batch_and_layout() -> None:
    extractor = SpaceTimePyramid()
    clips = procedural(4)
    records = [extractor.preprocess(LoadedClip(clip, fps=8.0))["features"] for clip in clips]
    batch = extractor({"features": torch.stack(records)})["features"]
    assert batch.shape == (4, extractor.dim)
    assert batch.dtype == torch.float32
    alone = extractor({"features": records[2][None]})["features"]
    assert torch.equal(batch[2:3], alone)
    elsewhere = clips[2].permute(3, 0, 1, 2).contiguous().permute(1, 2, 3, 0)
    assert torch.equal(extractor.preprocess(LoadedClip(elsewhere, fps=8.0))["features"], records[2])


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (4, 8, 8, 1), (4, 0, 8, 3)])
def test_what_has_no_features_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames"):
        space_time_features(np.zeros(shape, dtype=np.uint8))


def rows(clips: Iterable[Tensor]) -> np.ndarray:
    """(n, dim) of n clips."""
    return np.stack([space_time_features(clip.numpy()) for clip in clips])


def procedural(count: int) -> Tensor:
    """uint8 (count, 16, 64, 64, 3)."""
    clips = ProceduralClips(ProceduralClipsConfig(length=count, seed=1)).__getitems__(list(range(count)))
    videos = torch.stack([clip["video"] for clip in clips]).permute(0, 2, 3, 4, 1)
    return ((videos + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return procedural(64)


@pytest.fixture(scope="module")
def references(clips: Tensor) -> np.ndarray:
    return rows(clips[:32])


@pytest.fixture(scope="module")
def floor(clips: Tensor, references: np.ndarray) -> float:
    return frechet_distance(references, rows(clips[32:]))


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_distortion_is_seen(name: str, clips: Tensor, references: np.ndarray, floor: float) -> None:
    """32 clips on either side: the distance of spoilt clips against that of other good ones."""
    spoilt = [DISTORTIONS[name](clip, seed=index) for index, clip in enumerate(clips[32:])]
    distance = frechet_distance(references, rows(spoilt))
    least = 2 if name in ("blur", "temporal-blur", "slow") else 4
    assert distance > least * floor, f"FD[stpyr-v1] is {distance:.1f}, of clean clips {floor:.1f}"

"""Closeness to real frames, of pictures whose closeness is known, and against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lvdm.evaluation.metrics.reconstruction import interior, ssim
from lvdm.evaluation.metrics.registry import reconstruction
from lvdm.psnr import MAX_PSNR


def frames(value: int, count: int = 4, side: int = 16) -> Tensor:
    return torch.full((count, side, side, 3), value, dtype=torch.uint8)


def random_frames(seed: int, count: int = 3, height: int = 24, width: int = 31) -> Tensor:
    return torch.randint(0, 256, (count, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def test_black_against_white() -> None:
    black, white = frames(0), frames(255)
    assert ssim(black, white).tolist() == pytest.approx([1e-4 / (1 + 1e-4)] * 4, rel=1e-6)
    assert ssim(black, white)[0].item() == pytest.approx(9.999e-05, rel=1e-6)


def test_equal_frames() -> None:
    picture = random_frames(0)
    assert ssim(picture, picture).tolist() == pytest.approx([1, 1, 1])


def test_agreement_with_torchmetrics() -> None:
    made, real = random_frames(1), random_frames(2)
    real = (0.7 * made + 0.3 * real).byte()
    channels_first = [frames.permute(0, 3, 1, 2).double() for frames in (made, real)]
    _, everywhere = structural_similarity_index_measure(
        channels_first[0], channels_first[1], data_range=255.0, reduction="none", return_full_image=True
    )
    inside = everywhere[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))  # theirs counts windows that reach over the border
    assert ssim(made, real).tolist() == pytest.approx(inside.tolist(), rel=1e-9)
    assert ssim(real, made).tolist() == pytest.approx(ssim(made, real).tolist(), rel=1e-12)


def test_given_frames_are_not_counted() -> None:
    """Copying the given frames and nothing else changes no value."""
    real, made = frames(100), frames(105)
    made[0], made[-1] = 0, 0
    copied = made.clone()
    copied[0], copied[-1] = 100, 100
    values = reconstruction(made, real)
    assert list(values) == ["PSNR[dB]", "SSIM"]
    assert values == reconstruction(copied, real)
    assert values["PSNR[dB]"] == pytest.approx(20 * math.log10(255 / 5))
    assert reconstruction(made, real, input_frames=())["PSNR[dB]"] != values["PSNR[dB]"]


def test_an_equal_frame_does_not_make_the_mean_infinite() -> None:
    real, made = frames(100), frames(105)
    made[1] = 100
    assert reconstruction(made, real)["PSNR[dB]"] == pytest.approx((MAX_PSNR + 20 * math.log10(255 / 5)) / 2)
    assert reconstruction(real, real)["PSNR[dB]"] == MAX_PSNR


def test_interior() -> None:
    video = torch.arange(6)
    assert interior(video).tolist() == [1, 2, 3, 4]
    assert interior(video, input_frames=(0,)).tolist() == [1, 2, 3, 4, 5]
    assert interior(video, input_frames=(0, 0, 5, -1)).tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="all 2 frames were given"):
        interior(video[:2])
    with pytest.raises(ValueError, match=r"frames \[6\]"):
        interior(video, input_frames=(0, 6))


def test_a_distance_is_called_by_its_name() -> None:
    class FirstChannel:
        name = "FirstChannel[toy]"

        def __call__(self, a: Tensor, b: Tensor) -> Tensor:
            assert a.shape == (2, 3, 16, 16)
            assert a.dtype == torch.float32
            return (a - b)[:, 0].abs().mean(dim=(1, 2))

    values = reconstruction(frames(0), frames(255), distances=[FirstChannel()])
    assert values["FirstChannel[toy]"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("made", "real", "message"),
    [
        (frames(0), frames(0, count=5), "sample both alike"),
        (frames(0).float(), frames(0), "uint8"),
        (frames(0)[..., :1], frames(0)[..., :1], "uint8"),
        (frames(0, side=10), frames(0, side=10), "11 pixels or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(made: Tensor, real: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruction(made, real)

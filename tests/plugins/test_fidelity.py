"""A video that begins with its picture and keeps its colours."""

from __future__ import annotations

import pytest
import torch
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.media.images import fit_image
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.anchor import DECAY, correct_pixels, hold_first_frame, unchanged
from lvdm.plugins.methods.color_lock import ColorStatistics, lock_colors
from lvdm.psnr import MAX_PSNR

PROMPT = "a red ball moves to the right"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.mark.parametrize("mode", [{}, {"loop": True}, {"height": 30, "width": 44}], ids=str)
def test_an_exact_anchor_makes_frame_0_the_image(pipe, mode) -> None:
    result = pipe(picture(), PROMPT, anchor="exact", **mode)
    assert result.first_frame_psnr[0] == MAX_PSNR
    assert torch.isfinite(result.video).all()


def test_a_soft_anchor_gives_frame_0_the_latents_of_the_image(pipe) -> None:
    soft, held = pipe(picture(), PROMPT, anchor="soft"), pipe(picture(), PROMPT, keep_mask=torch.ones(SIDE, SIDE))
    assert torch.equal(soft.latents[:, :, 0], held.latents[:, :, 0])
    assert not torch.equal(soft.latents[:, :, 1], held.latents[:, :, 1]), "other frames are free"


def test_an_anchor_leaves_a_mask_in_force() -> None:
    mask = torch.zeros(1, 3, 4, 4)
    mask[..., 0] = 1
    held = hold_first_frame(mask, "soft", (1, 3, 4, 4))
    assert held is not None
    assert held[:, 0].eq(1).all()
    assert torch.equal(held[:, 1:], mask[:, 1:])
    assert hold_first_frame(mask, "free", (1, 3, 4, 4)) is mask
    assert hold_first_frame(None, "free", (1, 3, 4, 4)) is None


def test_the_correction_falls_off_by_the_same_share_each_frame() -> None:
    still, image = torch.zeros(1, 3, FRAMES, 4, 4), torch.full((1, 3, 4, 4), 0.4)
    corrected = correct_pixels(still, {0: image}, "exact")
    torch.testing.assert_close(corrected[0, 0, :, 0, 0], 0.4 * DECAY ** torch.arange(FRAMES), rtol=0, atol=1e-6)
    assert correct_pixels(still, {0: image}, "soft") is still


def test_what_moved_away_leaves_nothing_behind() -> None:
    """A bright square that jumps to the right: its lacking detail is not painted where it was."""
    video = torch.full((1, 3, 3, 48, 48), -0.5)
    for frame, left in enumerate((4, 30, 30)):
        video[:, :, frame, 16:32, left : left + 12] = 0.5
    image = video[:, :, 0] + 0.2 * torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    change = (correct_pixels(video, {0: image}, "exact") - video).abs().mean(dim=1)  # b t H W
    assert change[0, 0].mean() > 0.1, "frame 0 is not corrected"
    assert change[0, 1, 18:30, 6:14].max() < 0.02, "the outline stays where the square was"
    assert change[0, 1, :10, 20:28].mean() > 0.1, "where nothing moves, the detail should be kept"
    assert unchanged(video)[0, 0, 0].eq(1).all()


def test_a_correction_in_the_middle_fades_both_ways_and_ends_at_the_next_picture() -> None:
    still, image = torch.zeros(1, 3, 9, 4, 4), torch.full((1, 3, 4, 4), 0.4)
    corrected = correct_pixels(still, {0: torch.zeros_like(image), 3: image, 8: torch.zeros_like(image)}, "exact")
    down = [0.4 * DECAY**i * (1 - i / 5) for i in range(1, 6)]
    up = [0.4 * DECAY**i * (1 - i / 3) for i in range(3, 0, -1)]
    torch.testing.assert_close(corrected[0, 0, :, 0, 0], torch.tensor([*up, 0.4, *down]), rtol=0, atol=1e-6)


def test_both_ends_are_exact_in_loops_and_between_two_images(pipe) -> None:
    first, last = (fit_image(picture(seed=seed), SIDE, SIDE) for seed in (0, 1))
    loop = pipe(picture(), PROMPT, anchor="exact", loop=True).video[0]
    assert torch.equal(loop[:, 0], first)
    assert torch.equal(loop[:, -1], first)
    between = pipe(picture(), PROMPT, end_image=picture(seed=1), anchor="exact").video[0]
    assert torch.equal(between[:, 0], first)
    assert torch.equal(between[:, -1], last)


def test_the_correction_leaves_no_jump_after_frame_0() -> None:
    """A video in even steps whose every frame lacks the same detail: the first step stays among the others."""
    generator = torch.Generator().manual_seed(0)
    detail = 0.2 * torch.randn(1, 3, 16, 16, generator=generator)
    image = 0.3 * torch.randn(1, 3, 16, 16, generator=generator)
    drift = 0.05 * torch.randn(1, 3, 16, 16, generator=generator)
    video = torch.stack([image - detail + i * drift for i in range(16)], dim=2)
    corrected = correct_pixels(video, {0: image}, "exact")
    steps = corrected.diff(dim=2).abs().mean((0, 1, 3, 4))
    assert steps[0] < 1.1 * steps[1], f"the first step is {steps[0] / steps[1]:.2f} of the next"
    assert steps[0] < 1.5 * steps.median(), f"the first step is {steps[0] / steps.median():.2f} of the median"


def test_locked_colours_are_those_of_the_image() -> None:
    image = fit_image(picture(), SIDE, SIDE)[None]
    statistics = ColorStatistics.of(image[:, :, None])
    drifting = torch.stack([image * (1 - 0.1 * i) + 0.05 * i for i in range(FRAMES)], dim=2)
    assert lock_colors(drifting, statistics, 0.0) is drifting
    locked = lock_colors(drifting, statistics, 1.0)
    for i in range(FRAMES):
        torch.testing.assert_close(locked[:, :, i], image, rtol=0, atol=1e-5)
    half = lock_colors(drifting, statistics, 0.5)
    torch.testing.assert_close(half, (drifting + locked) / 2, rtol=0, atol=1e-5)


def test_frames_of_one_colour_stay_so() -> None:
    locked = lock_colors(torch.zeros(1, 3, 2, 4, 4), ColorStatistics.of(torch.rand(1, 3, 1, 4, 4)), 1.0)
    assert torch.isfinite(locked).all()
    assert locked.std((-2, -1)).max() < 1e-6

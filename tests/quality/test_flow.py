"""The classical flow against motions in closed form, and the masks of what is hidden."""

from __future__ import annotations

import random

import pytest
import torch
from moving_pictures import translating, turning, turning_flow
from torch import Tensor

from lvdm.data.procedural import ProceduralConfig, displacement, render, render_mask, sample_scene
from lvdm.quality.flow import ClassicalFlow, following_pairs
from lvdm.quality.warping import look_up, visible

flow = ClassicalFlow()


def pair(video: Tensor) -> tuple[Tensor, Tensor]:
    return video[:, 0][None], video[:, 1][None]


def error(found: Tensor, expected: Tensor, margin: int) -> Tensor:
    """Lengths of the differences away from the border."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    return (found - expected).norm(dim=-3)[inner]


@pytest.mark.parametrize("shift", [(0.25, 0.0), (0.3, -0.7), (2.0, 0.0), (3.5, 2.25), (-6.0, 3.0), (0.0, 8.0)])
def test_a_translation_is_found_to_a_tenth_of_a_pixel(shift: tuple[float, float]) -> None:
    found = flow(*pair(translating(*shift)))
    off = error(found, torch.tensor(shift)[:, None, None], margin=9)
    assert off.mean() < 0.1, f"off by {off.mean():.3f} pixels on average"
    assert off.median() < 0.05


@pytest.mark.parametrize("shift", [(1, 0), (-4, 3), (0, 6)])
def test_white_noise_shifted_by_whole_pixels_is_found(shift: tuple[int, int]) -> None:
    noise = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = flow(noise, torch.roll(noise, (shift[1], shift[0]), (2, 3)))
    assert error(found, torch.tensor(shift)[:, None, None], margin=12).mean() < 0.1


@pytest.mark.parametrize(("degrees", "growth"), [(3.0, 1.0), (-5.0, 1.0), (0.0, 1.06), (2.0, 0.95)])
def test_a_turn_and_a_zoom_are_found(degrees: float, growth: float) -> None:
    found = flow(*pair(turning(degrees, growth)))
    off = error(found, turning_flow(degrees, growth), margin=9)
    assert off.mean() < 0.15, f"off by {off.mean():.3f} pixels on average"


def test_a_sprite_is_found_on_a_background_that_rests() -> None:
    space = ProceduralConfig(
        motions=("right", "up", "lower left"), backgrounds=("plain", "striped", "noisy", "collage")
    )
    scenes = [sample_scene(space, random.Random(f"flow/{i}")) for i in range(12)]
    video, mask = render(scenes, space), render_mask(scenes, space)
    found = flow(video[:, :, 4], video[:, :, 5])
    true = (mask[:, 4] > 0.5)[:, None] * torch.tensor([displacement(scene, space) for scene in scenes])[..., None, None]
    inside = mask[:, 4] > 0.99
    off = (found - true).norm(dim=1)
    assert off[inside].mean() < 0.35 * true.norm(dim=1)[inside].mean(), "the sprite's own motion"
    assert off[mask[:, 4:6].sum(dim=1) == 0].median() == 0, "most of what rests is exactly 0"


def test_stills_rest_exactly_and_so_do_noisy_ones() -> None:
    still = translating(0, 0)[:, :1].transpose(0, 1)
    assert torch.equal(flow(still, still), torch.zeros(1, 2, 64, 64))
    generator = torch.Generator().manual_seed(1)
    noise = [torch.randn(still.shape, generator=generator) / 127.5 for _ in range(2)]
    assert flow(still + noise[0], still + noise[1]).norm(dim=1).mean() < 0.02
    flat = torch.zeros_like(still)
    assert flow(flat + noise[0] / 2, flat + noise[1] / 2).norm(dim=1).mean() < 0.01, "noise on a flat area is no motion"


def test_it_turns_and_mirrors_with_its_frames() -> None:
    first, second = pair(translating(2.5, 1.0))
    found = flow(first, second)
    mirrored = flow(first.flip(-1), second.flip(-1)).flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    turned = flow(first.transpose(2, 3), second.transpose(2, 3)).transpose(2, 3).flip(1)
    assert torch.allclose(mirrored, found, atol=1e-3)
    assert torch.allclose(turned, found, atol=1e-3)


@pytest.mark.parametrize("size", [(5, 7), (16, 40), (65, 33), (97, 64)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    video = translating(0.5, 0.0, 2, *size)
    found = flow(*pair(video))
    assert found.shape == (1, 2, *size)
    assert torch.isfinite(found).all()


def test_a_pair_does_not_depend_on_its_batch_and_repeats_to_the_bit() -> None:
    frames = torch.cat([translating(1.5, -2.0, 6), torch.rand(3, 3, 64, 64)], dim=1).transpose(0, 1)
    first, second = following_pairs(frames)
    together = flow(first, second)
    assert torch.equal(together, flow(first, second))
    for i in range(len(first)):
        assert torch.equal(flow(first[i : i + 1], second[i : i + 1])[0], together[i]), f"pair {i}"
    many = flow(first.repeat(12, 1, 1, 1), second.repeat(12, 1, 1, 1))
    assert torch.equal(many[-len(first) :], together), "another cut into parts"


def test_pairs_and_no_pairs() -> None:
    frames = torch.arange(7)
    assert [part.tolist() for part in following_pairs(frames)] == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    assert [part.tolist() for part in following_pairs(frames, 3)] == [[0, 3], [3, 6]]
    assert flow(torch.zeros(0, 3, 16, 16), torch.zeros(0, 3, 16, 16)).shape == (0, 2, 16, 16)
    with pytest.raises(ValueError, match="two equal batches"):
        flow(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17))


def test_looking_up_along_a_flow_moves_a_picture_back() -> None:
    picture = torch.rand(1, 3, 20, 30)
    moved = torch.roll(picture, (2, 3), (2, 3))
    found, inside = look_up(moved, torch.tensor([3.0, 2.0])[None, :, None, None].expand(1, 2, 20, 30))
    assert torch.allclose(found[..., :-2, :-3], picture[..., :-2, :-3], atol=1e-5)
    assert inside[..., :-2, :-3].all()
    assert not inside[..., -2:, :].any()
    assert not inside[..., -3:].any()


def test_what_is_covered_is_not_visible() -> None:
    """A square of 10 pixels moves right by 4 over a background that rests."""
    forward, backward = torch.zeros(1, 2, 40, 40), torch.zeros(1, 2, 40, 40)
    forward[:, 0, 10:20, 10:20] = 4
    backward[:, 0, 10:20, 14:24] = -4
    seen = visible(forward, backward)[0, 0]
    assert not seen[10:20, 20:24].any(), "the background that the square covers"
    assert seen[11:19, 11:19].all(), "the square itself, but for its edge"
    assert seen[:8].all(), "the background above"
    assert seen[:, 30:].all(), "the background at the right"

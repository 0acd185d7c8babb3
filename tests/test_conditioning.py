"""Closed forms of the condition builders."""

import pytest
import torch

from lvdm.conditioning import (
    IMAGE_TOKEN_POLICIES,
    Conditioning,
    depth_condition,
    fit_image_tokens,
    interpolation,
    loop,
    place_keyframes,
    repeat_frame,
)

LATENT = torch.arange(2 * 4 * 3 * 5, dtype=torch.float32).reshape(2, 4, 3, 5) + 1


def test_image_to_video_repeats_the_latent_at_every_frame():
    concat = repeat_frame(LATENT, 6)
    assert concat.shape == (2, 4, 6, 3, 5)
    assert all(torch.equal(concat[:, :, i], LATENT) for i in range(6)), "a frame differs from the image's latent"


@pytest.mark.parametrize("num_frames", [2, 5, 16], ids="{}-frames".format)
def test_interpolation_is_zero_between_its_ends(num_frames):
    concat = interpolation(LATENT, -LATENT, num_frames)
    assert torch.equal(concat[:, :, 0], LATENT), "first frame"
    assert torch.equal(concat[:, :, -1], -LATENT), "last frame"
    assert not concat[:, :, 1:-1].any(), "frames between the ends must be zero"


def test_loop_ends_where_it_begins():
    concat = loop(LATENT, 7)
    assert torch.equal(concat[:, :, 0], concat[:, :, -1]), "first and last frame differ"
    assert not concat[:, :, 1:-1].any(), "frames between the ends must be zero"


@pytest.mark.parametrize("num_frames", [0, 1])
def test_interpolation_and_loop_need_two_frames(num_frames):
    with pytest.raises(ValueError, match="at least 2 frames"):
        interpolation(LATENT, LATENT, num_frames)
    with pytest.raises(ValueError, match="at least 2 frames"):
        loop(LATENT, num_frames)


def test_key_frames_outside_the_clip_are_refused():
    with pytest.raises(ValueError, match=r"\[-1, 4\] are outside a clip of 4 frames \(0 to 3\)"):
        place_keyframes({0: LATENT, 4: LATENT, -1: LATENT}, 4)
    with pytest.raises(ValueError, match="at least one key frame"):
        place_keyframes({}, 4)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_depth_of_any_unit_lies_between_minus_one_and_one(unit):
    depth = torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * unit
    read = depth_condition(depth, (4, 4))
    assert torch.equal(read[1:], depth_condition(depth[1:], (4, 4))), "a video depends on its batch"
    assert read.min() == -1
    assert read.max() <= 1
    if unit >= 1:
        assert read.max() > 0.999


@pytest.mark.parametrize(("far", "flat"), [(0.05, True), (1.0, False)])
def test_depth_is_flat_by_its_share_of_the_distance(far, flat):
    """Of 1000 m, 5 cm are rounding."""
    depth = torch.full((1, 1, 2, 4, 4), 1000.0)
    depth[:, :, :, 0] += far
    assert bool((depth_condition(depth, (4, 4)) == -1).all()) == flat


def _tokens(frames: int = 4, per_frame: int = 3) -> torch.Tensor:
    """(1, frames x per_frame, 2) tokens whose first channel is the frame and second the place within it."""
    frame = torch.arange(frames).repeat_interleave(per_frame)
    place = torch.arange(per_frame).repeat(frames)
    return torch.stack([frame, place], dim=-1)[None].float()


@pytest.mark.parametrize("policy", IMAGE_TOKEN_POLICIES)
def test_every_policy_is_the_identity_at_the_trained_length(policy):
    assert torch.equal(fit_image_tokens(_tokens(), 4, 4, policy), _tokens())


def test_linear_policy_blends_blocks_in_relative_time_and_keeps_places():
    fitted = fit_image_tokens(_tokens(), 4, 7, "linear").reshape(7, 3, 2)
    assert torch.allclose(fitted[:, :, 0], torch.linspace(0, 3, 7)[:, None].expand(7, 3)), "relative time of a block"
    assert torch.equal(fitted[:, :, 1], torch.arange(3.0).expand(7, 3)), "tokens moved within their frame"


def test_nearest_policy_takes_whole_blocks():
    fitted = fit_image_tokens(_tokens(), 4, 7, "nearest").reshape(7, 3, 2)
    assert fitted[:, 0, 0].tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(fitted[:, :, 1], torch.arange(3.0).expand(7, 3)), "tokens moved within their frame"


@pytest.mark.parametrize("policy", ["nearest", "linear"])
def test_one_frame_takes_the_first_block(policy):
    assert torch.equal(fit_image_tokens(_tokens(), 4, 1, policy), _tokens()[:, :3])
    assert torch.equal(fit_image_tokens(_tokens(1), 1, 2, policy), _tokens(1).repeat(1, 2, 1))


def test_broadcast_policy_passes_all_tokens():
    assert torch.equal(fit_image_tokens(_tokens(), 4, 9, "broadcast"), _tokens())


def test_exact16_policy_refuses_other_lengths_and_names_the_others():
    with pytest.raises(ValueError, match=r"exactly 4 frames.*'nearest', 'linear' or 'broadcast'"):
        fit_image_tokens(_tokens(), 4, 5, "exact16")


def test_an_unknown_policy_suggests_the_right_one():
    with pytest.raises(ValueError, match="did you mean 'linear'"):
        fit_image_tokens(_tokens(), 4, 5, "liner")


def test_guidance_variants_replace_one_stream_only():
    condition = Conditioning(torch.ones(2, 7, 8), torch.ones(2, 12, 8), repeat_frame(LATENT, 3), torch.tensor([3, 3]))
    null = condition.with_text(torch.zeros(1, 7, 8)).with_image(torch.zeros(1, 12, 8))
    assert null.context.shape == (2, 19, 8)
    assert not null.context.any(), "null tokens must fill the whole context"
    assert null.concat is condition.concat, "the concatenated latents are the same in every guidance branch"

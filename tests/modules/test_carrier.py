"""The frame carrier: closed forms of its maps, what carrying does to known pictures, and the network around it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.config import ConfigError, parse_dataclass
from lvdm.modules.carrier import PROGRESS, FrameCarrier, FrameCarrierConfig
from lvdm.modules.carrying import affine_maps, around, carry, centroid, compose, fill_holes, places, points, sample

SMALL = FrameCarrierConfig(patch=1, text_dim=8, width=16, layers=1, hidden=16)


def identity(frames: int = 1, batch: int = 1) -> Tensor:
    return torch.eye(2, 3).expand(batch, frames, 2, 3).clone()


def shift(dx: float, dy: float) -> Tensor:
    """The map of content that has moved by (dx, dy): it looks back."""
    maps = identity()
    maps[..., 2] = torch.tensor([-dx, -dy])
    return maps


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(height * width))


def untrained(config: FrameCarrierConfig = SMALL) -> FrameCarrier:
    torch.manual_seed(0)
    return FrameCarrier(config)


def restless(config: FrameCarrierConfig = SMALL) -> FrameCarrier:
    """A carrier with random weights where a fresh one has zeros."""
    carrier = untrained(config)
    for parameter in carrier.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return carrier


def inputs(height: int = 8, width: int = 8, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(batch, 3, height, width, generator=generator)
    return image, torch.randn(batch, 5, 8, generator=generator), torch.arange(1, batch + 1)


# ---------------------------------------------------------------------- maps


def test_a_constant_generator_is_a_constant_motion() -> None:
    pan = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, -0.2]])
    progress = torch.tensor([[0.0, 0.5, 2.0]])
    maps = affine_maps(pan.expand(1, 3, 2, 3), progress)
    assert torch.equal(maps[0, 0], torch.eye(2, 3)), "no progress is no motion, to the bit"
    torch.testing.assert_close(maps[0, :, :, 2], progress[0, :, None] * pan[:, 2])
    torch.testing.assert_close(maps[..., :2], torch.eye(2).expand(1, 3, 2, 2))


def test_generators_zoom_and_turn_as_exponentials() -> None:
    zoom, angle = -0.4, 0.7
    generators = torch.tensor([[[zoom, 0.0, 0.0], [0.0, zoom, 0.0]], [[0.0, -angle, 0.0], [angle, 0.0, 0.0]]])
    maps = affine_maps(generators[None], torch.full((1, 2), 1.5))[0]
    torch.testing.assert_close(maps[0, :, :2], torch.eye(2) * math.exp(1.5 * zoom))
    cos, sin = math.cos(1.5 * angle), math.sin(1.5 * angle)
    torch.testing.assert_close(maps[1, :, :2], torch.tensor([[cos, -sin], [sin, cos]]))
    assert maps[..., 2].abs().max() < 1e-6


def test_compose_applies_the_second_first() -> None:
    a, b = (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    point = torch.tensor([0.3, -0.8])

    def apply(affine: Tensor, p: Tensor) -> Tensor:
        return affine[:, :2] @ p + affine[:, 2]

    torch.testing.assert_close(apply(compose(a, b), point), apply(a, apply(b, point)))


def test_a_map_around_a_point_keeps_that_point() -> None:
    centre = torch.tensor([[0.2, -0.3]])
    maps = affine_maps(torch.tensor([[0.4, -0.5, 0.0], [0.5, 0.4, 0.0]]).expand(1, 1, 2, 3), torch.ones(1, 1))
    moved = around(maps, centre)[0, 0]
    torch.testing.assert_close(moved[:, :2] @ centre[0] + moved[:, 2], centre[0])


def test_points_are_in_sides_from_the_middle() -> None:
    x, y = points(2, 4, torch.device("cpu"))
    torch.testing.assert_close(x, torch.tensor([[-0.75, -0.25, 0.25, 0.75]]).expand(2, 4))
    torch.testing.assert_close(y, torch.tensor([[-0.25], [0.25]]).expand(2, 4))


def test_the_centroid_is_the_middle_of_a_mask() -> None:
    mask = torch.zeros(2, 1, 4, 8)
    mask[0, 0, 1, 5:7] = 1
    expected = torch.tensor([[0.5, -0.125], [0.0, 0.0]])  # nothing has the middle of the frame
    torch.testing.assert_close(centroid(mask), expected)


# ---------------------------------------------------------------------- carrying


@pytest.mark.parametrize("size", [(8, 8), (7, 11), (5, 3), (1, 6)])
def test_sampling_where_pixels_are_gives_the_pixels(size: tuple[int, int]) -> None:
    image = picture(*size)
    torch.testing.assert_close(sample(image, places(identity(), *size))[:, :, 0], image)


@pytest.mark.parametrize("size", [(8, 8), (7, 11), (5, 3)])
@pytest.mark.parametrize("softness", [0.0, 0.3, 0.5, 1.0])
def test_where_nothing_moves_nothing_changes(size: tuple[int, int], softness: float) -> None:
    image = picture(*size)
    mask = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(4)) * softness
    frames, visible = carry(image, mask, identity(2), identity(2))
    torch.testing.assert_close(frames, image[:, :, None].expand_as(frames), atol=1e-5, rtol=0)
    torch.testing.assert_close(visible, torch.ones_like(visible), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (12, 7)])
def test_a_pan_moves_content_by_whole_pixels(size: tuple[int, int]) -> None:
    image, side = picture(*size), min(size)
    pan = shift(2 / side, -1 / side)  # content goes two pixels to the right and one up
    frames, visible = carry(image, torch.zeros(1, 1, *size), pan, pan)
    torch.testing.assert_close(frames[:, :, 0, :-1, 2:], image[:, :, 1:, :-2], atol=1e-5, rtol=0)
    assert visible[0, 0, 0, :-1, 2:].min() > 1 - 1e-5
    assert visible[0, 0, 0, :, 0].max() < 1e-5, "two pixels beyond the border frame 0 shows nothing"
    border, beyond = image[:, :, 1:-1, 0], frames[:, :, 0, :-2, 0]
    assert (beyond.mean(-1) - border.mean(-1)).abs().max() < 0.6, "the border, repeated"
    assert beyond.std(-1).max() < border.std(-1).max() + 1e-5, "and smoothed"


def test_a_thing_moves_over_a_background_that_stays() -> None:
    size = 16
    image = torch.full((1, 1, size, size), 0.5)
    mask = torch.zeros(1, 1, size, size)
    mask[..., 6:9, 3:6] = 1
    image[mask.bool()] = 2.0
    frames, visible = carry(image, mask, identity(), shift(6 / size, 0.0))
    expected = torch.full_like(image, 0.5)
    expected[..., 6:9, 9:12] = 2.0
    torch.testing.assert_close(frames[:, :, 0], expected, atol=1e-4, rtol=0)
    assert visible[0, 0, 0, 6:9, 9:12].min() > 1 - 1e-5, "the thing is from frame 0"
    assert visible[0, 0, 0, 5:10, 2:7].max() < 1e-5, "what was behind it is not, nor around it"
    assert visible[0, 0, 0].mean() == pytest.approx(1 - 25 / size**2)


def test_a_thing_with_soft_edges_leaves_no_rim_and_takes_no_background_along() -> None:
    size = 48
    x, y = points(size, size, torch.device("cpu"))

    def disc(centre: float, blur: float) -> Tensor:
        return ((0.15 - torch.hypot(x - centre, y)) * size / blur + 0.5).clamp(0, 1)[None, None]

    image = disc(-0.25, 2.0)  # white on black, with edges as wide as two pixels
    for distance in (0.3, 0.1):  # away from where it was, and over it
        frames, _ = carry(image, disc(-0.25, 1.0), identity(), shift(distance, 0.0))
        true = disc(distance - 0.25, 2.0)
        assert (frames[:, :, 0] - true).abs().max() < 0.3, "of edges a pixel is off by little"
        assert (frames[:, :, 0] * (true == 0)).max() < 0.3
        assert (frames[:, :, 0] * (true == 0)).sum() < 0.02 * image.sum(), "nothing is left where it was"


def test_a_thing_that_leaves_the_frame_is_not_smeared_along_its_border() -> None:
    size = 12
    image = torch.zeros(1, 1, size, size)
    mask = torch.zeros(1, 1, size, size)
    mask[..., 4:7, 9:12] = 1
    image[mask.bool()] = 3.0
    frames, _ = carry(image, mask, identity(), shift(-6 / size, 0.0))
    assert frames[0, 0, 0, 4:7, 3:6].min() > 3 - 1e-4
    assert frames[0, 0, 0, :, 6:].abs().max() < 1e-4, "its last column was repeated behind it"


def test_thing_and_camera_move_together_as_one() -> None:
    image, mask = picture(9, 9), torch.rand(1, 1, 9, 9)
    pan = shift(0.2, 0.1)
    frames, visible = carry(image, mask, pan, pan)
    without, seen = carry(image, torch.zeros_like(mask), pan, pan)
    shown = seen > 1 - 1e-5
    torch.testing.assert_close(frames * shown, without * shown, atol=1e-5, rtol=0)
    torch.testing.assert_close(visible, seen, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (13, 9), (5, 1), (1, 1)])
def test_holes_are_filled_from_around(size: tuple[int, int]) -> None:
    hole = torch.zeros(1, 1, *size)
    hole[..., size[0] // 2 :, size[1] // 2 :] = 1
    image = torch.where(hole.bool(), 100.0, torch.full((1, 2, *size), 0.7))
    filled = fill_holes(image, hole)
    if hole.all():
        assert torch.equal(filled, torch.zeros_like(filled)), "with nothing around there is nothing to fill with"
    else:
        torch.testing.assert_close(filled, torch.full_like(filled, 0.7), atol=1e-4, rtol=0)


def test_a_hole_takes_what_is_near() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1.0
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 6:10, 1:3] = hole[..., 6:10, 13:15] = 1
    filled = fill_holes(torch.where(hole.bool(), 50.0, image), hole)[0, 0]
    assert filled[7:9, 1:3].max() < 0.2
    assert filled[7:9, 13:15].min() > 0.8


# ---------------------------------------------------------------------- the network


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (6, 5)])
@pytest.mark.parametrize("visibility", [False, True])
def test_shapes(size: tuple[int, int], visibility: bool) -> None:
    config = FrameCarrierConfig(**{**vars(SMALL), "visibility": visibility})
    image, text, fs = inputs(*size)
    carried = restless(config)(image, text, fs, 5)
    assert carried.pixels.shape == (2, 3, 5, *size)
    assert carried.visible.shape == (2, 1, 5, *size)
    assert carried.mask.shape == (2, 1, *size)
    assert carried.camera.shape == carried.thing.shape == (2, 5, 2, 3)
    assert restless(config).all_visible(image).shape == (2, 3 + visibility, *size)
    assert carried.visible.min() >= 0
    assert carried.visible.max() <= 1 + 1e-5


@pytest.mark.parametrize("visibility", [False, True])
def test_what_stands_beside_the_noise_is_what_carried_pixels_encode_to(visibility: bool) -> None:
    config = FrameCarrierConfig(**{**vars(SMALL), "patch": 4, "visibility": visibility})
    image, text, fs = inputs(16, 24)
    carrier = restless(config)
    carried = carrier(image, text, fs, 5)

    def encode(video: Tensor) -> Tensor:
        return F.avg_pool3d(video, (1, 4, 4))[:, :2]

    concat = carrier.concat(image, text, fs, 5, encode)
    assert concat.shape == (2, 2 + visibility, 5, 4, 6)
    torch.testing.assert_close(concat[:, :2], encode(carried.pixels))
    torch.testing.assert_close(concat[:, 2:], F.avg_pool3d(carried.visible, (1, 4, 4))[:, : int(visibility)])


def test_the_mask_has_the_size_of_the_image_whatever_its_cells() -> None:
    config = FrameCarrierConfig(**{**vars(SMALL), "patch": 4})
    image, text, fs = inputs(16, 24)
    mask = restless(config)(image, text, fs, 2).mask
    assert mask.shape == (2, 1, 16, 24)
    assert mask[0, 0, :4, :4].std() > 1e-4, "pixels of a cell differ"


def test_a_fresh_carrier_repeats_frame_0() -> None:
    image, text, fs = inputs()
    carried = untrained()(image, text, fs, 4)
    torch.testing.assert_close(carried.pixels, image[:, :, None].expand(-1, -1, 4, -1, -1), atol=1e-5, rtol=0)


def test_frame_0_is_itself_to_the_bit() -> None:
    image, text, fs = inputs()
    carried = restless()(image, text, fs, 4)
    assert torch.equal(carried.pixels[:, :, 0], image)
    assert torch.equal(carried.visible[:, :, 0], torch.ones(2, 1, 8, 8))
    assert (carried.pixels[:, :, 3] - image).abs().max() > 0.01, "the others are carried somewhere"


def test_equal_inputs_give_equal_bits_and_samples_do_not_mix() -> None:
    image, text, fs = inputs()
    carrier = restless()
    once, again = carrier(image, text, fs, 4), carrier(image, text, fs, 4)
    assert torch.equal(once.pixels, again.pixels)
    alone = carrier(image[1:], text[1:], fs[1:], 4)
    torch.testing.assert_close(alone.pixels, once.pixels[1:], atol=1e-5, rtol=1e-5)


def test_chosen_frames_are_those_of_the_whole_clip() -> None:
    image, text, fs = inputs()
    carrier = restless()
    whole = carrier(image, text, fs, 6)
    some = carrier(image, text, fs, 6, torch.tensor([[0, 4], [5, 2]]))
    torch.testing.assert_close(some.pixels[0, :, 1], whole.pixels[0, :, 4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(some.pixels[1, :, 0], whole.pixels[1, :, 5], atol=1e-5, rtol=1e-5)


def test_twice_the_stride_is_twice_as_far() -> None:
    carrier = untrained()
    last = carrier.motion.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.bias[2] = 1.0  # the camera pans by one side per unit of progress
    image, text, _ = inputs()
    carried = carrier(image, text, torch.tensor([1, 2]), 4)
    expected = torch.arange(4) * PROGRESS
    torch.testing.assert_close(carried.camera[0, :, 0, 2], expected)
    torch.testing.assert_close(carried.camera[1, :, 0, 2], 2 * expected)


def test_every_parameter_gets_a_gradient() -> None:
    image, text, fs = inputs(batch=3)
    carrier = restless()
    carried = carrier(image, text, fs, 4)
    (carried.pixels.square().mean() + carried.visible.mean()).backward()
    without = [name for name, p in carrier.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not without, f"no gradient reaches {without}"


def test_half_precision_weights_carry_in_single_precision() -> None:
    image, text, fs = inputs()
    whole = restless()(image, text, fs, 4)
    half = restless().to(torch.bfloat16)(image, text.to(torch.bfloat16), fs, 4)
    assert half.pixels.dtype == torch.float32
    assert half.camera.dtype == torch.float32
    assert (half.pixels - whole.pixels).abs().mean() < 0.05


@pytest.mark.parametrize("changes", [{"width": 20}, {"width": 0}, {"layers": 0}, {"patch": 0}])
def test_sizes_that_cannot_be_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        parse_dataclass(FrameCarrierConfig, {**vars(SMALL), **changes}, "carrier")

"""A given motion: the image moves as it says, the network is shown that, and what cannot be is said beforehand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import FRAMES, picture, write_small_model

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.carry import given_frames, read_flow
from lvdm.request.settings import GenerationSettings

SIZE = 24, 32


def moved(num_frames: int = 5, image: torch.Tensor | None = None, **settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (3, t, H, W) and visibility (t, H, W) of an image as the settings carry it."""
    chosen = GenerationSettings(num_frames=num_frames, **settings)
    given = given_frames(picture_tensor() if image is None else image, chosen)
    assert given is not None
    return given.pixels, given.visible[0]


def picture_tensor() -> torch.Tensor:
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def flow_file(path: Path, flow: np.ndarray) -> str:
    np.savez(path, flow=flow)
    return str(path)


def test_a_pan_shows_what_lies_beside_and_says_what_the_image_does_not() -> None:
    pixels, visible = moved(carry="pan_right:amount=0.5")
    for frame, gone in enumerate((0, 4, 8, 12, 16)):
        expected = picture_tensor()[..., gone:]
        torch.testing.assert_close(pixels[:, frame, :, : 32 - gone - 1], expected[..., : 32 - gone - 1])
        assert visible[frame, :, : 32 - gone - 1].min() > 0.999
        assert not gone or visible[frame, :, 32 - gone + 1 :].max() < 1e-3


def test_a_dragged_disc_goes_and_leaves_no_copy() -> None:
    image = torch.full((3, 32, 32), -1.0)
    x = torch.arange(32) + 0.5
    disc = torch.hypot(x - 8, x[:, None] - 16) < 4
    image[0][disc] = 1.0
    pixels, _ = moved(image=image, carry="drag:x=0.25,y=0.5,radius=0.16,right=0.5")
    torch.testing.assert_close(pixels[:, 0], image)
    end = pixels[0, -1] > 0
    assert (end & disc).sum() == 0, "it is still where it was"
    assert (end & disc.roll(16, 1)).sum() == disc.sum(), "it is not where it should be"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_flow_moves_each_pixel_in_its_own_unit(tmp_path: Path, scale: int) -> None:
    flow = np.zeros((3, SIZE[0] // scale, SIZE[1] // scale, 2))
    flow[1:, ..., 0] = 4 / scale
    flow[2, :, : 8 // scale] = np.nan
    pixels, visible = moved(3, carry_flow=flow_file(tmp_path / "flow.npz", flow))
    torch.testing.assert_close(pixels[:, 1, :, :27], picture_tensor()[..., 4:31])
    torch.testing.assert_close(pixels[:, 0], picture_tensor())
    assert visible[2, :, :6].max() == 0 < visible[2, :, 12:26].min()


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (np.zeros((3, 4, 4)), r"should be numbers \(frames, height, width, 2\), it is float64 \(3, 4, 4\)"),
        (np.zeros((4, 4, 4, 2)), "is the flow of 4 frames and the video has 3"),
        (np.full((3, 4, 4, 2), 1.0), "of frame 0 should be 0"),
        (np.r_[np.zeros((1, 4, 4, 2)), np.full((2, 4, 4, 2), np.inf)], "infinite"),
        (np.array(["a"]), "should be numbers"),
    ],
)
def test_a_wrong_flow_is_named(tmp_path: Path, flow: np.ndarray, message: str) -> None:
    path = flow_file(tmp_path / "flow.npz", flow)
    with pytest.raises(ValueError, match=message):
        read_flow(path, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"carry": "drag:radius=0"}, "radius 0 is not possible"),
        ({"carry": "pan_left:level=0.5"}, "level"),
        ({"carry": "hold", "carry_flow": "x.npz"}, "give one of them"),
        ({"carry": "hold", "low_pass": 0.5}, "both decide on the image latents"),
        ({"carry": "hold", "mode": "loop"}, "no image to end at"),
    ],
)
def test_what_does_not_go_together_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**settings)


def test_a_model_that_is_not_shown_the_image_refuses_it(tmp_path: Path) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path), device="cpu", dtype="fp32")
    pipe.card = dataclasses.replace(pipe.card, keeps_image=False)
    with pytest.raises(ValueError, match="is not shown the image's latents"):
        pipe(picture(), "a cat", carry="hold")


def test_the_network_is_shown_the_moved_image(tmp_path: Path) -> None:
    pipe = DynamiCrafterPipeline.from_pretrained(write_small_model(tmp_path), device="cpu", dtype="fp32")
    seen = []
    run = pipe.runtime.sample

    def spy(requests, settings, conditions, *rest):
        seen.append(conditions[0].concat)
        return run(requests, settings, conditions, *rest)

    pipe.runtime.sample = spy  # type: ignore[method-assign]
    for carry in (None, "hold", "pan_left:amount=0.5"):
        pipe(picture(), "a cat", carry=carry, num_inference_steps=2, seed=1)
    plain, held, panned = seen
    assert torch.equal(plain[:, :, 0], panned[:, :, 0]), "frame 0 is the image as ever"
    assert (held[:, :, 1:] - held[:, :, 1:2]).abs().max() < 1e-5, "a held image is the same at every frame"
    assert plain.shape[2] == FRAMES
    assert (panned[:, :, -1] - plain[:, :, -1]).abs().max() > 0.1

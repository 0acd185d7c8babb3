"""Regions that stay as in the image: from a mask of any kind to latents and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.media.images import fit_image
from lvdm.media.masks import fit_masks, to_masks
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.kept_pixels import feather

PROMPT = "a red ball moves to the right"
LEFT = np.zeros((SIDE, SIDE), np.float32)
LEFT[:, : SIDE // 2] = 1
KEPT = SIDE // 8
"""Columns of latents in the left half: each is four pixels wide."""


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


def image_latents(pipe, **settings) -> torch.Tensor:
    """What a generation with the same noise takes for the latents of its image: those of a mask over everything."""
    return pipe(picture(), PROMPT, keep_mask=np.ones((SIDE, SIDE)), **settings).latents


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "unipc"])
def test_kept_latents_are_those_of_the_image_and_the_rest_moves(pipe, sampler):
    latents = pipe(picture(), PROMPT, keep_mask=LEFT, sampler=sampler).latents
    image = image_latents(pipe, sampler=sampler)
    for frame in range(1, FRAMES):
        assert torch.equal(image[:, :, frame], image[:, :, 0]), "the image's latents differ between frames"
    assert torch.equal(latents[..., :KEPT], image[..., :KEPT]), "the kept region is not the image's"
    assert not torch.isclose(latents[..., KEPT:], image[..., KEPT:]).any(), "the other region was kept as well"


def test_a_kept_region_is_decoded_to_the_image(pipe):
    model = pipe.runtime.model
    result = pipe(picture(), PROMPT, keep_mask=np.ones((SIDE, SIDE)))
    with torch.no_grad():
        first = model.decode_first_stage(result.latents[:, :, :1])
        posterior = model.first_stage_model.encode(fit_image(picture(), SIDE, SIDE)[None])
    assert (result.video - first).abs().max() < 1e-5, "frames of an image that is wholly kept differ"
    off = (result.latents[:, :, 0] / model.config.scale_factor - posterior.mean) / posterior.std
    assert off.abs().max() < 6, "the kept latents are no sample of the image's posterior"


def test_a_mask_for_each_frame(pipe):
    masks = torch.zeros(FRAMES, SIDE, SIDE, dtype=torch.bool)
    masks[2] = True
    latents, image = pipe(picture(), PROMPT, keep_mask=masks).latents, image_latents(pipe)
    same = [torch.equal(latents[:, :, frame], image[:, :, frame]) for frame in range(FRAMES)]
    assert same == [False, False, True, False], "only frame 2 is kept"


def test_masks_belong_to_their_own_sample_and_no_mask_changes_nothing(pipe):
    plain = pipe([picture(), picture()], PROMPT, seed=[5, 5])
    black = pipe([picture(), picture()], PROMPT, seed=[5, 5], keep_mask=[np.zeros((SIDE, SIDE)), LEFT])
    assert torch.equal(black.latents[0], plain.latents[0]), "an empty mask changed the video"
    assert not torch.equal(black.latents[1], plain.latents[1]), "the second mask had no effect"


def test_masks_follow_the_image_into_its_size(pipe):
    tall = Image.new("L", (32, 64))
    tall.paste(255, (0, 0, 16, 64))
    result = pipe(picture(64, 32), PROMPT, height=44, width=24, keep_mask=tall)
    assert result.latents.shape[-2:] == (12, 6), "44 pixels are padded to 48"
    assert torch.equal(result.latents[..., 0, :, :3], result.latents[..., -1, :, :3]), "the left half should stand"


@pytest.mark.parametrize(
    "source",
    [LEFT, LEFT.astype(bool), LEFT.astype(np.uint8), (LEFT * 255).astype(np.uint8), torch.from_numpy(LEFT).half()],
    ids=["float", "bool", "0 and 1", "0 and 255", "tensor"],
)
def test_every_kind_of_mask_means_the_same(source):
    (mask,) = to_masks(source)
    assert torch.equal(fit_masks([mask], SIDE, SIDE)[0], torch.from_numpy(LEFT))


def test_a_feathered_edge_rises_inside_what_is_kept() -> None:
    kept = torch.zeros(1, 1, 5, 12)
    kept[..., 4:] = 1
    rising = [0.0] * 4 + [0.25, 0.5, 0.75] + [1.0] * 5
    assert torch.equal(feather(kept, 4)[0, 0, 2], torch.tensor(rising))
    assert torch.equal(feather(kept, 1), kept), "a width of one pixel is the mask itself"


def test_beyond_the_feather_the_video_is_the_image_to_the_pixel(pipe) -> None:
    image = fit_image(picture(), SIDE, SIDE)
    held, laid = (pipe(picture(), PROMPT, keep_mask=LEFT, keep_feather=width).video[0] for width in (0, 4))
    inside = SIDE // 2 - 4  # the mask keeps the left half, and its edge is on the right
    still = image[:, None, :, : inside + 1].expand(-1, FRAMES, -1, -1)
    assert torch.equal(laid[..., : inside + 1], still), "a kept pixel away from the edge is not that of the image"
    assert torch.equal(laid[..., SIDE // 2 :], held[..., SIDE // 2 :]), "what moves was touched"
    assert not torch.equal(held[..., : inside + 1], still), "the latents alone should not be the image to the pixel"
    masks = np.stack([LEFT] * FRAMES)
    masks[-1] = 0
    last = pipe(picture(), PROMPT, keep_mask=masks, keep_feather=4).video[0]
    assert torch.equal(last[:, 0, :, : inside + 1], image[..., : inside + 1])
    assert not torch.equal(last[:, -1, :, : inside + 1], image[..., : inside + 1]), "the last frame keeps nothing"


def test_padding_around_the_picture_is_not_kept():
    fitted = fit_masks([Image.new("L", (20, 10), 255)], 20, 20, "pad")
    assert fitted[0, 5:15].eq(1).all()
    assert fitted.sum() == 200, "the bars above and below are kept"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep_mask": np.ones((SIDE, SIDE + 1))}, "the mask is 33x32 and its image 32x32; make the mask as large"),
        ({"keep_mask": np.ones((3, SIDE, SIDE))}, "3 masks for 4 frames; give one, or one for each"),
        ({"keep_mask": LEFT, "end_image": picture()}, "leave out keep_mask, or the other images"),
        ({"keep_feather": 4}, "give a mask too"),
        ({"keep_mask": LEFT, "keep_feather": 1000}, "keep_feather 1000 is not possible"),
        ({"keep_mask": [LEFT, LEFT]}, "1 image and 2 of keep_mask"),
        ({"keep_mask": np.ones((SIDE,))}, "a mask should be"),
        ({"keep_mask": LEFT * 3}, r"should lie in \[0, 1\]"),
        ({"keep_mask": "gone.png"}, "there is no such file"),
    ],
)
def test_masks_that_cannot_be_used(pipe, given, message):
    with pytest.raises(ValueError, match=message):
        pipe(picture(), PROMPT, **given)

"""A painted mask is read by what it is: transparency, two values, brightness; nothing and everything are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lvdm.media.contact_sheet import contact_sheet
from lvdm.media.images import ImageError
from lvdm.media.masks import to_masks

SIDE = 16
LEFT = np.zeros((SIDE, SIDE), np.uint8)
LEFT[:, : SIDE // 2] = 1


def layer(colour: tuple[int, int, int], opacity: int = 255) -> Image.Image:
    """A brush of `colour` over the left half of a transparent layer."""
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[LEFT == 1] = (*colour, opacity)
    return Image.fromarray(pixels)


def palette(dark: tuple[int, int, int], light: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(LEFT)
    image.putpalette([*dark, *light])
    return image


PAINTED = {
    "black on a transparent layer": layer((0, 0, 0)),
    "white on a transparent layer": layer((255, 255, 255)),
    "half transparent red": layer((200, 20, 20), 120),
    "grey and transparent": layer((90, 90, 90)).convert("LA"),
    "a transparent colour of a palette": layer((0, 0, 0)).quantize(4),
    "0 and 1 in 8 bits": Image.fromarray(LEFT),
    "0 and 1 in 16 bits": Image.fromarray(LEFT.astype(np.uint16)),
    "0 and 65535": Image.fromarray(LEFT.astype(np.uint16) * 65535),
    "0 and 1 of a palette": palette((0, 0, 0), (1, 1, 1)),
    "colours of labels": palette((0, 0, 0), (128, 0, 0)),
    "254 and 255": Image.fromarray(254 + LEFT),
    "two greys": Image.fromarray(40 + 20 * LEFT),
    "one bit": Image.fromarray(LEFT * 255).convert("1"),
    "opaque, black and white": Image.fromarray(LEFT * 255).convert("RGBA"),
}


@pytest.mark.parametrize("kind", PAINTED)
def test_what_was_painted_is_selected(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    PAINTED[kind].save(path)
    for source in (path, PAINTED[kind]):
        (mask,) = to_masks(source)
        assert np.array_equal(np.asarray(mask), LEFT * 255), f"{kind}: another region than the painted one is selected"


def test_soft_edges_stay_soft(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, SIDE).astype(np.uint8), (SIDE, 1))
    assert np.array_equal(np.asarray(to_masks(Image.fromarray(ramp))[0]), ramp), "brightness is the weight"
    soft = np.zeros((SIDE, SIDE, 4), np.uint8)
    soft[..., 3] = ramp
    assert np.array_equal(np.asarray(to_masks(Image.fromarray(soft))[0]), ramp), "so is opacity"


def test_the_mask_says_what_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layer((0, 0, 0)).save(tmp_path / "mask.png")
    with caplog.at_level("INFO"):
        to_masks(tmp_path / "mask.png")
    assert "mask.png: its transparency selects 50 % of the image" in caplog.text


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("L", (SIDE, SIDE)), "selects nothing: its brightness is 0 everywhere"),
        (Image.new("L", (SIDE, SIDE), 255), "selects everything: its brightness is 255 everywhere"),
        (Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 7), "nothing: .* from 0 to 6"),
        (Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0)), "selects nothing"),
        (Image.fromarray(np.dstack([LEFT * 255] * 3 + [255 - 255 * np.eye(SIDE, dtype=np.uint8)])), "both could be"),
        (Image.new("F", (SIDE, SIDE)), "no fixed white"),
    ],
    ids=["black", "white", "labels", "clear", "both", "float"],
)
def test_masks_that_select_nothing_or_everything(image: Image.Image, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        to_masks(image)


def test_arrays_are_taken_as_they_are() -> None:
    """Whoever computes a mask may select everything or nothing of a frame."""
    for value in (0, 1):
        (mask,) = to_masks(np.full((SIDE, SIDE), value, np.float32))
        assert np.asarray(mask).min() == np.asarray(mask).max() == 255 * value


def test_the_contact_sheet_shows_the_mask_over_frame_0() -> None:
    video = torch.full((2, 48, 48, 3), 100, dtype=torch.uint8)
    mask = torch.zeros(48, 48)
    mask[:, :24] = 1
    with_mask, without = contact_sheet(video, mask=mask), contact_sheet(video)
    assert with_mask.width - without.width == 52, "one tile more, 48 pixels and a gap"
    kept, changed = with_mask.getpixel((4 + 20, 40)), with_mask.getpixel((4 + 40, 40))
    assert kept == (100, 100, 100), "what is kept should look as it is"
    assert changed == (165, 65, 65), "what may change should be half red"

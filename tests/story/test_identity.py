"""The measure of `benchmarks/story_identity.py`, on frames whose answer is known."""

from __future__ import annotations

import numpy as np
from PIL import Image
from story_identity import likeness
from story_images import character

BACKGROUND = np.full((64, 64, 3), (120, 130, 140), np.uint8)


def frame_with(reference: Image.Image, place: tuple[int, int], side: int) -> np.ndarray:
    frame = Image.fromarray(BACKGROUND)
    layer = reference.resize((side, side))
    frame.paste(layer, place, layer)
    return np.asarray(frame)


def test_a_character_is_like_itself_and_unlike_others() -> None:
    heart, star = character("heart", "orange"), character("star", "blue")
    reference = np.asarray(heart)
    itself = likeness(frame_with(heart, (5, 9), 40), BACKGROUND, reference)
    elsewhere = likeness(frame_with(heart, (30, 30), 30), BACKGROUND, reference)
    other = likeness(frame_with(star, (5, 9), 40), BACKGROUND, reference)
    assert itself["shape"] > 0.9
    assert itself["colours"] > 0.85
    assert elsewhere["shape"] > 0.85, "place and size decide on the likeness"
    assert other["shape"] < 0.75
    assert other["colours"] < 0.1
    assert likeness(BACKGROUND, BACKGROUND, reference) == {"colours": 0.0, "shape": 0.0}

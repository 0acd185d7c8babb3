"""Similarities of frames whose angles are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvdm.evaluation.metrics.similarity import (
    consistency,
    cosine_distances,
    frame_consistency,
    i2v_similarity,
    image_similarities,
    image_similarity,
    perceptual_input_conformity,
    text_similarity,
)


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane: (len(degrees), 2)."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


FRAMES = at(0, 30, 90)
IMAGE = at(-10)[0]


def test_prompt_and_image() -> None:
    assert text_similarity(FRAMES, at(60)[0]) == pytest.approx((cos(60) + cos(30) + cos(30)) / 3)
    assert image_similarities(FRAMES, IMAGE) == pytest.approx([cos(10), cos(40), cos(100)])
    assert image_similarity(FRAMES, IMAGE) == pytest.approx((cos(10) + cos(40) + cos(100)) / 3)
    assert cosine_distances(FRAMES, IMAGE) == pytest.approx([1 - cos(10), 1 - cos(40), 1 - cos(100)])


def test_neighbours() -> None:
    assert frame_consistency(FRAMES) == pytest.approx((cos(30) + cos(60)) / 2)
    assert consistency(FRAMES) == pytest.approx(((cos(30) + cos(30)) / 2 + (cos(60) + cos(90)) / 2) / 2)


def test_the_formula_of_vbench_i2v() -> None:
    expected = 0.4 * cos(10) + 0.3 * (cos(30) + cos(60)) / 2 + 0.3 * cos(60)
    assert i2v_similarity(FRAMES, IMAGE) == pytest.approx(expected)


def test_negative_cosines_count_as_nothing_in_vbench() -> None:
    there_and_back = at(0, 180, 0)
    assert frame_consistency(there_and_back) == pytest.approx(-1)
    assert consistency(there_and_back) == pytest.approx((0 + 0 + 0 + 1) / 4)
    assert i2v_similarity(there_and_back, at(180)[0]) == pytest.approx(0.4)
    assert i2v_similarity(at(0, 0), at(180)[0]) == pytest.approx(0.6)


def test_perceptual_input_conformity() -> None:
    assert perceptual_input_conformity([0.5, 0.25, 0.0]) == 0.75
    assert perceptual_input_conformity(cosine_distances(FRAMES, IMAGE)) == pytest.approx(
        image_similarity(FRAMES, IMAGE)
    )


def test_the_image_repeated_is_perfect() -> None:
    """Which is why none of these is shown without a measure of motion."""
    image = np.random.default_rng(0).standard_normal(512)
    image /= np.linalg.norm(image)
    still = np.tile(image, (16, 1))
    perfect = [
        frame_consistency(still),
        image_similarity(still, image),
        i2v_similarity(still, image),
        consistency(still),
    ]
    assert perfect == pytest.approx([1, 1, 1, 1], abs=1e-12)
    assert max(perfect) <= 1, "rounding does not lift a cosine above 1"
    assert perceptual_input_conformity(cosine_distances(still, image)) == pytest.approx(1, abs=1e-12)


def test_features_in_half_precision_are_made_exactly_unit() -> None:
    rough = FRAMES.astype(np.float16)
    assert text_similarity(rough * np.float16(1.004), rough[1]) == pytest.approx((cos(30) + 1 + cos(60)) / 3, abs=1e-3)


@pytest.mark.parametrize("measure", [frame_consistency, consistency, lambda f: i2v_similarity(f, IMAGE)])
def test_one_frame_has_no_neighbour(measure: object) -> None:
    with pytest.raises(ValueError, match="2 frames or more, not of 1"):
        measure(FRAMES[:1])  # type: ignore[operator]


def test_bad_features_are_refused() -> None:
    with pytest.raises(ValueError, match="frames: features should be of unit length"):
        frame_consistency(2 * FRAMES)
    with pytest.raises(ValueError, match="text: features should be of unit length"):
        text_similarity(FRAMES, np.array([np.nan, 1]))
    with pytest.raises(ValueError, match="do not go with frames of 2 dimensions"):
        image_similarity(FRAMES, np.ones(3))
    with pytest.raises(ValueError, match="one distance for each frame"):
        perceptual_input_conformity([])
    with pytest.raises(ValueError, match="0 or more"):
        perceptual_input_conformity([0.1, math.nan])
    with pytest.raises(ValueError, match="frames, dimensions"):
        frame_consistency(IMAGE)

"""The aggregate of VBench-I2V against rows of its leaderboard."""

from __future__ import annotations

import math

import pytest

from lvdm.evaluation.vbench import I2V, QUALITY, dimensions, i2v_score, quality_score, total_score

DYNAMICRAFTER_1024 = {
    "subject_consistency": 0.9569,
    "background_consistency": 0.9738,
    "motion_smoothness": 0.9738,
    "dynamic_degree": 0.4740,
    "aesthetic_quality": 0.6646,
    "imaging_quality": 0.6934,
    "i2v_subject": 0.9817,
    "i2v_background": 0.9860,
    "camera_motion": 0.358,
}
"""As published, but for the camera, which follows from the published total."""


def test_the_published_row_of_dynamicrafter() -> None:
    assert round(100 * quality_score(DYNAMICRAFTER_1024), 2) == 80.50
    assert round(100 * total_score(DYNAMICRAFTER_1024), 2) == 87.76


def test_the_ends_of_the_ranges() -> None:
    best = {name: dimension.high for name, dimension in (QUALITY | I2V).items()}
    worst = {name: dimension.low for name, dimension in (QUALITY | I2V).items()}
    assert total_score(best) == pytest.approx(1)
    assert total_score(worst) == pytest.approx(0)
    assert quality_score(best | {"dynamic_degree": 0}) == pytest.approx(5 / 5.5), "it has half of the weight"
    assert i2v_score(best | {"camera_motion": 0}) == pytest.approx(2 / 2.1), "it has a tenth of the weight"
    assert set(dimensions()) == set(best)


def test_what_cannot_be_aggregated_is_refused() -> None:
    without = {name: value for name, value in DYNAMICRAFTER_1024.items() if name != "camera_motion"}
    assert quality_score(without) > 0, "the quality does not need it"
    with pytest.raises(ValueError, match="needs camera_motion too"):
        total_score(without)
    with pytest.raises(ValueError, match=r"it is 95.69: divide percentages by 100"):
        quality_score(DYNAMICRAFTER_1024 | {"subject_consistency": 95.69})
    with pytest.raises(ValueError, match="it is nan"):
        i2v_score(DYNAMICRAFTER_1024 | {"i2v_subject": math.nan})

"""The curves of the embedded model's training are drawn from all that its losses hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_curves import column, read, smoothed, stacked, video_chart

FOLDER = Path(__file__).parents[1] / "checkpoints" / "tiny"


def test_every_stage_has_a_curve_of_its_own() -> None:
    rows = read(FOLDER / "training.csv")
    stages = len({row["stage"] for row in rows})
    drawn = video_chart(rows)
    assert stages >= 14
    assert drawn.count("<polyline") == stages
    assert all(f">{stage}</text>" in drawn for stage in range(1, stages + 1)), "a stage is not named"
    assert stacked([drawn, drawn]).count("<polyline") == 2 * stages


def test_points_are_the_rows_that_have_a_value_and_means_of_the_last_five() -> None:
    rows = [{"step": str(step), "loss": value} for step, value in ((9, "1.0"), (19, ""), (29, "4.0"))]
    assert column(rows, "loss", "train").points == [(9, 1.0), (29, 4.0)]
    ramp = smoothed([(float(i), float(i)) for i in range(8)])
    assert [value for _, value in ramp] == pytest.approx([0, 0.5, 1, 1.5, 2, 3, 4, 5])

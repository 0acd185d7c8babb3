"""Axes hold their values, end on round parts, and marks lie where the numbers say."""

from __future__ import annotations

import itertools
import re

import pytest

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.plot import (
    HEIGHT,
    WIDTH,
    Plot,
    count_axis,
    inverse,
    inverse_axis,
    linear_axis,
    round_step,
    tick_text,
)


@pytest.mark.parametrize(
    "values",
    [(0.0, 1.0), (0.9731, 0.9999), (-5.6, 160.0), (1e-7, 3e-7), (12345.0, 2e6), (3.0, 3.0), (0.0, 0.0), (-2.0, -2.0)],
)
@pytest.mark.parametrize("from_zero", [True, False])
def test_an_axis_holds_its_values_with_a_few_ticks(values: tuple[float, float], from_zero: bool) -> None:
    axis = linear_axis("x", values, from_zero)
    assert axis.low <= min(values) + 1e-12
    assert axis.high >= max(values) - 1e-12
    assert axis.low < axis.high
    assert not from_zero or axis.low <= 0 <= axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert len({text for _, text in axis.ticks}) == len(axis.ticks), f"two ticks of one name: {axis.ticks}"
    assert all(axis.low - 1e-9 <= value <= axis.high + 1e-9 for value, _ in axis.ticks)


def test_steps_are_round_and_ticks_have_the_decimals_they_need() -> None:
    assert [round_step(rough) for rough in (0.9, 1.0, 1.1, 2.2, 3.0, 7.0)] == [1.0, 1.0, 2.0, 2.5, 5.0, 10.0]
    assert [tick_text(value, 0.025) for value in (0.9, 0.0, -0.025)] == ["0.900", "0", "-0.025"]
    assert tick_text(12500.0, 2500.0) == "12,500"
    assert tick_text(3e-7, 1e-7) == "3.00e-7"


def test_the_axis_of_clips_is_one_over_n() -> None:
    axis = inverse_axis("N", (64, 128, 256))
    parts = [axis.part(inverse(size)) for size in (64, 128, 256)]
    assert parts == sorted(parts)
    assert parts[1] - parts[0] == pytest.approx(2 * (parts[2] - parts[1]))
    assert axis.part(0.0) == 1.0
    assert [text for _, text in axis.ticks] == ["64", "128", "256", "∞"]


def test_labels_of_crowded_ticks_are_left_out_never_the_last_one() -> None:
    drawing = Plot(inverse_axis("N", range(100, 132)), linear_axis("y", (0, 1))).draw("t", "")
    places = sorted(float(x) for x in re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="middle"', drawing))
    assert "∞" in drawing
    assert all(right - left > 20 for left, right in itertools.pairwise(places))
    assert [text for _, text in count_axis("frame", 15).ticks] == ["0", "2", "4", "6", "8", "10", "12", "14"]
    assert count_axis("frame", 0).high > 0


def test_marks_lie_where_the_numbers_say_and_never_outside() -> None:
    plot = Plot(linear_axis("x", (0, 10)), linear_axis("y", (0, 10)))
    left, right = plot.at(0, 0), plot.at(10, 10)
    assert left[0] < right[0]
    assert left[1] > right[1], "up is up"
    assert plot.at(5, 5) == pytest.approx(((left[0] + right[0]) / 2, (left[1] + right[1]) / 2))
    assert plot.at(-99, 99) == (left[0], right[1])
    assert (plot.holds(5, 5), plot.holds(11, 5)) == (True, False)
    assert 0 < left[0] < right[0] < WIDTH
    assert 0 < right[1] < left[1] < HEIGHT


def test_text_and_classes_are_escaped() -> None:
    hostile = '"><script>'
    parts = [
        svg.label((0, 0), hostile, hostile),
        svg.mark("dot", (0, 0), 1, hostile, hostile),
        svg.mark("diamond", (0, 0), 1, hostile, hostile),
        svg.line((0, 0), (1, 1), hostile),
        svg.polyline([(0, 0)], hostile),
        svg.area([(0, 0)], [(1, 1)], hostile),
        svg.box((0, 0), 1, 1, hostile),
        svg.drawing(1, 1, hostile, ""),
    ]
    assert all("<script" not in part and '""' not in part for part in parts)


def test_coordinates_are_short_and_never_minus_zero() -> None:
    assert svg.line((-0.04, 1.0), (2.25, 3.999), "k") == '<line class="k" x1="0" y1="1" x2="2.2" y2="4"/>'

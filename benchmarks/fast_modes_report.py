"""The tables and the drawing of `fast_modes.py`: each mode beside the plain path, and which of them are on the front.

Medians of CPU time and means of the rest, with 95 % intervals over scenes. A mode is on the front where no other is
faster and nearer to the plain video, and it is worse than the plain path in a figure where the interval of the paired
difference lies below zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
from training_curves import stacked

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.plot import Plot, linear_axis
from lvdm.evaluation.resampling import (
    Interval,
    bootstrap_mean,
    paired_difference,
    percentile_interval,
    resampled_indices,
)

PLAIN = "plain"
MARKS = "circle.train { fill: #2f6fb3 } circle.val { fill: #c2571a }"
Rows = Sequence[Mapping[str, Any]]
FIGURES = {
    "to_truth": ("to the truth", " dB", 1.0),
    "direction": ("direction right", " %", 100.0),
    "motion": ("motion right", " %", 100.0),
    "frame_0": ("frame 0", " dB", 1.0),
}
"""Figures of quality by their name in a row: title, unit, factor."""


def tables(measured: Mapping[tuple[str, str], Mapping[str, Rows]]) -> str:
    """Markdown: a table for each model and guidance."""
    return "\n".join(f"{model}, {guidance}:\n\n{table(modes)}\n" for (model, guidance), modes in measured.items())


def table(modes: Mapping[str, Rows]) -> str:
    """Markdown: one line for each mode, the plain one first."""
    titles = ["mode", "scenes", "CPU time", "operations", "to the plain video"]
    titles += [*(title for title, _, _ in FIGURES.values()), "worse than plain", "front"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    counted = {name: rows[0]["operations"] for name, rows in modes.items()}
    best = front(modes)
    for name, rows in modes.items():
        ratios = time_ratios(rows)
        cells = [name, str(len(rows)), cell(median(ratios), median_interval(ratios), "", 2)]
        cells += [f"{counted[name] / counted[PLAIN]:.2f}", "" if name == PLAIN else mean_cell(rows, "to_plain", " dB")]
        cells += [mean_cell(rows, figure, unit, factor) for figure, (_, unit, factor) in FIGURES.items()]
        cells += [", ".join(worse_figures(rows, modes[PLAIN])), "yes" if name in best else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_ratios(rows: Rows) -> list[float]:
    """CPU time of each scene's video over that of the plain one made beside it."""
    return [row["seconds"] / row["plain_seconds"] for row in rows]


def front(modes: Mapping[str, Rows]) -> list[str]:
    """The modes than which no other is faster and nearer to the plain video, the slowest first."""
    chosen, nearest = list[str](), 0.0
    for name, (_, near) in sorted(points_of(modes).items(), key=lambda item: (item[1][0], -item[1][1])):
        if near > nearest:
            chosen, nearest = [name, *chosen], near
    return chosen


def worse_figures(rows: Rows, plain: Rows) -> list[str]:
    """The titles of what a mode does worse than the plain path, surely."""
    found = []
    for figure, (title, _, _) in FIGURES.items():
        own, other = ([float(row[figure]) for row in some if figure in row] for some in (rows, plain))
        if own and paired_difference(own, other, seed=0).high < 0:
            found.append(title)
    return found


def mean_cell(rows: Rows, figure: str, unit: str, factor: float = 1.0) -> str:
    """Mean and interval of a figure of the rows that have it."""
    values = [factor * float(row[figure]) for row in rows if figure in row]
    return cell(fmean(values), bootstrap_mean(values, seed=0), unit, 1) if values else ""


def cell(value: float, interval: Interval, unit: str, decimals: int) -> str:
    """A figure with its interval."""
    return f"{value:.{decimals}f}{unit} ({interval.low:.{decimals}f} to {interval.high:.{decimals}f})"


def median_interval(values: Sequence[float]) -> Interval:
    """The percentile interval of the median."""
    found = np.asarray(values)
    return percentile_interval([float(np.median(found[draw])) for (draw,) in resampled_indices([len(found)], 0, 1000)])


def front_drawing(measured: Mapping[tuple[str, str], Mapping[str, Rows]]) -> str:
    """Nearness to the plain video over CPU time, a chart for each model; lines are fronts, one for each guidance."""
    charts = []
    for model in dict.fromkeys(model for model, _ in measured):
        own = {guidance: modes for (name, guidance), modes in measured.items() if name == model}
        points = {guidance: points_of(modes) for guidance, modes in own.items()}
        across = [x for modes in points.values() for x, _ in modes.values()]
        up = [y for modes in points.values() for _, y in modes.values()]
        plot = Plot(linear_axis("CPU time, part of the plain path's", across), linear_axis(f"{model}: dB", up))
        parts = list[str]()
        for i, (guidance, kind) in enumerate(zip(own, ("train", "val"), strict=False)):
            parts.append(svg.polyline([plot.at(*points[guidance][name]) for name in front(own[guidance])], kind))
            parts.append(svg.label((70, 44 + 16 * i), guidance, kind))
            for name, point in points[guidance].items():
                x, y = plot.at(*point)
                parts.append(svg.mark("dot", (x, y), 3, kind))
                if name.startswith("--"):
                    parts.append(svg.label((x, y + (18 if i else -8)), name, kind, "middle"))
        charts.append(plot.draw(f"{model}: nearness to the plain video over time", "".join(parts)))
    return stacked(charts, "the front of fast modes", MARKS)


def points_of(modes: Mapping[str, Rows]) -> dict[str, tuple[float, float]]:
    """CPU time and nearness to the plain video of each mode but the plain one."""
    return {
        name: (median(time_ratios(rows)), fmean(row["to_plain"] for row in rows))
        for name, rows in modes.items()
        if name != PLAIN
    }

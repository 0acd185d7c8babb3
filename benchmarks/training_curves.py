"""Draw the curves of the embedded model's training from the losses committed beside it.

python benchmarks/training_curves.py [--folder checkpoints/tiny] [--output checkpoints/tiny/training.svg]
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.plot import HEIGHT, WIDTH, Plot, linear_axis
from lvdm.media.atomic import atomic_path

SMOOTHED = 5
"""Logged losses that one point of the video model's curve is the mean of; those of a few clips jump."""
STYLE = """
rect.paper { fill: #fff } text { fill: #222; font: 13px sans-serif } .tick, .name { fill: #666 }
line, polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
line.grid { stroke: #ddd; stroke-width: 1 } line.axis { stroke: #666; stroke-width: 1 }
polyline.train { stroke: #2f6fb3 } polyline.val { stroke: #c2571a } polyline.other { stroke: #2e8b57 }
text.train { fill: #2f6fb3 } text.val { fill: #c2571a } text.other { fill: #2e8b57 }
"""


@dataclass(frozen=True)
class Line:
    """One curve: (step, value) in the order of the steps, its colour as a CSS class, its name."""

    points: list[tuple[float, float]]
    kind: str
    name: str


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/tiny"))
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tiny/training.svg"))
    args = parser.parse_args()
    autoencoder, encoders = (read(args.folder / f"training_{name}.csv") for name in ("autoencoder", "clip_towers"))
    charts = [
        video_chart(read(args.folder / "training.csv")),
        chart(
            "autoencoder, dB",
            [column(autoencoder, "train/psnr", "train"), column(autoencoder, "val/psnr", "val", "held out")],
        ),
        chart(
            "encoders: caption found among the batch",
            [
                column(encoders, "train/frame_accuracy", "train", "frames"),
                column(encoders, "train/clip_accuracy", "other", "changes"),
                column(encoders, "val/frame_accuracy", "val", "frames, held out"),
            ],
        ),
    ]
    with atomic_path(args.output) as path:
        path.write_text(stacked(charts), encoding="utf-8")
    print(args.output)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with its header as keys."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Sequence[dict[str, str]], name: str, kind: str, label: str = "") -> Line:
    """The rows that have a value in the column."""
    return Line([(int(row["step"]), float(row[name])) for row in rows if row[name]], kind, label or kind)


def video_chart(rows: Sequence[dict[str, str]]) -> str:
    """The stages one after another, with a line where each begins; the first ones count their steps on."""
    stages, begin = {}, 0.0
    for stage, some in groupby(rows, key=lambda row: row["stage"]):
        line = column(list(some), "train/loss_simple", stage)
        every = line.points[1][0] - line.points[0][0]
        offset = begin + every - line.points[0][0]
        stages[stage] = (begin, smoothed([(step + offset, value) for step, value in line.points]))
        begin = line.points[-1][0] + offset
    losses = [value for _, points in stages.values() for _, value in points]
    plot = Plot(linear_axis("steps", [0, begin]), linear_axis("loss of the video model, stage by stage", losses))
    parts = []
    for i, (stage, (begin, points)) in enumerate(stages.items()):
        low, high = plot.at(begin, plot.y.low), plot.at(begin, plot.y.high)
        name = svg.label((high[0] + 2, high[1] + 10 + 13 * (i % 2)), stage, "tick")
        parts += [svg.line(low, high, "grid"), name, svg.polyline([plot.at(*point) for point in points], "train")]
    return plot.draw("loss of the video model by step, stage after stage", "".join(parts))


def smoothed(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value as the mean of the last few."""
    some = [[value for _, value in points[max(0, i - SMOOTHED + 1) : i + 1]] for i in range(len(points))]
    return [(step, fmean(values)) for (step, _), values in zip(points, some, strict=True)]


def chart(title: str, lines: Sequence[Line]) -> str:
    """Curves over the steps, each with its name under the last one's in the lower right corner."""
    points = [point for line in lines for point in line.points]
    plot = Plot(linear_axis("steps", [0, *(x for x, _ in points)]), linear_axis(title, [y for _, y in points]))
    right, bottom = plot.at(plot.x.high, plot.y.low)
    parts = [svg.polyline([plot.at(*point) for point in line.points], line.kind) for line in lines]
    names = [
        svg.label((right - 6, bottom - 10 - 18 * i), line.name, line.kind, "end") for i, line in enumerate(lines[::-1])
    ]
    return plot.draw(title, "".join([*parts, *names]))


def stacked(charts: Sequence[str], title: str = "curves of the training", style: str = "") -> str:
    """One image with the charts one below the other; `style` is added to the curves' own."""
    height = HEIGHT * len(charts)
    placed = [
        drawn.replace("<svg ", f'<svg y="{HEIGHT * i:g}" width="{WIDTH:g}" height="{HEIGHT:g}" ', 1)
        for i, drawn in enumerate(charts)
    ]
    paper = f"<style>{STYLE}{style}</style>" + svg.box((0, 0), WIDTH, height, "paper")
    return svg.drawing(WIDTH, height, title, paper + "".join(placed)) + "\n"


if __name__ == "__main__":
    main()

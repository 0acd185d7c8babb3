"""The chart of a comparison: the paired difference of each metric with its interval, beside zero."""

from __future__ import annotations

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.number_format import format_interval, format_number, format_signed
from lvdm.evaluation.report.plot import WIDTH, Figure
from lvdm.evaluation.results import Comparison, MetricDifference

_ROW, _HEAD = 64.0, 26.0
_MIDDLE, _REACH = WIDTH / 2, WIDTH / 2 - 14
_KINDS = {"A is better": "side-a", "B is better": "side-b", "not separated": "open", "separated": "neutral"}


def difference_charts(comparison: Comparison) -> list[Figure]:
    """The metrics of which one direction is better, and those of which none is; each chart only if it has any."""
    text = (
        "Paired differences of the same inputs with 95 % intervals, each row to its own scale. "
        "An interval that includes 0 (grey) separates nothing."
    )
    judged = [row for row in comparison.differences if row.higher_is_better is not None]
    others = [row for row in comparison.differences if row.higher_is_better is None]
    charts = []
    if judged:
        charts.append(_chart("Which is better", text, judged, ("← A is better", "B is better →")))
    if others:
        charts.append(
            _chart(
                "How they differ", "More of these is neither better nor worse.", others, ("← less in B", "more in B →")
            )
        )
    return charts


def _chart(title: str, text: str, rows: list[MetricDifference], sides: tuple[str, str]) -> Figure:
    height = _HEAD + _ROW * len(rows)
    parts = [
        svg.label((0, 14), sides[0], "name"),
        svg.label((_MIDDLE, 14), "0", "tick", "middle"),
        svg.label((WIDTH, 14), sides[1], "name", "end"),
        *(_row(row, _HEAD + _ROW * number) for number, row in enumerate(rows)),
    ]
    return Figure(title, text, svg.drawing(WIDTH, height, f"{title}: paired differences", "".join(parts)))


def _row(row: MetricDifference, top: float) -> str:
    """Name and verdict, the interval, and the numbers; what speaks for B lies on the right."""
    sign = -1 if row.higher_is_better is False else 1
    ends = [row.difference] if row.low is None or row.high is None else [row.low, row.high]
    most = max(abs(value) for value in [*ends, row.difference]) or 1.0

    def across(value: float) -> float:
        return _MIDDLE + sign * value / most * _REACH

    kind, bar = _KINDS.get(row.verdict, "open"), top + 30
    parts = [
        svg.line((0, top), (WIDTH, top), "grid"),
        svg.label((0, top + 17), row.name, "strong"),
        svg.label((WIDTH, top + 17), row.verdict, f"{kind} verdict", "end"),
        svg.line((_MIDDLE, bar - 8), (_MIDDLE, bar + 8), "axis"),
    ]
    if len(ends) == 2:
        left, right = sorted(across(value) for value in ends)
        parts.append(svg.box((left, bar - 3), max(right - left, 1), 6, kind, radius=3))
    title = f"{row.name}: {format_signed(row.difference)} {format_interval(row.low, row.high)}"
    parts.append(svg.mark("dot", (across(row.difference), bar), 5.5, f"{kind} point", title))
    interval = format_interval(row.low, row.high, 3) if len(ends) == 2 else "no interval"
    values = f"A {format_number(row.a)}   B {format_number(row.b)}"
    parts.append(svg.label((0, top + 54), values, "tick"))
    parts.append(svg.label((WIDTH, top + 54), f"{format_signed(row.difference, 3)}  {interval}", "tick", "end"))
    return "".join(parts)

"""The charts of an evaluation: fidelity against motion, distance against the number of clips, drift over the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.number_format import format_number
from lvdm.evaluation.report.plot import Figure, Key, Plot, count_axis, inverse, inverse_axis, linear_axis
from lvdm.evaluation.report.tables import clips_label, set_label, sets_in_order
from lvdm.evaluation.results import FAKE, REAL, STILL, Curve, FrameCurve, MetricRow, Results

_MOST_POINTS = 1500
"""Of one set; beyond, every k-th clip is drawn."""

_FURTHEST = 0.015
"""The part of the clips at either end that is drawn on the edge if it lies beyond the rest."""

_FAR = 4.0
"""A still baseline this many times above everything else would squeeze the chart: it is stated in words."""

Pair = tuple[str, float, float]
"""Id, motion and fidelity of a clip."""


@dataclass(frozen=True)
class _Track:
    """A curve of one set: (N, value) and (N, floor), and the value at infinity."""

    values: list[tuple[int, float]]
    floors: list[tuple[int, float]]
    limit: float | None

    def heights(self) -> list[float]:
        """Everything that the chart has to hold."""
        limit = [] if self.limit is None else [self.limit]
        return [*(value for _, value in [*self.values, *self.floors]), *limit]


def motion_scatter(results: Results, fidelity: str, motion: str) -> Figure | None:
    """Each clip by how much it moves and how well it keeps to its image; None if no clip has both numbers."""
    points = {name: _pairs(results, name, motion, fidelity) for name in (REAL, FAKE, STILL)}
    means = {name: _means(results, name, motion, fidelity) for name in (REAL, FAKE)}
    if not points[FAKE] and not points[REAL]:
        return None
    still = results.metric(fidelity, STILL)
    still_value = None if still is None else _finite(still.value)
    held = [row for pair in means.values() if pair is not None for row in pair]
    xs = _middle([x for pairs in points.values() for _, x, _ in pairs]) + _ends(held[::2])
    ys = _middle([y for pairs in points.values() for _, _, y in pairs]) + _ends(held[1::2])
    ys += [] if still_value is None else [still_value]
    plot = Plot(linear_axis(motion, xs, from_zero=True), linear_axis(fidelity, ys))
    parts, keys = [], []
    outside = sum(not plot.holds(x, y) for name in (REAL, FAKE) for _, x, y in points[name])
    for name in (REAL, FAKE):
        shown = points[name][:: max(1, math.ceil(len(points[name]) / _MOST_POINTS))]
        parts += [
            svg.mark("dot", plot.at(x, y), 3.2, f"{name} faint", f"{clip}: {format_number(x)}, {format_number(y)}")
            for clip, x, y in shown
        ]
        if points[name]:
            some = "" if len(shown) == len(points[name]) else f", {len(shown):,} of {len(points[name]):,} drawn"
            keys.append(Key(name, f"{clips_label(name)}{some}", "dot"))
    if still_value is not None:
        parts.append(_still_line(plot, still_value))
        parts.append(
            svg.mark("diamond", plot.at(0, still_value), 7, "still", f"still image: 0, {format_number(still_value)}")
        )
        keys.append(Key("still", "still image repeated", "diamond"))
    for name in (REAL, FAKE):
        parts += [_cross(plot, name, *pair) for pair in [means[name]] if pair is not None]
    if any(means.values()):
        keys.append(Key("mean", "mean, with 95 % intervals", "ring"))
    text = "Further up keeps more of the input image, further right moves more."
    if still_value is not None:
        text += " A static video is perfect in the first and worthless in the second: read both."
    if outside:
        text += f" {outside:,} far clips are drawn on the edge."
    return Figure(
        "Fidelity against motion", text, plot.draw(f"{fidelity} against {motion}", "".join(parts)), tuple(keys)
    )


def size_curve(results: Results, name: str) -> Figure | None:
    """A distance against the number of clips, with its floor and its value at infinity; None without a curve."""
    tracks = {curve.set: _track(curve, results) for curve in results.curves if curve.name == name}
    tracks = {set_name: track for set_name, track in tracks.items() if track.values}
    if not tracks:
        return None
    shown = [set_name for set_name in sets_in_order(set(tracks)) if set_name != STILL] or [STILL]
    text = "The axis is 1/N: what falls along a straight line ends at the value of infinitely many clips."
    if REAL in shown:
        text += " Real clips are two halves of the real set, one against the other."
    if STILL in tracks and STILL not in shown:
        most = max(max(tracks[set_name].heights()) for set_name in shown)
        if max(tracks[STILL].heights()) <= _FAR * most:
            shown.append(STILL)
        else:
            text += f" The still image lies far above, at {format_number(tracks[STILL].values[-1][1])}."
    sizes = [size for set_name in shown for size, _ in tracks[set_name].values]
    heights = [height for set_name in shown for height in tracks[set_name].heights()]
    plot = Plot(inverse_axis("clips a side, N", sizes), linear_axis(name, heights, from_zero=True))
    keys = [Key(set_name, _limit_label(set_name, tracks[set_name])) for set_name in shown]
    parts = [_size_line(plot, set_name, tracks[set_name]) for set_name in reversed(shown)]
    floors = tracks[shown[0]].floors
    if floors:
        parts.insert(0, svg.polyline([plot.at(inverse(size), value) for size, value in floors], "floor"))
        keys.append(Key("floor", "floor: two samples of one distribution"))
    return Figure(
        f"{name} against the number of clips", text, plot.draw(f"{name} against N", "".join(parts)), tuple(keys)
    )


def frame_curve(results: Results, name: str) -> Figure | None:
    """A mean over clips for each frame, with its interval; None without a curve."""
    curves = {curve.set: curve for curve in results.frame_curves if curve.name == name}
    values = [
        value
        for curve in curves.values()
        for line in (curve.values, curve.low, curve.high)
        for value in line
        if _finite(value) is not None
    ]
    if not values:
        return None
    last = max(len(curve.values) for curve in curves.values()) - 1
    plot = Plot(count_axis("frame", last), linear_axis(name, values))
    order = sets_in_order(set(curves))
    parts = [_frame_line(plot, curves[set_name]) for set_name in reversed(order)]
    keys = tuple(Key(set_name, set_label(set_name)) for set_name in order)
    text = "A line that falls drifts away from its input image. The bands are 95 % intervals of the mean over clips."
    return Figure(f"{name}, frame by frame", text, plot.draw(f"{name} by frame", "".join(parts)), keys)


def _pairs(results: Results, set_name: str, motion: str, fidelity: str) -> list[Pair]:
    pairs = []
    for video in results.videos:
        x, y = _finite(video.values.get(motion)), _finite(video.values.get(fidelity))
        if video.set == set_name and x is not None and y is not None:
            pairs.append((video.id, x, y))
    return sorted(pairs)


def _middle(values: list[float]) -> list[float]:
    """The range of the values without the furthest at both ends, which would squeeze all others."""
    ordered = sorted(values)
    cut = int(len(ordered) * _FURTHEST)
    return [ordered[cut], ordered[-1 - cut]] if ordered else []


def _ends(rows: list[MetricRow]) -> list[float]:
    """The values of the rows and the ends of their intervals."""
    return [end for row in rows for end in (row.value, row.low, row.high) if end is not None]


def _means(results: Results, set_name: str, motion: str, fidelity: str) -> tuple[MetricRow, MetricRow] | None:
    across, up = results.metric(motion, set_name), results.metric(fidelity, set_name)
    if across is None or up is None or across.value is None or up.value is None:
        return None
    return across, up


def _cross(plot: Plot, name: str, across: MetricRow, up: MetricRow) -> str:
    """The mean of a set with the intervals of both numbers."""
    assert across.value is not None
    assert up.value is not None
    parts = []
    for kind in ("halo", name):
        if across.low is not None and across.high is not None:
            parts.append(svg.line(plot.at(across.low, up.value), plot.at(across.high, up.value), f"{kind} bar"))
        if up.low is not None and up.high is not None:
            parts.append(svg.line(plot.at(across.value, up.low), plot.at(across.value, up.high), f"{kind} bar"))
    title = f"mean of {clips_label(name)}: {format_number(across.value)}, {format_number(up.value)}"
    parts.append(svg.mark("ring", plot.at(across.value, up.value), 6, name, title))
    return "".join(parts)


def _still_line(plot: Plot, value: float) -> str:
    left, right = plot.at(plot.x.low, value), plot.at(plot.x.high, value)
    below = plot.y.part(value) > 0.9
    text_at = right[0], right[1] + (16 if below else -8)
    return svg.line(left, right, "still thin dashed") + svg.label(
        text_at, f"still image {format_number(value)}", "note", "end"
    )


def _track(curve: Curve, results: Results) -> _Track:
    row = results.metric(curve.name, curve.set)
    values, floors = (
        [(size, value) for size, value in zip(curve.sizes, heights, strict=False) if _finite(value) is not None]
        for heights in (curve.values, curve.floors)
    )
    return _Track(values, floors, None if row is None else _finite(row.extrapolated))


def _limit_label(set_name: str, track: _Track) -> str:
    limit = "" if track.limit is None else f", {format_number(track.limit)} at infinity"
    return clips_label(set_name) + limit


def _size_line(plot: Plot, set_name: str, track: _Track) -> str:
    points = [plot.at(inverse(size), value) for size, value in track.values]
    parts = []
    if track.limit is not None:
        end = plot.at(0, track.limit)
        parts.append(svg.line(points[-1], end, f"{set_name} dashed"))
        parts.append(svg.mark("ring", end, 5, set_name, f"at infinity: {format_number(track.limit)}"))
    parts.append(svg.polyline(points, set_name))
    for (size, value), point in zip(track.values, points, strict=True):
        title = f"{set_label(set_name)}, {size:,} clips: {format_number(value)}"
        parts.append(svg.mark("dot", point, 3.5, set_name, title))
    return "".join(parts)


def _frame_line(plot: Plot, curve: FrameCurve) -> str:
    """The band of the interval, the line of the means and a mark on each."""
    frames = [frame for frame, value in enumerate(curve.values) if _finite(value) is not None]
    sure = [
        frame for frame in frames if _finite(curve.low[frame]) is not None and _finite(curve.high[frame]) is not None
    ]
    low, high = ([plot.at(frame, line[frame]) for frame in sure] for line in (curve.low, curve.high))
    points = [plot.at(frame, curve.values[frame]) for frame in frames]
    parts = [svg.area(high, low, f"{curve.set} band"), svg.polyline(points, curve.set)]
    for frame, point in zip(frames, points, strict=True):
        title = f"{set_label(curve.set)}, frame {frame}: {format_number(curve.values[frame])}"
        parts.append(svg.mark("dot", point, 2.6, curve.set, title))
    return "".join(parts)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

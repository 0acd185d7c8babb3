"""The frame of a chart: axes with round ticks, grid, names, and the legend under it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lvdm.evaluation.report import svg
from lvdm.evaluation.report.number_format import format_number
from lvdm.evaluation.report.svg import Point, Shape
from lvdm.media.html_page import escape

WIDTH, HEIGHT = 480.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 18.0, 30.0, 46.0
_ENDS = 4
"""An axis ends on such a part of the step of its ticks."""

_LETTER = 8.0
"""About the width of a letter of a tick's label."""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with labelled ticks between them."""

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def part(self, value: float) -> float:
        """Where on the axis a value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Key:
    """One line of a legend: a mark, or a line where `shape` is None, of the CSS classes `kind`."""

    kind: str
    text: str
    shape: Shape | None = None


@dataclass(frozen=True)
class Figure:
    """A chart with its title, and what it shows in a sentence or two."""

    title: str
    text: str
    svg: str
    keys: tuple[Key, ...] = ()

    def html(self) -> str:
        """For the page."""
        caption = f"<figcaption><b>{escape(self.title)}</b><span>{escape(self.text)}</span></figcaption>"
        keys = "".join(f"<li>{_sample(key)}{escape(key.text)}</li>" for key in self.keys)
        legend = f"<ul class=legend>{keys}</ul>" if keys else ""
        return f'<figure class="card chart">{caption}{self.svg}{legend}</figure>'


@dataclass(frozen=True)
class Plot:
    """Two axes and the place between them."""

    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> Point:
        """Where a pair of values lies in the drawing; never outside of the axes."""
        across, up = (min(max(axis.part(value), 0.0), 1.0) for axis, value in ((self.x, x), (self.y, y)))
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    def holds(self, x: float, y: float) -> bool:
        """Whether a pair lies between the axes; those that do not are drawn on the edge."""
        return all(-1e-9 <= axis.part(value) <= 1 + 1e-9 for axis, value in ((self.x, x), (self.y, y)))

    def draw(self, title: str, content: str) -> str:
        """The whole chart with `content` over the grid."""
        return svg.drawing(WIDTH, HEIGHT, title, self._frame() + content)

    def _frame(self) -> str:
        left, right, bottom = _LEFT, WIDTH - _RIGHT, HEIGHT - _BOTTOM
        parts = []
        for value, text in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            parts.append(svg.line((left, y), (right, y), "grid"))
            parts.append(svg.label((left - 8, y + 4), text, "tick", "end"))
        free_from = -math.inf
        for value, text in sorted(self.x.ticks, key=lambda tick: -self.x.part(tick[0])):
            x, half = self.at(value, self.y.low)[0], len(text) * _LETTER / 2
            parts.append(svg.line((x, bottom), (x, bottom + 5), "axis"))
            if free_from == -math.inf or x + half < free_from:  # the labels further right come first
                parts.append(svg.label((x, bottom + 19), text, "tick", "middle"))
                free_from = x - half - _LETTER
        parts.append(svg.line((left, bottom), (right, bottom), "axis"))
        parts.append(svg.label((0, 14), self.y.name, "name"))
        parts.append(svg.label((right, HEIGHT - 6), self.x.name, "name", "end"))
        return "".join(parts)


def linear_axis(name: str, values: Iterable[float], from_zero: bool = False, ticks: int = 5) -> Axis:
    """An axis that holds all values, with round ticks; `from_zero` has 0 on it too."""
    found = [*values, *([0.0] if from_zero else [])]
    low, high = min(found), max(found)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        room = abs(high) * 0.1 or 1.0
        low, high = (low if from_zero and low == 0 else low - room), high + room
    step = round_step((high - low) / ticks)
    first, last = (end * step / _ENDS for end in (_floor(low / step * _ENDS), -_floor(-high / step * _ENDS)))
    counts = range(-_floor(-first / step), _floor(last / step) + 1)
    return Axis(name, first, last, tuple((count * step, tick_text(count * step, step)) for count in counts))


def count_axis(name: str, last: int) -> Axis:
    """An axis of whole numbers from 0 to `last`."""
    step = max(1, round(round_step(last / 8))) if last else 1
    marks = tuple((float(number), str(number)) for number in range(0, last + 1, step))
    return Axis(name, 0.0, float(max(last, 1)), marks)


def inverse_axis(name: str, sizes: Sequence[int]) -> Axis:
    """An axis of 1/N, with few clips on the left and infinitely many at the right end; see `inverse`."""
    marks = tuple((inverse(size), f"{size:,}") for size in sorted(set(sizes)))
    return Axis(name, inverse(min(sizes)) * 1.04, 0.0, (*marks, (0.0, "∞")))


def inverse(size: int) -> float:
    """Where N clips lie on `inverse_axis`."""
    return -1.0 / size


def _floor(value: float) -> int:
    """The whole number below, or the one that rounding has just missed."""
    return math.floor(value + 1e-9)


def round_step(rough: float) -> float:
    """The step of ticks nearest above `rough`: 1, 2, 2.5 or 5 times a power of 10."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def tick_text(value: float, step: float) -> str:
    """`value` with as many decimals as `step` needs."""
    if abs(value) < step / 2:
        return "0"
    if step < 1e-4 or abs(value) >= 1e6:
        return format_number(value, 3)
    decimals = next(count for count in range(6) if abs(round(step, count) - step) < step * 1e-6)
    return f"{value:,.{decimals}f}"


def _sample(key: Key) -> str:
    inside = svg.line((1, 7), (21, 7), key.kind) if key.shape is None else svg.mark(key.shape, (11, 7), 5, key.kind)
    return f'<svg class=sample viewBox="0 0 22 14" aria-hidden="true">{inside}</svg>'

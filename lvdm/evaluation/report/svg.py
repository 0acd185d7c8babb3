"""Drawing in SVG: a few marks, as text. Colours come from CSS classes, so that a theme changes them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lvdm.media.html_page import escape

Point = tuple[float, float]
"""x to the right and y down, in units of the drawing."""

Anchor = Literal["start", "middle", "end"]
Shape = Literal["dot", "ring", "diamond"]


def drawing(width: float, height: float, title: str, content: str) -> str:
    """A whole chart that scales to the width of its place. `title` is what a screen reader says."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(width)} {_number(height)}" role="img">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def line(start: Point, end: Point, kind: str) -> str:
    """A straight line; `kind` is its CSS classes."""
    (x1, y1), (x2, y2) = start, end
    return f'<line class="{escape(kind)}" x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}"/>'


def polyline(points: Sequence[Point], kind: str) -> str:
    """A line through points."""
    return f'<polyline class="{escape(kind)}" points="{_points(points)}"/>'


def area(upper: Sequence[Point], lower: Sequence[Point], kind: str) -> str:
    """What lies between two lines with the same ends."""
    return f'<polygon class="{escape(kind)}" points="{_points([*upper, *reversed(lower)])}"/>'


def box(corner: Point, width: float, height: float, kind: str, radius: float = 0) -> str:
    """A rectangle from its upper left corner."""
    x, y = corner
    return (
        f'<rect class="{escape(kind)}" x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
        f'height="{_number(height)}" '
        f'rx="{_number(radius)}"/>'
    )


def mark(shape: Shape, at: Point, size: float, kind: str, title: str = "") -> str:
    """A mark of radius `size`; `title` is what shows under the pointer."""
    x, y = at
    inside = f"<title>{escape(title)}</title>" if title else ""
    if shape == "diamond":
        corners = [(x, y - size), (x + size, y), (x, y + size), (x - size, y)]
        return f'<polygon class="{escape(kind)}" points="{_points(corners)}">{inside}</polygon>'
    kind = f"{kind} ring" if shape == "ring" else kind
    return f'<circle class="{escape(kind)}" cx="{_number(x)}" cy="{_number(y)}" r="{_number(size)}">{inside}</circle>'


def label(at: Point, text: str, kind: str = "", anchor: Anchor = "start") -> str:
    """Text on the base line of `at`."""
    x, y = at
    classes = f' class="{escape(kind)}"' if kind else ""
    return f'<text{classes} x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    """A tenth of a unit is finer than a screen shows."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text

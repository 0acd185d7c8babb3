"""Numbers as people read them: three or four digits that count, and a dash where there is none."""

from __future__ import annotations

import math

DASH = "—"


def format_number(value: float | None, digits: int = 4) -> str:
    """`value` with `digits` significant digits: 0.9731, 27,516, 1.235e+7; a dash for None and what is not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    mantissa, power = f"{value:.{digits - 1}e}".split("e")  # rounds first: 0.99999 has the decimals of 1
    exponent = int(power)
    if exponent < -3 or exponent >= 7:
        return f"{mantissa}e{exponent:+d}"
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def format_signed(value: float | None, digits: int = 4) -> str:
    """The same with a sign in front of positive numbers too, as of differences."""
    text = format_number(value, digits)
    return f"+{text}" if value is not None and math.isfinite(value) and value > 0 else text


def format_interval(low: float | None, high: float | None, digits: int = 4) -> str:
    """[low, high]; a dash where either is missing."""
    ends = format_number(low, digits), format_number(high, digits)
    return DASH if DASH in ends else f"[{ends[0]}, {ends[1]}]"


def format_count(count: int) -> str:
    """1,234."""
    return f"{count:,}"

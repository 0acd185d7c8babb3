"""A report as Markdown: the tables, to be pasted into an issue or a README."""

from __future__ import annotations

import html
import re

from lvdm.evaluation.report.findings import cautions, verdicts
from lvdm.evaluation.report.tables import (
    Table,
    comparison_table,
    metric_table,
    origin_table,
    problem_table,
    protocol_table,
    set_label,
    set_table,
)
from lvdm.evaluation.results import Comparison, Results


def render_markdown(results: Results | None, comparison: Comparison | None) -> str:
    """The whole text; sections of what is missing are left out."""
    parts: list[str] = []
    if results is not None:
        parts += [f"# Evaluation by {_text(results.protocol.name)}", *_bullets(cautions(results))]
        parts += ["## Measures", _table(metric_table(results))]
    if comparison is not None:
        parts.append(f"{'#' if results is None else '##'} Comparison by {_text(comparison.protocol.name)}")
        parts += _bullets(verdicts(comparison))
        parts.append(_table(set_table((("A", comparison.a), ("B", comparison.b)))))
        parts.append(_table(comparison_table(comparison)))
    if results is not None:
        parts += ["## Clips", _table(set_table(tuple((set_label(note.name), note) for note in results.sets)))]
        if results.problems:
            parts.append(_table(problem_table(results)))
    record = results or comparison
    if record is not None:
        parts += ["## Protocol", _table(protocol_table(record.protocol))]
        parts += ["## Where the numbers come from", _table(origin_table(record))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bullets(sentences: list[str]) -> list[str]:
    return ["\n".join(f"- {_text(sentence)}" for sentence in sentences)] if sentences else []


def _table(table: Table) -> str:
    rule = [" ---: " if letter == "r" else " --- " for letter in table.align]
    lines = [_row(table.head), f"|{'|'.join(rule)}|", *(_row(cells) for cells in table.rows)]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    """One line that shows as it is: no tag, no link, no emphasis, no end of a cell."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    line = re.sub(r"([\\`*_|~])", r"\\\1", html.escape(line, quote=False))
    return line.replace("](", "]\\(").replace("![", "!\\[")

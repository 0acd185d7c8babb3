"""The page that `dynamicrafter data check` writes: one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lvdm.data.checking import Status, Verdict
from lvdm.data.source_files import SourceProblem
from lvdm.deprecation import renamed_names
from lvdm.errors import counted
from lvdm.media.html_page import data_uri, document, escape

_BINS = 12
_ORDER: dict[Status, int] = {"broken": 0, "note": 1, "ok": 2}


@dataclass(frozen=True)
class DataCheckReport:
    """All that was found. `problems` concern the set as a whole and stop a training; `left_out` does not."""

    title: str
    settings: str
    verdicts: Sequence[Verdict]
    problems: Sequence[SourceProblem] = ()
    left_out: Sequence[SourceProblem] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Files by status."""
        found = Counter(verdict.status for verdict in self.verdicts)
        return {status: found[status] for status in _ORDER}

    @property
    def is_good(self) -> bool:
        """Whether a training can use all of it."""
        return not self.problems and not self.counts["broken"]

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "source": self.title,
            "settings": self.settings,
            "good": self.is_good,
            "counts": self.counts,
            "problems": [{"what": p.what, "names": list(p.names), "do": p.hint} for p in self.problems],
            "left_out": [{"what": p.what, "names": list(p.names), "do": p.hint} for p in self.left_out],
            "files": [
                {
                    "name": v.facts.name,
                    "status": v.status,
                    "reasons": list(v.reasons),
                    "caption": v.caption,
                    "num_frames": v.facts.num_frames,
                    "fps": v.facts.fps,
                    "height": v.facts.height,
                    "width": v.facts.width,
                    "presentation": v.facts.presentation,
                    "variable_rate": v.facts.variable_rate,
                }
                for v in self.verdicts
            ],
        }


def render_page(report: DataCheckReport, sheet: bytes, sheet_names: Sequence[str]) -> str:
    """The page. `sheet` is a PNG of first frames, numbered as `sheet_names`; b"" for none."""
    facts = [verdict.facts for verdict in report.verdicts if not verdict.facts.error]
    moving = [fact for fact in facts if fact.fps]
    parts = [f"<h1>{escape(report.title)}</h1>", f"<p class=settings>{escape(report.settings)}</p>", _summary(report)]
    parts += [_problem(problem, "broken") for problem in report.problems]
    parts += [_problem(problem, "note") for problem in report.left_out]
    parts.append("<h2>What there is</h2><div class=charts>")
    parts.append(_chart("frames", number_bins([fact.num_frames for fact in facts])))
    parts.append(_chart("seconds", number_bins([fact.num_frames / fact.fps for fact in moving])))
    parts.append(_chart("frames per second", number_bins([round(fact.fps, 2) for fact in moving])))
    parts.append(_chart("height x width", name_bins(f"{fact.height}x{fact.width}" for fact in facts)))
    parts.append("</div>")
    if sheet:
        names = "".join(f"<li>{escape(name)}" for name in sheet_names)
        parts.append(f"<h2>First frames ({len(sheet_names)} of {len(facts)})</h2>")
        parts.append(f'<img alt="first frames" src="{data_uri(sheet, "png")}">')
        parts.append(f"<details><summary>their names</summary><ol start=0>{names}</ol></details>")
    parts.append(_table(report.verdicts))
    return document(report.title, "".join(parts), _STYLE)


def number_bins(values: Sequence[float]) -> list[tuple[str, int]]:
    """Counts of values in up to 12 equal intervals, or of each value where there are no more of them than that."""
    distinct = sorted(set(values))
    if len(distinct) <= _BINS:
        found = Counter(values)
        return [(f"{value:.4g}", found[value]) for value in distinct]
    low, width = distinct[0], (distinct[-1] - distinct[0]) / _BINS
    counts = [0] * _BINS
    for value in values:
        counts[min(int((value - low) / width), _BINS - 1)] += 1
    return [(f"{low + i * width:.4g} to {low + (i + 1) * width:.4g}", count) for i, count in enumerate(counts)]


def name_bins(names: Iterable[str]) -> list[tuple[str, int]]:
    """Counts of the most frequent names, and of all others together."""
    found = Counter(names).most_common()
    shown = found[:_BINS]
    rest = sum(count for _, count in found[_BINS:])
    return [*shown, *([(f"{len(found) - _BINS} others", rest)] if rest else [])]


def _summary(report: DataCheckReport) -> str:
    counts = "".join(f"<b class={status}>{count} {status}</b> " for status, count in report.counts.items())
    verdict = "All of it can be trained on." if report.is_good else "Fix or remove what is broken before training."
    return f"<p>{counted(len(report.verdicts), 'file')}: {counts}</p><p>{verdict}</p>"


def _problem(problem: SourceProblem, status: str) -> str:
    names = "".join(f"<li>{escape(name)}" for name in problem.names)
    title = f"{len(problem.names)} {problem.what}: {problem.hint}"
    return f"<details class={status}><summary>{escape(title)}</summary><ul>{names}</ul></details>"


def _chart(title: str, bins: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars."""
    if not bins:
        return ""
    most = max(count for _, count in bins)
    rows = []
    for row, (name, count) in enumerate(bins):
        length, y = math.ceil(150 * count / most), 18 * row
        rows.append(
            f"<text x=112 y={y + 13} text-anchor=end>{escape(name)}</text>"
            f"<rect x=118 y={y + 3} width={length} height=12 />"
            f"<text x={length + 123} y={y + 13}>{count}</text>"
        )
    return (
        f"<figure><figcaption>{title}</figcaption><svg width=330 height={18 * len(bins)}>{''.join(rows)}</svg></figure>"
    )


def _table(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in sorted(verdicts, key=lambda verdict: (_ORDER[verdict.status], verdict.facts.name)):
        facts = verdict.facts
        known = (
            f"<td>{facts.num_frames}<td>{facts.fps:.2f}<td>{facts.height}x{facts.width}"
            if facts.width
            else "<td><td><td>"
        )
        rows.append(
            f"<tr><td class={verdict.status}>{verdict.status}<td>{escape(facts.name)}{known}"
            f"<td>{escape('; '.join(verdict.reasons))}<td>{escape(verdict.caption or '')}"
        )
    head = "<tr><th>verdict<th>file<th>frames<th>fps<th>size<th>why<th>caption"
    return f"<h2>Every file</h2><table>{head}{''.join(rows)}</table>"


_STYLE = """
.settings, figcaption { color: var(--muted) } .charts { display: flex; flex-wrap: wrap; gap: 1.5em }
svg text { font-size: 12px; fill: var(--muted) } svg rect { fill: var(--accent) }
th { position: sticky; top: 0; background: var(--page) } td { overflow-wrap: anywhere }
td:nth-child(n+3):nth-child(-n+5) { white-space: nowrap }
.ok { color: var(--good) } .note { color: var(--caution) } .broken { color: var(--bad) }
"""


__getattr__ = renamed_names(__name__, {"Report": "DataCheckReport"})

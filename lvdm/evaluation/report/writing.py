"""From the files of a scoring and of a comparison to the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvdm.evaluation.report.findings import cautions, verdicts
from lvdm.evaluation.report.markdown import render_markdown
from lvdm.evaluation.report.page import render_page
from lvdm.evaluation.report.tables import Table, comparison_table, metric_table
from lvdm.evaluation.results import (
    COMPARISON_FILE,
    RESULTS_FILE,
    Comparison,
    Results,
    ResultsError,
    read_comparison,
    read_results,
)
from lvdm.media.atomic import atomic_path
from lvdm.media.ownership import check_replaceable

MARKDOWN_FILE, PAGE_FILE = "report.md", "report.html"
MARKDOWN_MARK = "<!-- dynamicrafter-report/1 -->"
"""Marks a report of ours, apart from a text of the user; the page has such a mark in its head."""


@dataclass(frozen=True)
class Findings:
    """What there is to report: of a scoring, of a comparison, or of both."""

    results: Results | None
    comparison: Comparison | None

    def tables(self) -> list[Table]:
        """What a terminal shows."""
        tables = [] if self.results is None else [metric_table(self.results)]
        return tables if self.comparison is None else [*tables, comparison_table(self.comparison)]

    def sentences(self) -> list[str]:
        """What has to be known before a number is quoted."""
        found = [] if self.results is None else cautions(self.results)
        return found if self.comparison is None else [*found, *verdicts(self.comparison)]


def read_findings(folder: Path, compare: Path | None = None) -> Findings:
    """What lies in `folder`, and the comparison in `compare` where it lies elsewhere. Raises `ResultsError`."""
    there = (folder / COMPARISON_FILE).is_file()
    results = read_results(folder) if (folder / RESULTS_FILE).is_file() else None
    place = compare if compare is not None else folder if there else None
    if results is None and place is None:
        raise ResultsError(f"{folder}: has no {RESULTS_FILE} and no {COMPARISON_FILE}; score or compare into it first")
    return Findings(results, None if place is None else read_comparison(place))


def write_report(
    findings: Findings, folder: Path, roots: Sequence[Path] = (), clips: int = 3, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write `report.md` and `report.html` into `folder`; returns their paths. Raises `OutputError`.

    Equal findings and videos give equal bytes. See `render_page` for `roots` and `clips`; `overwrite` allows to
    replace files of these names that are no reports.
    """
    for name in (MARKDOWN_FILE, PAGE_FILE):
        check_replaceable(folder / name, overwrite)
    texts = {
        folder / MARKDOWN_FILE: f"{MARKDOWN_MARK}\n\n{render_markdown(findings.results, findings.comparison)}",
        folder / PAGE_FILE: render_page(findings.results, findings.comparison, roots, clips),
    }
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return folder / MARKDOWN_FILE, folder / PAGE_FILE

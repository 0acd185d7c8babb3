"""A report as Markdown, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lvdm.benchmark.results import BenchmarkReport, MemoryRow, ParityRow, SpeedRow
from lvdm.media.atomic import together, write_json

Row = TypeVar("Row", ParityRow, SpeedRow, MemoryRow)
JSON_NAME, MARKDOWN_NAME = "benchmark.json", "benchmark.md"


def write_report(report: BenchmarkReport, folder: Path) -> list[Path]:
    """Both files, together. Raises `OutputError`."""
    paths = [folder / JSON_NAME, folder / MARKDOWN_NAME]
    with together() as files:
        write_json(paths[0], report.as_json(), files)
        with files.path(paths[1]) as temporary:
            temporary.write_text("\n".join(markdown(report)) + "\n", encoding="utf-8", newline="\n")
    return paths


def markdown(report: BenchmarkReport) -> list[str]:
    """The lines of a report."""
    machine = report.machine
    lines = [
        f"<!-- {report.format} -->",
        "",
        f"# {machine.device}",
        "",
        f"`dynamicrafter benchmark{' --small' if report.small else ''}`, {report.seconds:.0f} s; {machine.platform}, "
        f"{machine.threads} threads, torch {machine.versions.get('torch', '?')}. The network computes in "
        f"{machine.dtype}, in which a large product of matrices reaches {machine.peak_tflops:.3g} TFLOP/s.",
        "" if report.complete else "\n**Interrupted: what follows was measured before.**\n",
        "## Parity",
        "",
        "The largest difference from a CPU in float32, as a part of the largest value.",
        "",
        *_table(
            ("what", "mode", "precision", "difference", "limit", "within"),
            (
                (
                    row.what,
                    row.mode,
                    row.dtype,
                    _difference(row.largest),
                    f"{row.limit:.0e}",
                    "yes" if row.passed else "NO",
                )
                for row in report.parity
            ),
        ),
        "",
        "## Speed",
        "",
        "Of a guided step, and by it of a video with the steps of the mode, the decoder included. Share: of the "
        "product above. Difference: of the latents from the default's.",
        "",
        *_table(
            ("network", "mode", "s a step", "steps", "s a video", "TFLOP/s", "share", "difference"),
            (
                (
                    *(row.network, row.mode, f"{row.step:.3g}", str(row.steps), f"{row.video:.3g}"),
                    "" if row.tflops is None else f"{row.tflops:.3g}",
                    "" if row.share is None else f"{100 * row.share:.0f} %",
                    "" if row.difference is None else f"{row.difference:.0e}",
                )
                for row in report.speed
            ),
        ),
        "",
        "## Memory",
        "",
        "The peak of the process." if machine.kind == "cpu" else "The peak of what torch holds on the device.",
        "",
        *_table(
            ("network", "mode", "planned, GB", "peak, GB", "planned / peak"),
            (
                (
                    *(row.network, row.mode),
                    *(f"{b / 1e9:.2f}" for b in (row.planned, row.peak)),
                    f"{row.planned / row.peak:.2f}",
                )
                for row in report.memory
            ),
        ),
    ]
    if report.skipped:
        rows = ((row.what, row.mode, row.reason) for row in report.skipped)
        lines += ["", "## Not measured", "", *_table(("network", "mode", "why"), rows)]
    return lines


def comparison(reports: Sequence[BenchmarkReport]) -> list[str]:
    """The lines of two reports side by side: what both have measured, the second as a multiple of the first."""
    first, second = reports
    lines = [
        f"1: {first.machine.device} in {first.machine.dtype}",
        f"2: {second.machine.device} in {second.machine.dtype}",
    ]
    peaks = first.machine.peak_tflops, second.machine.peak_tflops
    lines += [
        "",
        f"A large product of matrices: {peaks[0]:.3g} and {peaks[1]:.3g} TFLOP/s ({peaks[1] / peaks[0]:.2f})",
        "",
    ]
    lines += _table(
        ("network", "mode", "s a step: 1", "2", "2 / 1", "share: 1", "2"),
        (
            (*key, f"{a.step:.3g}", f"{b.step:.3g}", f"{b.step / a.step:.2f}", *(_percent(row.share) for row in (a, b)))
            for key, a, b in _both(first.speed, second.speed)
        ),
    )
    lines += [
        "",
        *_table(
            ("network", "mode", "peak, GB: 1", "2", "2 / 1"),
            (
                (*key, f"{a.peak / 1e9:.2f}", f"{b.peak / 1e9:.2f}", f"{b.peak / a.peak:.2f}")
                for key, a, b in _both(first.memory, second.memory)
            ),
        ),
    ]
    lines += [
        "",
        *_table(
            ("what", "mode", "precision", "difference: 1", "2"),
            (
                (*key, _difference(a.largest), _difference(b.largest))
                for key, a, b in _both(first.parity, second.parity)
            ),
        ),
    ]
    return lines


def _difference(difference: float | None) -> str:
    return "not finite" if difference is None else f"{difference:.1e}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _both(first: Iterable[Row], second: Iterable[Row]) -> Iterator[tuple[tuple[str, ...], Row, Row]]:
    """The rows of the same key in both."""
    others: Mapping[tuple[str, ...], Row] = {_key(row): row for row in second}
    for row in first:
        key = _key(row)
        if key in others:
            yield key, row, others[key]


def _key(row: ParityRow | SpeedRow | MemoryRow) -> tuple[str, ...]:
    """What is to be compared with what; TF32 is what float32 comes to on some devices."""
    if isinstance(row, ParityRow):
        return row.what, row.mode, row.dtype.replace("tf32", "fp32")
    return row.network, row.mode


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]

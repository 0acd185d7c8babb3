"""The tables of a report as cells of text, for a terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lvdm.evaluation.report.number_format import DASH, format_count, format_interval, format_number, format_signed
from lvdm.evaluation.results import FAKE, REAL, STILL, Comparison, MetricRow, ProtocolNote, Results, SetNote

SET_LABELS: Mapping[str, str] = {FAKE: "evaluated", REAL: "real", STILL: "still image"}
_SET_ORDER = (FAKE, REAL, STILL)


@dataclass(frozen=True)
class Table:
    """Cells of text under their heads. `align` has a letter for each column: l for text, r for numbers."""

    head: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]


def set_label(name: str) -> str:
    """A set's name for readers."""
    return SET_LABELS.get(name, name)


def clips_label(name: str) -> str:
    """The clips of a set, in words."""
    return "still images" if name == STILL else f"{set_label(name)} clips"


def reasons(results: Results) -> list[str]:
    """Every different reason why a value is unreliable; the tables name them by their numbers, from 1 on."""
    return list(dict.fromkeys(reason for row in results.metrics for reason in _parts(row.unreliable)))


def _parts(unreliable: str) -> list[str]:
    return [part for part in unreliable.split("; ") if part]


def sets_in_order(names: set[str]) -> list[str]:
    """The evaluated clips, then the baselines, then what we do not know."""
    return [name for name in _SET_ORDER if name in names] + sorted(names - set(_SET_ORDER))


def direction(higher_is_better: bool | None) -> str:
    """Which way is better, in a word."""
    return DASH if higher_is_better is None else "higher" if higher_is_better else "lower"


def glance_table(results: Results) -> Table:
    """One row a metric, one column a set. An asterisk marks values that should not be quoted."""
    sets = sets_in_order({row.set for row in results.metrics})
    rows = []
    for name in dict.fromkeys(row.name for row in results.metrics):
        found = {row.set: row for row in results.metrics if row.name == name}
        better = next(iter(found.values())).higher_is_better
        rows.append((name, direction(better), *(_glance(found.get(set_name)) for set_name in sets)))
    head = ("measure", "better", *(set_label(name) for name in sets))
    return Table(head, "ll" + "r" * len(sets), tuple(rows))


def _glance(row: MetricRow | None) -> str:
    if row is None:
        return ""
    return format_number(row.value) + ("*" if row.unreliable else "")


def metric_table(results: Results) -> Table:
    """Every value with all that says how far it can be trusted; `unreliable` has numbers of `reasons`."""
    head = ("measure", "clips", "value", "95 % interval", "n", "unique", "floor", "at infinity", "unreliable")
    numbers = {reason: number for number, reason in enumerate(reasons(results), start=1)}
    order = sets_in_order({row.set for row in results.metrics})
    rows = [
        (
            row.name,
            set_label(row.set),
            format_number(row.value),
            format_interval(row.low, row.high),
            format_count(row.n),
            format_count(row.unique),
            format_number(row.floor),
            format_number(row.extrapolated),
            " ".join(f"({number})" for number in sorted(numbers[reason] for reason in _parts(row.unreliable))),
        )
        for name in dict.fromkeys(row.name for row in results.metrics)
        for row in sorted(results.metrics, key=lambda row: order.index(row.set))
        if row.name == name
    ]
    return Table(head, "llrrrrrrl", tuple(rows))


def comparison_table(comparison: Comparison) -> Table:
    """Both values of every metric, their difference and what it shows."""
    head = ("measure", "better", "A", "B", "B - A", "95 % interval", "pairs", "verdict")
    rows = [
        (
            row.name,
            direction(row.higher_is_better),
            format_number(row.a),
            format_number(row.b),
            format_signed(row.difference),
            format_interval(row.low, row.high),
            format_count(row.n),
            row.verdict,
        )
        for row in comparison.differences
    ]
    return Table(head, "llrrrrrl", tuple(rows))


def set_table(sets: tuple[tuple[str, SetNote], ...]) -> Table:
    """Labelled sets with their counts."""
    head = ("clips", "manifest", "listed", "read", "skipped", "failed", "SHA-256 of the manifest")
    rows = [
        (
            label,
            note.manifest,
            format_count(note.listed),
            format_count(note.read),
            format_count(note.skipped),
            format_count(note.failed),
            note.manifest_sha256,
        )
        for label, note in sets
    ]
    return Table(head, "llrrrrl", tuple(rows))


def problem_table(results: Results) -> Table:
    """Every clip without numbers, with the reason."""
    rows = [(set_label(problem.set), problem.id, problem.kind, problem.reason) for problem in results.problems]
    return Table(("clips", "id", "what", "reason"), "llll", tuple(rows))


def protocol_table(protocol: ProtocolNote) -> Table:
    """Every field of the protocol."""
    return _facts([(name, _plain(value)) for name, value in protocol.fields.items()])


def origin_table(record: Results | Comparison) -> Table:
    """Where the numbers come from: extractors and their weights, devices, seeds, versions."""
    facts: list[tuple[str, str]] = []
    if isinstance(record, Results):
        facts += [(f"extractor {note.id}", _weights(note.dtype, note.weights_sha256)) for note in record.extractors]
        facts.append(("devices", ", ".join(record.devices) or DASH))
    facts += [(f"seed of {name}", str(seed)) for name, seed in record.seeds.items()]
    facts += [(name, version or DASH) for name, version in record.versions.items()]
    facts.append(("schema", record.schema))
    return _facts(facts)


def _facts(rows: list[tuple[str, str]]) -> Table:
    return Table(("what", "value"), "ll", tuple(rows))


def _weights(dtype: str, sha256: str | None) -> str:
    return f"{dtype}, weights {sha256}" if sha256 else f"{dtype}, no weights"


def _plain(value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return str(value)

"""A report as one HTML file: the charts first, then every number, then where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lvdm.evaluation.report.charts import frame_curve, motion_scatter, size_curve
from lvdm.evaluation.report.clips import Sheet, extremes, make_sheet
from lvdm.evaluation.report.findings import cautions, verdicts
from lvdm.evaluation.report.forest import difference_charts
from lvdm.evaluation.report.meaning import clip_measures, fidelity_measure, motion_measure, prompt_measure, sentence
from lvdm.evaluation.report.number_format import format_number
from lvdm.evaluation.report.plot import Figure
from lvdm.evaluation.report.style import STYLE
from lvdm.evaluation.report.tables import (
    Table,
    comparison_table,
    glance_table,
    metric_table,
    origin_table,
    problem_table,
    protocol_table,
    set_label,
    set_table,
)
from lvdm.evaluation.results import FAKE, Comparison, Results, SetNote
from lvdm.media.html_page import data_uri, document, escape


def render_page(
    results: Results | None, comparison: Comparison | None, roots: Sequence[Path] = (), clips: int = 3
) -> str:
    """The page; sections of what is missing are left out.

    `roots` are the folders that the clips' paths may be relative to, `clips` how many of the best and of the worst
    are shown for each measure.
    """
    body: list[str] = []
    if results is not None:
        body += [_title(results), _notes(cautions(results)), _glance(results), _charts(results)]
    if comparison is not None:
        body += _comparison(comparison, alone=results is None)
    if results is not None:
        body += [_clips(results, roots, clips), _section("Every value", _table(metric_table(results)))]
        body += [_sets(results), _problems(results)]
    record = results or comparison
    if record is not None:
        body.append(
            _section("Protocol", f"<p>{escape(record.protocol.name)}</p>" + _table(protocol_table(record.protocol)))
        )
        body.append(_section("Where the numbers come from", _table(origin_table(record))))
    title = "Evaluation" if record is None else f"Evaluation by {record.protocol.name}"
    return document(title, f"<main>{''.join(body)}</main>", STYLE)


def _title(results: Results) -> str:
    notes = {note.name: note for note in results.sets}
    own = notes.get(FAKE)
    subject = "" if own is None else f"{own.read:,} clips of {own.manifest}"
    return f"<header><p class=kind>Evaluation by {escape(results.protocol.name)}</p><h1>{escape(subject)}</h1></header>"


def _notes(sentences: Sequence[str], kind: str = "caution") -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
    return f'<ul class="notes {kind}">{items}</ul>' if items else ""


def _glance(results: Results) -> str:
    table = _table(glance_table(results))
    if any(row.unreliable for row in results.metrics):
        table += "<p class=foot>* unreliable</p>"
    names = dict.fromkeys(row.name for row in results.metrics)
    meanings = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name in names if (text := sentence(name)))
    glossary = f"<details><summary>What they mean</summary><dl>{meanings}</dl></details>" if meanings else ""
    return _section("At a glance", table + glossary) if names else ""


def _charts(results: Results) -> str:
    names = clip_measures(results)
    fidelity, motion = fidelity_measure(names), motion_measure(names)
    figures: list[Figure | None] = []
    if fidelity is not None and motion is not None:
        figures.append(motion_scatter(results, fidelity, motion))
    figures += [frame_curve(results, name) for name in dict.fromkeys(curve.name for curve in results.frame_curves)]
    figures += [size_curve(results, name) for name in dict.fromkeys(curve.name for curve in results.curves)]
    return _figures("Charts", figures)


def _comparison(comparison: Comparison, alone: bool) -> list[str]:
    sides = (("A", comparison.a), ("B", comparison.b))
    title = f"A: {comparison.a.manifest}, B: {comparison.b.manifest}"
    heading = f"<h1>{escape(title)}</h1>" if alone else f"<h2>Comparison</h2><p>{escape(title)}</p>"
    charts = _grid(chart.html() for chart in difference_charts(comparison))
    tables = _table(comparison_table(comparison)) + _table(set_table(sides))
    details = f"<details><summary>All numbers of the comparison</summary>{tables}</details>"
    return [f"<section>{heading}{_notes(verdicts(comparison), 'plain')}{charts}{details}</section>"]


def _clips(results: Results, roots: Sequence[Path], count: int) -> str:
    names = clip_measures(results)
    fidelity, motion, prompt = fidelity_measure(names), motion_measure(names), prompt_measure(names)
    shown = [name for name in (fidelity, motion, prompt) if name is not None]
    made: dict[str, Sheet] = {}
    parts = []
    for name in shown:
        columns = []
        for heading, videos in zip(_headings(name, motion), extremes(results, name, count), strict=True):
            cards = []
            for video in videos:
                made.setdefault(video.id, make_sheet(video, roots))
                cards.append(_card(made[video.id], [name, *(other for other in shown if other != name)]))
            if cards:
                columns.append(f"<div><h4>{heading}</h4>{''.join(cards)}</div>")
        if columns:
            parts.append(f"<h3>By {escape(name)}</h3><div class=grid>{''.join(columns)}</div>")
    return _section("Clips at the ends", "".join(parts)) if parts else ""


def _headings(name: str, motion: str | None) -> tuple[str, str]:
    return ("most", "least") if name == motion else ("best", "worst")


def _card(sheet: Sheet, names: Sequence[str]) -> str:
    video = sheet.video
    if sheet.missing:
        image = f"<p class=missing>{escape(sheet.missing)}</p>"
    else:
        alt = f"frames of {video.id}"
        image = f'<img src="{data_uri(sheet.jpeg, "jpeg")}" width={sheet.width} alt="{escape(alt)}">'
    numbers = "".join(f"<li>{escape(name)} <b>{format_number(video.values.get(name))}</b></li>" for name in names)
    prompt = f"<p class=prompt dir=auto>{escape(video.prompt)}</p>" if video.prompt else ""
    return (
        f"<article class=card>{image}<p class=id><b>{escape(video.id)}</b> <span>{escape(video.video)}</span></p>"
        f"{prompt}<ul class=numbers>{numbers}</ul></article>"
    )


def _sets(results: Results) -> str:
    notes: tuple[tuple[str, SetNote], ...] = tuple((set_label(note.name), note) for note in results.sets)
    return _section("Clips", _table(set_table(notes))) if notes else ""


def _problems(results: Results) -> str:
    if not results.problems:
        return ""
    table = _table(problem_table(results))
    return f"<details open><summary>Clips without numbers ({len(results.problems):,})</summary>{table}</details>"


def _figures(title: str, figures: Iterable[Figure | None]) -> str:
    drawn = [figure.html() for figure in figures if figure is not None]
    return _section(title, _grid(drawn)) if drawn else ""


def _grid(cards: Iterable[str]) -> str:
    inside = "".join(cards)
    return f"<div class=grid>{inside}</div>" if inside else ""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(table: Table) -> str:
    head = "".join(_cell("th", text, letter) for text, letter in zip(table.head, table.align, strict=True))
    rows = "".join(
        f"<tr>{''.join(_cell('td', text, letter) for text, letter in zip(cells, table.align, strict=True))}</tr>"
        for cells in table.rows
    )
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(tag: str, text: str, letter: str) -> str:
    return f"<{tag}{' class=r' if letter == 'r' else ''}>{escape(text)}</{tag}>"

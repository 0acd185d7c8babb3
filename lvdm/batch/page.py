"""The page of a batch: all its videos beside their prompts and settings, and what went wrong, in the same folder."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lvdm.batch.plan import BadRow, BatchItem, BatchPlan
from lvdm.batch.planning import PAGE
from lvdm.batch.states import FINISHED, State, failure_path, survey
from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import parameters_of
from lvdm.documents import read_json
from lvdm.errors import counted
from lvdm.jobs.record import read_record
from lvdm.media.atomic import atomic_path
from lvdm.media.html_page import document, escape, link
from lvdm.media.ownership import frame_name, names_frames, record_path, sheet_path
from lvdm.regular_files import real_path

VIDEO_SUFFIXES = (".mp4", ".webm")


def write_page(plan: BatchPlan, states: Mapping[int, State]) -> Path:
    """Write the page of a plan whose items are in these states; returns where. Raises `OutputError`."""
    page = plan.folder / PAGE
    html = render_page(plan, states, page)
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8", newline="\n")
    return page


class LivePage:
    """The page of a batch at work, written anew from time to time by one of its processes."""

    def __init__(self, plan: BatchPlan, interval: float = 60.0) -> None:
        self._plan, self._interval, self._next = plan, interval, time.monotonic() + interval

    def refresh(self) -> None:
        """Write it, where the last time was long ago: a minute, or a hundred times what it takes."""
        begin = time.monotonic()
        if not self._plan.page or begin < self._next:
            return
        write_page(self._plan, survey(self._plan))
        now = time.monotonic()
        self._next = now + max(self._interval, 100 * (now - begin))


def render_page(plan: BatchPlan, states: Mapping[int, State], page: Path) -> str:
    """The page that will lie at `page`."""
    counts = Counter(state.kind for state in states.values())
    failed = counts["failed"] + counts["refused"]
    parts = [f"<b class=good>{counts['finished']} finished</b>"]
    parts += [f"<b class=bad>{failed} failed</b>"] if failed else []
    parts += [f"<b class=bad>{counted(len(plan.bad), 'row')} cannot be made</b>"] if plan.bad else []
    parts += [f"<b>{counts['open']} not made yet</b>"] if counts["open"] else []
    title = real_path(plan.folder).name
    body = [f"<h1>{escape(title)}</h1><p>{', '.join(parts)}</p>"]
    if plan.bad:
        body.append(f"<h2>Rows that cannot be made</h2><ul class=problems>{''.join(map(_bad_row, plan.bad))}</ul>")
    for heading, kinds in (
        ("Failed", ("failed", "refused")),
        ("Finished", ("finished",)),
        ("Not made yet", ("open",)),
    ):
        numbers = [number for number, state in states.items() if state.kind in kinds]
        if numbers:
            cards = "".join(_card(plan, plan.items[number], states[number], page) for number in sorted(numbers))
            body.append(f"<h2>{heading}</h2><div class=cards>{cards}</div>")
    return document(title, "".join(body), _STYLE, shows_files=True)


def _bad_row(row: BadRow) -> str:
    return f"<li><b>{escape(row.name)}</b>, row {row.number} ({escape(row.place)}): {escape(row.problem)}"


def _card(plan: BatchPlan, item: BatchItem, state: State, page: Path) -> str:
    record = record_path(item.output)
    inputs = item.videos[0].request.inputs
    shown = _media(item.output, page) if state == FINISHED else ""
    links = [(record, "record"), (sheet_path(record), "all frames")] if state == FINISHED else []
    links += [(failure_path(item.output), "what went wrong")] if state.kind == "failed" else []
    linked = [f'<a href="{link(target, page)}">{text}</a>' for target, text in links if target.is_file()]
    problem = f"<p class=bad>{escape(state.problem)}</p>" if state.problem else ""
    about = [*_facts(item), *(_measured(record) if state == FINISHED else ())]
    return (
        f"<figure id=row-{item.row}>{shown}<figcaption><b>{escape(item.output.stem)}</b> <span>row {item.row}</span>"
        f"<p>{escape(inputs.prompt) or '<i>no prompt</i>'}</p>{problem}<p class=facts>{escape(', '.join(about))}</p>"
        f"{_settings(item)}<p class=facts>{' '.join(linked)}</p></figcaption></figure>"
    )


def _media(output: Path, page: Path) -> str:
    """The video, or of single frames the first."""
    first = output.with_name(frame_name(output.name, 0)) if names_frames(output) else output
    source = link(first, page)
    if output.suffix.lower() in VIDEO_SUFFIXES:
        return f'<video src="{source}" controls loop muted playsinline preload=metadata></video>'
    return f'<img src="{source}" alt="{escape(output.name)}" loading=lazy>'


def _facts(item: BatchItem) -> Iterator[str]:
    request = item.videos[0].request
    settings, size = request.settings, request.size.inner
    yield settings.mode
    yield f"{size.width}x{size.height}"
    yield counted(settings.num_frames, "frame")
    yield counted(settings.num_inference_steps, "step")
    yield f"seed {request.seed}, noise {request.index}"
    if len(item.videos) > 1:
        yield f"the best of {len(item.videos)}"


def _settings(item: BatchItem) -> str:
    """All settings that are not empty, folded."""
    settings = item.videos[0].request.settings
    rows = "".join(
        f"<tr><th>{name}<td>{escape(str(as_text(getattr(settings, name))))}"
        for name in parameters_of(type(settings))
        if getattr(settings, name) not in (None, (), "")
    )
    return f"<details><summary>settings</summary><table>{rows}</table></details>"


def _measured(record: Path) -> Iterator[str]:
    """What the record of a video says of its making."""
    try:
        measured: dict[str, Any] = read_json(record)["measured"]
        yield f"{sum(measured['seconds'].values()):.1f} s"
        quality = read_record(record).quality
        if quality is not None:
            yield quality.line()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # it was taken away meanwhile


_STYLE = """
b.good { color: var(--good) } b.bad, p.bad { color: var(--bad) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); gap: 1em }
.cards figure {
  border: 1px solid var(--line); border-radius: 8px; background: var(--card); overflow: hidden; min-width: 0;
}
.cards video, .cards img { display: block; width: 100%; background: var(--soft) }
figcaption { padding: .6em .8em; overflow-wrap: anywhere }
figcaption span, .facts { color: var(--muted); font-size: .87em }
figcaption p { margin: .3em 0 } figcaption table { font-size: .8em }
.problems { overflow-wrap: anywhere }
"""

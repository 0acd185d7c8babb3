"""What the page says while a job runs and at its end, as HTML; all words of others are escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from lvdm.app.work import View
from lvdm.progress import in_words

IDLE = '<div class="job idle">Nothing is being made.</div>'
CANCELLED = '<div class="job" role="status">Cancelled; nothing was kept.</div>'
CSS = """
.job {padding: .6rem .8rem; border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
      background: var(--block-background-fill); color: var(--body-text-color);}
.job.idle {color: var(--body-text-color-subdued);}
.job progress {width: 100%; height: .5rem; appearance: none; border: none; border-radius: 4px; overflow: hidden;
               background: var(--border-color-primary);}
.job progress::-webkit-progress-bar {background: var(--border-color-primary);}
.job progress::-webkit-progress-value {background: var(--color-accent);}
.job progress::-moz-progress-bar {background: var(--color-accent);}
.job img {display: block; width: min(100%, 320px); margin: .5rem auto 0; border-radius: var(--radius-md);
          image-rendering: auto;}
.job .notes {margin: .4rem 0 0; padding-left: 1.1rem; font-size: .85em; color: var(--body-text-color-subdued);}
.jobs {width: 100%; font-size: .85em;}
.jobs th, .jobs td {text-align: left; padding: .2rem .4rem; border: 1px solid var(--border-color-primary);}
.tab-container button {padding-inline: .5rem !important;}
.block {overflow-wrap: anywhere;}
.why {padding: .5rem .8rem; border-left: 3px solid var(--color-accent); color: var(--body-text-color);}
footer {display: none !important;}
#work {display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 4fr); grid-template-rows: auto 1fr;
       align-items: start;}
#made {grid-column: 2; grid-row: 1 / span 2;}
@media (max-width: 700px) {
  #work {grid-template-columns: minmax(0, 1fr);}
  #made {grid-column: 1; grid-row: auto;}
  #cancel {order: -3;}
  #status {order: -2;}
  #seen-image, #seen {order: -1;}
  .gallery {flex-wrap: nowrap !important; overflow-x: auto;}
  .gallery > * {flex: none;}
  #video:not(:has(video)), .form:has(> #report :placeholder-shown), #files:not(:has(a)) {display: none;}
}
"""


def running(view: View) -> str:
    """A job that is at work, with a preview of its video."""
    count = f"{view.done} of {view.total}" if view.total else ""
    left = "" if view.left is None else f", about {in_words(view.left)} left"
    title = f"{escape(view.title)}: " if view.title else ""
    bar = f'<progress max="{view.total}" value="{view.done}"></progress>' if view.total else "<progress></progress>"
    image = ""
    if view.image is not None:
        data = base64.b64encode(view.image).decode()
        image = f'<img class="preview" alt="preview of the video" src="data:image/webp;base64,{data}">'
    words = f"{title}{escape(view.stage)} {count}{left}"
    return f'<div class="job" role="status"><span>{words}</span>{bar}{image}{notes(view.notes)}</div>'


def finished(report: str, seconds: float, said: tuple[str, ...]) -> str:
    """A job that is completed."""
    words = f"<b>Done in {in_words(seconds)}.</b> {escape(report)}"
    return f'<div class="job" role="status"><span>{words}</span>{notes(said)}</div>'


def failed(message: str) -> str:
    """A job that was refused or broke off."""
    return f'<div class="job" role="alert"><span>{escape(message)}</span></div>'


def said(message: str) -> str:
    """Something that was done at once."""
    return f'<div class="job" role="status"><span>{escape(message)}</span></div>'


def notes(lines: tuple[str, ...]) -> str:
    """What the library said, as a list."""
    if not lines:
        return ""
    return f'<ul class="notes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their headings, as plain HTML: gradio's own table draws its rows when it gets to measuring itself."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table class="jobs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def why(reason: str) -> str:
    """Why a tab cannot be used with the model that is chosen."""
    return f'<div class="why">{escape(reason)}</div>' if reason else ""

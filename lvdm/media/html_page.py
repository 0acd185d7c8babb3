"""HTML pages of one file each: they need no network, no script and no other file, and follow light and dark themes."""

from __future__ import annotations

import base64
import html
import os
from pathlib import Path
from urllib.parse import quote

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing. Whatever a caption holds, it cannot run or fetch anything."""
_BESIDE = "default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src 'unsafe-inline'"
"""For a page that shows what lies beside it: that too, from the disk or the same server, and nothing that runs."""


def escape(text: str) -> str:
    """Text that shows as it is, in an element or in a quoted attribute. Lone surrogates become question marks."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))


def data_uri(content: bytes, kind: str) -> str:
    """An image as the value of `src`; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def link(target: Path, page: Path) -> str:
    """The address of a file as the page has it in an attribute: relative, so that the folder may be moved."""
    return escape(quote(os.fsencode(Path(os.path.relpath(target, page.parent)).as_posix())))


def document(title: str, body: str, style: str, shows_files: bool = False) -> str:
    """A whole page. `title` is text; `body` is HTML; `style` is CSS that comes after the common one.

    shows_files: it shows images and videos that lie beside it
    """
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        "<meta name=generator content=dynamicrafter-page/1>"
        f'<meta http-equiv=Content-Security-Policy content="{_BESIDE if shows_files else _POLICY}">'
        f"<title>{escape(title)}</title><style>{_COMMON}{style}</style></head><body>{body}</body></html>\n"
    )


_COMMON = """
:root {
  color-scheme: light dark;
  --page: #fff; --card: #fff; --text: #1f2328; --muted: #59636e; --line: #e3e6ea; --soft: #f5f7f9;
  --accent: #2f6fb3; --good: #2a7d2e; --caution: #9a6700; --bad: #b3261e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1b1f24; --text: #e4e8ec; --muted: #9aa5b1; --line: #313840; --soft: #22272e;
    --accent: #6fb0ee; --good: #6cc070; --caution: #e0ac45; --bad: #f28b82;
  }
}
* { box-sizing: border-box }
body {
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--text);
  background: var(--page); max-width: 1120px; margin: 0 auto; padding: 2em 1.2em 4em; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 1.6em; line-height: 1.25; margin: 0 0 .3em; overflow-wrap: anywhere }
h2 { font-size: 1.2em; margin: 2.4em 0 .6em }
figure { margin: 0 }
img { max-width: 100% }
table { border-collapse: collapse; width: 100% }
th { text-align: left; color: var(--muted); font-weight: 600 }
td, th { padding: .3em 1em .3em 0; border-bottom: 1px solid var(--line); vertical-align: top }
summary { cursor: pointer }
"""

"""A hook of mkdocs (`mkdocs.yml`): pages of the site that do not lie in `docs/`, and links between all of them.

A document links to files as they lie in the repository, so that it can be read there. On the site a link to another
page leads to that page; one to a file that is no page stays as its text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUTSIDE = (
    *("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "checkpoints/README.md", "checkpoints/tiny/README.md"),
    *("checkpoints/tiny-structure/README.md", "benchmarks/plugins.md"),
)
"""Documents beside `docs/` that are pages."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def place_on_site(path: str) -> str:
    """Where a file of the repository lies on the site."""
    return path.removeprefix("docs/")


def place_in_repository(uri: str) -> str:
    """Where a file of the site lies in the repository."""
    return uri if uri in OUTSIDE else f"docs/{uri}"


def images_of(document: str) -> list[str]:
    """The images that a document shows, as they lie in the repository."""
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = posixpath.dirname(document)
    return [posixpath.normpath(posixpath.join(folder, target)) for mark, _, target in LINK.findall(text) if mark]


def rewritten(markdown: str, document: str, pages: set[str]) -> str:
    """The text of a document with links as the site has them. pages: what there is on it, by its place there."""
    folder, here = posixpath.dirname(document), posixpath.dirname(place_on_site(document))

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        name, hash_, anchor = target.partition("#")
        if not name or "://" in name or name.startswith("mailto:"):
            return match.group()
        there = place_on_site(posixpath.normpath(posixpath.join(folder, name)))
        if there not in pages:
            return text
        return f"{mark}[{text}]({posixpath.relpath(there, here or '.')}{hash_}{anchor})"

    return LINK.sub(link, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Add the documents of `OUTSIDE` and their images."""
    from mkdocs.structure.files import File

    for document in OUTSIDE:
        for path in (document, *images_of(document)):
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links to pages."""
    pages = {file.src_uri for file in files}
    return rewritten(markdown, place_in_repository(page.file.src_uri), pages)

"""The documentation site: its pages and links. `scripts/test.sh` builds it, and stops at a warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.draw_effects import EFFECTS, IMAGES, PAGE, page
from scripts.site_pages import LINK, OUTSIDE, images_of, place_in_repository, rewritten

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SIZE_LIMIT = 1_500_000
"""Bytes of all pictures of the documents together."""


def pages_of(nav: Any) -> list[str]:
    """The pages of a menu, of its parts too."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def test_every_document_is_in_the_menu_once(site: dict[str, Any]) -> None:
    menu = pages_of(site["nav"])
    assert len(menu) == len(set(menu)), "a page stands twice"
    pages = {*(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")), *OUTSIDE}
    assert pages == set(menu), "give a new page its place in the nav of mkdocs.yml"
    assert site["strict"] is True, "a broken link would not stop the site"


def test_links_lead_to_pages_or_are_text(site: dict[str, Any]) -> None:
    pages = {*pages_of(site["nav"]), *(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.png"))}
    pages |= {image for document in OUTSIDE for image in images_of(document)}
    for uri in pages_of(site["nav"]):
        document = place_in_repository(uri)
        text = rewritten((ROOT / document).read_text(encoding="utf-8"), document, pages)
        folder = Path("/", uri).parent
        for _, label, target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
            name = target.partition("#")[0]
            if name and "://" not in name:
                there = (folder / name).resolve().as_posix().removeprefix("/")
                assert there in pages, f"{document}: [{label}]({target}) leads nowhere on the site"


def test_links_of_a_document_as_the_site_has_them() -> None:
    pages = {"plugins.md", "app.md", "SECURITY.md", "checkpoints/README.md"}
    text = "[a](../SECURITY.md#x) [b](plugins.md) [c](../lvdm/device.py) [d](https://a.org/b.md) [e](#f)"
    expected = "[a](SECURITY.md#x) [b](plugins.md) c [d](https://a.org/b.md) [e](#f)"
    assert rewritten(text, "docs/app.md", pages) == expected
    assert rewritten("[p](../docs/plugins.md)", "checkpoints/README.md", pages) == "[p](../plugins.md)"


def test_the_page_of_effects_is_made_by_its_script() -> None:
    assert PAGE.read_text(encoding="utf-8") == "\n".join(page()) + "\n", "run python -m scripts.draw_effects"
    assert {path.name for path in IMAGES.glob("*")} == {effect.file for effect in EFFECTS}
    assert sum(path.stat().st_size for path in (DOCS / "pictures").rglob("*.*")) < SIZE_LIMIT

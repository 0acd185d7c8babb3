"""Pages are closed to what they show: text stays text, and nothing is loaded."""

from __future__ import annotations

import base64

from lvdm.media.html_page import data_uri, document, escape


def test_text_stays_text_in_elements_and_attributes() -> None:
    assert escape("<script>\"'&") == "&lt;script&gt;&quot;&#x27;&amp;"
    assert escape("a \ud800 b") == "a ? b", "a lone surrogate, which no file can hold"


def test_the_page_has_its_parts_and_loads_nothing() -> None:
    page = document("<b>", "<p>body</p>", "p { margin: 0 }")
    assert "<title>&lt;b&gt;</title>" in page
    assert "<p>body</p>" in page
    assert "p { margin: 0 }</style>" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_picture_becomes_part_of_the_page() -> None:
    assert data_uri(b"\x00\xff", "png") == "data:image/png;base64," + base64.b64encode(b"\x00\xff").decode()

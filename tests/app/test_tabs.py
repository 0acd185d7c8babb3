"""Which tabs a model serves, and what the others say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from served import LIMITS

from lvdm.app.endpoints import Desk
from lvdm.app.page import TABS, build_page
from lvdm.hosting.library import Library, ListedModel
from lvdm.model_card import RELEASED
from lvdm.model_files import find_preset

CARDS = {
    "image": RELEASED["512"],
    "two images": RELEASED["512_interp"],
    "text": replace(RELEASED["512"], capabilities=("t2v",)),
    "gist": replace(RELEASED["512"], keeps_image=False),
    "depth": replace(RELEASED["512"], capabilities=("structure",)),
    "all": replace(RELEASED["512"], capabilities=("i2v", "interpolation", "t2v")),
}
"""Models by what they see; `gist` sees what the image shows alone, as VideoCrafter does."""
ABLE = {
    "image": ("animate", "interpolate", "loop", "extend"),
    "two images": ("interpolate", "loop"),
    "text": ("text-to-video",),
    "gist": ("animate", "loop", "extend"),
    "depth": ("structure",),
    "all": ("animate", "interpolate", "loop", "text-to-video", "extend"),
}
"""The tabs that they serve; the first one interpolates with the setting `between`."""
SAID = {
    ("image", "interpolate"): "or go both ways with between vibid",
    ("image", "text-to-video"): "needs an image and cannot make a video from text alone",
    ("image", "structure"): "reads no depth",
    ("two images", "animate"): "needs a first and a last image",
    ("two images", "extend"): "does not go on from an image",
    ("text", "loop"): "makes videos from text alone and cannot loop",
    ("gist", "interpolate"): "animates one image and cannot interpolate",
    ("depth", "animate"): "needs depth and does not animate",
}


@pytest.mark.parametrize("name", ABLE)
def test_a_model_serves_a_tab_or_says_why_not(name: str) -> None:
    model = listed(name)
    assert tuple(mode for mode in TABS if model.able(mode)) == ABLE[name]
    for mode in TABS:
        assert model.cannot(mode) or mode in ABLE[name], f"{mode}: no reason is given"
    for mode in (mode for other, mode in SAID if other == name):
        assert SAID[name, mode] in model.cannot(mode)


def test_the_page_says_it_in_the_tab(tmp_path: Path) -> None:
    blocks = build_page(Desk(Library({"image": listed("image")}), LIMITS, tmp_path, "cpu"))
    parts: list[dict[str, Any]] = [part["props"] for part in blocks.get_config_file()["components"]]
    buttons = {part["elem_id"]: part["interactive"] for part in parts if str(part.get("elem_id")).endswith("-generate")}
    assert tuple(mode for mode in TABS if buttons[f"{mode}-generate"]) == ABLE["image"]
    shown = [part["value"] for part in parts if 'class="why"' in str(part.get("value")) and part["visible"]]
    assert len(shown) == 3
    assert "go both ways with between vibid" in shown[0]
    assert not any("preset" in line for line in shown), "the page offers a model that it does not list"
    helps = {str(part.get("elem_id")): part["info"] for part in parts if part.get("info")}
    assert helps["num_frames"].endswith(f"1 to {LIMITS.max_frames} frames."), "it says more than is made here"
    assert "0 to 1" not in helps["motion"], "a range is said twice"
    assert not [text for text in helps.values() if "--" in text], "help speaks of the command line"


def listed(name: str) -> ListedModel:
    """A model of the list; its card decides what it serves, not its weights."""
    return ListedModel(name, find_preset("tiny"), CARDS[name])

"""Scripts of small stories, for the files that `tests/story/conftest.py` lays out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw
from small_model import SIDE, picture


def lay_out_images(folder: Path) -> None:
    """A background, a character on a transparent layer and an image."""
    picture().save(folder / "cat.png")
    Image.new("RGB", (2 * SIDE, SIDE), (0, 0, 255)).save(folder / "sea.png")
    layer = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    ImageDraw.Draw(layer).rectangle((10, 0, 29, 39), fill=(255, 0, 0, 255))
    layer.save(folder / "red.png")


def script(**changes: Any) -> dict[str, Any]:
    """A story of three shots, the second of which goes on from the first, at 8 frames per second."""
    story: dict[str, Any] = {
        "title": "Three shots",
        "characters": {"Ruby": {"image": "red.png", "description": "the red bar"}},
        "places": {"sea": {"image": "sea.png"}},
        "shots": [
            {
                "name": "one",
                "compose": {"place": "sea", "characters": [{"character": "Ruby", "box": [0.25, 0.5, 0.5, 1]}]},
                "prompt": "Ruby moves to the right",
            },
            {"name": "two", "from": "previous", "prompt": "Ruby stays still"},
            {"name": "three", "image": "cat.png", "prompt": "a cat", "seconds": 0.5},
        ],
    }
    return {**story, **changes}


def write_script(tree: dict[str, Any], name: str = "story.yaml") -> Path:
    path = Path(name)
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return path

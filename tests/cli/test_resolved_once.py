"""One request is read once: each image is decoded, the settings are checked and a method's text is parsed one time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from PIL import Image
from small_model import picture
from test_commands import PROMPT, succeed

from lvdm.documents import read_yaml
from lvdm.request.settings import GenerationSettings

METHODS = {"camera": "pan_left:amount=0.2", "free_u": "b1=1.2,s1=0.9", "perturbed_guidance": "stg:scale=0.7"}


@contextmanager
def counted_parses(texts: set[str]) -> Iterator[Counter[str]]:
    """How often one of `texts` is handed to a function parse_... of the library that no other one calls with it."""
    counts: Counter[str] = Counter()

    def text_of(frame: FrameType | None) -> Any:
        parses = frame is not None and frame.f_code.co_name.startswith("parse_") and "lvdm" in frame.f_code.co_filename
        return frame.f_locals.get("text") if frame is not None and parses else None

    def watch(frame: FrameType, event: str, _: object) -> None:
        text = text_of(frame) if event == "call" else None
        if isinstance(text, str) and text in texts and text_of(frame.f_back) != text:
            counts[text] += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield counts
    finally:
        sys.setprofile(before)


def test_images_are_decoded_once_and_settings_are_checked_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(seed=1).save("dog.png")
    picture(seed=2).save("mask.png")
    opened, checked = Counter[str](), list[GenerationSettings]()
    decode, check = Image.open, GenerationSettings.__post_init__

    def count_image(file: Any, *args: Any, **values: Any) -> Image.Image:
        opened[Path(getattr(file, "name", file)).name] += 1
        return decode(file, *args, **values)

    def count_check(settings: GenerationSettings) -> None:
        checked.append(settings)
        check(settings)

    monkeypatch.setattr(Image, "open", count_image)
    monkeypatch.setattr(GenerationSettings, "__post_init__", count_check)
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--keep-mask", "mask.png", "--eta", 0.25)
    assert opened == {"cat.png": 1, "mask.png": 1}
    assert len([settings for settings in checked if settings.eta == 0.25]) == 1, (
        "those of the request; cards have others"
    )
    opened.clear()
    succeed("interpolate", "cat.png", "dog.png", "-p", PROMPT, "-o", "b.mp4", "--num-videos-per-prompt", 2)
    assert opened == {"cat.png": 1, "dog.png": 1}


def test_the_text_of_a_method_is_parsed_once(here: Path) -> None:
    options = [word for name, text in METHODS.items() for word in (f"--{name.replace('_', '-')}", text)]
    with counted_parses(set(METHODS.values())) as counts:
        succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", *options)
    assert counts == dict.fromkeys(METHODS.values(), 1)


def test_a_plan_reads_the_configuration_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Counter[str]()

    def count(path: str | Path) -> Any:
        read[Path(path).name] += 1
        return read_yaml(path)

    monkeypatch.setattr("lvdm.config.read_yaml", count)
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--num-videos-per-prompt", 2, "--dry-run")
    assert read == {"config.yaml": 1}

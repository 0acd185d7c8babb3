"""Every two plug-ins together: they run, or the settings say why not before anything is loaded.

Which exclude each other is read from the table that the declarations give (`lvdm.plugins.conflicts`).
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from plugin_settings import METHODS, SIDE, write_two_models
from small_model import FRAMES, picture

from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.plugins.conflicts import claims_of, exclusions, lacking_in
from lvdm.plugins.registry import methods
from lvdm.request.settings import GenerationSettings

IMAGE, PROMPT = picture(SIDE, SIDE), "a red ball moves to the right"
NO_SETTINGS = ("prompts_at", "keep_mask", "keyframes")
PAIRS = [
    (one, other)
    for one, other in itertools.combinations(METHODS, 2)
    if METHODS[one].keys() & METHODS[other].keys() <= {"num_frames"}  # else they are values of one setting
]


def settings_of(given: dict[str, Any]) -> GenerationSettings:
    """The settings among the arguments of a call."""
    mode = "keyframes" if "keyframes" in given else "animate"
    return GenerationSettings(mode=mode, **{name: value for name, value in given.items() if name not in NO_SETTINGS})


def why_not(pair: tuple[str, str]) -> list[str]:
    """Why a pair is excluded, by the table; nothing for one that goes together."""
    claims = [claim for name in pair for claim in claims_of(settings_of(METHODS[name]), METHODS[name])]
    mode = "keyframes" if "keyframes" in pair else "animate"
    return [found.because for found in (*exclusions(claims), *lacking_in(mode, claims))]


EXCLUDED = [pair for pair in PAIRS if why_not(pair)]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_two_models(tmp_path_factory.mktemp("checkpoints"))
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def alone(pipe) -> dict[str, torch.Tensor]:
    """What each method makes by itself."""
    return {name: pipe(IMAGE, PROMPT, **given).video for name, given in METHODS.items()}


def test_every_method_of_one_image_is_paired() -> None:
    """Those with images at later frames, the network in pieces and videos by frames have tests of their own."""
    given = [(settings_of(given), given) for given in METHODS.values()]
    tried = {claim.method for settings, inputs in given for claim in claims_of(settings, inputs)}
    tried |= {m.name for settings, inputs in given for m in methods().values() if m.active(settings)}
    assert methods().keys() - tried == {"between", "chunked", "fifo", "cyclic"}


def test_the_table_excludes_what_it_did() -> None:
    """So that no declaration takes a pair away that ran."""
    assert {frozenset(pair) for pair in EXCLUDED} == {
        frozenset(pair)
        for pair in [
            ("camera", "free_init"),  # both make the noise that sampling begins with
            ("truncated_start", "free_init"),
            ("camera", "freescale"),
            ("free_init", "freescale"),
            ("truncated_start", "freescale"),
            ("camera", "keyframes"),  # the camera leaves what the video ends with
            ("carry", "keyframes"),
            ("carry", "low_pass"),  # both decide on the image latents
            ("keep_mask", "keyframes"),  # a kept region stays as in one image
        ]
    }


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in EXCLUDED], ids="+".join)
def test_two_methods_work_together_and_both_have_an_effect(pipe, alone, pair: tuple[str, str]) -> None:
    given = {**METHODS[pair[0]], **METHODS[pair[1]]}
    video = pipe(IMAGE, PROMPT, **given).video
    side, frames = given.get("height", SIDE), given.get("num_frames", FRAMES)
    assert video.shape == (1, 3, frames, side, side)
    assert torch.isfinite(video).all(), f"{' and '.join(pair)} give numbers that are none"
    for name in pair:
        other = alone[name]
        assert other.shape != video.shape or not torch.equal(other, video), f"beside {name} the other has no effect"


@pytest.mark.parametrize("pair", EXCLUDED, ids="+".join)
def test_what_makes_no_sense_together_is_said(pipe, pair: tuple[str, str]) -> None:
    given = {**METHODS[pair[0]], **METHODS[pair[1]]}
    with pytest.raises(ValueError, match=r"leave out|give only one") as caught:
        pipe(IMAGE, PROMPT, **given)
    assert str(caught.value) in why_not(pair), "the message is not the one of the table"


def test_what_settings_exclude_is_said_without_a_model() -> None:
    pairs = [pair for pair in EXCLUDED if not {"keyframes", "keep_mask"} & set(pair)]
    assert pairs
    for pair in pairs:
        with pytest.raises(ValueError, match="give only one"):
            GenerationSettings(**METHODS[pair[0]], **METHODS[pair[1]])

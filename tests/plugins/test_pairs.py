"""Every two plug-ins together: they run, or the settings say why not before anything is loaded."""

from __future__ import annotations

import itertools

import pytest
import torch
from plugin_settings import METHODS, write_two_models
from small_model import FRAMES, SIDE, picture

from lvdm.generation import GenerationSettings
from lvdm.pipeline import DynamiCrafterPipeline

PROMPT = "a red ball moves to the right"
SENSELESS = {
    frozenset(pair)
    for pair in [
        ("camera", "free_init"),  # both make the noise that sampling begins with
        ("start_time", "free_init"),
        ("camera", "freescale"),
        ("free_init", "freescale"),
        ("start_time", "freescale"),
        ("camera", "keyframes"),  # the camera leaves what the video ends with
        ("keep_mask", "keyframes"),  # a kept region stays as in one image
    ]
}
PAIRS = [
    (one, other)
    for one, other in itertools.combinations(METHODS, 2)
    if METHODS[one].keys() & METHODS[other].keys() <= {"num_frames"}  # else they are values of one setting
]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_two_models(tmp_path_factory.mktemp("checkpoints"))
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def alone(pipe) -> dict[str, torch.Tensor]:
    """What each method makes by itself."""
    return {name: pipe(picture(), PROMPT, **given).video for name, given in METHODS.items()}


@pytest.mark.parametrize("pair", [p for p in PAIRS if frozenset(p) not in SENSELESS], ids="+".join)
def test_two_methods_work_together_and_both_have_an_effect(pipe, alone, pair: tuple[str, str]) -> None:
    given = {**METHODS[pair[0]], **METHODS[pair[1]]}
    video = pipe(picture(), PROMPT, **given).video
    side, frames = given.get("height", SIDE), given.get("num_frames", FRAMES)
    assert video.shape == (1, 3, frames, side, side)
    assert torch.isfinite(video).all(), f"{' and '.join(pair)} give numbers that are none"
    for name in pair:
        other = alone[name]
        assert other.shape != video.shape or not torch.equal(other, video), f"beside {name} the other has no effect"


@pytest.mark.parametrize("pair", sorted(tuple(sorted(pair)) for pair in SENSELESS), ids="+".join)
def test_what_makes_no_sense_together_is_said(pipe, pair: tuple[str, str]) -> None:
    given = {**METHODS[pair[0]], **METHODS[pair[1]]}
    with pytest.raises(ValueError, match=r"leave out|give only one"):
        pipe(picture(), PROMPT, **given)


def test_the_senseless_settings_are_refused_without_a_model() -> None:
    for pair in SENSELESS:
        given = {key: value for name in pair for key, value in METHODS[name].items()}
        if "keyframes" in given or "keep_mask" in given:
            continue  # pictures are no settings: the pipeline looks at them before it encodes
        with pytest.raises(ValueError, match="give only one"):
            GenerationSettings(**given)

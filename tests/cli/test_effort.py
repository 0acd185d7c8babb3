"""`--effort` and `--fast`: bundles under what is typed, over the card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from test_commands import PROMPT, fail, succeed

from lvdm.declaration.parameter import ALL_MODES
from lvdm.declaration.run_parameters import RunParameters
from lvdm.jobs.plan import plan_videos
from lvdm.model_card import CARDS
from lvdm.request.effort import BUNDLES, bundle_values
from lvdm.request.layers import check_mode, checked

CHOICES = [{name: choice} for name, bundles in BUNDLES.items() for choice in bundles]


def planned(**given: Any) -> Any:
    return plan_videos("animate", image="cat.png", prompt=PROMPT, **given)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_a_bundle_is_made_of_parameters_that_the_mode_reads(choice: Any, mode: str) -> None:
    values = bundle_values(RunParameters(**choice), mode, card=CARDS["512"])
    checked(values)
    check_mode(values, mode)


def test_a_bundle_lies_over_the_card_and_under_what_is_typed(here: Path) -> None:
    card = planned().videos[0].request.settings
    assert planned(effort="normal").videos[0].request.settings == card
    best = planned(effort="best").videos[0].request.settings
    assert (card.num_inference_steps, best.num_inference_steps) == (2, 50)
    assert planned(effort="draft", num_inference_steps=3).videos[0].request.settings.num_inference_steps == 3


def test_best_is_the_best_of_four_unless_another_number_is_typed(here: Path) -> None:
    videos = planned(effort="best").videos
    assert [video.candidates.best for video in videos if video.candidates] == [True] * 4
    assert {video.request.settings.num_inference_steps for video in videos} == {50}
    (single,) = planned(effort="best", num_videos_per_prompt=1).videos
    assert single.candidates is None


@pytest.mark.parametrize("runs", [[RunParameters(effort="draft")], [RunParameters(fast=fast) for fast in (1, 2, 3)]])
def test_steps_of_a_faster_bundle_are_a_share_of_the_cards(runs: list[RunParameters]) -> None:
    """Another model has another number of steps; a faster mode never has more of them than a slower one."""
    for steps in (50, 10, 2):
        card = dataclasses.replace(CARDS["512"], num_inference_steps=steps)
        bundles = [bundle_values(run, "animate", card=card) for run in runs]
        found = [bundle.get("num_inference_steps", steps) for bundle in bundles]
        assert [steps, *found, 1] == sorted([steps, *found, 1], reverse=True), f"of {steps} steps they take {found}"


def test_one_bundle_at_a_time(here: Path) -> None:
    with pytest.raises(ValueError, match=r"effort \(--effort\) and fast \(--fast\) both say how much work"):
        planned(effort="draft", fast=2)
    assert planned(effort="normal", fast=2).videos[0].request.settings.sampler == "unipc"
    assert planned(fast=2, sampler="ddim").videos[0].request.settings.sampler == "ddim"


def test_a_fast_mode_takes_long_videos_whole_and_refuses_those_by_frames(here: Path) -> None:
    """What deep blocks made of a whole clip is kept, which a network in pieces does not have."""
    settings = planned(fast=1, num_frames=8).videos[0].request.settings
    assert (settings.long_video, settings.chunk_frames) == ("freenoise", None)
    with pytest.raises(ValueError, match="deep_cache work on a whole clip and long_video fifo has none"):
        planned(fast=1, num_frames=8, long_video="fifo")


def test_the_command_takes_it_and_the_record_has_what_it_stands_for(here: Path) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--effort", "draft")
    made = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert (made["settings"]["num_inference_steps"], made["settings"]["fix_final_step"]) == (1, True)
    succeed("extend", "a.mp4", "-p", PROMPT, "-o", "b.mp4", "--frames", 2, "--effort", "draft")
    assert json.loads(Path("b.json").read_text(encoding="utf-8"))["settings"]["num_inference_steps"] == 1
    for record in ("animate", "extend"):
        for flag, value in (("--effort", "best"), ("--fast", 1)):
            said = fail(record, "--replay", "a.json" if record == "animate" else "b.json", flag, value)
            assert f"leave out {flag[2:]} ({flag}), or --replay" in said

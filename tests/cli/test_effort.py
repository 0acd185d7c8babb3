"""`--effort`: a bundle under what is typed, over the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_commands import PROMPT, fail, succeed

from lvdm.declaration.parameter import ALL_MODES
from lvdm.jobs.plan import plan_videos
from lvdm.request.effort import EFFORTS, effort_values
from lvdm.request.layers import check_mode, checked


def planned(**given: Any) -> Any:
    return plan_videos("animate", image="cat.png", prompt=PROMPT, **given)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("effort", EFFORTS)
def test_a_bundle_is_made_of_parameters_that_the_mode_reads(effort: Any, mode: str) -> None:
    values = effort_values(effort, mode)
    assert checked(values) == values
    check_mode(values, mode)


def test_a_bundle_lies_over_the_card_and_under_what_is_typed(here: Path) -> None:
    card = planned().videos[0].request.settings
    assert planned(effort="normal").videos[0].request.settings == card
    draft = planned(effort="draft").videos[0].request.settings
    assert (card.num_inference_steps, draft.num_inference_steps) == (2, 10)
    assert planned(effort="draft", num_inference_steps=3).videos[0].request.settings.num_inference_steps == 3


def test_best_is_the_best_of_four_unless_another_number_is_typed(here: Path) -> None:
    videos = planned(effort="best").videos
    assert [video.candidates.best for video in videos if video.candidates] == [True] * 4
    assert {video.request.settings.num_inference_steps for video in videos} == {50}
    (single,) = planned(effort="best", num_videos_per_prompt=1).videos
    assert single.candidates is None


def test_the_command_takes_it_and_the_record_has_what_it_stands_for(here: Path) -> None:
    succeed("animate", "cat.png", "-p", PROMPT, "-o", "a.mp4", "--effort", "draft")
    made = json.loads(Path("a.json").read_text(encoding="utf-8"))
    assert (made["settings"]["num_inference_steps"], made["settings"]["fix_final_step"]) == (10, True)
    succeed("extend", "a.mp4", "-p", PROMPT, "-o", "b.mp4", "--frames", 2, "--effort", "draft")
    assert json.loads(Path("b.json").read_text(encoding="utf-8"))["settings"]["num_inference_steps"] == 10
    for record in ("animate", "extend"):
        said = fail(record, "--replay", "a.json" if record == "animate" else "b.json", "--effort", "best")
        assert "leave out --effort, or --replay" in said

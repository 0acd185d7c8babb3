"""Every mode, method and setting gives the video that it gave when `tests/golden/frozen/` was made.

A case that moved is either a mistake, or a change that was meant and is told in CHANGELOG.md: then `tests/freeze.py`
stores it anew.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from frozen_cases import BETWEEN, CASES, EXTENSIONS, LONG_VIDEOS, METHODS, MODES
from frozen_videos import FrozenPipelines, differences, make, make_extension, read_frozen
from torch import Tensor

from lvdm.model_card import MODES as ALL_MODES
from lvdm.plugins.all_parameters import MethodParameters
from lvdm.request.settings import GenerationSettings


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> FrozenPipelines:
    return FrozenPipelines(tmp_path_factory.mktemp("frozen"))


@pytest.fixture(scope="module")
def frozen() -> dict[str, dict[str, Tensor]]:
    return read_frozen()


@pytest.mark.parametrize("name", CASES)
def test_the_video_is_as_it_was(name: str, pipelines: FrozenPipelines, frozen: dict[str, dict[str, Tensor]]) -> None:
    found = differences(make(pipelines, CASES[name]), frozen[name])
    assert not found, f"{name}: {'; '.join(found)}"


@pytest.mark.parametrize("name", EXTENSIONS)
def test_the_new_frames_are_as_they_were(name, pipelines, frozen) -> None:
    case = EXTENSIONS[name]
    found = differences(make_extension(pipelines, case), frozen[name], case.tolerance)
    assert not found, f"{name}: {'; '.join(found)}"


def test_every_case_is_stored_and_no_other(frozen: dict[str, dict[str, Tensor]]) -> None:
    assert frozen.keys() == {*CASES, *EXTENSIONS}, "run tests/freeze.py videos, and look at what it changed"


def test_a_video_that_moved_is_seen(pipelines: FrozenPipelines, frozen: dict[str, dict[str, Tensor]]) -> None:
    """What all other tests here rest on: a slightly stronger guidance is more than the tolerance."""
    case = CASES["animate"]
    found = differences(make(pipelines, replace(case, asked={**case.asked, "guidance_scale": 2.01})), frozen["animate"])
    assert [line.split(":")[0] for line in found] == ["latents", "video"]
    assert all("moved by 0.0" in line and "allowed 0.0001" in line for line in found), found
    assert differences({"latents": torch.tensor([float("nan")])}, {"latents": torch.zeros(1)})


def test_every_mode_and_every_setting_of_a_method_has_a_case() -> None:
    given = {key for case in CASES.values() for key in case.asked} | {"mode"}
    # fs is fps or frame_stride; of structure see test_structure.py, of flow test_carry.py
    younger = {"fs", "depth_range", "depth_stride", "carry_flow"}
    unused = {f.name for f in fields(GenerationSettings)} - given - younger
    assert unused == set(), f"add cases for {', '.join(sorted(unused))}"
    methods = {key for case in {**METHODS, **BETWEEN, **LONG_VIDEOS}.values() for key in case.asked}
    assert {f.name for f in fields(MethodParameters)} - younger <= methods
    assert set(ALL_MODES) - set(MODES) <= {"structure"}

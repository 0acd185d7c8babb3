"""The choices that are declared are those that the library has."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from lvdm.declaration.parameter import Declared
from lvdm.declaration.run_parameters import OutputParameters
from lvdm.diffusion.samplers import SAMPLERS
from lvdm.diffusion.timesteps import Spacing
from lvdm.jobs.outputs import suffix_of
from lvdm.media.video_writer import check_output
from lvdm.model_files import PRESETS
from lvdm.request.layers import all_parameters


def test_choices_are_those_that_there_are(tmp_path) -> None:
    declared = {name: found.choices for name, found in all_parameters().items() if found.choices}
    assert set(declared["sampler"]) == set(SAMPLERS)
    assert set(declared["preset"]) == set(PRESETS)
    assert declared["timestep_spacing"] == get_args(Spacing)
    for name in declared["format"]:
        check_output(tmp_path / f"video{suffix_of(OutputParameters(format=name))}")


@pytest.mark.parametrize(
    "value", [["x"], [[1]], [[1, 2]], [["x", "y"], [0, "z"]], [[[], "x"]], {}, {"x": 1}, 1.5, -1, None, True, "\0"]
)
def test_a_value_of_another_kind_is_named_with_what_is_possible(value: Any) -> None:
    for name, declared in all_parameters().items():
        said = refusal_of(declared, value)
        named = f"{name}|{declared.flag or name}|a checkpoint|zero byte"
        assert re.search(rf"^$|({named}).*([:;] (use|give|did|correct)|should be)", said), said
        assert not re.search(r"of its kind|object|instances|Path[(]", said), said


def refusal_of(declared: Declared, value: Any) -> str:
    """Why a value is refused; empty for one that is taken."""
    try:
        declared.check(value)
    except ValueError as error:
        return str(error)
    return ""

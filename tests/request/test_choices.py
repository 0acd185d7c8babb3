"""The choices that are declared are those that the library has."""

from __future__ import annotations

from lvdm.declaration.run_parameters import OutputParameters
from lvdm.diffusion.samplers import SAMPLERS
from lvdm.jobs.outputs import suffix_of
from lvdm.media.geometry import FIT_MODES
from lvdm.media.video_writer import check_output
from lvdm.model_files import PRESETS
from lvdm.request.layers import all_parameters


def test_choices_are_those_that_there_are(tmp_path) -> None:
    declared = {name: found.choices for name, found in all_parameters().items() if found.choices}
    assert set(declared["sampler"]) == set(SAMPLERS)
    assert set(declared["preset"]) == set(PRESETS)
    assert set(declared["fit"]) == set(FIT_MODES)
    for name in declared["format"]:
        check_output(tmp_path / f"video{suffix_of(OutputParameters(format=name))}")

"""Names that changed work for one version more, and say so."""

from __future__ import annotations

import importlib
import sys

import pytest

from lvdm.deprecation import renamed_names

RENAMED = {
    "lvdm.caching.latent_index.CacheRecipe": "CacheFormat",
    "lvdm.checkpoint.parts.IMAGE_TOWER": "IMAGE_ENCODER",
    "lvdm.checkpoint.parts.TEXT_TOWER": "TEXT_ENCODER",
    "lvdm.checkpoint.parts.TOWERS": "CLIP_ENCODERS",
    "lvdm.data.check_report.Report": "DataCheckReport",
    "lvdm.diffusion.guidance.weak_model_guidance": "perturbed_guidance",
    "lvdm.documents.shown": "short_text",
    "lvdm.evaluation.clip_files.Picture": "FrameScaling",
    "lvdm.evaluation.comparison.Contest": "EvaluationPair",
    "lvdm.evaluation.extraction.Failure": "ExtractionFailure",
    "lvdm.evaluation.extraction.Job": "ExtractionJob",
    "lvdm.evaluation.extraction.Report": "ExtractionReport",
    "lvdm.evaluation.extraction.find_wanted": "planned_records",
    "lvdm.evaluation.features.clip_encoders.ClipFeatures": "OpenClipFeatures",
    "lvdm.evaluation.features.clip_encoders.ClipTowers": "ClipEncoders",
    "lvdm.evaluation.features.clip_encoders.tower_tensors": "encoder_tensors",
    "lvdm.motion_levels.FEWEST_VIDEOS": "MIN_VIDEOS",
}


@pytest.mark.parametrize("old", RENAMED)
def test_the_old_name_gives_the_new_thing_and_warns(old: str) -> None:
    place, _, name = old.rpartition(".")
    module = importlib.import_module(place)
    with pytest.warns(DeprecationWarning, match=rf"{name} is now {place}\.{RENAMED[old]}") as warned:
        assert getattr(module, name) is getattr(module, RENAMED[old])
    assert warned[0].filename == __file__, "the warning names the line that has to change"


def test_other_names_are_unknown_as_ever() -> None:
    with pytest.raises(AttributeError, match=r"module 'lvdm\.documents' has no attribute 'nothing'"):
        importlib.import_module("lvdm.documents").nothing  # noqa: B018
    assert not hasattr(sys.modules["lvdm.documents"], "__path__")


def test_a_name_may_have_moved() -> None:
    moved = renamed_names("lvdm.documents", {"UserProblem": "lvdm.errors.UserError"})
    with pytest.warns(DeprecationWarning, match=r"lvdm\.documents\.UserProblem is now lvdm\.errors\.UserError"):
        assert moved("UserProblem").__name__ == "UserError"

"""Parameters that got other names are read under their former ones everywhere, and keep their digests."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from PIL import Image

from lvdm.data.prompts import PromptError, read_requests
from lvdm.declaration.parameter import current_names, parameters_of
from lvdm.hosting.library import read_library
from lvdm.jobs.plan import plan_videos
from lvdm.model_card import ModelCard
from lvdm.request.digest import InputFile, file_facts, setting_facts
from lvdm.request.layers import all_parameters, checked
from lvdm.request.settings import GenerationSettings
from lvdm.serving.asking import Fields, fields_of_form, understand

FORMER = {
    "weak": ("perturbed_guidance", "stg:scale=1"),
    "late_weights": ("second_stage_unet", "late.safetensors"),
    "late_below": ("second_stage_below", 0.6),
    "start_time": ("truncated_start", 0.9),
    "towers": ("encoders", "clip.safetensors"),
}


def test_the_former_names_are_these() -> None:
    declared = {former: name for name, found in all_parameters().items() for former in found.parameter.former}
    assert declared == {former: name for former, (name, _) in FORMER.items()}
    assert not set(declared) & set(all_parameters()), "a former name is a present one"
    for former, name in declared.items():
        assert f"--{former.replace('_', '-')}" in all_parameters()[name].flags, f"{former} is no flag any more"


@pytest.mark.parametrize("former", FORMER)
def test_a_former_keyword_means_the_present_one_and_warns_where_it_stands(former: str) -> None:
    name, value = FORMER[former]
    with pytest.warns(DeprecationWarning, match=f"{former} is called {name} now") as said:
        found = checked({former: value})
    assert found == checked({name: value})
    assert said[0].filename == __file__, "the warning names a line of the library"


def test_both_names_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="start_time is the former name of truncated_start, and both were given"):
        current_names(GenerationSettings, {"truncated_start": 0.9, "start_time": 0.8})


def test_a_former_value_is_the_present_one_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked({"long_video": "ring"}) == {"long_video": "cyclic"}
        assert GenerationSettings(long_video="ring").long_video == "cyclic"  # type: ignore[arg-type]
        first = checked({"between": "vibid:first=back"})["between"]
    assert first == checked({"between": "vibid:first=backward"})["between"]
    with pytest.raises(ValueError, match="use one of plain"):
        checked({"long_video": "rings"})


def test_digests_keep_the_first_names() -> None:
    """A finished video is not made again because a parameter is called otherwise."""
    settings = GenerationSettings(
        perturbed_guidance="stg:scale=1", second_stage_below=0.6, truncated_start=0.9, long_video="cyclic"
    )
    facts = setting_facts(settings)
    expected = {"weak": "stg:scale=1", "late_below": 0.6, "start_time": 0.9, "long_video": "ring"}
    assert {name: facts.get(name) for name in expected} == expected
    assert not {name for name, _ in FORMER.values()} & set(facts)
    assert file_facts([InputFile("second_stage_unet", "ab")]) == [["late_weights", None, "ab"]]


def test_parameters_that_came_later_leave_the_digests_of_videos_without_them() -> None:
    later = {name for name, own in parameters_of(GenerationSettings).items() if own.parameter.later}
    assert later, "there is none to look at"
    assert not later & set(setting_facts(GenerationSettings()))
    assert setting_facts(GenerationSettings(deep_cache="interval=3"))["deep_cache"] == "interval=3"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_may_have_the_former_columns(tmp_path: Path, suffix: str) -> None:
    texts = {
        "csv": "image,prompt,start_time,late_weights\na.png,a ball,0.9,b.safetensors\n",
        "jsonl": '{"image": "a.png", "prompt": "a ball", "start_time": 0.9, "late_weights": "b.safetensors"}\n',
    }
    (tmp_path / f"list.{suffix}").write_text(texts[suffix])
    (row,) = read_requests(tmp_path / f"list.{suffix}", check_files=False)
    assert row.values["truncated_start"] == 0.9
    assert row.values["second_stage_unet"] == str(tmp_path / "b.safetensors")


def test_a_list_with_both_columns_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,prompt,weak,perturbed_guidance\na.png,a ball,stg,pag\n")
    with pytest.raises(PromptError, match=r"list\.csv, line 2: weak is the former name of perturbed_guidance"):
        read_requests(tmp_path / "list.csv", check_files=False)


def test_a_request_over_http_may_have_them() -> None:
    models = read_library(["tiny"]).models
    asked, _ = understand(Fields({"prompt": "a ball", "mode": "animate", "weak": "stg"}, ()), models)
    assert asked.values["perturbed_guidance"] == "stg"
    form = fields_of_form([("weak", "stg"), ("prompt", "a ball")])
    assert understand(form, models)[0].values["perturbed_guidance"] == "stg"
    with pytest.raises(ValueError, match="second_stage_unet names a file of the server"):
        understand(Fields({"prompt": "a ball", "late_weights": "x"}, ()), models)


def test_a_card_may_have_the_former_keys() -> None:
    block = {"name": "a", "height": 64, "width": 64, "fs_meaning": "fps", "fs_min": 3, "fs_max": 30, "fs_default": 8}
    levels = [{"fs": 30}, {"fs": 3, "start_time": 0.9}]
    card = ModelCard.from_tree({"sampling": {**block, "towers_agree": False, "motion_levels": levels}}, "a.yaml")
    assert not card.encoders_agree
    assert card.motion_levels[1].truncated_start == 0.9


def test_keywords_of_a_plan_may_be_former_ones(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(image)
    with pytest.warns(DeprecationWarning, match="weak is called perturbed_guidance now"):
        plan = plan_videos("animate", image=image, prompt="a", preset="tiny", weak="stg", output=tmp_path / "a.mp4")  # type: ignore[call-arg]
    assert str(plan.videos[0].request.settings.perturbed_guidance) == "stg"

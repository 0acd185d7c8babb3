"""The models and files that requests may name, on the page and over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_model import write_small_model

from lvdm.hosting.library import Library, ListedModel, read_library
from lvdm.model_card import RELEASED
from lvdm.model_files import CHECKPOINTS_VARIABLE, PRESETS, find_preset


def test_models_say_what_they_cannot_do() -> None:
    one = ListedModel("512", find_preset("tiny"), RELEASED["512"])
    assert one.label == "512: 512 x 320, animates an image"
    assert one.cannot("animate") == ""
    assert one.cannot("loop") == "", "it goes round on a ring"
    assert "cannot interpolate" in one.cannot("interpolate")
    assert "needs an image" in one.cannot("text-to-video")


@pytest.mark.parametrize(
    ("entries", "folder", "said"),
    [
        (["mine"], None, "--model NAME=PATH: model 'mine' is not known"),
        (["../x=tiny"], None, "is a name and not a path"),
        (["mine=nowhere"], None, "nowhere is neither a file, a folder nor a preset"),
        (["tiny", "tiny=tiny"], None, "--model gives tiny twice"),
        ([], "nowhere", "--files nowhere is no folder"),
    ],
)
def test_a_list_that_cannot_be_is_refused(entries: list[str], folder: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_library(entries, None if folder is None else Path(folder))


def test_left_out_it_lists_what_is_here_and_given_it_lists_that_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_small_model(tmp_path / PRESETS["interp"].folder)
    (tmp_path / PRESETS["512"].folder).mkdir()
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    here = list(read_library().models)
    assert here[:2] == ["small", "tiny"], "the embedded model is not the usual one"
    assert "interp" in here, "a released model whose files are here is not listed"
    assert not {"512", "loop"} & set(here), "a folder without weights, or one model by two names, is listed"
    named = read_library([f"mine={made}", "tiny"]).models
    assert list(named) == ["mine", "tiny"]
    assert named["mine"].values == {"config": made / "config.yaml", "checkpoint": made / "model.safetensors"}


def test_loras_are_named_with_or_without_a_scale(tmp_path: Path) -> None:
    library = Library({}, {"a.safetensors": tmp_path / "a.safetensors"})
    assert library.lora("a.safetensors") == (tmp_path / "a.safetensors", 1.0)
    assert library.lora("a.safetensors:0.5") == (tmp_path / "a.safetensors", 0.5)
    for wrong in ("b.safetensors", "b.safetensors:0.5", "a.safetensors:much"):
        with pytest.raises(ValueError, match=r"is not known|give a name"):
            library.lora(wrong)

"""Methods are found where they are declared; what editors read of them is true; what excludes what is in the docs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from small_model import picture, write_small_model

from lvdm.declaration import options
from lvdm.declaration.parameter import parameters_of
from lvdm.documents import read_json
from lvdm.jobs.run import make_videos
from lvdm.plugins import all_parameters, conflicts, registry
from lvdm.plugins.method import Hold, Need, Place
from lvdm.request.settings import GenerationSettings

ROOT = Path(__file__).parents[2]


def test_every_file_is_a_method_in_the_order_of_places() -> None:
    found = registry.methods()
    files = {path.stem for path in (ROOT / "lvdm/plugins/methods").glob("*.py")} - {"__init__"}
    assert found.keys() == files
    assert list(found) == sorted(found, key=lambda name: (found[name].place, name))
    assert set(registry.SAMPLING) | set(registry.GENERATION) == set(Place)


def test_the_class_of_all_parameters_is_as_it_would_be_written() -> None:
    written = Path(all_parameters.__file__).read_text(encoding="utf-8")
    assert written == registry.source_of_parameters(), "run: python -m lvdm.plugins.registry"
    declared = [name for method in registry.methods().values() for name in _names(method.parameters)]
    assert sorted(declared) == sorted(parameters_of(all_parameters.MethodParameters))
    assert len(declared) == len(set(declared)), "two methods have a parameter of one name"


def _names(cls: type | None) -> list[str]:
    return [] if cls is None else list(parameters_of(cls))


def test_no_method_is_asked_for_by_neutral_settings() -> None:
    """But for `scale`, which is auto: what it comes to depends on the size."""
    assert [method.name for method in registry.active_methods(GenerationSettings())] == ["scale"]


def test_what_excludes_what_goes_both_ways() -> None:
    table = dict(conflicts.table())
    modes = set(conflicts.PROVIDED)
    for label, others in table.items():
        for other in set(others) - modes:
            assert label in table[other], f"{other} does not know that it excludes {label}"
    assert "long_video fifo" in table["second_stage_unet"]
    assert {"start_statistics", "free_init", "scale freescale", "keyframes"} <= set(table["camera"])


def test_each_need_and_each_exclusive_hold_has_its_words() -> None:
    assert conflicts.MISSING.keys() == set(Need)
    assert conflicts.SHARED.keys() == {hold for hold in Hold if hold.exclusive}
    assert conflicts.PROVIDED.keys() == set(parameters_of(GenerationSettings)["mode"].choices)


def test_the_table_of_the_docs_is_the_one_of_the_declarations() -> None:
    text = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    for label, others in conflicts.table():
        assert f"| `{label}` | {', '.join(f'`{other}`' for other in others)} |\n" in text, f"{label} in docs/plugins.md"


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("camera", "zoom_in:amount=0.5", "zoom_in: amount=5e-1"),
        ("camera", "path:points=0.2 0 1; 0.2 0.1 1.5", " path:points=0.2 0 1; 0.2 0.1 1.5"),
        ("free_init", "iterations=2", ""),
        ("free_u", "b1=1.2,s1=0.9", "s1=0.9, b1=1.2"),
        ("perturbed_guidance", "stg", "stg:scale=1"),
        ("between", "trf:repeats=2", "trf:until=0.5,repeats=2"),
        ("scale", "scalecrafter:factor=2,progressive=no", "scalecrafter:progressive=no,factor=2.0"),
    ],
)
def test_options_are_typed_once_and_keep_the_text_that_reads_back_equal(name: str, text: str, same: str) -> None:
    mode = "interpolate" if name == "between" else "animate"
    settings = GenerationSettings(mode=mode, **{name: text})
    typed = getattr(settings, name)
    assert dataclasses.is_dataclass(typed.options)
    assert settings.as_dict()[name] == text
    assert GenerationSettings(**settings.as_dict()) == settings == GenerationSettings(mode=mode, **{name: same})
    written = dataclasses.replace(typed, text=None)
    assert getattr(GenerationSettings(mode=mode, **{name: str(written)}), name) == typed, "written out, it is another"
    assert getattr(dataclasses.replace(settings, num_inference_steps=3), name) is typed, "it was read again"


def test_options_are_read_once_on_the_way_to_a_video_and_its_record(tmp_path: Path, monkeypatch) -> None:
    """From what was typed: by the plan, the pipeline and the record, and by settings for other sizes and clips."""
    read = []
    parse = options._parse
    monkeypatch.setattr(options, "_parse", lambda text, *more: read.append(text) or parse(text, *more))
    model = write_small_model(tmp_path / "small")
    picture().save(tmp_path / "cat.png")
    given = {"image": tmp_path / "cat.png", "prompt": "a ball", "checkpoint": model / "model.safetensors"}
    given |= {"camera": "pan_left:amount=0.2", "perturbed_guidance": "stg:scale=1", "free_u": "b1=1.2", "device": "cpu"}
    (made,) = make_videos("animate", **given, config=model / "config.yaml", output=tmp_path / "a.mp4")
    assert sorted(read) == ["amount=0.2", "b1=1.2", "scale=1"], "options are typed when they are checked, and no later"
    settings = read_json(made.record)["settings"]
    assert (settings["camera"], settings["perturbed_guidance"]) == ("pan_left:amount=0.2", "stg:scale=1")

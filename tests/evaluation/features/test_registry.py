"""Extractors by name, and names that nobody has."""

from __future__ import annotations

import importlib
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import write_small_model

from lvdm.checkpoint import CheckpointError
from lvdm.evaluation.features import registry
from lvdm.evaluation.features.registry import EXTRACTORS, UnknownExtractorError, build_extractor, extractor_names
from lvdm.model_files import CHECKPOINTS_VARIABLE, find_preset
from scripts.publish_clip import publish


def test_ours_are_built_by_name(tmp_path: Path) -> None:
    model = write_small_model(tmp_path / "small")
    assert build_extractor("stpyr-v1").id == "stpyr-v1"
    assert build_extractor("tiny-clip", model=model, device="cpu").id == "tiny-clip", "whatever model is evaluated"
    assert build_extractor("clip", model=model, device="cpu").id == "small-clip"
    weights = build_extractor("clip", weights=model / "model.safetensors", device="cpu")
    assert weights.id == "small-clip"
    assert extractor_names()[: len(EXTRACTORS)] == list(EXTRACTORS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stpyr", "did you mean 'stpyr-v1'"),
        ("i3d", "did you mean 'i3d-logits'"),
        ("inception", "use one of stpyr-v1, i3d"),
    ],
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(UnknownExtractorError, match=f"no feature extractor '{name}'; {hint}"):
        build_extractor(name)


def test_missing_and_superfluous_weights() -> None:
    for name in ("i3d-logits", "i3d-logits[center-crop]"):
        with pytest.raises(CheckpointError, match=r"i3d_pretrained_400\.pt"):
            build_extractor(name)
    with pytest.raises(UnknownExtractorError, match=r"name one .*tiny-clip"):
        build_extractor("clip")
    with pytest.raises(UnknownExtractorError, match="takes no weights"):
        build_extractor("stpyr-v1", weights="i3d.safetensors")


def made_elsewhere(weights: Any, model: Any, device: str) -> Any:
    """What the entry point of another package names."""
    return ("elsewhere", weights, model, device)


def test_other_packages_add_extractors_and_cannot_replace_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        assert group == "dynamicrafter.features"
        return [
            EntryPoint("theirs", f"{__name__}:made_elsewhere", group),
            EntryPoint("stpyr-v1", "nowhere:nothing", group),
            EntryPoint("broken", "nowhere:nothing", group),  # is not imported until it is asked for
        ]

    monkeypatch.setattr(registry, "entry_points", points)
    assert build_extractor("theirs", weights="w", model="m", device="cpu") == ("elsewhere", "w", "m", "cpu")
    assert build_extractor("stpyr-v1").id == "stpyr-v1"
    assert extractor_names()[-2:] == ["broken", "theirs"]
    with pytest.raises(UnknownExtractorError, match="'theirs'"):
        build_extractor("their")


def test_the_pyramid_needs_no_clip_library() -> None:
    """All of the project is imported anew, where neither library can be."""
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "lvdm"]:
            del sys.modules[name]
        sys.modules |= {"open_clip": None, "kornia": None}
        anew = importlib.import_module("lvdm.evaluation.features.registry")
        assert anew is not registry
        assert anew.build_extractor("stpyr-v1").id == "stpyr-v1"


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the embedded model in a folder of checkpoints of its own, without a file of towers."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("config.yaml", "model.safetensors"):
        shutil.copy(find_preset("tiny").config.parent / name, folder / name)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    return folder


def test_tiny_clip_takes_the_towers_that_were_trained_together(
    embedded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = build_extractor("tiny-clip", device="cpu")
    assert "clip.safetensors is not there" in caplog.text
    caplog.clear()
    training = {key: value.float() for key, value in load_file(embedded / "model.safetensors").items()}
    training = {key: value for key, value in training.items() if key.startswith(("cond_stage_model.", "embedder."))}
    training["cond_stage_model.model.text_projection"] += 0.5
    save_file(training | {"change.weight": torch.ones(2, 4)}, tmp_path / "weights.safetensors")
    count = publish(tmp_path / "weights.safetensors", embedded / "config.yaml", embedded / "clip.safetensors")
    written = load_file(embedded / "clip.safetensors")
    assert len(written) == count
    assert {value.dtype for value in written.values()} == {torch.float16}
    assert not any(key.startswith("change") for key in written)
    found = build_extractor("tiny-clip", device="cpu")
    assert not caplog.text
    assert found.id == own.id == "tiny-clip"
    assert found.weights_sha256 != own.weights_sha256, "the cache could not tell them apart"

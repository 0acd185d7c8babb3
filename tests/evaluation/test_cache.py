"""Cached features come back to the bit, under a name that changes with everything that they depend on."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lvdm.checkpoint.writing import safetensors_bytes
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling
from lvdm.evaluation.features.protocol import LoadedClip, Record


class Extractor:
    """Only its names matter here."""

    id, dim, min_frames, dtype = "one/two [x]", 2, 1, "fp32"
    weights_sha256: str | None = None

    def preprocess(self, clip: LoadedClip) -> Record:
        raise NotImplementedError

    def __call__(self, batch: Record) -> Record:
        raise NotImplementedError


@pytest.fixture
def spec(tmp_path: Path) -> ClipSpec:
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 8, 3), np.uint8))
    np.save(tmp_path / "b.npy", np.ones((8, 8, 8, 3), np.uint8))
    return ClipSpec("a", tmp_path / "a.npy", 0, 1, 8)


def test_a_record_comes_back_to_the_bit(tmp_path: Path) -> None:
    values = {
        "features": torch.tensor([0.1, -1e-38, 3.0]),
        "scalar": torch.tensor(math.pi, dtype=torch.float64),
        "frames": torch.rand(4, 2),
    }
    cache = FeatureCache(tmp_path)
    assert cache.read("e", "ab") is None
    cache.write("e", "ab", values, "cpu")
    found = cache.read("e", "ab")
    assert found is not None
    assert found.device == "cpu"
    assert all(torch.equal(found.values[name], value) for name, value in values.items())
    first = cache.path("e", "ab").read_bytes()
    cache.write("e", "ab", dict(reversed(values.items())), "cpu")
    assert cache.path("e", "ab").read_bytes() == first, "the same values should be the same bytes"


def test_the_name_changes_with_everything_and_only_with_that(spec: ClipSpec, tmp_path: Path) -> None:
    cache, extractor = FeatureCache(tmp_path / "cache"), Extractor()
    other_weights, other_dtype = Extractor(), Extractor()
    other_weights.weights_sha256, other_dtype.dtype = "ff", "bf16"
    key = cache.key(spec, FrameScaling(), extractor)
    others = [
        cache.key(dataclasses.replace(spec, video=tmp_path / "b.npy"), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, start=1), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, frames=7), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, prompt="a dot"), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, image=tmp_path / "b.npy"), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, still=True), FrameScaling(), extractor),
        cache.key(dataclasses.replace(spec, reader="decord"), FrameScaling(), extractor),
        cache.key(spec, FrameScaling("crop", 8, 8), extractor),
        cache.key(spec, FrameScaling(), other_weights),
        cache.key(spec, FrameScaling(), other_dtype),
    ]
    assert len({key, *others}) == len(others) + 1
    (tmp_path / "a.npy").rename(tmp_path / "moved.npy")
    moved = dataclasses.replace(spec, id="other", video=tmp_path / "moved.npy")
    assert cache.key(moved, FrameScaling(), extractor) == key, (
        "neither the id nor the place of a file changes its features"
    )


def test_a_damaged_record_is_as_if_it_were_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = FeatureCache(tmp_path)
    for damage in (lambda data: data[:-3], lambda data: b"", lambda data: data[:-1] + bytes([data[-1] ^ 1])):
        cache.write("e", "ab", {"features": torch.rand(5)}, "cpu")
        path = cache.path("e", "ab")
        path.write_bytes(damage(path.read_bytes()))
        with caplog.at_level(logging.WARNING):
            assert cache.read("e", "ab") is None
        assert "is damaged" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("about", ['"x"', "[]", "{}", '{"key": "ab", "sha256": 3}', "{"])
def test_an_edited_record_is_made_anew(tmp_path: Path, about: str, caplog: pytest.LogCaptureFixture) -> None:
    cache = FeatureCache(tmp_path)
    cache.write("e", "ab", {"features": torch.rand(5)}, "cpu")
    cache.path("e", "ab").write_bytes(safetensors_bytes({"features": torch.rand(5)}, {"record": about}))
    assert cache.read("e", "ab") is None
    assert "made anew" in caplog.records[-1].getMessage()


def test_a_record_of_another_clip_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = FeatureCache(tmp_path)
    for key in ("aa", "bb"):
        cache.write("e", key, {"features": torch.rand(5)}, "cpu")
    cache.path("e", "aa").write_bytes(cache.path("e", "bb").read_bytes())
    assert cache.read("e", "aa") is None
    assert "is of another clip" in caplog.records[-1].getMessage()
    assert cache.read("e", "bb") is not None


def test_a_record_with_nan_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "isfinite", torch.ones_like)  # as another program would write it, its hash is right
        cache.write("e", "ab", {"features": torch.tensor([1.0, math.nan])}, "cpu")
    assert cache.path("e", "ab").is_file()
    assert cache.read("e", "ab") is None, "NaN would end every scoring, and extracting again would not replace it"


def test_a_failure_is_remembered_until_there_is_a_record(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    assert cache.failure("e", "ab") is None
    cache.write_failure("e", "ab", "not a video")
    assert cache.failure("e", "ab") == "not a video"
    with pytest.raises(ValueError, match="e gave features that are not finite"):
        cache.write("e", "ab", {"features": torch.tensor([math.nan])}, "cpu")
    assert cache.failure("e", "ab") == "not a video"
    cache.write("e", "ab", {"features": torch.tensor([1.0])}, "cpu")
    assert cache.failure("e", "ab") is None
    assert not cache.unfinished()

"""CLIP features are those of the model's own encoders, from a checkpoint of which nothing else is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_model import small_yaml, write_small_model
from torch import Tensor
from torch.nn import functional as F

from lvdm.checkpoint import CheckpointError
from lvdm.checkpoint.sources import CheckpointFile
from lvdm.config import ConfigError, load_model_config
from lvdm.evaluation.features.clip_encoders import OpenClipFeatures
from lvdm.evaluation.features.protocol import LoadedClip, Record

PROMPTS = ("a red circle moves to the left", "the camera zooms in on a star")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("encoders") / "small")


@pytest.fixture(scope="module")
def extractor(model: Path) -> OpenClipFeatures:
    return OpenClipFeatures(model, device="cpu")


def clip(seed: int, prompt: str = PROMPTS[0]) -> LoadedClip:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (5, 40, 56, 3), generator=generator, dtype=torch.uint8)
    return LoadedClip(frames, fps=8.0, prompt=prompt, image=frames[0], last_image=frames[-1])


def batch(*records: Record) -> Record:
    return {name: torch.stack([record[name] for record in records]) for name in records[0]}


@torch.no_grad()
def test_features_are_those_of_the_model_of_unit_length(model: Path, extractor: OpenClipFeatures) -> None:
    whole = load_model_config(model / "config.yaml").build()
    whole.load_state_dict(load_file(model / "model.safetensors"))
    one = clip(0)
    found = extractor(batch(extractor.preprocess(one)))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "frames": (1, 5, 32),
        "image": (1, 32),
        "last_image": (1, 32),
        "text": (1, 32),
    }
    values = one.frames.permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(found["frames"][0], F.normalize(whole.embedder.pooled(values), dim=1))
    torch.testing.assert_close(found["text"], F.normalize(whole.cond_stage_model.pooled([one.prompt]), dim=1))
    torch.testing.assert_close(found["image"][0], found["frames"][0, 0])
    torch.testing.assert_close(found["last_image"][0], found["frames"][0, -1])
    for value in found.values():
        torch.testing.assert_close(value.norm(dim=-1), torch.ones(value.shape[:-1]))


def test_a_clip_is_the_same_bits_in_any_batch(extractor: OpenClipFeatures) -> None:
    records = [extractor.preprocess(clip(seed, prompt)) for seed, prompt in enumerate(PROMPTS)]
    together, alone = extractor(batch(*records)), extractor(batch(records[1]))
    for name, value in alone.items():
        assert torch.equal(together[name][1:], value), name
    assert not torch.equal(together["text"][0], together["text"][1])


def test_what_a_clip_lacks_has_no_features(extractor: OpenClipFeatures) -> None:
    record = extractor.preprocess(LoadedClip(clip(0).frames, fps=8.0))
    assert list(record) == ["frames"]
    assert list(extractor(batch(record))) == ["frames"]


def test_only_the_towers_are_read(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()

    def recording(self: CheckpointFile, key: str) -> Tensor:
        read.add(key)
        return self._source.tensor(self.stored[key])

    monkeypatch.setattr(CheckpointFile, "__getitem__", recording)
    OpenClipFeatures(model, device="cpu")
    assert read
    assert {key.split(".")[0] for key in read} == {"cond_stage_model", "embedder"}


def test_names_and_hashes(model: Path, extractor: OpenClipFeatures, tmp_path: Path) -> None:
    assert extractor.id == "small-clip"
    assert extractor.dim == 32
    tensors = load_file(model / "model.safetensors")
    copy = tmp_path / "copy.safetensors"
    tensors["model.diffusion_model.out.2.bias"] += 1
    save_file(tensors, copy)
    assert OpenClipFeatures(model, copy, "cpu").weights_sha256 == extractor.weights_sha256, (
        "the denoiser has no part in it"
    )
    tensors["embedder.model.visual.proj"] += 1
    save_file(tensors, copy)
    assert OpenClipFeatures(model, copy, "cpu").weights_sha256 != extractor.weights_sha256


def test_the_embedded_model_has_towers() -> None:
    extractor = OpenClipFeatures("tiny", device="cpu")
    assert extractor.id == "tiny-clip"
    found = extractor(batch(extractor.preprocess(clip(3))))
    assert found["frames"].shape == (1, 5, extractor.dim)
    assert torch.isfinite(found["text"]).all()


def test_checkpoints_without_towers_are_refused(model: Path, tmp_path: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    pruned = tmp_path / "pruned.safetensors"
    save_file({key: value for key, value in tensors.items() if key.startswith("model.")}, pruned)
    with pytest.raises(CheckpointError, match="pruned: it lacks the text encoder and the image encoder; name a full"):
        OpenClipFeatures(model, pruned, "cpu")
    save_file(tensors | {"embedder.model.visual.proj": torch.zeros(3, 3)}, pruned)
    with pytest.raises(CheckpointError, match=r"visual\.proj should be \(32, 32\), in the file it is \(3, 3\)"):
        OpenClipFeatures(model, pruned, "cpu")


def test_a_configuration_without_towers_is_refused(model: Path, tmp_path: Path) -> None:
    tree = {"model": small_yaml()["model"]["params"]["first_stage_config"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match="no CLIP encoders"):
        OpenClipFeatures(tmp_path / "config.yaml", model / "model.safetensors", "cpu")

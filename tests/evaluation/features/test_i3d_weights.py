"""Files of I3D's weights: converted from the known ones, loaded, and refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_i3d import foreign_key, random_weights, write_torchscript
from torch import Tensor

from lvdm.checkpoint import CheckpointError
from lvdm.evaluation.features import i3d_extractor
from lvdm.evaluation.features.i3d_convert import convert_i3d, load_i3d
from lvdm.evaluation.features.i3d_extractor import I3DLogits, network_input
from lvdm.evaluation.features.protocol import LoadedClip


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("i3d")


@pytest.fixture(scope="module")
def state_dict_file(weights: dict[str, Tensor], folder: Path) -> Path:
    """As VideoGPT and TATS have it: without counters."""
    path = folder / "i3d_pretrained_400.pt"
    torch.save({key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}, path)
    return path


@pytest.fixture(scope="module")
def archive(weights: dict[str, Tensor], folder: Path) -> Path:
    """As StyleGAN-V has it."""
    return write_torchscript(folder / "i3d_torchscript.pt", weights, eps=1e-3)


@pytest.fixture(scope="module")
def converted(state_dict_file: Path, folder: Path) -> Path:
    return convert_i3d(state_dict_file, folder / "i3d.safetensors", eps=1e-5).path


def test_a_state_dict_comes_back_as_the_network(converted: Path, weights: dict[str, Tensor]) -> None:
    network, digest = load_i3d(converted)
    loaded = network.state_dict()
    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    assert network.Mixed_4c.b2b.bn.eps == 1e-5
    with safe_open(converted, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["i3d.eps"] == "1e-05"
    assert metadata["i3d.tensors_sha256"] == digest
    assert metadata["i3d.source"] == "i3d_pretrained_400.pt"
    assert len(metadata["i3d.source_sha256"]) == 64


def test_an_archive_tells_its_eps_and_is_the_same_network_under_other_keys(
    archive: Path, state_dict_file: Path, folder: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", None)  # the program is not compiled
    from_archive = convert_i3d(archive, folder / "archive.safetensors")
    assert from_archive.eps == 1e-3
    loaded = load_file(from_archive.path)
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())
    from_dict = convert_i3d(state_dict_file, folder / "dict.safetensors", eps=1e-3)
    assert from_dict.tensors_sha256 == from_archive.tensors_sha256, "the same weights have one name"
    other = convert_i3d(state_dict_file, folder / "dict.safetensors", eps=1e-5, overwrite=True)
    assert other.tensors_sha256 != from_dict.tensors_sha256, "another eps is another network"
    with pytest.raises(CheckpointError, match=r"eps 0\.001, not with 1e-05"):
        convert_i3d(archive, folder / "other.safetensors", eps=1e-5)


def test_keys_of_the_archive() -> None:
    pairs = {
        "Conv3d_1a_7x7.bn.weight": "conv3d_1a_7x7.batch3d.weight",
        "Mixed_3b.b0.conv3d.weight": "mixed_3b.branch_0.conv3d.weight",
        "Mixed_5c.b1a.bn.running_var": "mixed_5c.branch_1.0.batch3d.running_var",
        "Mixed_4f.b3b.conv3d.weight": "mixed_4f.branch_3.1.conv3d.weight",
        "logits.conv3d.bias": "conv3d_0c_1x1.conv3d.bias",
    }
    assert {key: foreign_key(key) for key in pairs} == pairs


def test_eps_is_never_assumed(state_dict_file: Path, folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not hold the eps.*1e-5.*1e-3"):
        convert_i3d(state_dict_file, folder / "none.safetensors")
    with pytest.raises(CheckpointError, match="small number"):
        convert_i3d(state_dict_file, folder / "none.safetensors", eps=0.0)
    assert not (folder / "none.safetensors").exists()


@pytest.mark.parametrize("change", ["lacks", "besides", "shape"])
def test_other_networks_are_refused(change: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    wrong = dict(weights)
    if change == "lacks":
        del wrong["Mixed_4b.b0.conv3d.weight"]
    elif change == "besides":
        wrong["head.weight"] = torch.zeros(3)
    else:
        wrong["logits.conv3d.weight"] = torch.zeros(600, 1024, 1, 1, 1)
    torch.save(wrong, tmp_path / "wrong.pt")
    expected = {"lacks": "lacks Mixed_4b.b0", "besides": "head.weight besides", "shape": r"\(600, 1024"}[change]
    with pytest.raises(CheckpointError, match=f"not I3D with 400 classes.*{expected}"):
        convert_i3d(tmp_path / "wrong.pt", tmp_path / "out.safetensors", eps=1e-5)


def test_only_converted_files_are_loaded(
    state_dict_file: Path, archive: Path, converted: Path, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    plain = tmp_path / "plain.safetensors"
    save_file(weights, plain)
    for path in (state_dict_file, archive, plain):
        with pytest.raises(CheckpointError, match="convert-i3d"):
            load_i3d(path)
    with safe_open(converted, framework="pt") as file:
        metadata = file.metadata()
    damaged = dict(weights) | {"logits.conv3d.bias": torch.zeros(400)}
    save_file(damaged, plain, metadata)
    with pytest.raises(CheckpointError, match="damaged"):
        load_i3d(plain)
    with pytest.raises(CheckpointError, match="exists"):
        convert_i3d(state_dict_file, plain, eps=1e-5)
    with pytest.raises(CheckpointError, match="should end in"):
        convert_i3d(state_dict_file, tmp_path / "i3d.pt", eps=1e-5)


def test_without_weights_the_error_says_where_they_are() -> None:
    with pytest.raises(CheckpointError, match=r"i3d_pretrained_400\.pt.*i3d_torchscript\.pt.*convert-i3d"):
        I3DLogits(None)


def test_direct_resize_scales_both_axes_and_center_crop_keeps_the_aspect() -> None:
    ramp = (torch.arange(448, dtype=torch.float64) // 2).to(torch.uint8)  # 0 0 1 1 ... 223 223
    frames = ramp[None, None, :, None].expand(1, 112, -1, 3)
    direct = network_input(frames, "direct")
    assert direct.shape == (3, 1, 224, 224)
    expected = 2 * torch.arange(224.0) / 255 - 1
    torch.testing.assert_close(direct[0, 0, 5], expected)
    crop = network_input(frames, "center-crop")  # twice as large, the middle quarter of 896 columns
    assert crop.shape == (3, 1, 224, 224)
    assert crop[0, 0, 0, 0].item() == pytest.approx(2 * (335.5 / 4) / 255 - 1, abs=2e-3)
    assert network_input(torch.zeros(1, 300, 227, 3, dtype=torch.uint8), "center-crop").shape == (3, 1, 224, 224)
    whole = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    for resize in ("direct", "center-crop"):
        same = network_input(whole, resize)
        assert torch.equal(same, 2 * whole.float().permute(3, 0, 1, 2) / 255 - 1), "224 x 224 is left as it is"


def test_the_extractor_is_the_network_and_knows_no_batch(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i3d_extractor, "INPUT_SIDE", 193)  # as small as the network takes
    extractor = I3DLogits(converted, device="cpu", resize="center-crop")
    assert extractor.id == "i3d-logits[center-crop]"
    with safe_open(converted, framework="pt") as file:
        assert extractor.weights_sha256 == file.metadata()["i3d.tensors_sha256"]
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 9, 32, 40, 3), generator=generator, dtype=torch.uint8)
    records = [extractor.preprocess(LoadedClip(clip, fps=8.0))["video"] for clip in frames]
    features = extractor({"video": torch.stack(records)})["features"]
    assert features.shape == (2, 400)
    assert torch.equal(features[1:], extractor({"video": records[1][None]})["features"])
    with pytest.raises(ValueError, match="9 frames or more, the clip has 8"):
        extractor.preprocess(LoadedClip(frames[0, :8], fps=8.0))

"""LPIPS with trunks of random weights, against torchmetrics' own with the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from random_trunks import convolutions, trunk_weights
from torch import Tensor
from torchmetrics.functional.image.lpips import _LPIPS

from lvdm.evaluation.lpips import load_lpips
from lvdm.evaluation.metrics.registry import reconstruction


@pytest.fixture
def alexnet(tmp_path: Path) -> Path:
    torch.save(trunk_weights("alex"), tmp_path / "alexnet.pth")
    return tmp_path / "alexnet.pth"


def random_pictures(seed: int) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("trunk", ["alex", "vgg", "squeeze"])
def test_agreement_with_torchmetrics(trunk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = trunk_weights(trunk)
    torch.save(weights, tmp_path / "trunk.pth")
    lpips = load_lpips(trunk, tmp_path / "trunk.pth")  # type: ignore[arg-type]
    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", convolutions)
    theirs = _LPIPS(net=trunk, pnet_rand=True)  # type: ignore[arg-type]
    own = [name for name, _ in theirs.net.named_parameters()]
    stored = dict(zip(own, weights.values(), strict=False))
    theirs.net.load_state_dict(stored, assign=True)
    a, b = random_pictures(1), random_pictures(2)
    expected = theirs(a, b).flatten()
    assert (expected > 0).all()
    torch.testing.assert_close(lpips(a, b), expected, rtol=1e-4, atol=1e-7)
    assert lpips.name == f"LPIPS[{trunk}]"


def test_laws(alexnet: Path) -> None:
    lpips = load_lpips("alex", alexnet)
    a, b = random_pictures(1), random_pictures(2)
    assert lpips(a, a).tolist() == [0, 0]
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    many = lpips(a.repeat(5, 1, 1, 1), b.repeat(5, 1, 1, 1))
    torch.testing.assert_close(many, lpips(a, b).repeat(5), rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="pairs"):
        lpips(a, b[:1])


def test_it_measures_interpolations(alexnet: Path) -> None:
    pictures = torch.randint(0, 256, (4, 64, 64, 3), generator=torch.Generator().manual_seed(0)).byte()
    values = reconstruction(pictures, pictures.flip(0), distances=[load_lpips("alex", alexnet)])
    assert list(values) == ["PSNR[dB]", "SSIM", "LPIPS[alex]"]
    assert values["LPIPS[alex]"] > 0


def test_missing_and_wrong_weights_are_told(alexnet: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs the weights of torchvision's alexnet: give the file alexnet-owt"):
        load_lpips("alex")
    with pytest.raises(ValueError, match=r"holds no vgg16 of torchvision .* give the file vgg16-397923af.pth"):
        load_lpips("vgg", alexnet)
    with pytest.raises(ValueError, match="use one of alex, vgg, squeeze"):
        load_lpips("resnet", alexnet)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not exist"):
        load_lpips("alex", tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"give the file squeezenet1_1-b8a52dc0\.pth"):
        load_lpips("squeeze")

"""What a protocol's metrics are made of when weights are given, and weights that nothing uses."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from random_trunks import trunk_weights
from torchvision.models.optical_flow import raft_small

from lvdm.evaluation import dreamsim_distance
from lvdm.evaluation.building import ExtractorError, build_extractors
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling
from lvdm.evaluation.clip_sets import Measures
from lvdm.evaluation.dreamsim_distance import ADAPTERS, FILES, DreamSimDistance, DreamSimError, dreamsim_conformity
from lvdm.evaluation.extraction import ClipSet, FeatureWriter, find_jobs, planned_records, run_jobs
from lvdm.evaluation.features.protocol import FeatureExtractor, LoadedClip
from lvdm.evaluation.metrics.from_records import clip_numbers
from lvdm.evaluation.metrics.registry import higher_is_better
from lvdm.evaluation.protocols import load_protocol
from lvdm.evaluation.records import Records, load_records

NO_EXTRACTORS = {"extractors": [], "paired": True}


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save(trunk_weights("alex"), path)
    return path


@pytest.fixture
def specs(tmp_path: Path) -> tuple[ClipSpec, ...]:
    """Two clips of noise with an image, their first frame, and one without."""
    values, made = np.random.default_rng(0), []
    for number in range(3):
        frames = values.integers(0, 255, (3, 40, 48, 3), dtype=np.uint8)
        np.save(tmp_path / f"{number}.npy", frames)
        Image.fromarray(frames[0]).save(tmp_path / f"{number}.png")
        image = tmp_path / f"{number}.png" if number < 2 else None
        made.append(ClipSpec(f"c{number}", tmp_path / f"{number}.npy", 0, 1, 3, fps=8.0, image=image))
    return tuple(made)


def extracted(
    folder: Path,
    specs: tuple[ClipSpec, ...],
    extractors: tuple[FeatureExtractor, ...],
    workers: int = 0,
    batch: int = 4,
) -> Records:
    cache = FeatureCache(folder)
    wanted = planned_records(cache, [ClipSet("fake", specs, extractors)], FrameScaling())
    run_jobs(find_jobs(cache, wanted), FeatureWriter(cache, batch), FrameScaling(), workers)
    return load_records(cache, wanted)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_motion_is_measured_by_a_raft_whose_weights_are_given(
    raft: Path, specs: tuple[ClipSpec, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvdm.evaluation.raft.UPDATES", 2)
    protocol = load_protocol("procedural-v1", {"metrics": ["motion"], **NO_EXTRACTORS})
    (classical,) = build_extractors(protocol, {}).common
    (measures,) = build_extractors(protocol, {"raft-small": raft}).common
    assert (classical.id, measures.id) == ("measures-v2-flow-v1", "measures-v2-raft-small")
    assert measures.weights_sha256 is not None
    assert isinstance(measures, Measures)
    records = extracted(tmp_path / "one", specs[:2], (measures,))
    names = [metric.name for metric in clip_numbers(records.of("fake"))]
    assert "motion[raft-small, diagonals/s]" in names
    assert "flow continuity[raft-small]" in names
    extracted(tmp_path / "workers", specs[:2], (pickle.loads(pickle.dumps(measures)),), workers=2)
    assert contents(tmp_path / "workers") == contents(tmp_path / "one")


def test_conformity_by_lpips(alexnet: Path, specs: tuple[ClipSpec, ...], tmp_path: Path) -> None:
    protocol = load_protocol("procedural-v1", {"metrics": ["similarity"], **NO_EXTRACTORS})
    found = build_extractors(protocol, {"lpips-alex": alexnet}, device="cpu")
    assert found.pairs is None
    records = extracted(tmp_path / "one", specs, found.common)
    (metric,) = clip_numbers(records.of("fake"))
    assert metric.name == "PIC[LPIPS-alex]"
    assert higher_is_better(metric.name)
    assert set(metric.values) == {"c0", "c1"}, "a clip without an image has none"
    distances = records.of("fake")[0].values["c0"]["distances"]
    assert distances.shape == (3,)
    assert distances[0] == 0
    assert metric.values["c0"] == pytest.approx(1 - distances.mean())
    extracted(tmp_path / "two", specs, found.common, workers=2, batch=1)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_frames_that_are_too_small_for_lpips_are_refused(alexnet: Path) -> None:
    protocol = load_protocol("procedural-v1", {"metrics": ["similarity"], **NO_EXTRACTORS})
    (conformity,) = build_extractors(protocol, {"lpips-alex": alexnet}, device="cpu").common
    frames = torch.zeros(2, 24, 64, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="LPIPS-alex needs frames of 32 pixels or more on each side, not 24x64"):
        conformity.preprocess(LoadedClip(frames, 8.0, image=frames[0]))


def test_pairs_have_lpips_where_weights_are_given(alexnet: Path) -> None:
    protocol = load_protocol("interpolation-v1")
    bare, pairs = build_extractors(protocol, {}).pairs, build_extractors(protocol, {"lpips-alex": alexnet}).pairs
    assert bare is not None
    assert pairs is not None
    assert (bare.id, bare.weights_sha256) == ("measures-reconstruction-v2-inner-frames", None)
    assert pairs.id == "measures-reconstruction-v2-inner-frames-LPIPS[alex]"
    assert pairs.weights_sha256 is not None
    real = torch.randint(0, 256, (4, 64, 64, 3), generator=torch.Generator().manual_seed(0)).byte()
    made = real.clone()
    made[[0, -1]] = 0
    values = pickle.loads(pickle.dumps(pairs)).compare(made, real)
    assert values == {"PSNR[dB]": 100, "SSIM": pytest.approx(1), "LPIPS[alex]": 0}, "given frames were counted"


@pytest.mark.parametrize(
    ("overrides", "names", "message"),
    [
        ({}, ["i3d-logits"], "has no extractor of this name; it has stpyr-v1, tiny-clip; other weights are raft-large"),
        ({"metrics": ["similarity"]}, ["raft-small"], "no metrics of the group motion, .* its groups are similarity"),
        ({"metrics": ["motion"]}, ["lpips-alex"], "no metrics of the group similarity or reconstruction"),
        ({"metrics": ["motion"]}, ["dreamsim"], "no metrics of the group similarity"),
        ({}, ["raft-small", "raft-large"], "raft-large and raft-small: motion is measured by one flow"),
        ({"metrics": ["motion"], "extractors": []}, ["raft-large"], "holds raft-small: give it as --weights raft-sma"),
    ],
)
def test_weights_that_nothing_uses(overrides: dict[str, Any], names: list[str], message: str, raft: Path) -> None:
    with pytest.raises(ExtractorError, match=message):
        build_extractors(load_protocol("procedural-v1", overrides), dict.fromkeys(names, raft), device="cpu")


def test_dreamsim_is_refused_before_it_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(name: str) -> Any:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(dreamsim_distance.importlib, "import_module", never)
    for version, message in ((None, "is not installed: pip install dreamsim"), ("0.1.3", "is installed as 0.1.3")):
        monkeypatch.setattr(dreamsim_distance, "installed_version", lambda _, found=version: found)
        with pytest.raises(DreamSimError, match=message):
            dreamsim_conformity(tmp_path, "cpu")
    monkeypatch.setattr(dreamsim_distance, "installed_version", lambda _: "0.2.1")
    for name in (*FILES, ADAPTERS[1]):
        with pytest.raises(DreamSimError, match=r"lacks .*nothing is downloaded here; give the folder"):
            dreamsim_conformity(tmp_path, "cpu")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"weights")
    with pytest.raises(AssertionError, match="dreamsim was called"):
        dreamsim_conformity(tmp_path, "cpu")


def test_dreamsim_of_pictures() -> None:
    """With a network of the package's interface, which wants one picture of 224 pixels in [0, 1]."""

    class Colours:
        def embed(self, picture: torch.Tensor) -> torch.Tensor:
            assert picture.shape == (1, 3, 224, 224)
            assert 0 <= picture.min() <= picture.max() <= 1
            return picture.mean(dim=(2, 3)).squeeze()

    red, green = torch.full((2, 3, 40, 48), -1.0), torch.full((2, 3, 40, 48), -1.0)
    red[:, 0], green[:, 1] = 1, 1
    distance = DreamSimDistance(Colours())
    torch.testing.assert_close(distance(red, green), torch.ones(2))
    torch.testing.assert_close(distance(red, red), torch.zeros(2))

"""RAFT from a file: the network that the file is for, padding and scale, and files that hold none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_large, raft_small

from lvdm.evaluation.raft import UPDATES, RaftFlow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small RAFT with random weights, as torchvision saves it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def test_it_is_the_network_of_the_file(weights: Path) -> None:
    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    first, second = torch.rand(2, 1, 3, 128, 136) * 2 - 1
    with torch.inference_mode():
        expected = network(first, second, num_flow_updates=UPDATES)[-1]
    flow = RaftFlow(weights)
    assert torch.equal(flow(first, second), expected)
    assert flow.id == "raft-small"
    assert flow.weights_sha256 is not None
    assert len(flow.weights_sha256) == 64


def test_any_size_is_filled_up_and_cut_again(weights: Path) -> None:
    flow = RaftFlow(weights)
    first, second = torch.rand(2, 2, 3, 60, 71) * 2 - 1
    found = flow(first, second)
    assert found.shape == (2, 2, 60, 71)
    assert torch.equal(found[1:], flow(first[1:], second[1:])), "a pair depends on its batch"
    assert flow(first[:0], second[:0]).shape == (0, 2, 60, 71)


def test_the_large_network_is_told_from_its_file(tmp_path: Path) -> None:
    save_file(raft_large(weights=None).state_dict(), tmp_path / "raft.safetensors")
    assert RaftFlow(tmp_path / "raft.safetensors").id == "raft-large"


def test_another_file_is_refused(tmp_path: Path) -> None:
    save_file({"feature_encoder.convnormrelu.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no RAFT of torchvision: give one of its files"):
        RaftFlow(tmp_path / "other.safetensors")

"""The published weights are put together from those of several trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lvdm.checkpoint import read_checkpoint
from lvdm.checkpoint.writing import write_safetensors
from scripts.publish_embedded import write_merged


def write(path: Path, value: float, **sizes: int) -> Path:
    write_safetensors(path, {name.replace("_", "."): torch.full((size,), value) for name, size in sizes.items()})
    return path


def test_parts_replace_the_tensors_of_their_prefix(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.safetensors", 0.0, unet_in=2, carrier_mask=3, carrier_motion=4)
    masks = write(tmp_path / "b.safetensors", 1.0, unet_in=2, carrier_mask=3)
    words = write(tmp_path / "c.safetensors", 2.0, carrier_motion=4)
    write_merged(whole, [("carrier.mask", masks), ("carrier.motion", words)], tmp_path / "merged.safetensors")
    merged = read_checkpoint(tmp_path / "merged.safetensors")
    assert {key: tensor.tolist() for key, tensor in merged.items()} == {
        "unet.in": [0.0] * 2,
        "carrier.mask": [1.0] * 3,
        "carrier.motion": [2.0] * 4,
    }


@pytest.mark.parametrize("sizes", [{"carrier_motion": 4}, {"carrier_mask": 5}, {"carrier_mask": 3, "carrier_mask2": 1}])
def test_a_part_that_does_not_fit_is_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    whole = write(tmp_path / "a.safetensors", 0.0, carrier_mask=3, carrier_motion=4)
    part = write(tmp_path / "b.safetensors", 1.0, **sizes)
    with pytest.raises(ValueError, match=r"differ in the tensors of carrier\.mask"):
        write_merged(whole, [("carrier.mask", part)], tmp_path / "merged.safetensors")
    assert not (tmp_path / "merged.safetensors").exists()

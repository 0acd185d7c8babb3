"""Weights of 8 bits and weights that wait elsewhere: what they change, and what is refused beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_model import picture, write_small_model

from lvdm.errors import UserError
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.placement import WeightPlacement
from lvdm.precision import numbers_name

FEW = {"num_inference_steps": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small") / "model")


def test_weights_of_8_bits_change_the_video_a_little(folder: Path) -> None:
    pytest.importorskip("diffusers")
    full, small = (DynamiCrafterPipeline.from_pretrained(folder, device="cpu", storage=s) for s in ("full", "fp8"))
    videos = [pipe(picture(), "a red ball", **FEW).video for pipe in (full, small, small)]
    assert torch.equal(videos[1], videos[2]), "a second video of the same pipeline is another one"
    assert 0 < (videos[0] - videos[1]).abs().mean() < 0.2
    held = [sum(p.numel() * p.element_size() for p in pipe.runtime.model.unet.parameters()) for pipe in (full, small)]
    assert held[1] < 0.35 * held[0], f"{held[1]} bytes instead of {held[0]}"
    assert full.identity().dtype == "fp32"
    assert small.identity().dtype == "fp32 of fp8", "its videos would be taken for those of full weights"
    with pytest.raises(UserError, match=r"chunk_frames .* reads weights as they are stored"):
        small(picture(), "a red ball", **FEW, chunk_frames=2)
    with pytest.raises(UserError, match=r"a LoRA .* reads weights as they are stored"):
        small.load_lora(folder / "style.safetensors")


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_there_is_nothing_to_offload_to_on_a_cpu(folder: Path, offload: str) -> None:
    with pytest.raises(UserError, match=f"offload {offload} moves weights between an accelerator and the host"):
        DynamiCrafterPipeline.from_pretrained(folder, device="cpu", offload=offload)  # type: ignore[arg-type]


def test_names_of_numbers() -> None:
    assert numbers_name("bf16", "sdpa", "fp8") == "bf16 of fp8"
    assert numbers_name("bf16", "sage", "fp8") == "bf16 of fp8 sage"
    assert numbers_name("bf16", "sage") == "bf16 sage"
    with pytest.raises(UserError, match="does not go with offload sequential"):
        WeightPlacement("sequential", "fp8").check(on_cpu=False)

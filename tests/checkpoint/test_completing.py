"""Encoders that a training left out or rounded come back from the file it began with, and from no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvdm.checkpoint import CheckpointError, convert

UNET = "model.diffusion_model.out.2.weight"
AUTOENCODER = "first_stage_model.decoder.conv_in.weight"
TEXT_ENCODER = "cond_stage_model.model.positional_embedding"
IMAGE_ENCODER = "embedder.model.visual.proj"


@pytest.fixture
def origin() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(4, 4, generator=generator) for key in (UNET, AUTOENCODER, TEXT_ENCODER, IMAGE_ENCODER)}


def write(folder: Path, name: str, tensors: dict[str, Tensor]) -> Path:
    path = folder / f"{name}.safetensors"
    save_file(tensors, path)
    return path


def test_rounded_encoders_come_back_and_trained_parts_stay(tmp_path: Path, origin: dict[str, Tensor]) -> None:
    """As `tuning.frozen_precision: bf16` leaves them; the text encoder was trained, so that it is in float32."""
    trained = {
        UNET: origin[UNET] + 1,
        AUTOENCODER: origin[AUTOENCODER].bfloat16(),
        TEXT_ENCODER: origin[TEXT_ENCODER] + 1,
        IMAGE_ENCODER: origin[IMAGE_ENCODER].bfloat16(),
    }
    target = tmp_path / "whole.safetensors"
    convert(write(tmp_path, "run", trained), target, encoders=write(tmp_path, "origin", origin))
    whole = load_file(target)
    expected = {**origin, UNET: trained[UNET], TEXT_ENCODER: trained[TEXT_ENCODER]}
    assert whole.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(whole[key], value), f"{key} is not as it should be"


def test_a_float16_file_is_finer_than_bf16(tmp_path: Path, origin: dict[str, Tensor]) -> None:
    half = {key: value.half() for key, value in origin.items()}
    rounded = {key: value.bfloat16() for key, value in half.items()}
    target = tmp_path / "whole.safetensors"
    convert(write(tmp_path, "run", rounded), target, encoders=write(tmp_path, "origin", half))
    assert torch.equal(load_file(target)[AUTOENCODER], half[AUTOENCODER])


def test_encoders_of_another_model_are_refused(tmp_path: Path, origin: dict[str, Tensor]) -> None:
    rounded = {key: value.bfloat16() for key, value in origin.items()}
    other = {**origin, AUTOENCODER: origin[AUTOENCODER] * 1.1}
    with pytest.raises(CheckpointError, match=r"the autoencoder of .*run\.safetensors is not a rounded one"):
        convert(write(tmp_path, "run", rounded), tmp_path / "out.safetensors", encoders=write(tmp_path, "other", other))


def test_nothing_to_supply_is_an_error(tmp_path: Path, origin: dict[str, Tensor]) -> None:
    run = write(tmp_path, "run", origin)
    with pytest.raises(CheckpointError, match="leave out --encoders"):
        convert(run, tmp_path / "out.safetensors", encoders=write(tmp_path, "origin", origin))

"""One model in every file format, before and after conversion, is the same model and makes the same video."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import picture, write_small_model

from lvdm.checkpoint import convert
from lvdm.pipeline import DynamiCrafterPipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"))


def load(folder: Path, weights: Path, encoders: Path | None = None) -> DynamiCrafterPipeline:
    return DynamiCrafterPipeline.from_pretrained(
        folder / "config.yaml", weights, device="cpu", dtype="fp32", encoders=encoders
    )


def generate(pipe: DynamiCrafterPipeline) -> torch.Tensor:
    return pipe(picture(), "a red ball moves to the right").video


def check_same(pipe: DynamiCrafterPipeline, expected: dict[str, torch.Tensor], what: str) -> None:
    found = pipe.runtime.model.state_dict()
    assert found.keys() == expected.keys(), f"{what}: other tensors"
    different = [key for key, value in expected.items() if not torch.equal(found[key], value)]
    assert not different, f"{what}: {different} differ from the original file's"


@pytest.fixture(scope="module")
def expected(folder):
    return load(folder, folder / "model.safetensors")


@pytest.fixture(scope="module")
def video(expected):
    return generate(expected)


@pytest.mark.parametrize("kind", ["lightning", "plain", "deepspeed", "old name", "safetensors"])
def test_every_format_before_and_after_conversion(folder, expected, video, tmp_path, kind):
    state = load_file(folder / "model.safetensors")
    if kind == "old name":
        state = {key.replace("fps_embedding", "framestride_embed"): value for key, value in state.items()}
    contents = {
        "lightning": {"state_dict": state, "epoch": 3, "global_step": 7},
        "plain": state,
        "deepspeed": {"module": {f"_forward_module.{key}": value for key, value in state.items()}},
        "old name": {"state_dict": state},
    }
    weights = tmp_path / ("model.safetensors" if kind == "safetensors" else "model.ckpt")
    if kind == "safetensors":
        save_file(state, weights)
    else:
        torch.save(contents[kind], weights)
    tensors = expected.runtime.model.state_dict()
    pipe = load(folder, weights)
    check_same(pipe, tensors, kind)
    assert torch.equal(generate(pipe), video), f"{kind}: another video than the original file"
    convert(weights, tmp_path / "converted.safetensors")
    converted = load_file(tmp_path / "converted.safetensors")
    assert converted.keys() == tensors.keys(), f"{kind} as safetensors: other tensors"
    assert all(torch.equal(converted[key], value) for key, value in tensors.items()), f"{kind} as safetensors"
    if kind != "lightning":  # they are equal by now
        return
    check_same(load(folder, tmp_path / "converted.safetensors"), tensors, f"{kind} as safetensors")
    convert(tmp_path / "converted.safetensors", tmp_path / "back.ckpt")
    check_same(load(folder, tmp_path / "back.ckpt"), tensors, f"{kind} back to .ckpt")


def test_a_file_without_towers_borrows_them_and_one_without_schedule_computes_it(folder, expected, tmp_path):
    state = load_file(folder / "model.safetensors")
    pruned = {
        key: value
        for key, value in state.items()
        if "." in key and not key.startswith(("cond_stage_model.", "embedder."))
    }
    save_file(pruned, tmp_path / "pruned.safetensors")
    with pytest.raises(ValueError, match="--encoders"):
        load(folder, tmp_path / "pruned.safetensors")
    borrowed = load(folder, tmp_path / "pruned.safetensors", encoders=folder / "model.safetensors")
    check_same(borrowed, expected.runtime.model.state_dict(), "encoders from another file, schedule computed")

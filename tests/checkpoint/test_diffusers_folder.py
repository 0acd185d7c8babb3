"""A folder in the layout of diffusers holds every tensor to the byte, and our own pipeline reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_model import picture, small_structure_yaml, small_videocrafter_yaml, small_yaml, write_model
from typer.testing import CliRunner

from lvdm.checkpoint import CheckpointError, convert, read_shapes
from lvdm.checkpoint.converting import convert_to_diffusers
from lvdm.cli.app import app
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.jobs.model import choose_model
from lvdm.pipeline import DynamiCrafterPipeline


def dual_reference_yaml() -> dict[str, Any]:
    tree = small_yaml(("interpolation",))
    tree["model"]["params"]["first_stage_config"]["target"] = "lvdm.models.autoencoder.AutoencoderKL_Dualref"
    return tree


@pytest.mark.parametrize(
    ("tree", "vae"),
    [
        (small_yaml(), ["diffusers", "AutoencoderKL"]),
        (small_videocrafter_yaml(), ["diffusers", "AutoencoderKL"]),
        (small_structure_yaml(), ["diffusers", "AutoencoderKL"]),
        (dual_reference_yaml(), ["lvdm.diffusers_pipeline.components", "Network"]),
    ],
    ids=["image", "text", "structure", "dual reference"],
)
def test_there_and_back_changes_no_bit(tree: dict[str, Any], vae: list[str], tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", tree) / "model.safetensors"
    convert_to_diffusers(source, tmp_path / "folder", source.parent / "config.yaml")
    convert(tmp_path / "folder", tmp_path / "back.safetensors")
    before, after = load_file(source), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert (after[key].dtype, after[key].shape) == (value.dtype, value.shape), f"{key} has another form"
        assert torch.equal(after[key], value), f"{key} changed"
    index = json.loads((tmp_path / "folder" / "model_index.json").read_text())
    assert index["vae"] == vae
    del index["_class_name"]
    for name, (library, _) in ((name, pair) for name, pair in index.items() if isinstance(pair, list)):
        there = (tmp_path / "folder" / name).is_dir()
        assert there == (library is not None), f"{name} is {'there' if there else 'missing'}, the index says {library}"
    assert read_shapes(tmp_path / "folder") == {key: tuple(value.shape) for key, value in before.items()}


def test_the_command_and_our_own_pipeline(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", small_yaml())
    command = ["convert", "--to", "diffusers", str(model / "model.safetensors"), str(tmp_path / "folder")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "exists; choose another name" in refused.stderr, "an existing folder is overwritten"
    pipelines = [DynamiCrafterPipeline.from_pretrained(place, device="cpu") for place in (model, tmp_path / "folder")]
    named = ModelParameters(checkpoint=tmp_path / "folder")
    pipelines.append(choose_model(named, MachineParameters(device="cpu")).load())
    videos = [pipe(picture(), "a red ball", num_inference_steps=1).video for pipe in pipelines]
    assert torch.equal(videos[0], videos[1]), "the folder is another model"
    assert torch.equal(videos[0], videos[2]), "commands take another model for the folder"


def test_what_is_no_model_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(CheckpointError, match="another program's model for diffusers"):
        convert(tmp_path, tmp_path / "a.safetensors")
    tree = small_yaml()
    model = write_model(tmp_path / "model", tree)
    other = write_model(tmp_path / "other", small_videocrafter_yaml()) / "config.yaml"
    with pytest.raises(CheckpointError, match=r"holds image encoder weights, and .* has no img_cond_stage_config"):
        convert_to_diffusers(model / "model.safetensors", tmp_path / "folder", other)
    assert not (tmp_path / "folder").exists(), "half a folder was left"

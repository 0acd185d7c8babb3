"""Loading is strict, changes nothing but the dtype, and says in words what does not fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lvdm.checkpoint import CheckpointError, load_into, part_of, read_checkpoint
from lvdm.checkpoint.parts import CLIP_ENCODERS, SCHEDULE, SCHEDULE_KEYS

Build = Callable[..., nn.Module]
Weights = dict[str, dict[str, Tensor]]


def saved(tensors: dict[str, Tensor], path: Path) -> Any:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return read_checkpoint(path)


def refusal(module: nn.Module, checkpoint: Any, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_into(module, checkpoint, **options)
    return str(caught.value)


@pytest.mark.parametrize("style", ["512", "256"])
def test_every_format_loads_into_a_real_model(
    any_format: tuple[str, Callable[..., Any]], weights: Weights, meta_model: Build, tmp_path: Path, style: str
) -> None:
    name, save = any_format
    tensors = weights[style]
    if style == "256":
        tensors = {key.replace("fps_embedding", "framestride_embed"): value for key, value in tensors.items()}
    save(tensors, tmp_path / name)
    model = meta_model(style)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    report = load_into(model, read_checkpoint(tmp_path / name))
    assert list(model.state_dict()) == list(weights[style]), "keys or their order changed"
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[style][key]), f"{name}: {key} changed"
    assert not report.warnings
    assert len(report.renamed) == (4 if style == "256" else 0)
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == frozen


def test_the_loaded_model_does_not_depend_on_the_file(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    model = meta_model()
    load_into(model, saved(weights["512"], tmp_path / "a.safetensors"))
    key = "image_proj_model.latents"
    with open(tmp_path / "a.safetensors", "r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert torch.equal(model.state_dict()[key], weights["512"][key])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_are_rounded_and_the_schedule_is_not(
    weights: Weights, meta_model: Build, tmp_path: Path, dtype: torch.dtype
) -> None:
    model = meta_model()
    report = load_into(model, saved(weights["512"], tmp_path / "a.safetensors"), dtype)
    for key, value in model.state_dict().items():
        expected = weights["512"][key] if part_of(key) == SCHEDULE else weights["512"][key].to(dtype)
        assert value.dtype == expected.dtype, f"{key} is {value.dtype}"
        assert torch.equal(value, expected), f"{key} is not the rounded value"
    assert report.cast == {(torch.float32, dtype): len(weights["512"]) - len(SCHEDULE_KEYS)}


def test_a_value_too_large_for_fp16_is_an_error(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    key = "image_proj_model.latents"
    tensors = weights["512"] | {key: weights["512"][key] + 70000}
    message = refusal(meta_model(), saved(tensors, tmp_path / "a.safetensors"), dtype=torch.float16)
    assert message.startswith(key)
    assert "bf16" in message


def test_a_half_precision_file_without_schedule_loads(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    pruned = {key: value.bfloat16() for key, value in weights["512"].items() if part_of(key) != SCHEDULE}
    model = meta_model()
    report = load_into(model, saved(pruned, tmp_path / "a.safetensors"))
    assert report.computed == list(SCHEDULE_KEYS)
    assert not report.warnings
    for key, value in model.state_dict().items():
        expected = pruned[key].float() if key in pruned else weights["512"][key]
        assert torch.equal(value, expected), f"{key} changed"


def test_a_schedule_stored_in_half_precision_is_no_disagreement(
    weights: Weights, meta_model: Build, tmp_path: Path
) -> None:
    for style in weights:
        for dtype in (torch.float16, torch.bfloat16):
            tensors = {key: value.to(dtype) for key, value in weights[style].items()}
            report = load_into(meta_model(style), saved(tensors, tmp_path / f"{style}{dtype}.safetensors"))
            assert not report.warnings, f"{style} in {dtype}: {report.warnings}"


def test_another_schedule_is_reported_with_its_size_and_not_taken_over(
    weights: Weights, meta_model: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = weights["512"]["alphas_cumprod"] + 0.004
    checkpoint = saved(weights["512"] | {"alphas_cumprod": changed}, tmp_path / "a.safetensors")
    model = meta_model()
    with caplog.at_level(logging.WARNING):
        report = load_into(model, checkpoint)
    assert "alphas_cumprod by up to 0.004" in caplog.text
    assert len(report.warnings) == 1
    assert torch.equal(model.alphas_cumprod, weights["512"]["alphas_cumprod"]), "the file's schedule was taken over"
    report = load_into(model := meta_model(), checkpoint, schedule="file")
    assert torch.equal(model.alphas_cumprod, changed)
    assert "using that of the file" in report.warnings[0]


def test_a_pruned_file_takes_its_towers_from_another(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    pruned = {key: value for key, value in weights["512"].items() if part_of(key) not in CLIP_ENCODERS}
    checkpoint = saved(pruned, tmp_path / "pruned.safetensors")
    message = refusal(meta_model(), checkpoint)
    assert "text encoder" in message
    assert "image encoder" in message
    assert "--encoders" in message
    prefixes = ("cond_stage_model.model.", "embedder.model.")
    full = saved(weights["512"], tmp_path / "full.safetensors")
    report = load_into(model := meta_model(), checkpoint, encoders=full)
    assert len(report.supplied) == sum(key.startswith(prefixes) for key in weights["512"])
    assert all(torch.equal(value, weights["512"][key]) for key, value in model.state_dict().items())
    assert "cannot supply" in refusal(meta_model(), checkpoint, encoders=checkpoint)


def test_a_file_without_unet_is_not_taken_for_a_pruned_one(meta_model: Build, tmp_path: Path) -> None:
    message = refusal(meta_model(), saved({"unet.weight": torch.zeros(3)}, tmp_path / "other.safetensors"))
    assert "it holds no UNet under model.diffusion_model" in message
    assert "--encoders" not in message, "a checkpoint of another family was taken for a pruned one"


def test_open_clips_own_file_supplies_the_towers(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    pruned = {key: value for key, value in weights["512"].items() if part_of(key) not in CLIP_ENCODERS}
    own = {}
    for prefix in ("cond_stage_model.model.", "embedder.model."):
        own |= {key.removeprefix(prefix): value for key, value in weights["512"].items() if key.startswith(prefix)}
    model = meta_model()
    load_into(model, saved(pruned, tmp_path / "a.safetensors"), encoders=saved(own, tmp_path / "clip.safetensors"))
    for key in ("embedder.model.visual.conv1.weight", "cond_stage_model.model.transformer.resblocks.0.ln_1.weight"):
        assert torch.equal(model.state_dict()[key], weights["512"][key]), f"{key} is not that of the encoders file"


def test_a_checkpoint_of_the_other_style_names_its_configuration(
    weights: Weights, meta_model: Build, tmp_path: Path
) -> None:
    files = {style: saved(weights[style], tmp_path / f"{style}.safetensors") for style in weights}
    message = refusal(meta_model("512"), files["256"])
    assert "it is a 256 checkpoint" in message.splitlines()[0]
    assert "inference_256_v1.0.yaml" in message.splitlines()[0]
    assert "unexpected" in message
    message = refusal(meta_model("256"), files["512"])
    assert "inference_512_v1.0.yaml" in message.splitlines()[0]
    assert "schedule (no prefix): 1 unexpected: scale_arr" in message


def test_the_difference_is_grouped_by_component(weights: Weights, meta_model: Build, tmp_path: Path) -> None:
    tensors = dict(weights["512"])
    latents = "image_proj_model.latents"
    tensors[latents] = torch.zeros(1, 99, 16)
    del tensors["first_stage_model.quant_conv.weight"]
    for index in range(5):
        tensors[f"model.diffusion_model.more.{index}"] = torch.zeros(1)
    message = refusal(meta_model(), saved(tensors, tmp_path / "a.safetensors"))
    shape = "x".join(map(str, weights["512"][latents].shape))
    assert message.splitlines()[1:] == [
        "  UNet (model.diffusion_model.): 5 unexpected: more.0, more.1, more.2 and 2 more",
        "  autoencoder (first_stage_model.): 1 missing: quant_conv.weight",
        "  query transformer (image_proj_model.): 1 of another shape: "
        f"latents 1x99x16 in the file, {shape} in the model",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.repeat(2, 1, 1, 1), "starts with 32 channels, the model's with 16"),
        (lambda w: w[:, :4].contiguous(), "VideoCrafter"),
        (None, "no UNet"),
    ],
)
def test_another_family_is_recognised(
    weights: Weights, meta_model: Build, tmp_path: Path, change: Callable[[Tensor], Tensor] | None, expected: str
) -> None:
    key = "model.diffusion_model.input_blocks.0.0.weight"
    tensors = dict(weights["512"])
    value = tensors.pop(key)
    if change is not None:
        tensors[key] = change(value)
    assert expected in refusal(meta_model(), saved(tensors, tmp_path / "a.safetensors")).splitlines()[0]


def test_buffers_that_follow_from_the_configuration_are_ignored(
    weights: Weights, meta_model: Build, tmp_path: Path
) -> None:
    extra = {"cond_stage_model.model.attn_mask": torch.zeros(16, 16), "logvar": torch.zeros(1000)}
    report = load_into(meta_model(), saved(weights["512"] | extra, tmp_path / "a.safetensors"))
    assert set(report.ignored) == set(extra)


def test_a_buffer_that_no_file_fills_is_found_before_loading(
    meta_model: Build, weights: Weights, tmp_path: Path
) -> None:
    model = meta_model()
    model.image_proj_model.register_buffer("table", torch.zeros(2, device="meta"), persistent=False)
    message = refusal(model, saved(weights["512"], tmp_path / "a.safetensors"))
    assert "image_proj_model.table" in message

"""`tuning:` trains what it names and nothing else, and gradient checkpointing changes no gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_vectors import fill_module, rand
from small_model import small_yaml

from lvdm.config import ConfigError, parse_component, parse_dataclass
from lvdm.fit.autoencoder_training import AutoencoderTraining
from lvdm.fit.tuning import TuningConfig, apply_tuning, count_trained, set_gradient_checkpointing
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.optimization import OptimizerConfig, build_optimizer
from lvdm.modules.attention import BasicTransformerBlock, TemporalTransformer
from lvdm.modules.layers import ResBlock, TemporalConvBlock
from lvdm.modules.networks.openaimodel3d import UNetModel


def build(**unet_options: Any) -> LatentVisualDiffusion:
    tree = small_yaml()["model"]
    tree["params"]["unet_config"]["params"] |= unet_options
    return parse_component(tree, "model").build()


def trained_names(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def tuning(**options: Any) -> TuningConfig:
    return parse_dataclass(TuningConfig, options, "tuning")


def test_full_is_what_the_original_trains() -> None:
    model = build()
    report = apply_tuning(model, tuning())
    components = {name.split(".")[0] for name in trained_names(model)}
    assert components == {"model", "image_proj_model"}, "UNet and query transformer; no tower, no autoencoder"
    assert len(trained_names(model)) == len(list(model.unet.parameters())) + len(
        list(model.image_proj_model.parameters())
    )
    assert report.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert f"{report.trained:,}" in str(report)


@pytest.mark.parametrize("choice", ["spatial", "spatial_context"])
def test_spatial_is_the_rest_of_the_unet_and_the_query_transformer(choice: str) -> None:
    model, temporal = build(), build()
    apply_tuning(model, tuning(train=choice))
    apply_tuning(temporal, tuning(train="temporal"))
    unet = {name for name, _ in model.named_parameters() if name.startswith("model.diffusion_model.")}
    first = {name for name in unet if ".input_blocks.0." in name}
    expected = unet - trained_names(temporal) - (first if choice == "spatial_context" else set())
    assert first, "the first convolution was not found"
    assert {name for name in trained_names(model) if name in unet} == expected
    others = {name.split(".")[0] for name in trained_names(model) - unet}
    assert others == {"image_proj_model"}


def test_temporal_is_temporal_transformers_and_convolutions() -> None:
    model = build()
    apply_tuning(model, tuning(train="temporal"))
    expected = {
        f"model.diffusion_model.{name}.{inner}"
        for name, module in model.unet.named_modules()
        if isinstance(module, TemporalTransformer | TemporalConvBlock)
        for inner, _ in module.named_parameters()
    }
    assert trained_names(model) == expected
    assert any(".init_attn." in name for name in expected)
    assert any(".temopral_conv." in name for name in expected)


@pytest.mark.parametrize("learnable", [False, True])
def test_image_branch_is_image_attention_and_query_transformer(learnable: bool) -> None:
    model = build(image_cross_attention_scale_learnable=learnable)
    apply_tuning(model, tuning(train="image_branch"))
    ends = {name.split(".attn2.")[1] for name in trained_names(model) if ".attn2." in name}
    assert ends == {"to_k_ip.weight", "to_v_ip.weight"} | ({"alpha"} if learnable else set())
    others = {name for name in trained_names(model) if ".attn2." not in name}
    assert others == {f"image_proj_model.{name}" for name, _ in model.image_proj_model.named_parameters()}


def test_lora_trains_adapters_and_keeps_the_released_keys() -> None:
    model = build()
    keys = list(model.state_dict())
    report = apply_tuning(model, tuning(train="lora", lora={"rank": 2, "where": "temporal"}))
    assert all(".lora_" in name for name in trained_names(model))
    assert report.trained > 0
    assert [key for key in model.state_dict() if ".lora_" not in key] == keys


def test_a_checkpoint_with_other_adapters_is_refused_in_one_line() -> None:
    model, other, plain = build(), build(), build()
    apply_tuning(model, tuning(train="lora", lora={"rank": 2, "where": "temporal"}))
    apply_tuning(other, tuning(train="lora", lora={"rank": 3, "where": "temporal"}))
    model.on_load_checkpoint({"state_dict": model.state_dict()})
    with pytest.raises(ConfigError, match=r"to_q are \(3, 3\.0\) there and \(2, 2\.0\) here"):
        model.on_load_checkpoint({"state_dict": other.state_dict()})
    with pytest.raises(ConfigError, match="trained with adapters"):
        plain.on_load_checkpoint({"state_dict": other.state_dict()})
    with pytest.raises(ConfigError, match="trained without adapters"):
        model.on_load_checkpoint({"state_dict": plain.state_dict()})


def test_the_optimizer_gets_what_is_trained_and_nothing_else() -> None:
    model = build()
    apply_tuning(model, tuning(train="temporal"))
    optimizer, _ = build_optimizer(model.parameters(), OptimizerConfig())
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


@pytest.mark.parametrize("train", ["full", "temporal", "image_branch", "lora"])
def test_frozen_components_are_in_evaluation_mode(train: str) -> None:
    model = build()
    apply_tuning(model, tuning(train=train))
    for name in ("first_stage_model", "cond_stage_model", "embedder"):
        assert not any(module.training for module in getattr(model, name).modules()), f"{name} should be in eval mode"
    assert model.unet.training, "the UNet trains with its dropout"
    assert model.image_proj_model.training == (train in ("full", "image_branch"))


def test_frozen_parts_take_the_precision_asked_for() -> None:
    model = build()
    apply_tuning(model, tuning(frozen_precision="fp16"))
    assert next(model.embedder.parameters()).dtype == torch.float16
    assert next(model.first_stage_model.parameters()).dtype == torch.float32, "the autoencoder is never fp16"
    assert next(model.image_proj_model.parameters()).dtype == torch.float32, "what is trained stays in fp32"
    assert model.alphas_cumprod.dtype == torch.float32
    model = build()
    apply_tuning(model, tuning(frozen_precision="bf16", train="lora"))
    assert next(model.first_stage_model.parameters()).dtype == torch.bfloat16
    wide = {p.dtype for p in model.unet.parameters() if not p.requires_grad and p.ndim > 1}
    assert wide == {torch.bfloat16}
    assert {p.dtype for p in model.unet.parameters() if p.requires_grad} == {torch.float32}


def test_a_precision_that_does_not_fit_is_refused() -> None:
    config = tuning(train="lora", frozen_precision="bf16")
    config.check_precision("bf16-mixed")
    with pytest.raises(ConfigError, match=r"needs lightning\.precision: bf16-mixed, not 32"):
        config.check_precision(32)
    tuning(frozen_precision="bf16").check_precision(32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "spacial"}, "'spacial' is not known"),
        ({"trian": "lora"}, "did you mean 'train'"),
        ({"lora": {"rank": 0}}, "rank should be a whole number from 1 to"),
        ({"gradient_checkpointing": ["Resblock"]}, "gradient_checkpointing"),
        ({"frozen_precision": "int8"}, "'int8' is not known"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tuning(**options)


def test_only_video_models_are_tuned() -> None:
    first_stage = small_yaml()["model"]["params"]["first_stage_config"]
    tree = {
        "target": "lvdm.fit.autoencoder_training.AutoencoderTraining",
        "params": {"first_stage_config": first_stage},
    }
    model: AutoencoderTraining = parse_component(tree, "model").build()
    assert apply_tuning(model, tuning()).trained == count_trained(model, "full").trained > 0
    with pytest.raises(ConfigError, match="AutoencoderTraining is always trained as a whole"):
        apply_tuning(model, tuning(train="lora"))


def gradients(unet: UNetModel) -> dict[str, torch.Tensor]:
    """Gradients of a forward pass with dropout, always of the same random numbers."""
    unet.train()
    unet.zero_grad()
    torch.manual_seed(3)
    x, context = rand("x", (1, 8, 4, 8, 8)), rand("context", (1, 24, 32))
    unet(x, torch.tensor([300]), context, torch.tensor([10])).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in unet.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("chosen", [True, ("ResBlock",), ("SpatialTransformer",), ("TemporalTransformer",)])
def test_gradient_checkpointing_changes_no_gradient(chosen: bool | tuple[str, ...]) -> None:
    unet = build(dropout=0.3).unet
    fill_module(unet, "model.diffusion_model.")
    set_gradient_checkpointing(unet, False)
    expected = gradients(unet)
    set_gradient_checkpointing(unet, chosen)
    actual = gradients(unet)
    assert expected.keys() == actual.keys()
    different = [name for name in expected if not torch.equal(expected[name], actual[name])]
    assert not different, f"checkpointing {chosen} changed {len(different)} gradients, such as {different[:1]}"


def test_gradient_checkpointing_reaches_the_named_class_alone() -> None:
    model = build()
    apply_tuning(model, tuning(gradient_checkpointing=["TemporalTransformer"]))
    temporal = {
        block
        for module in model.unet.modules()
        if isinstance(module, TemporalTransformer)
        for block in module.transformer_blocks
    }
    for module in model.unet.modules():
        if isinstance(module, BasicTransformerBlock | ResBlock):
            assert module.use_checkpoint == (module in temporal)
    assert build(use_checkpoint=True).unet.middle_block[0].use_checkpoint, "left out, the UNet's own option counts"

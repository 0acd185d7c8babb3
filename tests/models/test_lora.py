"""LoRA: what is adapted, that keys stay the released ones, that a merged adapter computes what it was trained as."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from golden_vectors import fill_module, fill_value, rand
from safetensors.torch import load_file, save_file
from tiny_models import unet_config

from lvdm.checkpoint import CheckpointError, convert, read_checkpoint
from lvdm.checkpoint.lora import (
    Lora,
    LoraInfo,
    add_loras,
    is_adapter_key,
    parse_lora_option,
    read_lora,
    write_lora,
)
from lvdm.config import parse_dataclass
from lvdm.models.lora import LoraConfig, inject_lora, lora_info, lora_matrices, lora_targets
from lvdm.models.lora_merging import LoraStack
from lvdm.modules.networks.openaimodel3d import UNetModel

TOLERANCE = 2e-5
"""Float32 rounding of a sum in another order, through a whole small UNet whose outputs are about 1."""


class Model(torch.nn.Module):
    """A UNet under the key that it has in a whole model."""

    def __init__(self, unet: UNetModel) -> None:
        super().__init__()
        self.model = torch.nn.Module()
        self.model.diffusion_model = unet


SMALL = replace(unet_config("512"), channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(1,))


def filled_unet() -> UNetModel:
    unet = UNetModel(SMALL)
    fill_module(unet, "model.diffusion_model.")
    return unet


def run(unet: UNetModel) -> torch.Tensor:
    x, context = rand("lora/x", (1, 8, 4, 8, 8)), rand("lora/context", (1, 141, 64))
    with torch.no_grad():
        return unet.eval()(x, torch.tensor([500]), context, torch.tensor([10]))


def trained() -> UNetModel:
    """A UNet whose adapters hold values, as after training."""
    unet = filled_unet()
    inject_lora(unet, LoraConfig(rank=2, alpha=3.0))
    with torch.no_grad():
        for key, (down, up) in lora_matrices(Model(unet)).items():
            down.copy_(fill_value(key + "/A", tuple(down.shape)))
            up.copy_(0.3 * fill_value(key + "/B", tuple(up.shape)))
    return unet


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.Tensor]:
    """An exported LoRA, and the output of the model that it was trained in."""
    unet = trained()
    path = tmp_path_factory.mktemp("lora") / "motion.safetensors"
    base = path.with_name("base.ckpt")
    base.write_bytes(b"what it was trained on")
    write_lora(path, lora_matrices(Model(unet)), lora_info(unet, base))
    return path, run(unet)


def test_fresh_adapters_change_nothing_and_train_alone() -> None:
    unet = filled_unet()
    before, keys = run(unet), list(unet.state_dict())
    targets = inject_lora(unet, LoraConfig(rank=2))
    # peft's sum has another memory layout, for which some CPU kernels round differently
    assert (run(unet) - before).abs().max() < TOLERANCE, "the second matrix starts as zeros: no output may change"
    assert [key for key in unet.state_dict() if not is_adapter_key(key)] == keys, "released keys, in order"
    trainable = [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
    assert len(trainable) == 2 * len(targets), f"two matrices for each layer are trained, not {len(trainable)}"
    assert all(is_adapter_key(name) for name in trainable)


def test_a_state_dict_goes_in_as_it_came_out() -> None:
    unet = trained()
    state = {key: value.clone() for key, value in unet.state_dict().items()}
    other = filled_unet()
    inject_lora(other, LoraConfig(rank=2, alpha=3.0))
    result = other.load_state_dict(state)
    assert not result.missing_keys
    assert torch.equal(run(other), run(unet))
    base = {key: value for key, value in state.items() if not is_adapter_key(key)}
    filled_unet().load_state_dict(base)


@pytest.mark.parametrize(
    ("where", "modules", "inside", "outside"),
    [
        ("temporal", ("to_q",), "init_attn.0.transformer_blocks.0.attn1.to_q", "input_blocks.1.1"),
        ("spatial", ("to_out.0", "ff.net.2"), "input_blocks.1.1.transformer_blocks.0.ff.net.2", "init_attn"),
        ("image", ("to_k", "to_k_ip"), "middle_block.1.transformer_blocks.0.attn2.to_k_ip", "attn1"),
        ("all", ("proj_in",), "input_blocks.1.2.proj_in", "attn1"),
    ],
)
def test_targets_are_chosen_by_class_and_name(where: str, modules: tuple[str, ...], inside: str, outside: str) -> None:
    targets = lora_targets(filled_unet(), LoraConfig(where=where, modules=modules))  # type: ignore[arg-type]
    assert inside in targets
    assert not [name for name in targets if outside in name], f"{where} should leave out {outside}"


def test_what_cannot_be_adapted_is_said() -> None:
    with pytest.raises(ValueError, match="to_queue cannot be adapted"):
        LoraConfig(modules=("to_queue",))
    with pytest.raises(ValueError, match="where: temporal"):
        lora_targets(filled_unet(), LoraConfig(where="temporal", modules=("to_k_ip",)))
    with pytest.raises(ValueError, match="rank"):
        parse_dataclass(LoraConfig, {"rank": 0}, "lora")


def test_merged_equals_unmerged_and_leaves_no_trace(exported: tuple[Path, torch.Tensor]) -> None:
    path, expected = exported
    model = Model(filled_unet())
    unet: UNetModel = model.model.diffusion_model  # type: ignore[assignment]
    before, base = run(unet), {key: value.clone() for key, value in model.state_dict().items()}
    assert (expected - before).abs().max() > 1e-2, "the adapter of this test should change the output"
    stack, lora = LoraStack(model), read_lora(path)
    stack.add(lora, 1.0)
    assert (run(unet) - expected).abs().max() < TOLERANCE, "merged weights compute what the adapters did"
    stack.clear()
    stack.add(lora, 0.0)
    assert torch.equal(run(unet), before), "scale 0 is the base model, to the bit"
    stack.add(lora, 0.7)
    stack.add(lora, -0.7)
    assert (run(unet) - before).abs().max() < TOLERANCE, "opposite scales cancel"
    stack.clear()
    assert all(torch.equal(value, base[key]) for key, value in model.state_dict().items()), "weights come back exactly"


def test_delta_is_the_scaled_product() -> None:
    down, up = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0], [10.0]])
    lora = Lora(Path("x"), LoraInfo(rank=1, alpha=0.5, targets=""), {"a.weight": (down, up)})
    expected = torch.tensor([[0.5, 1.0, 1.5], [5.0, 10.0, 15.0]])
    assert torch.equal(lora.delta("a.weight"), expected)
    weight = torch.ones(2, 3, dtype=torch.bfloat16)
    assert torch.equal(add_loras("a.weight", weight, [(lora, 2.0)]), (1 + 2 * expected).bfloat16())
    assert add_loras("b.weight", weight, [(lora, 2.0)]) is weight


def test_the_file_is_small_and_tells_what_it_is(exported: tuple[Path, torch.Tensor]) -> None:
    lora = read_lora(exported[0])
    targets = f"{len(lora.layers)} layers: to_k, to_k_ip, to_out.0, to_q, to_v, to_v_ip"
    assert lora.info == LoraInfo(2, 3.0, targets, "base.ckpt", sha256(b"what it was trained on").hexdigest())
    first = next(iter(lora.layers))
    assert first.startswith("model.diffusion_model.")
    assert first.endswith(".weight")
    parameters = sum(tensor.numel() for pair in lora.layers.values() for tensor in pair)
    assert exported[0].stat().st_size < 4 * parameters + 200_000, "nothing but the adapters"


def test_a_lora_of_another_model_is_refused_in_one_line(exported: tuple[Path, torch.Tensor]) -> None:
    lora = read_lora(exported[0])
    narrow = Model(UNetModel(replace(SMALL, context_dim=48)))
    with pytest.raises(CheckpointError, match=r"attn2\.to_k is 32x64 in the LoRA and 32x48 in the model") as error:
        LoraStack(narrow).add(lora, 1.0)
    assert "\n" not in str(error.value)
    assert "base.ckpt" in str(error.value)
    flat = Model(UNetModel(replace(SMALL, temporal_attention=False)))
    with pytest.raises(CheckpointError, match="which that model does not have"):
        LoraStack(flat).add(lora, 1.0)


def test_files_that_are_no_loras_are_refused(tmp_path: Path, exported: tuple[Path, torch.Tensor]) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is not a LoRA"):
        read_lora(tmp_path / "other.safetensors")
    tensors, metadata = load_file(exported[0]), dict(read_checkpoint(exported[0]).metadata)
    tensors.pop(next(key for key in tensors if key.endswith("lora_B.weight")))
    save_file(tensors, tmp_path / "half.safetensors", metadata)
    with pytest.raises(CheckpointError, match="incomplete"):
        read_lora(tmp_path / "half.safetensors")


def test_converting_with_loras_merges_them(tmp_path: Path, exported: tuple[Path, torch.Tensor]) -> None:
    model = Model(filled_unet())
    base = tmp_path / "base.safetensors"
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, base)
    convert(base, tmp_path / "merged.safetensors", loras=[(exported[0], 0.5)])
    LoraStack(model).add(read_lora(exported[0]), 0.5)
    merged, expected = load_file(tmp_path / "merged.safetensors"), model.state_dict()
    assert set(merged) == set(expected), "the merged file has the released keys"
    assert all(torch.equal(merged[key], expected[key]) for key in merged)
    assert "motion.safetensors" in read_checkpoint(tmp_path / "merged.safetensors").metadata["dynamicrafter.loras"]


def test_a_checkpoint_of_the_training_gives_its_adapters_and_merges_them(
    tmp_path: Path, exported: tuple[Path, torch.Tensor]
) -> None:
    running = tmp_path / "step.ckpt"
    torch.save({"state_dict": Model(trained()).state_dict()}, running)
    found, wanted = read_lora(running), read_lora(exported[0])
    assert (found.info.rank, found.info.alpha) == (2, 3.0)
    assert found.layers.keys() == wanted.layers.keys()
    assert all(torch.equal(found.delta(key), wanted.delta(key)) for key in wanted.layers)
    convert(running, tmp_path / "whole.safetensors")
    base = Model(filled_unet())
    stack = LoraStack(base)
    stack.add(wanted, 1.0)
    whole = load_file(tmp_path / "whole.safetensors")
    assert whole.keys() == base.state_dict().keys(), "a converted training has the released keys and nothing else"
    assert all(torch.equal(whole[key], value) for key, value in base.state_dict().items())


def test_another_alpha_does_not_load_silently() -> None:
    other = filled_unet()
    inject_lora(other, LoraConfig(rank=2, alpha=6.0))
    with pytest.raises(RuntimeError, match=r"trained with alpha 3, and tuning\.lora has 6"):
        other.load_state_dict(trained().state_dict())


def test_command_line_form(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.touch()
    assert parse_lora_option(f"{path}") == (path, 1.0)
    assert parse_lora_option(f"{path}:0.5") == (path, 0.5)
    for wrong in (f"{path}:much", f"{tmp_path}/b.safetensors:0.5", f"{path}:nan"):
        with pytest.raises(CheckpointError, match="--lora"):
            parse_lora_option(wrong)

"""Other weights for the late steps: one model alone at both ends of the range, both in between, none left behind."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_model import picture, write_small_model

from lvdm.checkpoint import CheckpointError, check_same_unet
from lvdm.modules.networks.openaimodel3d import UNetModel
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.residence import Residence
from lvdm.plugins.second_stage import SecondStageNetwork
from lvdm.request.settings import GenerationSettings

PROMPT = "a red ball moves to the right"
UNET = "model.diffusion_model."


def generate(pipe: DynamiCrafterPipeline, **settings: object) -> torch.Tensor:
    return pipe(picture(), PROMPT, num_inference_steps=4, timestep_spacing="uniform_trailing", **settings).video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture(scope="module")
def other(folder):
    """The same model with another network."""
    weights = load_file(folder / "model.safetensors")
    changed = {key: 0.8 * value if key.startswith(UNET) else value for key, value in weights.items()}
    path = folder.parent / "other.safetensors"
    save_file(changed, path)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def plain(pipe):
    return generate(pipe)


@pytest.fixture(scope="module")
def wholly_other(folder, other):
    return generate(DynamiCrafterPipeline.from_pretrained(folder, other, device="cpu", dtype="fp32"))


def test_at_the_ends_of_the_range_one_model_takes_all_steps(pipe, plain, wholly_other, other) -> None:
    assert torch.equal(generate(pipe, second_stage_unet=str(other), second_stage_below=0.0), plain), (
        "0 is not the first model"
    )
    assert torch.equal(generate(pipe, second_stage_unet=str(other), second_stage_below=1.0), wholly_other), (
        "1 is not the second"
    )
    assert torch.equal(generate(pipe), plain), "the other weights are still in the network"


def test_in_between_each_model_takes_its_steps(pipe, plain, wholly_other, other) -> None:
    seen: dict[str, list[float]] = {}

    def note(name: str):
        def callback(step, t, x_t, pred_x0):
            seen.setdefault(name, []).append(pred_x0.double().sum().item())

        return callback

    whole = generate(pipe, callback_on_step_end=note("first"))
    both = generate(pipe, second_stage_unet=str(other), second_stage_below=0.5, callback_on_step_end=note("both"))
    assert torch.equal(whole, plain)
    assert not torch.equal(both, plain)
    assert not torch.equal(both, wholly_other)
    assert seen["both"][:2] == seen["first"][:2], "steps 999 and 749 are above half of 1000"
    assert seen["both"][2] != seen["first"][2], "step 499 is not"


def test_the_network_is_as_it_was_whatever_happens(pipe, plain, other) -> None:
    before = {name: tensor.data_ptr() for name, tensor in pipe.runtime.model.unet.state_dict().items()}

    def fail(step, t, x_t, pred_x0):
        if step == 3:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        generate(pipe, second_stage_unet=str(other), second_stage_below=0.5, callback_on_step_end=fail)
    after = {name: tensor.data_ptr() for name, tensor in pipe.runtime.model.unet.state_dict().items()}
    assert after == before, "other tensors were left in the network"
    assert all(parameter.is_inference() is False for parameter in pipe.runtime.model.unet.parameters())


def test_where_there_is_room_for_one_set_the_other_one_waits(pipe, plain, other, monkeypatch) -> None:
    """As in low memory mode on an accelerator; here all of it is the CPU."""
    given = {"second_stage_unet": str(other), "second_stage_below": 0.5, "free_init": "iterations=2"}
    wanted = generate(pipe, **given)
    moves, to = [], torch.nn.Module.to
    monkeypatch.setattr(Residence, "moves", True)
    monkeypatch.setattr(UNetModel, "to", lambda self, device: moves.append(self) or to(self, device))
    assert torch.equal(generate(pipe, **given), wanted)
    unet = pipe.runtime.model.unet
    assert [module is unet for module in moves] == [True, False] * 2, "the network's own leave, those of the file come"
    assert not any(parameter.is_inference() for parameter in unet.parameters())
    assert torch.equal(generate(pipe), plain)


def test_it_combines_with_methods_that_change_kernels_and_conditions(pipe, other) -> None:
    given = {"height": 64, "width": 64, "scale": "scalecrafter:factor=2,until=0.9,dispersed=yes", "low_pass": 0.5}
    both = generate(pipe, second_stage_unet=str(other), second_stage_below=1.0, **given)
    alone = DynamiCrafterPipeline.from_pretrained(pipe.files.config.parent, other, device="cpu", dtype="fp32")
    assert torch.equal(both, generate(alone, **given)), "kernels were made of the weights of the other model"


def test_what_does_not_fit_is_said(pipe, folder, other, tmp_path) -> None:
    weights = load_file(other)
    name = f"{UNET}out.2.weight"
    save_file(weights | {name: weights[name][:2].clone()}, tmp_path / "narrow.safetensors")
    for check in (
        lambda: check_same_unet(folder / "model.safetensors", tmp_path / "narrow.safetensors"),
        lambda: generate(pipe, second_stage_unet=str(tmp_path / "narrow.safetensors")),
    ):
        with pytest.raises(CheckpointError, match=r"out\.2\.weight"):
            check()
    with pytest.raises(CheckpointError, match="does not exist"):
        pipe.settings(second_stage_unet=str(tmp_path / "none.safetensors"))
    with pytest.raises(ValueError, match="second_stage_below 2"):
        GenerationSettings(second_stage_unet=str(other), second_stage_below=2)
    with pytest.raises(ValueError, match="second_stage_unet work on a whole clip"):
        GenerationSettings(second_stage_unet=str(other), long_video="fifo", eta=0.0)
    with pytest.raises(ValueError, match="another network"):
        SecondStageNetwork(pipe.runtime.model.unet, {"a": torch.zeros(1)})

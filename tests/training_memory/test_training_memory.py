"""The training memory plan against what autograd really keeps and what torch's allocator really hands out."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from allocator_peak import saved_bytes, training_peak
from small_model import FRAMES, ONE_LEVEL, SIDE, small_structure_yaml, small_yaml
from torch.nn import functional as F
from torch.utils.data import default_collate

from lvdm.config import parse_component
from lvdm.data.procedural import ProceduralClips, ProceduralClipsConfig
from lvdm.fit.tuning import TuningConfig, apply_tuning
from lvdm.models.ddpm3d import LatentVisualDiffusion
from lvdm.models.optimization import OptimizerConfig, build_optimizer
from lvdm.training_memory.numerics import DeviceNumerics
from lvdm.training_memory.planning import TrainingWorkload, optimizer_bytes, plan_training, update_bytes
from lvdm.training_memory.tracking import LiveMemory, module_tensors, tensor_bytes

MARGIN = 0.02
BATCH = 2


def build(device: str, structure: bool = False, shallow: bool = False, **tuning: Any) -> LatentVisualDiffusion:
    tree = small_structure_yaml(estimator=False) if structure else small_yaml()
    if shallow:
        tree["model"]["params"]["unet_config"]["params"] |= ONE_LEVEL
    component = parse_component(tree["model"], "model")
    with torch.device(device):
        model = component.build()
    apply_tuning(model.train(), TuningConfig(**tuning))
    return model


def batch_of_clips(depth: bool = False) -> dict[str, Any]:
    space = {"num_frames": FRAMES, "height": SIDE, "width": SIDE, "backgrounds": ("plain",)}
    source = ProceduralClips(ProceduralClipsConfig(**space, depth=depth))  # type: ignore[arg-type]
    clips = source.clips(list(range(BATCH)), [random.Random(0)] * BATCH)
    return {**default_collate(clips), "number": torch.arange(BATCH)}


def workload(**options: Any) -> TrainingWorkload:
    return TrainingWorkload(FRAMES, SIDE, SIDE, BATCH, device="cpu", **options)


@pytest.mark.parametrize(
    "tuning",
    [
        {"train": "full"},
        {"train": "temporal", "gradient_checkpointing": True},
        {"train": "lora", "gradient_checkpointing": ("ResBlock",)},
    ],
    ids=str,
)
def test_the_plan_is_what_a_real_step_takes(tuning: dict[str, Any]) -> None:
    plan = plan_training(build("meta", **tuning), workload())
    model, batch = build("cpu", **tuning), batch_of_clips()
    saved = saved_bytes(model, batch, module_tensors(model))
    assert plan.saved == saved, f"planned {plan.saved} bytes for the backward pass, autograd keeps {saved}"
    peak, measured = max(plan.forward, plan.backward), training_peak(model, batch)
    error = peak / measured - 1
    assert abs(error) <= MARGIN, (
        f"{tuning}: planned {peak} bytes at the peak, the allocator gave {measured}, {error:+.1%}"
    )
    assert plan.weights == tensor_bytes(*module_tensors(model))


def test_a_model_that_reads_depth_is_planned_too() -> None:
    plan, model = plan_training(build("meta", structure=True), workload()), build("cpu", structure=True)
    assert plan.saved == saved_bytes(model, batch_of_clips(depth=True), module_tensors(model))


def test_what_a_plan_adds_up() -> None:
    """Accumulation keeps gradients through the backward pass, a cache saves the encoders, GPUs need a reserve."""
    model = build("meta", shallow=True, train="image_branch")
    live = plan_training(model, workload())
    assert live.gradients == sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    assert live.total == live.allocated, "a CPU needs no reserve"
    accumulated = plan_training(model, workload(accumulates=True))
    assert live.backward < accumulated.backward <= live.backward + live.gradients
    assert all(parameter.grad is None for parameter in model.parameters()), "the model is left as it was"

    cached = plan_training(model, TrainingWorkload(FRAMES, SIDE, SIDE, BATCH, cached=True, devices=2))
    encoders = (model.first_stage_model, model.cond_stage_model, model.embedder)
    assert live.weights - cached.weights == sum(tensor_bytes(*part.parameters()) for part in encoders)
    assert live.encoding > 0 == cached.encoding
    assert cached.gradients == 2 * live.gradients, "two devices exchange gradients through a second copy"
    assert cached.total > cached.allocated


def test_a_model_with_values_is_refused() -> None:
    with pytest.raises(ValueError, match="meta"):
        plan_training(build("cpu", shallow=True), workload())


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_optimizer_state_is_what_the_optimizer_holds(name: Any) -> None:
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in ((64, 64), (100, 70), (7,), (256, 48))]
    optimizer, _ = build_optimizer(parameters, OptimizerConfig(name=name))
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    with torch.compiler.set_stance("force_eager"):
        optimizer.step()
    held = 0
    for state in optimizer.state.values():
        for value in state.values():
            inner = [getattr(value, part) for part in ("codes", "scale", "qmap") if hasattr(value, part)]
            held += tensor_bytes(*(inner or [value]))
    assert optimizer_bytes(parameters, name) == held


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_an_update_takes_what_is_planned(device: Any) -> None:
    """`foreach`, which torch takes on a GPU, is run here on the CPU: it makes the same tensors."""
    parameters = [torch.nn.Parameter(torch.randn(side, side)) for side in (64, 32, 16)]
    optimizer = torch.optim.AdamW(parameters, foreach=device == "gpu")
    for _ in range(2):  # the first step makes the state
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        moments = [value for state in optimizer.state.values() for value in state.values()]
        with LiveMemory((*parameters, *(p.grad for p in parameters), *moments)) as memory:
            optimizer.step()
    planned = update_bytes(parameters, "adamw", device)
    assert abs(memory.peak / planned - 1) < 0.01, f"planned {planned} bytes, it takes {memory.peak}"


def test_autocast_halves_products_and_keeps_norms() -> None:
    weight = torch.nn.Parameter(torch.empty(8, 8, device="meta"))
    x = torch.empty(4, 8, device="meta")
    with DeviceNumerics("gpu", torch.bfloat16) as numerics, LiveMemory() as memory:
        y = F.linear(F.linear(x, weight), weight)
        assert y.dtype == torch.bfloat16
        assert F.layer_norm(y, (8,)).dtype == torch.float32
        assert memory.live >= weight.numel() * 2, "the cast weight is kept, once"
        del y
        numerics.forget()
        assert memory.live == 0, f"{memory.live} bytes stay after the forward pass"


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_towers_in_float32_can_be_planned_under_autocast(device: Any) -> None:
    job = TrainingWorkload(FRAMES, SIDE, SIDE, BATCH, device=device, half=torch.bfloat16)
    plan = plan_training(build("meta", shallow=True), job)
    assert plan.forward > 0, "open_clip's attention is one function of torch, whose weights autocast casts as well"


def test_memory_is_counted_once_and_until_its_last_view_is_gone() -> None:
    with LiveMemory() as memory:
        whole = torch.ones(1024)
        part = whole[:10].view(2, 5)
        assert memory.live == 4096
        del whole
        assert memory.live == 4096
        del part
        assert (memory.live, memory.peak) == (0, 4096)

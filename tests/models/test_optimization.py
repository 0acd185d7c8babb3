"""Optimizers agree with plain AdamW, schedules have their closed forms, and wrong choices are named."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchao.optim.subclass_8bit import OptimState8bit

from lvdm.fit.assembly import HostCheckpointIO
from lvdm.models.optimization import (
    OptimizerConfig,
    adamw_8bit_class,
    allow_8bit_moments,
    build_optimizer,
    learning_rate_factor,
    scaled_learning_rate,
)


def fit(config: OptimizerConfig, steps: int = 20, saved_at: int | None = None) -> nn.Linear:
    """A linear layer after some steps on a fixed least-squares problem; saved and loaded on the way if asked."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randn(64, 96, generator=generator) for _ in range(2))
    layer = nn.Linear(96, 96)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(96, 96, generator=generator) / 10)
        layer.bias.zero_()
    optimizer, schedule = build_optimizer(layer.parameters(), config)
    for step in range(steps):
        optimizer.zero_grad()
        (layer(inputs) - targets).square().mean().backward()
        optimizer.step()
        schedule.step()
        if step == saved_at:
            file = io.BytesIO()
            torch.save([optimizer.state_dict(), schedule.state_dict()], file)
            file.seek(0)
            states = torch.load(file, weights_only=True)
            optimizer, schedule = build_optimizer(layer.parameters(), config)
            optimizer.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
    return layer


@pytest.fixture(autouse=True)
def _eager() -> object:
    """torchao compiles its step, which takes a compiler and half a minute; its numbers are the same without."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.mark.parametrize(("name", "tolerance"), [("adamw_fused", 1e-5), ("adamw_8bit", 0.05)])
def test_other_optimizers_follow_adamw(name: str, tolerance: float) -> None:
    start = fit(OptimizerConfig(), steps=0).weight
    plain = fit(OptimizerConfig(learning_rate=1e-2)).weight
    other = fit(OptimizerConfig(name=name, learning_rate=1e-2)).weight  # type: ignore[arg-type]
    difference = float((plain - other).norm() / (plain - start).norm())
    assert difference < tolerance, f"{name} ends {difference:.3g} of the way from where AdamW does"


@pytest.mark.parametrize("name", ["adamw", "adamw_fused", "adamw_8bit"])
def test_optimizer_states_resume_exactly_from_a_safe_load(name: str) -> None:
    config = OptimizerConfig(name=name, learning_rate=1e-2, warmup_steps=4)  # type: ignore[arg-type]
    assert torch.equal(fit(config).weight, fit(config, saved_at=9).weight)


def test_moments_in_8_bits_can_be_read_before_there_is_an_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "training.ckpt"
    torch.save({"moment": OptimState8bit.zeros((64, 64))}, path)
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()  # as in a new process
    try:
        allow_8bit_moments()
        assert HostCheckpointIO().load_checkpoint(path, weights_only=True)["moment"].shape == (64, 64)
    finally:
        torch.serialization.add_safe_globals(known)


def test_moments_take_a_quarter_of_the_memory() -> None:
    weight = nn.Parameter(torch.randn(256, 256))
    optimizer, _ = build_optimizer([weight], OptimizerConfig(name="adamw_8bit"))
    weight.square().sum().backward()
    optimizer.step()
    moment = optimizer.state[weight]["exp_avg"]
    stored = sum(getattr(moment, name).nbytes for name in moment.__tensor_flatten__()[0])
    assert stored < 0.3 * weight.nbytes, f"{stored} bytes for a moment of a weight of {weight.nbytes}"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("torchao", "torchao.optim", "bitsandbytes", "bitsandbytes.optim"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match="adamw_8bit needs torchao"):
        adamw_8bit_class()


def test_schedules_have_their_closed_forms() -> None:
    steps = (0, 4, 10, 60, 110)
    linear = OptimizerConfig(schedule="linear", warmup_steps=10, total_steps=110, final_fraction=0.1)
    assert [learning_rate_factor(s, linear) for s in steps] == pytest.approx([0.1, 0.5, 1.0, 0.55, 0.1])
    cosine = OptimizerConfig(schedule="cosine", warmup_steps=10, total_steps=110)
    assert [learning_rate_factor(s, cosine) for s in steps] == pytest.approx([0.1, 0.5, 1.0, 0.5, 0.0])
    assert learning_rate_factor(35, cosine) == pytest.approx(0.5 + 2**0.5 / 4), "a quarter of the way down"
    late = OptimizerConfig(schedule="cosine", decay_steps=20, total_steps=100)
    assert [learning_rate_factor(s, late) for s in (0, 80, 90, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.0])
    assert learning_rate_factor(12345, OptimizerConfig()) == 1.0


def test_a_fall_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set optimizer\.total_steps"):
        learning_rate_factor(0, OptimizerConfig(schedule="cosine"))
    with pytest.raises(ValueError, match="at least as many"):
        OptimizerConfig(decay_steps=5)


def test_scale_lr_is_the_originals_product() -> None:
    assert scaled_learning_rate(1e-5, batch_size=2, world_size=8) == pytest.approx(1.6e-4)

"""Attention by other packages: called as their documentation says, found by calling them, and refused in one line."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from golden_vectors import fill_module, rand
from small_model import small_yaml
from torch import Tensor
from torch.nn import functional as F

from lvdm.config import parse_component
from lvdm.declaration.values import Attention
from lvdm.fit.tuning import TuningConfig, check_attention
from lvdm.modules import attention_backends
from lvdm.modules.attention_backends import (
    BACKENDS,
    AttentionError,
    choose_attention,
    scaled_dot_product,
    why_not,
)
from lvdm.modules.attention_processors import attend, attend_by
from lvdm.modules.hooks import LayerHooks, active_hooks
from lvdm.precision import INEXACT_ATTENTION, numbers_name

CPU = torch.device("cpu")
ROUNDING = 1e-5


def memory_efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Any = None,
    p: float = 0.0,
    scale: float | None = None,
    *,
    op: Any = None,
    output_dtype: torch.dtype | None = None,
) -> Tensor:
    """As xformers.ops declares it: (batch, tokens, heads, d), or with three axes without heads."""
    assert (attn_bias, p, scale, op, output_dtype) == (None, 0.0, None, None, None)
    return heads_third(query, key, value)


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """As flash_attn declares it: (batch, tokens, heads, d) in half precision."""
    assert q.dtype == k.dtype == v.dtype == torch.bfloat16
    assert (dropout_p, softmax_scale, causal, window_size) == (0.0, None, False, (-1, -1))
    return heads_third(q, k, v)


def sageattn(
    q: Tensor, k: Tensor, v: Tensor, tensor_layout: str = "HND", is_causal: bool = False, sm_scale: float | None = None
) -> Tensor:
    """As sageattention declares it: HND is (batch, heads, tokens, d)."""
    assert (tensor_layout, is_causal, sm_scale) == ("HND", False, None)
    return F.scaled_dot_product_attention(q, k, v) + 0.01  # its products are of 8 bits


def heads_third(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    assert q.ndim == 4
    assert q.shape[2:] == k.shape[2:] == v.shape[2:], "heads and their channels come last"
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


STAND_INS: dict[Attention, Callable[..., Tensor]] = {
    "xformers": memory_efficient_attention,
    "flash": flash_attn_func,
    "sage": sageattn,
}
MODULES = {"xformers": "xformers.ops", "flash": "flash_attn", "sage": "sageattention"}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a function in the place of that of a package, or with None takes the package away."""

    def put(name: str, function: Callable[..., Any] | None) -> None:
        attention_backends._loaded.cache_clear()
        package, _, inner = MODULES[name].partition(".")
        module: Any = None if function is None else types.ModuleType(MODULES[name])
        if function is not None:
            setattr(module, STAND_INS[typing.cast(Attention, name)].__name__, function)
        monkeypatch.setitem(sys.modules, MODULES[name], module)
        if inner:
            monkeypatch.setitem(sys.modules, package, None if function is None else types.ModuleType(package))

    yield put
    attention_backends._loaded.cache_clear()


def tensors(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Queries of 12 tokens, keys and values of 7, as cross-attention has them; heads are not contiguous."""
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(3, n, 2, 16, generator=draw).to(dtype).transpose(1, 2) for n in (12, 7, 7)]


def test_all_that_is_declared_is_there() -> None:
    assert {"auto", *BACKENDS} == set(typing.get_args(Attention))
    assert choose_attention("auto", CPU, torch.float32) == "sdpa"
    with pytest.raises(ValueError, match="attention 'xformer' is not known; did you mean 'xformers'"):
        choose_attention("xformer", CPU, torch.float32)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_computes_attention(name: Attention, install: Callable[..., None]) -> None:
    """Those of packages through functions of their documented signatures, with slices where the batch is too large."""
    dtype = torch.float32 if BACKENDS[name].dtypes is None else torch.bfloat16
    if name in STAND_INS:
        install(name, STAND_INS[name])
    assert why_not(name, CPU, dtype) == ""
    q, k, v = tensors(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_backends, "MAX_ATTENTION_BATCH", 2)
        out = BACKENDS[name].kernel(q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v)
    assert out.shape == q.shape
    assert out.dtype == dtype
    if name not in INEXACT_ATTENTION:
        torch.testing.assert_close(out, expected, atol=ROUNDING if dtype == torch.float32 else 0.02, rtol=0)
    else:
        assert not torch.equal(out, expected), "a backend with other numbers counts as exact"


@pytest.mark.parametrize("name", STAND_INS)
def test_a_package_that_is_not_there_is_named_with_what_installs_it(
    name: Attention, install: Callable[..., None]
) -> None:
    install(name, None)
    with pytest.raises(AttentionError, match=r"not installed \(pip install .*; choose auto") as caught:
        choose_attention(name, CPU, torch.bfloat16)
    assert "\n" not in str(caught.value)


def test_a_package_that_imports_and_does_not_run_is_found_out(install: Callable[..., None]) -> None:
    def fails(*tensors: Tensor) -> Tensor:
        raise NotImplementedError("\nNo operator found for `memory_efficient_attention_forward` with inputs:\n  query")

    install("xformers", fails)
    with pytest.raises(AttentionError) as caught:
        choose_attention("xformers", CPU, torch.float32)
    reason = "it does not run on cpu here (No operator found for `memory_efficient_attention_forward` with inputs:)"
    assert str(caught.value) == f"attention xformers cannot be used: {reason}; choose auto"
    install("xformers", lambda q, k, v: torch.zeros_like(q))
    assert why_not("xformers", CPU, torch.float32) == "its results are 1.7 off on cpu here"


def test_precision_and_training_are_refused_by_name(install: Callable[..., None]) -> None:
    install("sage", sageattn)
    assert why_not("flash", CPU, torch.float32) == "it computes in fp16 or bf16, not in fp32"
    assert why_not("sage", CPU, torch.bfloat16) == ""
    with pytest.raises(AttentionError, match="attention sage cannot be used: it has no backward pass"):
        check_attention(TuningConfig(attention="sage"), "cpu", "bf16-mixed")
    with pytest.raises(AttentionError, match="computes in fp16 or bf16, not in fp32"):
        check_attention(TuningConfig(attention="flash"), "cpu", 32)
    check_attention(TuningConfig(attention="plain"), "cpu", "bf16-mixed")


def test_only_other_numbers_are_part_of_what_a_video_is() -> None:
    names = {name: numbers_name("bf16", name) for name in BACKENDS}
    assert names.pop("sage") == "bf16 sage"
    assert set(names.values()) == {"bf16"}, "backends of equal numbers would make finished videos anew"


def test_every_layer_goes_through_the_backend_that_is_active() -> None:
    """And through torch's own where nothing is: 1e-5 apart, in training too."""
    component = parse_component(small_yaml()["model"]["params"]["unet_config"], "small")
    unet = fill_module(component.build(), "model.diffusion_model.")
    inputs = (rand("x", (1, 8, 4, 8, 8)), torch.tensor([500]), rand("context", (1, 16 + 8, 32)), torch.tensor([24]))
    calls = 0

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return BACKENDS["plain"].kernel(q, k, v)

    expected = unet(*inputs)
    with LayerHooks(attend=attend_by(counted)).active():
        out = unet(*inputs)
        out.square().mean().backward()
    used = calls
    layers = [module for module in unet.modules() if type(module).__name__ == "CrossAttention"]
    assert used >= len(layers), f"{len(layers)} layers, {used} calls"
    assert torch.equal(unet(*inputs), expected), "another backend stays active"
    assert calls == used
    torch.testing.assert_close(out, expected, atol=ROUNDING, rtol=0)
    gradients = [parameter.grad.clone() for parameter in unet.parameters() if parameter.grad is not None]
    unet.zero_grad()
    expected.square().mean().backward()
    own = [parameter.grad for parameter in unet.parameters() if parameter.grad is not None]
    for gradient, usual in zip(gradients, own, strict=True):
        torch.testing.assert_close(gradient, usual, atol=ROUNDING, rtol=1e-4)


def test_the_usual_attention_is_the_same_object() -> None:
    """Methods that know a faster way than calling it for each window ask for it by identity."""
    assert attend_by(scaled_dot_product) is attend
    assert active_hooks().attend is attend
    assert LayerHooks(attend=attend_by(BACKENDS["plain"].kernel)).moved({}).attend is not attend

"""What stands in for layers: in one context, for one block, and in the backward pass as well."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from golden_vectors import fill_module
from small_model import small_yaml
from torch import Tensor, nn

from lvdm.modules.attention import CrossAttention
from lvdm.modules.attention_processors import AttentionMeta, AttentionProcessor, attend
from lvdm.modules.hooks import NO_HOOKS, active_hooks, attention_of
from lvdm.modules.layers import Conv2d, ResBlock
from lvdm.modules.networks.openaimodel3d import UNetConfig, UNetModel


def doubled(module: nn.Module, inner: Callable[..., Tensor], *args: Tensor) -> Tensor:
    return 2 * inner(*args)


def increased(module: nn.Module, inner: Callable[..., Tensor], *args: Tensor) -> Tensor:
    return inner(*args) + 1


def halved(inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
    return inner(q, k, v, meta) / 2


def test_functions_wrap_what_is_there_and_the_layer_stays_what_it_is() -> None:
    layer, x = Conv2d(2, 2, 1), torch.ones(1, 2, 3, 3)
    plain, names = layer(x), set(layer.__dict__)
    hooks = NO_HOOKS.with_functions("forward", {layer: doubled}).with_functions("forward", {layer: increased})
    with hooks.active():
        assert torch.equal(layer(x), 2 * plain + 1), "the second is not around the first"
        with NO_HOOKS.active():
            assert torch.equal(layer(x), plain), "another generation in the same thread"
    with pytest.raises(RuntimeError, match="broken"), hooks.active():
        raise RuntimeError("broken")
    assert torch.equal(layer(x), plain)
    assert active_hooks() is NO_HOOKS
    assert set(layer.__dict__) == names
    other = copy.deepcopy(layer)
    with hooks.moved({layer: other}).active():
        assert torch.equal(layer(x), plain)
        assert torch.equal(other(x), 2 * plain + 1)


def test_other_threads_have_hooks_of_their_own() -> None:
    layer, found = CrossAttention(4, None, 1, 4, temporal=True), []
    hooks = NO_HOOKS.with_attention([layer], "temporal", halved)
    with hooks.active():
        thread = threading.Thread(target=lambda: found.append(attention_of(layer, "temporal")))
        thread.start()
        thread.join()
        assert attention_of(layer, "temporal") is not attend
        assert attention_of(layer, "self") is attend, "hooks of one kind reach another"
    assert found == [attend]


@pytest.mark.parametrize("hooked", [False, True])
def test_gradient_checkpoints_go_through_the_same_hooks(hooked: bool) -> None:
    """The backward pass, which computes them again, runs in a thread without any."""
    gradients = []
    for use_checkpoint in (False, True):
        settings = small_yaml()["model"]["params"]["unet_config"]["params"] | {"temporal_conv_dropout": 0.0}
        network = UNetModel(UNetConfig(**settings, use_checkpoint=use_checkpoint))
        fill_module(network, "model.diffusion_model.")
        layers = [layer for layer in network.modules() if isinstance(layer, ResBlock | CrossAttention)]
        hooks = NO_HOOKS
        if hooked:
            convolutions = [m for layer in layers for m in layer.modules() if isinstance(m, Conv2d)]
            hooks = hooks.with_functions("forward", dict.fromkeys(convolutions, doubled))
            hooks = hooks.with_attention(layers, "self", halved)
        x, context = torch.linspace(-1, 1, 8 * 4 * 64).view(1, 8, 4, 8, 8), torch.linspace(-1, 1, 24 * 32)
        with hooks.active():
            loss = network.train()(x, torch.tensor([500]), context.view(1, 24, 32)).square().mean()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)

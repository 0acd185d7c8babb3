"""The architecture of I3D without its weights: keys, padding, and equality with a forward written another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_i3d import random_weights
from torch import Tensor
from torch.nn import functional as F

from lvdm.evaluation.features.i3d import I3D, MIN_FRAMES, MaxPool3D, Unit3D, same_padding

EPS = 1e-3


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return random_weights()


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor]) -> I3D:
    network = I3D(EPS)
    network.load_state_dict(weights)
    return network


def units() -> dict[str, tuple[int, int, int]]:
    """Name of each convolution with a normalisation -> inputs, outputs, side of the kernel: the table of the paper."""
    found = {"Conv3d_1a_7x7": (3, 64, 7), "Conv3d_2b_1x1": (64, 64, 1), "Conv3d_2c_3x3": (64, 192, 3)}
    rows = """
        3b 192 64 96 128 16 32 32
        3c 256 128 128 192 32 96 64
        4b 480 192 96 208 16 48 64
        4c 512 160 112 224 24 64 64
        4d 512 128 128 256 24 64 64
        4e 512 112 144 288 32 64 64
        4f 528 256 160 320 32 128 128
        5b 832 256 160 320 32 128 128
        5c 832 384 192 384 48 128 128
    """
    for row in rows.strip().splitlines():
        name, *numbers = row.split()
        c, b0, b1a, b1b, b2a, b2b, b3b = map(int, numbers)
        branches = {
            "b0": (c, b0, 1),
            "b1a": (c, b1a, 1),
            "b1b": (b1a, b1b, 3),
            "b2a": (c, b2a, 1),
            "b2b": (b2a, b2b, 3),
        }
        found |= {f"Mixed_{name}.{branch}": sizes for branch, sizes in branches.items()}
        found[f"Mixed_{name}.b3b"] = (c, b3b, 1)
    return found


def test_keys_shapes_and_parameters_are_those_of_the_known_files(network: I3D) -> None:
    expected = {"logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,)}
    for name, (inputs, outputs, side) in units().items():
        expected[f"{name}.conv3d.weight"] = (outputs, inputs, side, side, side)
        expected |= {f"{name}.bn.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected[f"{name}.bn.num_batches_tracked"] = ()
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == expected
    assert len(expected) == 344
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_697_264


def same_by_definition(x: np.ndarray, kernel: tuple[int, ...], stride: tuple[int, ...], fill: float) -> np.ndarray:
    """Maximum over windows as TensorFlow defines SAME: output i of an axis looks at i * stride - padding before."""
    outputs = [-(-size // step) for size, step in zip(x.shape, stride, strict=True)]
    before = [
        max((count - 1) * step + width - size, 0) // 2
        for count, step, width, size in zip(outputs, stride, kernel, x.shape, strict=True)
    ]
    result = np.empty(outputs)
    for place in np.ndindex(*outputs):
        starts = [i * step - pad for i, step, pad in zip(place, stride, before, strict=True)]
        inside = tuple(slice(max(s, 0), s + width) for s, width in zip(starts, kernel, strict=True))
        leaves = any(s < 0 or s + w > n for s, w, n in zip(starts, kernel, x.shape, strict=True))
        result[place] = max(x[inside].max(), fill if leaves else -np.inf)
    return result


POOLS = [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((3, 3, 3), (1, 1, 1))]


@pytest.mark.parametrize(("kernel", "stride"), POOLS)
@pytest.mark.parametrize("sizes", [(4, 8, 8), (5, 7, 9), (3, 6, 5), (1, 2, 2)])
def test_pools_pad_as_tensorflow_and_zeros_are_as_good_as_minus_infinity(
    kernel: tuple[int, int, int], stride: tuple[int, int, int], sizes: tuple[int, int, int]
) -> None:
    x = torch.randn(sizes, generator=torch.Generator().manual_seed(0)).relu()
    pooled = MaxPool3D(kernel, stride)(x[None, None])[0, 0].numpy()
    assert np.array_equal(pooled, same_by_definition(x.numpy(), kernel, stride, 0.0))
    assert np.array_equal(pooled, same_by_definition(x.numpy(), kernel, stride, -np.inf))


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("sizes", [(4, 8, 6), (5, 7, 9), (1, 2, 3)])
def test_convolutions_pad_as_tensorflow(kernel: int, stride: int, sizes: tuple[int, int, int]) -> None:
    """Against sums over the windows of NumPy, in float64."""
    generator = torch.Generator().manual_seed(1)
    unit = Unit3D(2, 1, kernel, stride, eps=None).double().requires_grad_(False)
    weight = torch.randn(1, 2, kernel, kernel, kernel, generator=generator, dtype=torch.float64)
    unit.load_state_dict({"conv3d.weight": weight, "conv3d.bias": torch.zeros(1, dtype=torch.float64)})
    x = torch.randn(2, *sizes, generator=generator, dtype=torch.float64)
    outputs = [-(-size // stride) for size in sizes]
    totals = [max((n - 1) * stride + kernel - size, 0) for n, size in zip(outputs, sizes, strict=True)]
    padded = np.pad(x.numpy(), [(0, 0), *((total // 2, total - total // 2) for total in totals)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel,) * 3, axis=(1, 2, 3))
    expected = np.einsum("ctyxijk,cijk->tyx", windows[:, ::stride, ::stride, ::stride], weight[0].numpy())
    assert expected.shape == tuple(outputs)
    np.testing.assert_allclose(unit(x[None])[0, 0].numpy(), expected, rtol=1e-10, atol=1e-10)


def test_an_odd_padding_goes_to_the_end() -> None:
    assert same_padding((16, 224, 224), (7, 7, 7), (2, 2, 2)) == [2, 3, 2, 3, 2, 3]
    assert same_padding((9, 113, 112), (3, 3, 3), (2, 2, 2)) == [0, 1, 1, 1, 1, 1]


def forward_by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The logits from the paper's figure 3, with nothing but functions; maxima are padded by -inf."""

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        w = weights[f"{name}.conv3d.weight"]
        totals = [max((-(-n // stride) - 1) * stride + w.shape[-1] - n, 0) for n in x.shape[2:]]
        x = F.conv3d(F.pad(x, [p for t in reversed(totals) for p in (t // 2, t - t // 2)]), w, stride=stride)
        mean, variance, scale, shift = (
            weights[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, False, 0.0, EPS))

    def pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
        x = F.pad(x, [p for t in reversed(totals) for p in (t // 2, t - t // 2)], value=-float("inf"))
        return F.max_pool3d(x, kernel, stride)

    def inception(x: Tensor, name: str) -> Tensor:
        name = f"Mixed_{name}"
        first, second = unit(unit(x, f"{name}.b1a"), f"{name}.b1b"), unit(unit(x, f"{name}.b2a"), f"{name}.b2b")
        last = unit(F.max_pool3d(x, 3, 1, padding=1), f"{name}.b3b")
        return torch.cat([unit(x, f"{name}.b0"), first, second, last], dim=1)

    x = pool(unit(x, "Conv3d_1a_7x7", stride=2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3"), (1, 3, 3), (1, 2, 2))
    x = pool(inception(inception(x, "3b"), "3c"), (3, 3, 3), (2, 2, 2))
    for name in ("4b", "4c", "4d", "4e", "4f"):
        x = inception(x, name)
    x = inception(inception(pool(x, (2, 2, 2), (2, 2, 2)), "5b"), "5c")
    x = F.avg_pool3d(x, (2, 7, 7), (1, 1, 1))
    return F.conv3d(x, weights["logits.conv3d.weight"], weights["logits.conv3d.bias"])[..., 0, 0].mean(dim=2)


@torch.no_grad()
def test_logits_equal_those_of_a_forward_written_another_way(network: I3D, weights: dict[str, Tensor]) -> None:
    """At the fewest frames and odd sizes, which are the same 7 x 7 as of 224 in the end."""
    x = torch.rand(1, 3, MIN_FRAMES, 193, 217, generator=torch.Generator().manual_seed(2)) * 2 - 1
    logits = network(x)
    assert logits.shape == (1, 400)
    assert torch.equal(logits, forward_by_hand(weights, x)), "the same sums in the same order give the same bits"


def test_eight_frames_are_refused(network: I3D) -> None:
    with pytest.raises(ValueError, match="9 frames or more, the clip has 8"):
        network(torch.zeros(1, 3, 8, 224, 224))


@torch.no_grad()
def test_eps_matters_and_training_mode_does_not_exist(weights: dict[str, Tensor]) -> None:
    x = torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    maps = []
    for eps in (1e-3, 1e-5):
        network = I3D(eps)
        network.load_state_dict(weights)
        maps.append(network.train().maps(x))
        assert not network.training
        assert not any(module.training for module in network.modules())
    assert not torch.equal(*maps)
    assert not any(parameter.requires_grad for parameter in network.parameters())

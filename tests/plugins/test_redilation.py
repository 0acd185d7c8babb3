"""Re-dilated and dispersed convolutions against the original, and networks that are as before when it is over."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from golden_vectors import assert_close, case
from tiny_models import reference_unet
from torch import nn

from lvdm.plugins.dispersion import disperse, dispersion_transform
from lvdm.plugins.hooks import StepClock
from lvdm.plugins.redilation import progressive_factor, redilated, redilated_conv2d
from lvdm.plugins.scalecrafter import ScaleCrafter, layers_of
from lvdm.plugins.scaling import recommended

GOLDEN = case("sc_redilate")
CASES = [name for name in GOLDEN.outputs if "_pf" in name]
CASE = re.compile(r"k(\d)_s(\d)_(\d+x\d+)_pf([\d.]+)")


def test_all_cases_are_there() -> None:
    assert len(CASES) == 41


@pytest.mark.parametrize("name", CASES)
def test_redilated_convolutions_are_those_of_the_original(name: str) -> None:
    found = CASE.fullmatch(name)
    assert found is not None
    kernel, stride, size, factor = found.groups()
    x, weight, bias = (GOLDEN.inputs[key] for key in (f"x_{size}", f"w_k{kernel}", f"b_k{kernel}"))
    assert_close(GOLDEN, name, redilated_conv2d(x, weight, bias, int(stride), float(factor)))


def test_the_progressive_factor_is_that_of_the_original() -> None:
    schedules = {name: value for name, value in GOLDEN.meta.items() if name.startswith("progressive_")}
    assert len(schedules) == 4
    for name, expected in schedules.items():
        factor = float(name.removeprefix("progressive_"))
        assert [progressive_factor(factor, step, 35) for step in range(len(expected))] == expected, name


def test_the_transform_of_dispersed_kernels_is_the_published_one() -> None:
    difference = np.abs(dispersion_transform() - GOLDEN.inputs["R_R20to1_new"].numpy()).max()
    assert difference < 1e-12, f"R differs by {difference:.3g}"


def test_dispersed_convolutions_are_those_of_the_original() -> None:
    kernel = disperse(GOLDEN.inputs["w_k3"])
    assert_close(GOLDEN, "disperse_w_R20to1_new", kernel)
    x, bias = GOLDEN.inputs["x_12x16"], GOLDEN.inputs["b_k3"]
    for factor in (1.0, 1.5):
        name = f"disperse_redilate{factor:g}_R20to1_new"
        assert_close(GOLDEN, name, redilated_conv2d(x, kernel, bias, 1, factor))


def test_a_dispersed_kernel_sees_an_enlarged_picture_as_the_kernel_saw_the_small_one() -> None:
    """What the transform is for, on a smooth picture away from its border."""
    generator = torch.Generator().manual_seed(0)
    small = nn.functional.interpolate(torch.randn(1, 1, 5, 5, generator=generator), (33, 33), mode="bicubic")
    large = nn.functional.interpolate(small, (65, 65), mode="bilinear", align_corners=True)
    kernel = torch.randn(1, 1, 3, 3, generator=generator)
    expected = nn.functional.conv2d(small, kernel, padding=1)
    dispersed = nn.functional.conv2d(large, disperse(kernel), padding=2)[..., ::2, ::2]
    plain = nn.functional.conv2d(large, kernel, padding=1)[..., ::2, ::2]
    inner = (..., slice(3, -3), slice(3, -3))
    error, without = ((y - expected)[inner].abs().mean().item() for y in (dispersed, plain))
    assert error < 0.5 * without, f"a dispersed kernel is off by {error:.3g}, the kernel itself by {without:.3g}"


@pytest.mark.parametrize("factor", [2.0, 3.0, 2.5])
def test_an_impulse_reaches_as_far_as_the_factor_says(factor: float) -> None:
    x = torch.zeros(1, 1, 25, 25)
    x[..., 12, 12] = 1.0
    y = redilated_conv2d(x, torch.ones(1, 1, 3, 3), None, 1, factor)
    rows = y[0, 0].abs().sum(1).nonzero().flatten() - 12
    assert int(factor) <= rows.max() <= int(factor) + 1, f"it reaches {rows.max()} pixels"


def test_factor_one_is_the_convolution_itself() -> None:
    module = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 9, 7)
    expected = module(x)
    with redilated({module: 1.0}):
        assert torch.equal(module(x), expected)


@torch.no_grad()
def test_the_network_is_as_before_when_the_block_ends_whatever_ends_it() -> None:
    unet = reference_unet("512")
    weights = copy.deepcopy(unet.state_dict())
    layers = [layer.module for layer in layers_of(unet)]
    inputs = (torch.randn(1, 8, 4, 8, 8), torch.tensor([500]), torch.randn(1, 77 + 4 * 16, 64), torch.tensor([10]))
    plain = unet(*inputs)
    with redilated(dict.fromkeys(layers, 2.0)):
        assert not torch.equal(unet(*inputs), plain), "dilation changes nothing"
    with pytest.raises(RuntimeError, match="broken"), redilated(dict.fromkeys(layers, 2.0)):
        raise RuntimeError("broken")
    assert torch.equal(unet(*inputs), plain), "the network computes otherwise than before"
    assert all(torch.equal(value, weights[key]) for key, value in unet.state_dict().items()), "weights changed"
    assert list(unet.state_dict()) == list(weights)
    assert all(m.dilation == (1, 1) and m.padding == (1, 1) for m in layers), "settings of a module changed"


def test_layers_by_depth_are_those_of_the_published_settings() -> None:
    """The lists for Stable Diffusion 2.1 at 2048 pixels, by blocks: encoder levels 2 and 3, middle, decoder levels."""
    unet = reference_unet("512")
    plan = recommended(4.0)
    crafter, layers = ScaleCrafter(plan), list(layers_of(unet))
    found = crafter.factors(layers, StepClock(50))
    by_factor = [sum(value == factor for value in found.values()) for factor in (2.0, 3.0, 4.0)]
    # 2: three blocks of the decoder's first level. 3: two of encoder level 2 (and the downsampling into it, which the
    # lists leave out), three and an upsampling of decoder level 1. 4: the rest.
    assert by_factor == [6, 1 + 4 + 7, 1 + 4 + 4 + 7 + 7], f"{by_factor} layers at 2, 3 and 4"
    assert len(crafter.factors(layers, StepClock(50), base=True)) == len(found) - 6, (
        "the weaker network leaves the first level alone"
    )
    assert not crafter.factors(layers, StepClock(50, 37)), "74 % of 50 steps are over"

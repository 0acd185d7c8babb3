"""Modules built without memory, and what they are filled with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lvdm.checkpoint.filling import fill
from lvdm.errors import CheckpointError


def empty() -> nn.Sequential:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    module[0].requires_grad_(False)
    return module


def filled() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_parameters_and_buffers_are_given() -> None:
    module, source = empty(), filled()
    fill(module, source.state_dict())
    x = torch.randn(5, 2)
    assert torch.equal(module(x), source(x))
    assert not any(value.is_meta for value in (*module.parameters(), *module.buffers()))
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, False, True, True]
    assert module[1].num_batches_tracked.dtype == torch.int64


def test_pairs_are_taken_one_at_a_time_and_keep_their_dtype() -> None:
    module, given = empty(), 0

    def pairs() -> Iterator[tuple[str, Tensor]]:
        nonlocal given
        for key, value in filled().state_dict().items():
            assert sum(not tensor.is_meta for tensor in module.state_dict().values()) == given
            yield key, value.half() if value.is_floating_point() else value
            given += 1

    fill(module, pairs())
    assert given == 7
    assert module[0].weight.dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, r"Sequential was given no 0\.weight"),
        ({"0.weight": torch.zeros(3, 3)}, r"0\.weight of Sequential is \(3, 2\), not \(3, 3\)"),
        ({"2.weight": torch.zeros(1)}, r"Sequential has no 2\.weight"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor | None], message: str) -> None:
    source = {key: value for key, value in (filled().state_dict() | change).items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        fill(empty(), source)
    with pytest.raises(CheckpointError, match=r"given no 0\.weight, 0\.bias, 1\.weight and 4 more"):
        fill(empty(), {})

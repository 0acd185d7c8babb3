"""Reads the reference vectors in `tests/golden/` and applies the naming rules that made them.

Weights and inputs of the reference come from numpy's RandomState seeded with the crc32 of a name, so any implementation
that uses the released key names gets the same float32 values.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Case:
    """One reference case: what went in, what came out, and how far float32 rounding alone moves it."""

    name: str
    meta: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    atol: dict[str, float]


@cache
def _index(folder: str) -> dict[str, Any]:
    return json.loads((GOLDEN / folder / "index.json").read_text())


@cache
def case(name: str) -> Case:
    """The reference case `name`, "vc/..." for one of the index in the folder `vc`.

    Do not change its tensors in place: cases are shared between tests.
    """
    folder, _, key = name.rpartition("/")
    entry = _index(folder)[key]
    tensors = load_file(GOLDEN / folder / entry["file"])
    inputs = {key.removeprefix("in."): value for key, value in tensors.items() if key.startswith("in.")}
    outputs = {key.removeprefix("out."): value for key, value in tensors.items() if not key.startswith("in.")}
    atol = {key: value["suggested_atol"] for key, value in entry["outputs"].items() if "suggested_atol" in value}
    return Case(name, entry["meta"], inputs, outputs, atol)


def assert_close(reference: Case, name: str, actual: Tensor) -> None:
    """Assert that `actual` is the reference output `name` within its suggested absolute tolerance."""
    expected = reference.outputs[name]
    where = f"{reference.name}/{name}"
    assert actual.shape == expected.shape, f"{where}: shape {tuple(actual.shape)}, reference {tuple(expected.shape)}"
    difference = (actual.double() - expected.double()).abs().max().item()
    limit = reference.atol[name]
    assert difference <= limit, f"{where}: differs from the original by {difference:.3g}, allowed {limit:.3g}"


def _random_state(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)


def fill_value(key: str, shape: tuple[int, ...], salt: str = "") -> Tensor:
    """The reference value of the parameter whose full checkpoint key is `key`."""
    return _fill_value(key, shape, salt).clone()


def _fill_value(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    """The same, not to be changed: drawing takes longer than a pass, and small networks are filled many times."""
    return _drawn_once(key, shape, salt) if np.prod(shape) <= 2**18 else _drawn(key, shape, salt)


def _drawn(key: str, shape: tuple[int, ...], salt: str) -> Tensor:
    noise = _random_state(salt + key).standard_normal(tuple(shape))
    last = key.rsplit(".", 1)[-1]
    if last == "alpha":
        value = 0.5 * noise
    elif last == "latents":
        value = noise / np.sqrt(shape[-1])
    elif len(shape) >= 2:
        value = noise / np.sqrt(np.prod(shape[1:]))
    elif len(shape) == 1 and last == "weight":
        value = 1.0 + 0.1 * noise
    elif len(shape) == 1 and last == "class_embedding":
        value = noise / np.sqrt(shape[0])
    else:
        value = 0.05 * noise
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


_drawn_once = cache(_drawn)


class WithoutRandomValues(TorchFunctionMode):
    """Building a network that is filled afterwards: drawing its random weights takes longer than a pass."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def fill_module(module: nn.Module, prefix: str, salt: str = "") -> nn.Module:
    """Fill every parameter of `module`, whose full keys start with `prefix`, by the rule; returns it in eval mode."""
    for name, parameter in module.named_parameters():
        parameter.copy_(_fill_value(prefix + name, tuple(parameter.shape), salt))
    return module.eval()


def rand(name: str, shape: tuple[int, ...]) -> Tensor:
    """The input or noise tensor called `name`: float32, standard normal."""
    return torch.from_numpy(_random_state(name).standard_normal(tuple(shape)).astype(np.float32))


def int_image(name: str, height: int, width: int) -> np.ndarray:
    """The uint8 image (height, width, 3) called `name`, made of integer operations only."""
    state = _random_state(name)
    blocks = state.randint(0, 256, ((height + 7) // 8, (width + 7) // 8, 3))
    image = np.kron(blocks, np.ones((8, 8, 1), dtype=np.int64))[:height, :width]
    return np.clip(image + state.randint(-24, 25, (height, width, 3)), 0, 255).astype(np.uint8)


def image_tensor(name: str, height: int, width: int) -> Tensor:
    """`int_image` as the networks take it: (1, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(int_image(name, height, width)).permute(2, 0, 1)[None].float() / 127.5 - 1

"""The one way to give a module that was built without memory, on the meta device, its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from lvdm.errors import CheckpointError


def fill(
    module: nn.Module, source: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]], device: torch.device | str = "cpu"
) -> None:
    """Put the tensors of `source`, by the keys of the module's state dict, into `module` on `device`.

    The tensors take the place of the module's own, in their own dtype, and parameters train or not as before. Pairs are
    taken one at a time, so that only one needs memory besides the module. Raises `CheckpointError` for keys that are
    missing or that the module does not have, and for other shapes.
    """
    missing = {key: tuple(value.shape) for key, value in module.state_dict(keep_vars=True).items()}
    for key, value in source.items() if isinstance(source, Mapping) else source:
        shape = missing.pop(key, None)
        if shape is None:
            raise CheckpointError(f"{type(module).__name__} has no {key}, or was given it twice")
        if tuple(value.shape) != shape:
            raise CheckpointError(f"{key} of {type(module).__name__} is {shape}, not {tuple(value.shape)}")
        _assign(module, key, value.to(device))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(f"{type(module).__name__} was given no {', '.join(list(missing)[:3])}{more}")


def _assign(module: nn.Module, key: str, value: Tensor) -> None:
    owner_name, _, name = key.rpartition(".")
    owner = module.get_submodule(owner_name)
    old = getattr(owner, name)
    setattr(owner, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value)

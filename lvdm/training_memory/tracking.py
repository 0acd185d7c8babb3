"""Counting the bytes of tensors while they live, on the meta device or on a real one."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that operations make while this is entered: now (`live`), and at most (`peak`).

    Memory is counted once however many tensors view it, from the operation that makes it until the last tensor that
    uses it is gone. `ignore` names tensors that are counted elsewhere. What a kernel takes and gives back inside one
    operation is not seen.
    """

    def __init__(self, ignore: tuple[Tensor, ...] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._held: dict[int, weakref.ref[Any]] = {}
        self._known: dict[Any, Any] = {}
        self._ignored = [tensor.untyped_storage() for tensor in ignore]
        self._ignored_ids = {id(storage) for storage in self._ignored}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        out = self._run(func, args, dict(kwargs or {}))
        for leaf in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The operation; on the meta device its result is only looked up where shapes and options are known already.

        torch works out the shapes of most operations in Python, a hundred times slower than it makes a tensor.
        """
        if func.is_view or func._schema.is_mutable:
            return func(*args, **kwargs)
        key = (func, _described(args), *kwargs, _described(kwargs.values()))
        if key in self._known:
            return _tensors(self._known[key])
        out = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if tensors and all(tensor.is_meta for tensor in tensors):
            sources = {id(tensor.untyped_storage()) for tensor in tensors}
            results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
            if not any(id(result.untyped_storage()) in sources for result in results):
                self._known[key] = _layouts(out)
        return out

    def add(self, tensor: Tensor) -> None:
        """Count a tensor that was made elsewhere, if it is not yet."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._held or key in self._ignored_ids:
            return
        size = storage.nbytes()
        self._held[key] = weakref.ref(storage, lambda _: self._remove(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _remove(self, key: int, size: int) -> None:
        del self._held[key]
        self.live -= size

    def restart(self) -> None:
        """Measure `peak` anew, from what lives now."""
        self.peak = self.live


@dataclass
class SavedForBackward:
    """What autograd keeps from the forward pass for the backward pass, each memory once. `size` is in bytes."""

    size: int = 0
    _storages: dict[int, Any] = field(default_factory=dict, repr=False)

    def add(self, tensor: Tensor) -> None:
        """Count a saved tensor."""
        storage = tensor.untyped_storage()
        if id(storage) not in self._storages:
            self._storages[id(storage)] = storage  # kept, so that no other takes its place
            self.size += storage.nbytes()

    def release(self) -> None:
        """Let go of the memory; the count stays."""
        self._storages.clear()


@contextmanager
def saved_for_backward(ignore: tuple[Tensor, ...] = ()) -> Iterator[SavedForBackward]:
    """Count what operations in the block save for their gradients, apart from the memory of `ignore`d tensors."""
    saved = SavedForBackward()
    for tensor in ignore:
        saved.add(tensor)
    saved.size = 0

    def pack(tensor: Tensor) -> Tensor:
        saved.add(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield saved


@dataclass(frozen=True)
class _Layout:
    """How a tensor on the meta device is made again."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


def _described(values: Iterable[Any]) -> tuple[Any, ...]:
    """What decides which tensors an operation makes of these arguments, to be looked up by."""
    return tuple(
        (value.shape, value.stride(), value.dtype, value.is_meta)
        if isinstance(value, Tensor)
        else _described(value)
        if isinstance(value, list | tuple)
        else value
        for value in values
    )


def _layouts(out: Any) -> Any:
    """The result of an operation with layouts in the place of its tensors."""
    if isinstance(out, Tensor):
        return _Layout(out.shape, out.stride(), out.dtype)
    return type(out)(_layouts(item) for item in out) if isinstance(out, list | tuple) else out


def _tensors(layouts: Any) -> Any:
    """The inverse of `_layouts`."""
    if isinstance(layouts, _Layout):
        return torch.empty_strided(layouts.size, layouts.stride, dtype=layouts.dtype, device="meta")
    return type(layouts)(_tensors(item) for item in layouts) if isinstance(layouts, list | tuple) else layouts


def tensor_bytes(*tensors: Tensor) -> int:
    """Bytes of tensors that share no memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def module_tensors(module: torch.nn.Module) -> tuple[Tensor, ...]:
    """Parameters and buffers."""
    return (*module.parameters(), *module.buffers())

"""What a generation computes in the place of a network's layers, while the layers stay as they are.

Modules hold weights and nothing of a generation: any number of threads share them. What a generation asks of the layers
is a `LayerHooks`, which it makes active for each evaluation of the network. It is active in its own context alone (a
`contextvars.ContextVar`: every thread has its own), so that another thread, another generation in the same thread and a
callback between two steps compute the plain network, or what they ask for themselves.

A layer offers what may be exchanged by marking the method with `replaceable`; attention goes through `attention_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lvdm.modules.attention_processors import AttentionKind, AttentionMeta, AttentionProcessor, attend

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")
T = TypeVar("T")

LayerFunction = Callable[..., Any]
"""`(module, inner, *args) -> result`: stands for a method of `module`, and may call `inner(*args)`, what was there."""
AttentionWrapper = Callable[[AttentionProcessor, Tensor, Tensor, Tensor, AttentionMeta], Tensor]
"""`(inner, q, k, v, meta) -> out`, where `inner` is the processor that was there."""


@dataclass(frozen=True, eq=False)
class LayerHooks:
    """What stands in for methods of layers, and what wraps their attention; both from the inside to the outside.

    functions  by module and name of the method
    attention  by layer, each for one kind of attention
    attend     the attention that these wrap, by whichever kernel
    """

    functions: Mapping[tuple[nn.Module, str], tuple[LayerFunction, ...]] = field(default_factory=dict)
    attention: Mapping[nn.Module, tuple[tuple[AttentionKind, AttentionWrapper], ...]] = field(default_factory=dict)
    attend: AttentionProcessor = attend

    def with_functions(self, name: str, functions: Mapping[M, LayerFunction]) -> LayerHooks:
        """These hooks with a function more around the method `name` of each of the modules."""
        changed = dict(self.functions)
        for module, own in functions.items():
            changed[module, name] = (*changed.get((module, name), ()), own)
        return replace(self, functions=changed)

    def with_attention(self, layers: Iterable[nn.Module], kind: AttentionKind, wrapper: AttentionWrapper) -> LayerHooks:
        """These hooks with a wrapper more around the attention of a kind in each of the layers."""
        changed = dict(self.attention)
        for layer in layers:
            changed[layer] = (*changed.get(layer, ()), (kind, wrapper))
        return replace(self, attention=changed)

    def moved(self, places: Mapping[nn.Module, nn.Module]) -> LayerHooks:
        """These hooks for other modules: each where `places` puts it."""
        return LayerHooks(
            {(places.get(module, module), name): chain for (module, name), chain in self.functions.items()},
            {places.get(layer, layer): chain for layer, chain in self.attention.items()},
            self.attend,
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within the block, layers that are called in this context go through these hooks, and through no others.

        At its end, also by an error, those are active that were before. No generator should yield within it: its caller
        shares the context.
        """
        token = _ACTIVE.set(self)
        try:
            yield
        finally:
            _ACTIVE.reset(token)


NO_HOOKS = LayerHooks()
_ACTIVE: ContextVar[LayerHooks] = ContextVar("layer_hooks", default=NO_HOOKS)


def active_hooks() -> LayerHooks:
    """The hooks that layers go through here and now."""
    return _ACTIVE.get()


def replaceable(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Mark a method of a module as one in whose place a generation may compute something else."""
    name = method.__name__

    @wraps(method)
    def call(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        chain = _ACTIVE.get().functions.get((self, name))
        if chain is None:
            return method(self, *args, **kwargs)
        inner: Callable[..., T] = partial(method, self)
        for function in chain:
            inner = partial(function, self, inner)
        return inner(*args, **kwargs)

    return call


def attention_of(layer: nn.Module, kind: AttentionKind) -> AttentionProcessor:
    """How `layer` computes attention of a kind here and now: `attend`, unless hooks wrap or exchange it."""
    hooks = _ACTIVE.get()
    processor = hooks.attend
    for wrapped, wrapper in hooks.attention.get(layer, ()):
        if wrapped == kind:
            processor = partial(wrapper, processor)
    return processor


def checkpointed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """`function(*args)`, computed again in the backward pass, in threads of torch but through the same hooks."""
    hooks = _ACTIVE.get()

    def run(*args: Any) -> Tensor:
        with hooks.active():
            return function(*args)

    result: Tensor = checkpoint(function if hooks is NO_HOOKS else run, *args, use_reentrant=False)
    return result

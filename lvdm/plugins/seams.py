"""Where methods plug in: the noise, what the network is told, and how its attention is computed.

A method is a `Plugin`: a frozen record whose `attach` is a context manager. Inside the block the method is at work,
afterwards network and processors are what they were, whatever happened inside. Methods wrap what they find, so that
they combine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches, Denoiser, Guidance, classifier_free_guidance
from lvdm.diffusion.noise import StepNoise, initial_noise, make_step_noise
from lvdm.diffusion.samplers import SAMPLERS, Sampler
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.attention import CrossAttention
from lvdm.modules.attention_processors import AttentionKind, AttentionMeta, AttentionProcessor
from lvdm.modules.networks.openaimodel3d import UNetModel


@dataclass(frozen=True)
class Samples:
    """Who the samples of a batch are: noise belongs to (seed, index), see `lvdm.diffusion.noise`."""

    seeds: tuple[int, ...]
    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.indices):
            raise ValueError(f"one seed and one index per sample: there are {self.seeds} and {self.indices}")


@dataclass(frozen=True, eq=False)
class Start:
    """Where sampling begins.

    latents   x_T (b, c, t, h, w) float32 on the CPU
    timestep  None: the last one
    noise     the plain noise in the latents, under which known regions are shown; None: they are nothing else
    """

    latents: Tensor
    timestep: int | None = None
    noise: Tensor | None = None


class NoiseInitializer(Protocol):
    """Makes what sampling begins with. `shape` is that of one sample, (c, t, h, w)."""

    def __call__(
        self, shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule
    ) -> Start: ...


BranchMaker = Callable[[Sequence[Conditioning]], Branches]
"""From the conditions that guidance needs, the full one first, to the network under them."""


@dataclass
class StepClock:
    """The number of the step that is being taken, from 0, and of how many; whoever runs the sampler moves it on."""

    total: int = 1
    step: int = 0

    def before(self, share: float) -> bool:
        """Whether the current step is among the first `share` (0 to 1) of all steps."""
        return self.step < round(share * self.total)


def unguided(branches: Branches) -> Denoiser:
    """The conditional output."""
    return classifier_free_guidance(branches, 1.0)


@dataclass(frozen=True)
class Seams:
    """What one sampling is made of, besides the network and its attention.

    `branches` and `guidance` belong together: who adds an output to the one takes it up in the other.
    """

    initial_noise: NoiseInitializer
    step_noise: StepNoise
    branches: BranchMaker
    clock: StepClock = field(default_factory=StepClock)
    sampler: Sampler = SAMPLERS["ddim"]
    guidance: Guidance = unguided


class Plugin(Protocol):
    """A method. `attach` changes `unet` for the length of the block at most, and gives seams that may wrap `seams`."""

    def attach(self, unet: UNetModel, seams: Seams, samples: Samples) -> AbstractContextManager[Seams]: ...


def plain_start(shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule) -> Start:
    """Noise of its own for every frame: the `NoiseInitializer` of sampling without methods."""
    return Start(initial_noise(shape, samples.seeds, samples.indices))


def begun_otherwise(seams: Seams, change: Callable[[Start, NoiseSchedule], Start]) -> Seams:
    """`seams` that begin with what `change` makes of their own beginning."""

    def start(shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule) -> Start:
        return change(seams.initial_noise(shape, samples, conditioning, schedule), schedule)

    return replace(seams, initial_noise=start)


def plain_seams(
    samples: Samples, branches: BranchMaker, steps: int = 1, sampler: str = "ddim", guidance: Guidance = unguided
) -> Seams:
    """Sampling without methods."""
    noise = make_step_noise(samples.seeds, samples.indices)
    return Seams(plain_start, noise, branches, StepClock(steps), SAMPLERS[sampler], guidance)


@contextmanager
def attached(plugins: Sequence[Plugin], unet: UNetModel, seams: Seams, samples: Samples) -> Iterator[Seams]:
    """All of `plugins` at work; later ones wrap earlier ones."""
    with ExitStack() as stack:
        for plugin in plugins:
            seams = stack.enter_context(plugin.attach(unet, seams, samples))
        yield seams


AttentionWrapper = Callable[[AttentionProcessor, Tensor, Tensor, Tensor, AttentionMeta], Tensor]
"""`(inner, q, k, v, meta) -> out`, where `inner` is the processor that was there."""


@contextmanager
def wrapped_attention(network: nn.Module, kind: AttentionKind, wrapper: AttentionWrapper) -> Iterator[None]:
    """Within the block, attention of `kind` in `network` goes through `wrapper`."""

    def wrapped(inner: AttentionProcessor, q: Tensor, k: Tensor, v: Tensor, meta: AttentionMeta) -> Tensor:
        return wrapper(inner, q, k, v, meta) if meta.kind == kind else inner(q, k, v, meta)

    layers = [module for module in network.modules() if isinstance(module, CrossAttention)]
    before = [layer.processor for layer in layers]
    for layer in layers:
        layer.processor = partial(wrapped, layer.processor)
    try:
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


@contextmanager
def replaced_methods(module: nn.Module, methods: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Within the block, `module` has these functions in the place of its methods of those names."""
    before = {name: module.__dict__[name] for name in methods if name in module.__dict__}
    module.__dict__.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del module.__dict__[name]
        module.__dict__.update(before)

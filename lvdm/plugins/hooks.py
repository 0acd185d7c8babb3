"""Where methods plug in: the noise, the conditions of the network, and what its layers compute.

A method is a `Plugin`: a frozen record whose `attach` makes hooks out of hooks. It wraps what it finds, so that methods
combine, and changes nothing: a network is evaluated with the hooks of one sampling, and is the plain one to all others,
also at the same time (`lvdm.modules.hooks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor, nn

from lvdm.conditioning import Conditioning
from lvdm.diffusion.guidance import Branches, Denoiser, Guidance, classifier_free_guidance
from lvdm.diffusion.noise import StepNoise, initial_noise, make_step_noise
from lvdm.diffusion.samplers import SAMPLERS, Sampler
from lvdm.diffusion.schedule import NoiseSchedule
from lvdm.modules.attention import CrossAttention
from lvdm.modules.attention_processors import AttentionKind
from lvdm.modules.hooks import NO_HOOKS, AttentionWrapper, LayerFunction, LayerHooks, M
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
class Hooks:
    """What one sampling is made of, besides the network.

    `branches` and `guidance` belong together: who adds an output to the one takes it up in the other. `layers` are what
    the network's layers go through whenever it is evaluated.
    """

    initial_noise: NoiseInitializer
    step_noise: StepNoise
    branches: BranchMaker
    clock: StepClock = field(default_factory=StepClock)
    sampler: Sampler = SAMPLERS["ddim"]
    guidance: Guidance = unguided
    layers: LayerHooks = NO_HOOKS

    def denoiser(self, conditions: Sequence[Conditioning]) -> Denoiser:
        """The guided network under `conditions`. Its layers go through `layers` in every evaluation, not in between."""
        with self.layers.active():
            branches = self.branches(conditions)

        def evaluate(x_t: Tensor, t: Tensor) -> tuple[Tensor, ...]:
            with self.layers.active():
                return branches(x_t, t)

        return self.guidance(evaluate)

    def with_functions(self, name: str, functions: Mapping[M, LayerFunction]) -> Hooks:
        """These hooks with functions around the method `name` of layers, see `LayerHooks`."""
        return replace(self, layers=self.layers.with_functions(name, functions))

    def with_attention(self, network: nn.Module, kind: AttentionKind, wrapper: AttentionWrapper) -> Hooks:
        """These hooks with `wrapper` around all attention of a kind in `network`."""
        return replace(self, layers=self.layers.with_attention(attention_layers(network), kind, wrapper))


class Plugin(Protocol):
    """A method. `attach` gives hooks that may wrap `hooks`, for a sampling with `unet`, and leaves both as they are."""

    def attach(self, unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks: ...


def plain_start(shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule) -> Start:
    """Noise of its own for every frame: the `NoiseInitializer` of sampling without methods."""
    return Start(initial_noise(shape, samples.seeds, samples.indices))


def begun_otherwise(hooks: Hooks, change: Callable[[Start, NoiseSchedule], Start]) -> Hooks:
    """`hooks` that begin with what `change` makes of their own beginning."""

    def start(shape: tuple[int, ...], samples: Samples, conditioning: Conditioning, schedule: NoiseSchedule) -> Start:
        return change(hooks.initial_noise(shape, samples, conditioning, schedule), schedule)

    return replace(hooks, initial_noise=start)


def plain_hooks(
    samples: Samples, branches: BranchMaker, steps: int = 1, sampler: str = "ddim", guidance: Guidance = unguided
) -> Hooks:
    """Sampling without methods."""
    noise = make_step_noise(samples.seeds, samples.indices)
    return Hooks(plain_start, noise, branches, StepClock(steps), SAMPLERS[sampler], guidance)


def attached(plugins: Sequence[Plugin], unet: UNetModel, hooks: Hooks, samples: Samples) -> Hooks:
    """`hooks` with all of `plugins`; later ones wrap earlier ones."""
    for plugin in plugins:
        hooks = plugin.attach(unet, hooks, samples)
    return hooks


def attention_layers(network: nn.Module) -> list[nn.Module]:
    """All attention in `network`."""
    return [module for module in network.modules() if isinstance(module, CrossAttention)]

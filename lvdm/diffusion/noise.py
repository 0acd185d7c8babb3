"""Noise that belongs to a sample: drawn on the CPU from (seed, sample index), whatever the batch, device or GPU count.

Every tensor has its own stream, named by what it is for ("initial", "step/3", ...). A stream's generator is seeded with
a hash of (seed, index, stream), so no draw depends on how many came before it: sample 5 of a batch equals sample 5
alone, and the noise of step 3 is the same whether or not steps 0 to 2 drew any. (The original draws from one global
generator, at every step, even when eta = 0.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

StepNoise = Callable[[int, tuple[int, ...]], Tensor]
"""(step number, 0 being the noisiest; shape (b, c, t, h, w)) -> standard normal noise of that shape."""


def sample_generator(seed: int, index: int, stream: str = "initial") -> torch.Generator:
    """The CPU generator of one stream of one sample.

    The seed is the first 63 bits of BLAKE2b over the three values, of which torch's CPU generator (a Mersenne twister)
    uses the lower 32.
    """
    digest = hashlib.blake2b(f"{seed}/{index}/{stream}".encode(), digest_size=8).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "big") >> 1)


def sample_noise(shape: Sequence[int], seeds: Sequence[int], indices: Sequence[int], stream: str) -> Tensor:
    """Standard normal noise, (b, *shape) float32 on the CPU, from the stream `stream` of each (seed, index)."""
    if len(seeds) != len(indices):
        raise ValueError(f"one seed and one index per sample: there are {len(seeds)} seeds and {len(indices)} indices")
    draws = [
        torch.randn(tuple(shape), generator=sample_generator(seed, index, stream))
        for seed, index in zip(seeds, indices, strict=True)
    ]
    return torch.stack(draws)


def initial_noise(shape: Sequence[int], seeds: Sequence[int], indices: Sequence[int]) -> Tensor:
    """x_T, (b, *shape) float32 on the CPU; `shape` is that of one sample, (c, t, h, w)."""
    return sample_noise(shape, seeds, indices, "initial")


def make_step_noise(seeds: Sequence[int], indices: Sequence[int]) -> StepNoise:
    """The noise that a stochastic sampler adds at each step, for the samples (seed, index)."""

    def step_noise(step: int, shape: tuple[int, ...]) -> Tensor:
        if shape[0] != len(seeds):
            raise ValueError(f"step noise was made for {len(seeds)} samples, the batch holds {shape[0]}")
        return sample_noise(shape[1:], seeds, indices, f"step/{step}")

    return step_noise

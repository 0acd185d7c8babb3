"""Noise belongs to (seed, sample index): neither batch size nor order nor earlier draws may change it."""

from __future__ import annotations

import pytest
import torch

from lvdm.diffusion.noise import initial_noise, make_step_noise, sample_generator, sample_noise

SHAPE = (4, 3, 5, 6)


def test_a_batch_is_its_singles() -> None:
    seeds, indices = [7, 7, 9], [0, 1, 1]
    together = initial_noise(SHAPE, seeds, indices)
    assert together.shape == (3, *SHAPE)
    for k in range(3):
        alone = initial_noise(SHAPE, seeds[k : k + 1], indices[k : k + 1])
        assert torch.equal(together[k], alone[0]), f"sample {k} depends on its batch"


def test_step_noise_is_that_of_the_sample_and_the_step() -> None:
    together, alone = make_step_noise([3, 3], [0, 5]), make_step_noise([3], [5])
    late = alone(8, (1, *SHAPE))
    assert late.shape == (1, *SHAPE)
    assert torch.equal(together(8, (2, *SHAPE))[1:], late), "step noise depends on the batch"
    alone(2, (1, *SHAPE))
    assert torch.equal(alone(8, (1, *SHAPE)), late), "step noise depends on what was drawn before"


def test_streams_are_distinct() -> None:
    draws = [
        sample_noise(SHAPE, [seed], [index], stream)
        for seed in (0, 1, 12)
        for index in (0, 1, 2)
        for stream in ("initial", "step/0", "step/1")
    ]
    flat = torch.stack(draws).flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(len(draws))
    assert correlation.abs().max() < 0.3, "two streams are alike"
    assert abs(flat.mean()) < 0.05, "the noise has a mean"
    assert abs(flat.std() - 1.0) < 0.05, "the noise is not of unit variance"


def test_seeds_of_any_size() -> None:
    for seed in (0, -1, 2**32, 2**64 + 5):
        assert sample_generator(seed, 0).initial_seed() < 2**63
    assert sample_generator(1, 23).initial_seed() != sample_generator(12, 3).initial_seed()


def test_pinned_values() -> None:
    """Replaying a stored video needs the same noise in every later version."""
    assert sample_generator(123, 0).initial_seed() == 796561352776976396
    assert sample_generator(123, 0, "step/1").initial_seed() == 6583783335846564595


def test_counts_are_checked() -> None:
    with pytest.raises(ValueError, match="2 seeds and 1 indices"):
        initial_noise(SHAPE, [1, 2], [0])
    with pytest.raises(ValueError, match="made for 1 samples, the batch holds 2"):
        make_step_noise([1], [0])(0, (2, *SHAPE))

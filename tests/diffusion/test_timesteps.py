"""The steps that samplers visit: the original's where those are usable, and always as many as asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_vectors import case

from lvdm.diffusion.timesteps import Spacing, make_timesteps

SPACINGS: list[Spacing] = ["uniform", "uniform_trailing", "quad"]


def usable(ascending: np.ndarray, num_steps: int) -> bool:
    return (
        len(ascending) == num_steps
        and bool((np.diff(ascending) > 0).all())
        and ascending[0] >= 0
        and ascending[-1] <= 999
    )


@pytest.mark.parametrize("spacing", SPACINGS)
def test_equal_to_the_stored_steps(spacing: Spacing) -> None:
    for num_steps in (5, 10, 25, 30, 50, 60):
        stored = case("schedule").outputs[f"eps.{spacing}.{num_steps}.timesteps"]
        if usable(stored.numpy(), num_steps):
            ours = make_timesteps(spacing, num_steps)
            assert torch.equal(ours, stored.flip(0)), f"{spacing} {num_steps} differs from the original"


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_number_of_steps(spacing: Spacing) -> None:
    for num_steps in range(1, 1001):
        where = f"{spacing}, {num_steps} steps"
        steps = make_timesteps(spacing, num_steps)
        assert steps.shape == (num_steps,), f"{where}: {len(steps)} entries"
        assert steps.dtype == torch.int64, where
        assert (steps.diff() < 0).all(), f"{where}: not strictly descending"
        assert steps[-1] >= 0, f"{where}: below 0"
        assert steps[0] <= 999, f"{where}: above 999"


@pytest.mark.parametrize("num_steps", [3, 9, 27, 30, 36, 48, 60])
def test_uniform_has_the_count_that_the_original_misses(num_steps: int) -> None:
    original = np.arange(0, 1000, 1000 // num_steps) + 1
    assert not usable(original, num_steps), "the original is right here, choose another number"
    gaps = -make_timesteps("uniform", num_steps).diff()
    assert gaps.max() - gaps.min() <= 1, "the steps are not evenly spaced"


@pytest.mark.parametrize("num_steps", [61, 103, 121, 122])
def test_trailing_does_not_reach_minus_one(num_steps: int) -> None:
    original = np.round(np.arange(1000, 0, -1000 / num_steps)) - 1
    assert original[-1] == -1, "the original is right here, choose another number"
    steps = make_timesteps("uniform_trailing", num_steps)
    assert steps.tolist() == original[:-1].astype(int).tolist(), "only the surplus step may go"


def test_trailing_starts_at_the_last_step() -> None:
    assert all(make_timesteps("uniform_trailing", n)[0] == 999 for n in (1, 2, 7, 20, 50, 999, 1000))


def test_other_training_lengths() -> None:
    assert make_timesteps("uniform_trailing", 4, num_train=100).tolist() == [99, 74, 49, 24]
    assert make_timesteps("uniform", 4, num_train=100).tolist() == [76, 51, 26, 1]


@pytest.mark.parametrize("num_steps", [0, -1, 1001])
def test_impossible_counts_are_refused(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 1000, it is {num_steps}"):
        make_timesteps("uniform", num_steps)


def test_unknown_spacing_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'uniform_trailing'"):
        make_timesteps("trailing", 10)  # type: ignore[arg-type]


def test_uniform_spares_the_first_step_as_long_as_there_is_room() -> None:
    for num_steps, ends in ((500, [999, 1]), (501, [999, 1]), (1000, [999, 0])):
        assert make_timesteps("uniform", num_steps)[[0, -1]].tolist() == ends, f"{num_steps} steps"

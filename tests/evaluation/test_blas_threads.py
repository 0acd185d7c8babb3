"""The number of threads of NumPy's linear algebra is one where numbers are made, and what it was elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from lvdm.evaluation.blas_threads import one_blas_thread, openblas_threads
from lvdm.evaluation.frechet import frechet_distance


@pytest.fixture
def threads() -> Iterator[tuple[Callable[[], int], Callable[[int], None]]]:
    """OpenBLAS set to two threads, as it would be by itself on two cores."""
    found = openblas_threads()
    if found is None:
        pytest.skip("NumPy is not built on an OpenBLAS whose threads can be told")
    before = found[0]()
    found[1](2)
    yield found
    found[1](before)


def test_there_is_one_thread_inside_and_as_many_as_before_outside(
    threads: tuple[Callable[[], int], Callable[[int], None]],
) -> None:
    def fail() -> None:
        with one_blas_thread():
            assert threads[0]() == 1, "there is more than one thread inside"
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert threads[0]() == 2, "the threads of the caller did not come back"


def test_a_distance_has_the_same_digits_however_many_threads_there_were(
    threads: tuple[Callable[[], int], Callable[[int], None]],
) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 700, 300))
    values = []
    for count in (1, 2):
        threads[1](count)
        with one_blas_thread():
            values.append(frechet_distance(rows[0], rows[1] + 0.1))
    assert values[0] == values[1], "the number of threads changes digits of a distance"

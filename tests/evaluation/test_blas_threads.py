"""The number of threads of NumPy's linear algebra is one where numbers are made, and what it was elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from blas import blas_threads
from threadpoolctl import threadpool_limits

from lvdm.evaluation.blas_threads import one_blas_thread
from lvdm.evaluation.frechet import frechet_distance


def test_there_is_one_thread_inside_and_as_many_as_before_outside() -> None:
    def fail() -> None:
        with one_blas_thread():
            assert blas_threads() == {1}, "there is more than one thread inside"
            raise ValueError

    with threadpool_limits(limits=2, user_api="blas"):
        with pytest.raises(ValueError):
            fail()
        assert blas_threads() == {2}, "the threads of the caller did not come back"


def test_a_distance_has_the_same_digits_however_many_threads_there_were() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 700, 300))
    values = []
    for count in (1, 2):
        with threadpool_limits(limits=count, user_api="blas"), one_blas_thread():
            values.append(frechet_distance(rows[0], rows[1] + 0.1))
    assert values[0] == values[1], "the number of threads changes digits of a distance"

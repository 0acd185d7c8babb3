"""One thread for NumPy's linear algebra: sums are split over threads, so that their number would change last digits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let linear algebra use one thread inside; the number before comes back. Not for several Python threads.

    It is also faster for the many small matrices of resamples: of two threads, one mostly waits for the other (16
    processor seconds instead of 103 to score two sets of 2048 x 400 on two busy cores).
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield

"""What NumPy's linear algebra uses at the moment."""

from __future__ import annotations

from threadpoolctl import threadpool_info


def blas_threads() -> set[int]:
    """The numbers of threads of the linear algebra libraries that are loaded."""
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

"""Distances of sets of clips by their features; `lvdm.evaluation.distances` adds how far to trust them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvdm.evaluation.frechet import frechet_distance
from lvdm.evaluation.kernel_distance import kernel_distance
from lvdm.evaluation.metrics.metric import Metric
from lvdm.evaluation.protocols import Family, Protocol
from lvdm.evaluation.resampled_distances import resampled_frechet_distances, resampled_kernel_distances

Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SetMetric(Metric):
    """A metric of two sets of clips, given by the rows (n, d) and (m, d) of their features.

    family      the group of a protocol's metrics that asks for it
    of_logits   whether it is called so of the logits of I3D alone, or of all other features
    measure     of rows by a protocol
    resampled   the same on as many resamples as the protocol wants, (resamples,)
    has_floor   whether two samples of one distribution have a distance above 0 on average
    """

    family: Family
    of_logits: bool
    measure: Callable[[Protocol, Rows, Rows], float]
    resampled: Callable[[Protocol, Rows, Rows], Rows]
    has_floor: bool


FVD = SetMetric(
    name="FVD",
    better="lower",
    meaning="Fréchet distance of I3D logits: how far the set of clips is from real ones. Small sets give large values.",
    family="frechet",
    of_logits=True,
    measure=lambda protocol, x, y: frechet_distance(x, y, protocol.ddof),
    resampled=lambda protocol, x, y: resampled_frechet_distances(
        x, y, protocol.seed, protocol.distance_resamples, protocol.ddof
    ),
    has_floor=True,
)
FD = replace(
    FVD,
    name="FD",
    meaning="Fréchet distance of features: how far the set of clips is from real ones. Small sets give large values.",
    of_logits=False,
)
KVD = SetMetric(
    name="KVD",
    better="lower",
    meaning="Kernel distance of I3D logits, without bias: about 0, and below it at times, for clips as real ones.",
    family="kernel",
    of_logits=True,
    measure=lambda protocol, x, y: kernel_distance(x, y),
    resampled=lambda protocol, x, y: resampled_kernel_distances(x, y, protocol.seed, protocol.distance_resamples),
    has_floor=False,
)
KD = replace(
    KVD,
    name="KD",
    meaning="Kernel distance of features, without bias: about 0, and below it at times, for clips as real ones.",
    of_logits=False,
)
KVD_DEVIATION = Metric(
    name="KVD deviation",
    better="neither",
    meaning="Kernel distance of I3D logits: its standard deviation over random subsets of the clips.",
)
KD_DEVIATION = Metric(
    name="KD deviation",
    better="neither",
    meaning="Kernel distance of features: its standard deviation over random subsets of the clips.",
)

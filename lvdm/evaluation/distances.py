"""Distances of two sets of clips by features: with interval and floor, and how they fall with the number of clips."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lvdm.errors import counted
from lvdm.evaluation.feature_rows import count_unique_rows
from lvdm.evaluation.features.registry import I3D_LOGITS
from lvdm.evaluation.frechet import extrapolate, sample_floor
from lvdm.evaluation.kernel_distance import kernel_distance_subsets
from lvdm.evaluation.metrics import registry
from lvdm.evaluation.metrics.distances import KD, KD_DEVIATION, KVD, KVD_DEVIATION, Rows
from lvdm.evaluation.protocols import Protocol
from lvdm.evaluation.resampling import distances_by_count, percentile_interval
from lvdm.evaluation.results import Curve, MetricRow

MIN_DISTANCE_CLIPS = 2
"""Clips a side, without which there is no distance at all."""

_REPEATS = 2
"""Random subsets for each point of a curve."""


@dataclass(frozen=True)
class Distance:
    """A distance under its title, with the function that measures it on resamples."""

    name: str
    measure: Callable[[Rows, Rows], float]
    resampled: Callable[[Rows, Rows], Rows]
    has_floor: bool
    higher_is_better: bool | None


def distances_of(protocol: Protocol, extractor: str) -> list[Distance]:
    """The distances that the protocol names, of the features of `extractor`.

    Only logits of I3D make an FVD or KVD, as in the literature; of other features they are called FD and KD.
    """
    return [
        Distance(
            name=metric.title(extractor),
            measure=functools.partial(metric.measure, protocol),
            resampled=functools.partial(metric.resampled, protocol),
            has_floor=metric.has_floor,
            higher_is_better=metric.higher_is_better,
        )
        for metric in registry.SET_METRICS
        if metric.family in protocol.metrics and metric.of_logits == (extractor in I3D_LOGITS)
    ]


def distance_row(distance: Distance, set_name: str, x: Rows, real: Rows, protocol: Protocol, curve: Curve) -> MetricRow:
    """One distance of the rows x (n, d) from `real` (m, d), with all that says how far to trust it.

    The interval is that of resampled clips, moved to the value (see `percentile_interval`).
    """
    value = distance.measure(x, real)
    values = distance.resampled(x, real)
    interval = percentile_interval(values, centre=value)
    low = max(0.0, interval.low) if distance.has_floor else interval.low  # moved; a Fréchet distance is never below 0
    usable = {n: found for n, found in zip(curve.sizes, curve.values, strict=True) if n > x.shape[1]}
    return MetricRow(
        name=distance.name,
        set=set_name,
        value=value,
        low=low,
        high=interval.high,
        n=min(len(x), len(real)),
        unique=min(count_unique_rows(x), count_unique_rows(real)),
        floor=sample_floor(real, len(x), len(real)) if distance.has_floor else 0.0,
        extrapolated=extrapolate(usable).value if distance.has_floor and len(usable) > 1 else None,
        higher_is_better=distance.higher_is_better,
    )


def distance_curve(distance: Distance, set_name: str, x: Rows, real: Rows, seed: int) -> Curve:
    """The distance of random parts of both sets, up to all that there is on both sides."""
    most = min(len(x), len(real))
    sizes = sorted({max(MIN_DISTANCE_CLIPS, most * part // 8) for part in (1, 2, 4, 6, 8)})
    values = distances_by_count(x, real, distance.measure, sizes, seed, _REPEATS)
    floors = [sample_floor(real, n) if distance.has_floor else 0.0 for n in sizes]
    return Curve(distance.name, set_name, tuple(sizes), tuple(values[n] for n in sizes), tuple(floors))


def subset_rows(protocol: Protocol, extractor: str, set_name: str, x: Rows, real: Rows) -> list[MetricRow]:
    """KID's way: the mean of the kernel distance over random subsets, and its deviation; two rows, without interval."""
    most = min(len(x), len(real))
    kernel, spread_of_kernel = (KVD, KVD_DEVIATION) if extractor in I3D_LOGITS else (KD, KD_DEVIATION)
    size = min(protocol.subset_size, most)
    mean, deviation = kernel_distance_subsets(x, real, protocol.subsets, size, protocol.seed)
    label = f"{extractor}, {protocol.subsets} subsets of {size}"
    row = MetricRow(
        name=kernel.title(label),
        set=set_name,
        value=mean,
        low=None,
        high=None,
        n=most,
        unique=min(count_unique_rows(x), count_unique_rows(real)),
        floor=0.0,
        higher_is_better=kernel.higher_is_better,
    )
    known = deviation if size < max(len(x), len(real)) else None  # subsets that are all clips do not deviate
    spread = dataclasses.replace(row, name=spread_of_kernel.title(label), value=known, floor=None)
    return [row, dataclasses.replace(spread, higher_is_better=spread_of_kernel.higher_is_better)]


def why_unreliable(row: MetricRow, dimensions: int, required: int | None, failed: int) -> str:
    """Reasons not to publish a distance; "" if there are none. `required`: clips that the protocol asks for, if any."""
    reasons = []
    if row.n < dimensions + 1:
        reasons.append(f"{row.n} clips are fewer than the {dimensions} dimensions of the features and one")
    return "; ".join(reasons + set_problems(row, required, failed))


def set_problems(row: MetricRow, required: int | None, failed: int) -> list[str]:
    """What is wrong with the clips that any metric is made of."""
    reasons = []
    if required is not None and row.n < required:
        reasons.append(f"the protocol asks for {required} clips, there are {row.n}")
    if row.unique < row.n:
        reasons.append(f"only {row.unique} of {row.n} clips differ")
    if failed:
        reasons.append(f"{counted(failed, 'clip')} could not be read")
    return reasons


def halves(ids: Sequence[str], key: Callable[[str], str]) -> tuple[list[str], list[str]]:
    """Two halves of the ids, each in order: which id is in which depends on the ids alone."""
    ranked = sorted(ids, key=key)
    middle = len(ranked) // 2
    return sorted(ranked[:middle]), sorted(ranked[middle : 2 * middle])

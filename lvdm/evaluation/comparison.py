"""Two sets of videos of the same inputs: which is better, metric by metric, or that nothing separates them.

Both are measured on the same resamples of the same clips, so that what the inputs have in common does not count. There
is a ranking only where the interval of the difference leaves out 0, and none of fewer than `MIN_RANKED_CLIPS` pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvdm.deprecation import renamed_names
from lvdm.evaluation.blas_threads import one_blas_thread
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_files import FrameScaling
from lvdm.evaluation.clip_sets import Evaluation, Reconstruction
from lvdm.evaluation.distances import MIN_DISTANCE_CLIPS, Distance, Rows, distances_of
from lvdm.evaluation.extraction import planned_records
from lvdm.evaluation.features.protocol import FeatureExtractor
from lvdm.evaluation.manifest import Manifest, check_pairing
from lvdm.evaluation.metrics.from_records import clip_numbers
from lvdm.evaluation.metrics.registry import higher_is_better
from lvdm.evaluation.protocols import Protocol
from lvdm.evaluation.records import Records, load_records
from lvdm.evaluation.resampling import MIN_RANKED_CLIPS, Interval, paired_difference, percentile_interval, separated
from lvdm.evaluation.results import FAKE, REAL, Comparison, MetricDifference, Verdict
from lvdm.evaluation.scoring import protocol_note, set_note, versions


@dataclass(frozen=True)
class EvaluationPair:
    """Two sets of generated clips with the same ids, and the real ones if there are any."""

    a: Evaluation
    b: Evaluation

    @staticmethod
    def of(protocol: Protocol, a: Manifest, b: Manifest, real: Manifest | None) -> EvaluationPair:
        """Raises `ManifestError` unless both have the same ids and are cut as the protocol says."""
        check_pairing(a, b)
        return EvaluationPair(Evaluation(protocol, a, real), Evaluation(protocol, b, real))


def compare(
    cache: FeatureCache,
    pair: EvaluationPair,
    extractors: Sequence[FeatureExtractor],
    reconstruction: Reconstruction | None = None,
) -> Comparison:
    """All metrics that both sets have, on the clips that both have. Raises `MissingRecordsError`."""
    protocol = pair.a.protocol
    sides = []
    for evaluation in (pair.a, pair.b):
        sets = [clips for clips in evaluation.sets(extractors, reconstruction) if clips.name in (FAKE, REAL)]
        planned = planned_records(cache, sets, FrameScaling.of(protocol))
        listed = [record.spec.id for record in planned if record.set == FAKE]
        records = load_records(cache, planned)
        sides.append((records, set_note(FAKE, evaluation.fake, records, listed)))
    (a, a_note), (b, b_note) = sides
    with one_blas_thread():
        differences = (*_distance_differences(a, b, protocol), *_mean_differences(a, b, protocol))
    return Comparison(
        protocol=protocol_note(protocol),
        a=a_note,
        b=b_note,
        differences=differences,
        seeds={"protocol": protocol.seed},
        versions=versions(),
    )


def verdict_of(interval: Interval | None, higher: bool | None) -> Verdict:
    """What the interval of B - A says, where `higher` is whether more is better."""
    if interval is None or not separated(interval):
        return "not separated"
    if higher is None:
        return "separated"
    return "B is better" if (interval.low > 0) == higher else "A is better"


def _mean_differences(a: Records, b: Records, protocol: Protocol) -> list[MetricDifference]:
    others = {numbers.name: numbers for numbers in clip_numbers(b.of(FAKE))}
    differences = []
    for own in clip_numbers(a.of(FAKE)):
        other = others.get(own.name)
        ids = [name for name in own.values if other is not None and name in other.values]
        if other is None or not ids:
            continue
        first, second = (np.array([numbers.values[name] for name in ids]) for numbers in (own, other))
        interval = paired_difference(second, first, protocol.seed, protocol.resamples) if len(ids) > 1 else None
        higher = higher_is_better(own.name)
        differences.append(_difference(own.name, float(first.mean()), float(second.mean()), interval, len(ids), higher))
    return differences


def _distance_differences(a: Records, b: Records, protocol: Protocol) -> list[MetricDifference]:
    """Distances from the real clips; A and B are drawn by the same ids, and the real clips alike for both."""
    reals = {group.extractor.id: group for group in a.of(REAL)}
    others = {group.extractor.id: group for group in b.of(FAKE)}
    differences = []
    for own in a.of(FAKE):
        name = own.extractor.id
        real, other = reals.get(name), others.get(name)
        if real is None or other is None or not all("features" in values for values in own.values.values()):
            continue
        ids = [clip for clip in own.values if clip in other.values]
        if min(len(ids), len(real.values)) < MIN_DISTANCE_CLIPS:
            continue
        for distance in distances_of(protocol, name):
            found = _paired(distance, own.features(ids), other.features(ids), real.features())
            differences.append(found)
    return differences


def _paired(distance: Distance, a: Rows, b: Rows, real: Rows) -> MetricDifference:
    first, second = distance.measure(a, real), distance.measure(b, real)
    draws = [distance.resampled(rows, real) for rows in (a, b)]
    interval = percentile_interval(draws[1] - draws[0], centre=second - first)
    return _difference(distance.name, first, second, interval, len(a), distance.higher_is_better)


def _difference(
    name: str, a: float, b: float, interval: Interval | None, count: int, higher: bool | None
) -> MetricDifference:
    return MetricDifference(
        name=name,
        a=a,
        b=b,
        difference=b - a,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        n=count,
        higher_is_better=higher,
        verdict=verdict_of(interval if count >= MIN_RANKED_CLIPS else None, higher),
    )


__getattr__ = renamed_names(__name__, {"Contest": "EvaluationPair"})

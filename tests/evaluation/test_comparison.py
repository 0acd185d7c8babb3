"""Two sets are ranked only where the interval of their paired difference leaves out 0."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_scoring import EXTRACTORS, PROTOCOL, Rows, extract, write_clips

from lvdm.evaluation.comparison import EvaluationPair, compare, verdict_of
from lvdm.evaluation.manifest import ManifestError
from lvdm.evaluation.report import findings
from lvdm.evaluation.resampling import Interval
from lvdm.evaluation.results import Comparison, write_comparison


@pytest.mark.parametrize(
    ("interval", "higher", "verdict"),
    [
        (Interval(0.1, 0.2), True, "B is better"),
        (Interval(0.1, 0.2), False, "A is better"),
        (Interval(-0.2, -0.1), True, "A is better"),
        (Interval(-0.2, -0.1), False, "B is better"),
        (Interval(-0.1, 0.1), True, "not separated"),
        (Interval(0.0, 0.0), True, "not separated"),
        (Interval(0.1, 0.2), None, "separated"),
        (None, True, "not separated"),
    ],
)
def test_a_verdict_needs_an_interval_without_0(interval: Interval | None, higher: bool | None, verdict: str) -> None:
    assert verdict_of(interval, higher) == verdict


def pair(folder: Path, a_noise: int, b_noise: int) -> Comparison:
    real = write_clips(folder / "real", 0)
    a, b = write_clips(folder / "a", 0, noise=a_noise), write_clips(folder / "b", 0, noise=b_noise)
    match = EvaluationPair.of(PROTOCOL, a, b, real)
    for evaluation in (match.a, match.b):
        cache = extract(folder / "cache", evaluation)
    return compare(cache, match, EXTRACTORS)


def test_noise_is_worse_and_the_same_videos_are_not_separated(tmp_path: Path) -> None:
    clear = pair(tmp_path / "clear", 0, 60)
    found = {difference.name: difference for difference in clear.differences}
    assert found["FD[few]"].verdict == "A is better"
    assert found["PIC[rows cosine]"].verdict == "A is better"
    assert found["change[grey levels]"].verdict == "separated", "more change is neither better nor worse"
    assert found["FD[few]"].n == 12
    assert found["FD[few]"].difference == found["FD[few]"].b - found["FD[few]"].a
    same = pair(tmp_path / "same", 10, 10)
    assert {difference.verdict for difference in same.differences} == {"not separated"}
    assert {difference.difference for difference in same.differences} == {0.0}


def test_a_comparison_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    write_comparison(pair(tmp_path / "one", 0, 30), tmp_path / "a")
    write_comparison(pair(tmp_path / "two", 0, 30), tmp_path / "b")
    assert (tmp_path / "a" / "comparison.json").read_bytes() == (tmp_path / "b" / "comparison.json").read_bytes()


@pytest.mark.parametrize(("pairs", "verdicts"), [(5, {"not separated"}), (6, {"A is better"})])
def test_few_pairs_rank_nothing_however_much_they_differ(pairs: int, verdicts: set[str], tmp_path: Path) -> None:
    real = write_clips(tmp_path / "real", 0, count=pairs)
    match = EvaluationPair.of(PROTOCOL, real, write_clips(tmp_path / "b", 0, count=pairs, noise=60), None)
    extractors = (Rows(),)
    for evaluation in (match.a, match.b):
        cache = extract(tmp_path / "cache", evaluation, extractors)
    comparison = compare(cache, match, extractors)
    assert {row.verdict for row in comparison.differences} == verdicts
    said = " ".join(findings.verdicts(comparison))
    assert ("5 pairs are too few for an interval of 95 %" in said) == (pairs == 5)


def test_sets_with_other_ids_are_not_compared(tmp_path: Path) -> None:
    a, b = write_clips(tmp_path / "a", 0, count=3), write_clips(tmp_path / "b", 0, count=4)
    with pytest.raises(ManifestError, match=r"a.jsonl lacks 1 ids of b.jsonl: c03"):
        EvaluationPair.of(PROTOCOL, a, b, None)

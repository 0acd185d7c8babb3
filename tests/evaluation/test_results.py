"""Results survive a round trip through their files, and the same results are the same bytes."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from lvdm.evaluation.results import (
    ClipProblem,
    Comparison,
    Curve,
    ExtractorNote,
    FrameCurve,
    MetricDifference,
    MetricRow,
    ProtocolNote,
    Results,
    ResultsError,
    SetNote,
    VideoRow,
    read_comparison,
    read_results,
    write_comparison,
    write_results,
)

NOTE = SetNote("fake", "fake.jsonl", "ab" * 32, listed=4, read=2, skipped=1, failed=1)
RESULTS = Results(
    protocol=ProtocolNote("procedural-v1", {"frames": 16, "extractors": ["stpyr-v1"]}),
    sets=(NOTE, dataclasses.replace(NOTE, name="real", manifest="real.jsonl")),
    extractors=(ExtractorNote("stpyr-v1", "fp32", None),),
    metrics=(
        MetricRow("FD[stpyr-v1]", "fake", 0.1 + 0.2, 0.25, 0.5, n=2, unique=2, floor=0.1, unreliable="n is 2"),
        MetricRow("flicker[grey levels]", "still", 0.0, None, None, n=2, unique=2, higher_is_better=False),
    ),
    curves=(Curve("FD[stpyr-v1]", "fake", (1, 2), (0.5, 0.3), (0.2, 0.1)),),
    frame_curves=(FrameCurve("similarity", "fake", (1.0, 0.9), (1.0, 0.8), (1.0, 0.95)),),
    problems=(
        ClipProblem("fake", "c", "failed", "not a readable video"),
        ClipProblem("fake", "d", "skipped", "too short"),
    ),
    devices=("cpu",),
    seeds={"bootstrap": 0},
    versions={"torch": "2.6", "commit": None},
    videos=(
        VideoRow("fake", "a", "videos/a.mp4", 0, 1, 16, 'a "red" dot, moving', {"m": 1 / 3, "PSNR[dB]": None}),
        VideoRow("fake", "b", "videos/b.mp4", 2, 3, 16, "", {"m": -1e-300, "PSNR[dB]": 31.5}),
    ),
)
COMPARISON = Comparison(
    protocol=RESULTS.protocol,
    a=NOTE,
    b=NOTE,
    differences=(MetricDifference("FD[stpyr-v1]", 1.0, 2.0, 1.0, -0.5, 2.5, 2, False, "not separated"),),
    seeds={"bootstrap": 0},
    versions={"torch": "2.6"},
)


def test_results_and_comparisons_come_back_to_the_digit(tmp_path: Path) -> None:
    write_results(RESULTS, tmp_path)
    assert read_results(tmp_path) == RESULTS
    write_comparison(COMPARISON, tmp_path)
    assert read_comparison(tmp_path) == COMPARISON
    row = read_results(tmp_path).metric("flicker[grey levels]", "still")
    assert row is not None
    assert row.value == 0.0
    assert RESULTS.metric("flicker[grey levels]") is None


def test_what_is_not_finite_is_written_as_nothing(tmp_path: Path) -> None:
    metric = dataclasses.replace(RESULTS.metrics[0], value=math.nan)
    video = dataclasses.replace(RESULTS.videos[0], values={"m": math.inf})
    write_results(dataclasses.replace(RESULTS, metrics=(metric,), videos=(video,)), tmp_path)
    found = read_results(tmp_path)
    assert found.metrics[0].value is None
    assert found.videos[0].values == {"m": None}


def test_the_same_results_are_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_results(RESULTS, tmp_path / folder)
    for name in ("results.json", "per_video.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("{", "is not valid JSON"),
        ("[]", "its schema is null"),
        ('{"schema": "dynamicrafter-evaluation/9"}', "this version reads 'dynamicrafter-evaluation/1'"),
        (json.dumps({"schema": "dynamicrafter-evaluation/1"}), "score again"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=message) as caught:
        read_results(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("odd", [None, "x", -1.5, [], {"a": 1}, True], ids=repr)
def test_edited_results_are_read_with_their_types_or_refused_in_one_line(tmp_path: Path, odd: object) -> None:
    write_results(RESULTS, tmp_path)
    path = tmp_path / "results.json"
    whole = path.read_text(encoding="utf-8")
    refused = 0
    for section, index in (("protocol", None), ("sets", 0), ("metrics", 0), ("curves", 0), ("seeds", None)):
        for name in json.loads(whole)[section] if index is None else json.loads(whole)[section][index]:
            tree = json.loads(whole)
            (tree[section] if index is None else tree[section][index])[name] = odd
            path.write_text(json.dumps(tree), encoding="utf-8")
            try:
                read_results(tmp_path)
            except ResultsError as error:
                refused += "\n" not in str(error)
    assert refused > 15, "values of other types were believed"

"""A small evaluation and a comparison, as a scoring would find them."""

from __future__ import annotations

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
    SetNote,
    VideoRow,
)

FD, PIC, MOTION, PROMPT = "FD[stpyr-v1]", "PIC[tiny-clip cosine]", "motion[flow-v1, diagonals/s]", "CLIPSIM[tiny-clip]"
HOSTILE = "<script>alert(1)</script> | *bold* \"quoted\" & 'single'"
WEIGHTS = "cd" * 32
FEW = "the protocol asks for 256 clips, there are 6"


def _videos(name: str, still: bool = False) -> list[VideoRow]:
    return [
        VideoRow(
            set=name,
            id=f"clip{number}",
            video=f"videos/clip{number}.mp4",
            start=0,
            stride=1,
            frames=4,
            prompt=HOSTILE if number == 0 else f"prompt {number}",
            values={
                PIC: 1.0 if still else 0.90 + 0.01 * number,
                MOTION: 0.0 if still else 0.30 - 0.05 * number,
                PROMPT: None if number == 5 else 0.25 + 0.01 * number,
            },
        )
        for number in range(6)
    ]


RESULTS = Results(
    protocol=ProtocolNote("procedural-v1", {"frames": 16, "paired": True, "extractors": ["stpyr-v1"], "fps": None}),
    sets=(
        SetNote("fake", "fake.jsonl", "ab" * 32, listed=8, read=6, skipped=1, failed=1),
        SetNote("real", "real.jsonl", "ef" * 32, listed=6, read=6, skipped=0, failed=0),
    ),
    extractors=(ExtractorNote("stpyr-v1", "fp64", None), ExtractorNote("tiny-clip", "fp32", WEIGHTS)),
    metrics=(
        MetricRow(FD, "fake", 41.23456, 35.1, 48.9, 6, 6, 30.5, 12.25, f"{FEW}; 1 clip could not be read", False),
        MetricRow(FD, "real", 29.87, 20.5, 36.0, 3, 3, 30.5, None, "", False),
        MetricRow(PIC, "fake", 0.925, 0.91, 0.94, 6, 6, higher_is_better=True),
        MetricRow(PIC, "real", 0.95, 0.94, 0.96, 6, 6, higher_is_better=True),
        MetricRow(PIC, "still", 1.0, 1.0, 1.0, 6, 6, higher_is_better=True),
        MetricRow(MOTION, "fake", 0.175, 0.12, 0.22, 6, 5),
        MetricRow(MOTION, "real", 0.31, None, None, 6, 6),
        MetricRow(MOTION, "still", 0.0, 0.0, 0.0, 6, 6),
        MetricRow("seam ratio", "fake", None, None, None, 0, 0),
    ),
    curves=(
        Curve(FD, "fake", (2, 4, 6), (90.0, 60.0, 41.2), (80.0, 45.0, 30.5)),
        Curve(FD, "real", (2, 3), (60.0, 29.9), (80.0, 61.0)),
        Curve(FD, "still", (2, 4, 6), (9000.0, 8000.0, 7000.0), (80.0, 45.0, 30.5)),
    ),
    frame_curves=(
        FrameCurve("image similarity[tiny-clip]", "fake", (1.0, 0.97, 0.95), (1.0, 0.96, 0.93), (1.0, 0.98, 0.97)),
        FrameCurve("image similarity[tiny-clip]", "still", (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ),
    problems=(
        ClipProblem("fake", "broken", "failed", f"not a readable video {HOSTILE}"),
        ClipProblem("fake", "short", "skipped", "has 3 frames, a clip needs 4"),
    ),
    devices=("cpu",),
    seeds={"protocol": 17},
    versions={"torch": "2.13.0", "commit": None},
    videos=tuple(_videos("fake") + _videos("real") + _videos("still", still=True)),
)

COMPARISON = Comparison(
    protocol=RESULTS.protocol,
    a=RESULTS.sets[0],
    b=SetNote("fake", f"other {HOSTILE}", "12" * 32, 8, 8, 0, 0),
    differences=(
        MetricDifference(FD, 41.2, 30.1, -11.1, -15.0, -7.0, 6, False, "B is better"),
        MetricDifference(PIC, 0.925, 0.93, 0.005, -0.002, 0.012, 6, True, "not separated"),
        MetricDifference(PROMPT, 0.28, 0.26, -0.02, -0.03, -0.01, 6, True, "A is better"),
        MetricDifference(MOTION, 0.175, 0.25, 0.075, 0.05, 0.1, 6, None, "separated"),
        MetricDifference("dynamic degree[flow-v1]", 0.5, 0.5, 0.0, None, None, 6, None, "not separated"),
    ),
    seeds={"protocol": 17},
    versions={"torch": "2.13.0"},
)

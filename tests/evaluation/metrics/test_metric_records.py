"""What metrics say of themselves: titles, directions and meanings, and that a new one needs nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from moving_pictures import translating

import lvdm.evaluation
from lvdm.evaluation.features.protocol import LoadedClip
from lvdm.evaluation.metrics import registry
from lvdm.evaluation.metrics.metric import FrameMetric, Metric
from lvdm.evaluation.metrics.registry import higher_is_better, known_metrics, measure, metric_of
from lvdm.evaluation.report.meaning import sentence
from lvdm.media.video_writer import to_uint8
from lvdm.quality.flow import ClassicalFlow

EVALUATION = Path(lvdm.evaluation.__file__).parent
HIGHER = {
    *("CLIPSIM", "frame consistency", "consistency", "image similarity", "PIC", "i2v similarity", "PSNR", "SSIM"),
    *("first frame PSNR", "first frame SSIM", "last frame PSNR", "temporal flickering", "motion smoothness"),
}
LOWER = {"FD", "FVD", "KD", "KVD", "flicker", "warping error", "LPIPS"}
NEITHER = {"motion", "dynamic degree", "seam ratio", "flow continuity", "KD deviation", "KVD deviation"}


def test_titles_are_those_of_published_results() -> None:
    titles = [metric.title("flow-v1" if metric.by_flow else "") for metric in registry.FRAME_METRICS]
    assert titles == [
        "motion[flow-v1, diagonals/s]",
        "dynamic degree[flow-v1]",
        "temporal flickering[0..1]",
        "flicker[grey levels]",
        "motion smoothness[flow-v1]",
        "warping error[flow-v1]",
        "first frame PSNR[dB]",
        "first frame SSIM[0..1]",
        "last frame PSNR[dB]",
        "seam ratio[median steps]",
        "flow continuity[flow-v1]",
    ]
    features = [metric.title_of("tiny-clip") for metric in registry.FEATURE_METRICS]
    assert features == [
        "PIC[tiny-clip]",
        "CLIPSIM[tiny-clip]",
        "frame consistency[tiny-clip]",
        "consistency[tiny-clip]",
        "image similarity[tiny-clip]",
        "PIC[tiny-clip cosine]",
        "i2v similarity[tiny-clip]",
    ]
    assert [metric.title() for metric in registry.PAIR_METRICS] == ["PSNR[dB]", "SSIM"]
    assert [metric.title("x") for metric in registry.SET_METRICS] == ["FVD[x]", "FD[x]", "KVD[x]", "KD[x]"]


def test_every_metric_has_its_direction_and_a_meaning() -> None:
    directions = {"higher": HIGHER, "lower": LOWER, "neither": NEITHER}
    for direction, names in directions.items():
        assert {name for name, metric in known_metrics().items() if metric.better == direction} == names
    for metric in known_metrics().values():
        assert metric.meaning.endswith("."), f"{metric.name}: {metric.meaning}"
        assert "[" not in metric.name, f"{metric.name}: a bracket begins what a title adds"


def test_two_ways_to_one_metric_mean_the_same() -> None:
    for metric in (*registry.FEATURE_METRICS, *registry.FRAME_METRICS, *registry.PAIR_METRICS, *registry.SET_METRICS):
        known = known_metrics()[metric.name]
        assert (metric.better, metric.meaning, metric.unit) == (known.better, known.meaning, known.unit)


def test_a_title_leads_to_its_metric_and_a_similar_name_does_not() -> None:
    assert metric_of("KD deviation[x, 3 subsets of 4]") is known_metrics()["KD deviation"]
    assert metric_of("SSIM") is known_metrics()["SSIM"]
    assert metric_of("motion blur[dB]") is None
    assert higher_is_better("flicker[grey levels]") is False
    assert higher_is_better("unheard of") is None
    assert Metric(name="a", better="neither", meaning="A.").title() == "a"
    assert Metric(name="a", better="neither", meaning="A.", unit="dB").title("x") == "a[x, dB]"


def test_a_new_metric_is_a_record_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    brightness = FrameMetric(
        name="brightness",
        unit="grey levels",
        better="higher",
        meaning="The mean of all pixels.",
        measure=lambda clip: clip.frames.float().mean().item(),
    )
    monkeypatch.setattr(registry, "FRAME_METRICS", (*registry.FRAME_METRICS, brightness))
    frames = to_uint8(translating(1.0, 0.0, frames=3))
    found = measure(LoadedClip(frames, 8.0), ClassicalFlow())
    assert found["brightness[grey levels]"] == pytest.approx(frames.float().mean().item())
    assert higher_is_better("brightness[grey levels]") is True
    assert sentence("brightness[grey levels]") == "The mean of all pixels."


@pytest.mark.parametrize("folder", ["metrics", "report"])
def test_nothing_is_decided_by_how_a_name_begins_or_ends(folder: str) -> None:
    for path in sorted((EVALUATION / folder).glob("*.py")):
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not attributes & {"startswith", "endswith", "removeprefix"}, f"{path.name} looks at the ends of a name"


def test_the_table_of_the_docs_has_all_metrics_and_their_directions() -> None:
    text = (Path(__file__).parents[3] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    section = text.partition("## What is measured")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line]
    shown = {title: row[2].partition(",")[0] for row in rows for title in row[0].replace("`", "").split(", ")}
    # a comma inside of brackets, as of motion[flow-v1, diagonals/s], splits a title: its end is no metric
    found = {metric.name: better for title, better in shown.items() if (metric := metric_of(title)) is not None}
    signs = {"higher": "higher", "lower": "lower", "neither": "-"}
    assert found == {name: signs[metric.better] for name, metric in known_metrics().items()}

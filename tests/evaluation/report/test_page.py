"""The page of a report: whole without its parts, closed to what it shows, equal for equal findings."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from example_results import COMPARISON, FD, HOSTILE, MOTION, PIC, PROMPT, RESULTS, WEIGHTS
from PIL import Image
from typer.testing import CliRunner

from lvdm.cli.app import app
from lvdm.evaluation.report.clips import extremes, make_sheet
from lvdm.evaluation.report.page import render_page
from lvdm.evaluation.report.writing import read_findings, write_report
from lvdm.evaluation.results import FrameCurve, ResultsError, VideoRow, write_comparison, write_results
from lvdm.media.html_page import escape

VOID = {"meta", "img"}


class Balance(HTMLParser):
    """Collects the tags of a page and checks that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], f"{tag} runs code: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def tags_of(page: str) -> set[str]:
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.seen


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the frames of some clips: moving squares as arrays, under the names of videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        frames = np.full((6, 40, 60, 3), 30 * number, np.uint8)
        for t in range(6):
            frames[t, 10:20, 5 * t : 5 * t + 10] = 255
        np.save(folder / f"clip{number}.npy", frames)
    return folder


def with_arrays(names: str = "clip{}.npy") -> tuple[VideoRow, ...]:
    return tuple(dataclasses.replace(row, video=names.format(row.id[-1])) for row in RESULTS.videos)


def test_the_page_has_every_picture_and_every_number() -> None:
    page = render_page(RESULTS, COMPARISON)
    tags_of(page)
    for title in (
        "Fidelity against motion",
        f"{FD} against the number of clips",
        "image similarity[tiny-clip], frame by frame",
        "Which is better",
        "How they differ",
        f"By {PIC}",
        f"By {MOTION}",
        f"By {PROMPT}",
        "Every value",
        "Where the numbers come from",
    ):
        assert escape(title) in page, f"{title} is missing"
    for text in ("41.23*", "[35.10, 48.90]", "12.25 at infinity", "not separated", WEIGHTS, "ab" * 32, "2.13.0"):
        assert text in page, f"{text} is missing"
    assert "still image 1.000" in page
    assert "The still image lies far above, at 7,000." in page
    assert page.count("<svg") == page.count("</svg>")
    charts = re.findall(r'<svg xmlns="[^"]*" viewBox="[^"]*" role="img"><title>[^<]+</title>', page)
    assert len(charts) == page.count('role="img"') == 5, "a chart has no title for screen readers"


def test_what_comes_from_files_shows_as_text_and_loads_nothing() -> None:
    hostile = f"{HOSTILE} onload=x "
    set_name = 'fake" onload="x'
    results = dataclasses.replace(
        RESULTS,
        protocol=dataclasses.replace(RESULTS.protocol, name=hostile, fields={hostile: hostile}),
        metrics=tuple(dataclasses.replace(row, name=f"{row.name}{hostile}") for row in RESULTS.metrics),
        curves=tuple(dataclasses.replace(row, name=f"{row.name}{hostile}", set=set_name) for row in RESULTS.curves),
        frame_curves=tuple(dataclasses.replace(row, set=set_name) for row in RESULTS.frame_curves),
        videos=tuple(dataclasses.replace(row, id=row.id + hostile, video=hostile) for row in RESULTS.videos),
        versions={hostile: hostile},
    )
    page = render_page(results, COMPARISON)
    assert "script" not in tags_of(page)
    assert "&lt;script&gt;" in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'(?:src|href)="([^"]*)', page))
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\s\"]+", page)) == {"http://www.w3.org/2000/svg"}, "only SVG's own name"


@pytest.mark.parametrize("results", [RESULTS, None])
@pytest.mark.parametrize("comparison", [COMPARISON, None])
def test_a_page_without_one_part_has_the_others(results: object, comparison: object) -> None:
    page = render_page(results, comparison)  # type: ignore[arg-type]
    tags_of(page)
    assert ("Which is better" in page) == (comparison is not None)
    assert ("At a glance" in page) == (results is not None)


@pytest.mark.parametrize("left_out", ["metrics", "curves", "frame_curves", "problems", "videos", "sets", "extractors"])
def test_a_scoring_without_one_part_still_gives_a_page(left_out: str) -> None:
    page = render_page(dataclasses.replace(RESULTS, **{left_out: ()}), None)
    tags_of(page)
    assert "Where the numbers come from" in page


def test_what_is_not_defined_is_left_out_of_the_charts_and_a_dash_in_the_tables() -> None:
    nothing = FrameCurve("gone", "fake", (math.nan, math.nan), (math.nan,) * 2, (math.nan,) * 2)
    some = FrameCurve("some", "fake", (1.0, math.nan, 0.5), (0.9, math.nan, math.nan), (1.0, math.nan, 0.6))
    videos = tuple(dataclasses.replace(row, values={PIC: math.nan, MOTION: None}) for row in RESULTS.videos)
    page = render_page(dataclasses.replace(RESULTS, frame_curves=(nothing, some), videos=videos), None)
    tags_of(page)
    assert not re.search(r"\bnan\b", page.lower())
    assert "some, frame by frame" in page
    assert "gone, frame by frame" not in page
    assert "Fidelity against motion" not in page


def test_equal_findings_and_videos_give_equal_bytes(videos: Path, tmp_path: Path) -> None:
    results = dataclasses.replace(RESULTS, videos=with_arrays())
    for folder in ("a", "b"):
        write_results(results, tmp_path / folder)
        write_comparison(COMPARISON, tmp_path / folder)
        write_report(read_findings(tmp_path / folder), tmp_path / folder, [videos])
    for name in ("report.html", "report.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_clips_are_shown_where_their_files_are_and_missed_where_not(videos: Path) -> None:
    page = render_page(dataclasses.replace(RESULTS, videos=with_arrays()), None, [videos / "elsewhere", videos])
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert pictures
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert picture.size == (4 * 64 + 4, 40 + 8)
    assert "clip5.npy was not found" in page
    assert str(videos) not in page, "where the files lie is nobody's business"


def test_a_clip_that_cannot_be_read_is_said(videos: Path) -> None:
    (videos / "broken.npy").write_bytes(b"no array")
    row = dataclasses.replace(RESULTS.videos[0], video="broken.npy")
    sheet = make_sheet(row, [videos])
    assert sheet.jpeg == b""
    assert sheet.missing.startswith("broken.npy: not a readable array")
    late = dataclasses.replace(RESULTS.videos[0], video="clip0.npy", start=5)
    assert "has 6 frames" in make_sheet(late, [videos]).missing


def test_best_and_worst_are_those_of_the_evaluated_clips_and_never_the_same() -> None:
    best, worst = extremes(RESULTS, PIC, 2)
    assert [row.id for row in best] == ["clip5", "clip4"]
    assert [row.id for row in worst] == ["clip0", "clip1"]
    assert {row.set for row in best + worst} == {"fake"}
    best, worst = extremes(RESULTS, PIC, 4)
    assert [row.id for row in best] == ["clip5", "clip4", "clip3"]
    assert len(worst) == 3
    one = dataclasses.replace(RESULTS, videos=RESULTS.videos[:1])
    assert [len(rows) for rows in extremes(one, PIC, 3)] == [1, 0]
    assert extremes(RESULTS, PIC, 0) == ([], [])
    assert extremes(RESULTS, "unheard of", 3) == ([], [])


def test_the_command_writes_the_report_and_prints_the_table(videos: Path, tmp_path: Path) -> None:
    write_results(dataclasses.replace(RESULTS, videos=with_arrays()), tmp_path / "scored")
    write_comparison(COMPARISON, tmp_path / "compared")
    arguments = ["evaluate", "report", tmp_path / "scored", "--compare", tmp_path / "compared", "--videos-root", videos]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    for text in (
        "[35.10, 48.90]",
        "(1) (2)",
        "B is better",
        "do not publish",
        str(tmp_path / "scored" / "report.html"),
    ):
        assert text in result.output
    page = (tmp_path / "scored" / "report.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page
    assert "Which is better" in page
    text = (tmp_path / "scored" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("<!-- dynamicrafter-report/1 -->\n\n# Evaluation by procedural-v1")


def test_a_folder_without_findings_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="score or compare into it first"):
        read_findings(tmp_path)

"""Numbers and tables of a report: what a reader sees of every value."""

from __future__ import annotations

import dataclasses
import math

import pytest
from example_results import COMPARISON, FD, FEW, HOSTILE, MOTION, PIC, RESULTS, WEIGHTS

from lvdm.evaluation.report.findings import cautions, verdicts
from lvdm.evaluation.report.markdown import render_markdown
from lvdm.evaluation.report.meaning import fidelity_measure, motion_measure, prompt_measure, sentence
from lvdm.evaluation.report.number_format import DASH, format_interval, format_number, format_signed
from lvdm.evaluation.report.tables import comparison_table, glance_table, metric_table, origin_table
from lvdm.evaluation.results import ProtocolNote, SetNote


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.97306, "0.9731"),
        (1.0, "1.000"),
        (0.999999, "1.000"),
        (999.96, "1,000"),
        (41.23456, "41.23"),
        (-149.06, "-149.1"),
        (27515.9, "27,516"),
        (0.0123456, "0.01235"),
        (0.000123456, "1.235e-4"),
        (123456789.0, "1.235e+8"),
        (None, DASH),
        (math.nan, DASH),
        (math.inf, DASH),
    ],
)
def test_numbers_have_four_digits_that_count(value: float | None, text: str) -> None:
    assert format_number(value) == text


def test_differences_have_a_sign_and_intervals_both_ends() -> None:
    assert [format_signed(value) for value in (0.5, -0.5, 0.0, None)] == ["+0.5000", "-0.5000", "0", DASH]
    assert format_interval(0.1, 0.25, 3) == "[0.100, 0.250]"
    assert format_interval(0.1, None) == DASH


def test_every_value_comes_with_all_that_says_how_far_to_trust_it() -> None:
    rows = metric_table(RESULTS).rows
    assert rows[0] == (FD, "evaluated", "41.23", "[35.10, 48.90]", "6", "6", "30.50", "12.25", "(1) (2)")
    assert rows[1] == (FD, "real", "29.87", "[20.50, 36.00]", "3", "3", "30.50", DASH, "")
    assert ("seam ratio", "evaluated", DASH, DASH, "0", "0", DASH, DASH, "") in rows
    assert len(rows) == len(RESULTS.metrics)


def test_the_glance_has_a_row_for_each_measure_and_marks_what_is_unreliable() -> None:
    table = glance_table(RESULTS)
    assert table.head == ("measure", "better", "evaluated", "real", "still image")
    assert table.rows[0] == (FD, "lower", "41.23*", "29.87", "")
    assert (MOTION, DASH, "0.1750", "0.3100", "0") in table.rows


def test_comparisons_and_origins_are_told_in_full() -> None:
    first, last = comparison_table(COMPARISON).rows[0], comparison_table(COMPARISON).rows[-1]
    assert first == (FD, "lower", "41.20", "30.10", "-11.10", "[-15.00, -7.000]", "6", "B is better")
    assert last[5:] == (DASH, "6", "not separated")
    facts = dict(origin_table(RESULTS).rows)
    assert facts["extractor tiny-clip"] == f"fp32, weights {WEIGHTS}"
    assert facts["extractor stpyr-v1"] == "fp64, no weights"
    assert (facts["seed of protocol"], facts["torch"], facts["commit"]) == ("17", "2.13.0", DASH)


def test_what_a_reader_must_know_is_said_in_sentences() -> None:
    said = " ".join(cautions(RESULTS))
    assert f"1 of 9 values are unreliable, do not publish them: (1) {FEW}; (2) 1 clip could not be read." in said
    assert "Of 8 evaluated clips, 1 failed and 1 skipped" in said
    assert f"The input image repeated scores 1.000 in {PIC}, more than the evaluated clips (0.9250)" in said
    assert f"B is better: {FD}." in verdicts(COMPARISON)
    unclear = dataclasses.replace(COMPARISON, differences=COMPARISON.differences[1:2])
    assert verdicts(unclear)[-1] == "Nothing separates the two: do not rank them."


@pytest.mark.parametrize(
    ("read", "sentence"),
    [
        (
            {"fake": 1, "real": 6},
            "There is no distance: it takes 2 clips on each side, there are: evaluated 1, real 6.",
        ),
        ({"fake": 6}, "There is no distance: give real clips (--real) to measure from."),
    ],
)
def test_distances_that_could_not_be_measured_are_missed(read: dict[str, int], sentence: str) -> None:
    fields = {**RESULTS.protocol.fields, "metrics": ["frechet", "motion"]}
    sets = tuple(SetNote(name, f"{name}.jsonl", "ab" * 32, n, n, 0, 0) for name, n in read.items())
    results = dataclasses.replace(RESULTS, protocol=ProtocolNote("procedural-v1", fields), sets=sets)
    assert cautions(results)[0] == sentence
    assert not any("no distance" in said for said in cautions(RESULTS)), "its protocol asks for none"


def test_similarities_without_image_and_prompt_are_missed() -> None:
    fields = {**RESULTS.protocol.fields, "metrics": ["similarity", "motion"]}
    protocol = ProtocolNote("procedural-v1", fields)
    rows = tuple(row for row in RESULTS.metrics if row.name in (FD, MOTION))
    said = cautions(dataclasses.replace(RESULTS, protocol=protocol, metrics=rows))
    wanted = "There is no similarity to the input image (PIC) and to the prompt (CLIPSIM): the manifest gives no "
    assert wanted + "`image` and `prompt`." in said
    assert not any("no similarity to the input image" in text for text in cautions(RESULTS)), "they are there"


def test_measures_are_known_by_the_beginning_of_their_names() -> None:
    names = ["motion smoothness[f]", "image similarity[c]", MOTION, PIC, "dynamic degree[f]"]
    assert (fidelity_measure(names), motion_measure(names), prompt_measure(names)) == (PIC, MOTION, None)
    assert sentence("motion smoothness[f]") != sentence(MOTION) != ""
    assert sentence("KD deviation[x]").startswith("Kernel distance")
    assert sentence("unheard of") == ""


def test_markdown_holds_every_table_and_no_foreign_markup() -> None:
    text = render_markdown(RESULTS, COMPARISON)
    assert f"| {FD} | evaluated | 41.23 | [35.10, 48.90] | 6 | 6 | 30.50 | 12.25 | (1) (2) |" in text
    assert "| measure | clips | value |" in text
    assert "## Comparison by procedural-v1" in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "\\| \\*bold\\*" in text
    rows = [line for line in text.splitlines() if HOSTILE.split()[-1] in line and line.startswith("|")]
    assert rows, "the hostile reason and name are in tables"
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| evaluated")}
    assert len(widths) <= 2, "text with a bar in it made another cell"


def test_markdown_of_a_part_leaves_out_the_rest() -> None:
    assert "Comparison" not in render_markdown(RESULTS, None)
    assert render_markdown(None, COMPARISON).startswith("# Comparison by procedural-v1")
    assert render_markdown(RESULTS, COMPARISON) == render_markdown(RESULTS, COMPARISON)

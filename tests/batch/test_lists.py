"""What is a row, what is wrong with one, and what is no list at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvdm.data.lists import STDIN, read_list
from lvdm.data.prompts import PromptError


def test_modes_are_those_of_the_column_or_what_the_images_say(here: Path) -> None:
    text = "image,end_image,mode,prompt\na.png,,,x\na.png,b.png,,x\na.png,,loop,x\n,,,x\n"
    assert [row.mode for row in read_list(STDIN, text=text)] == ["animate", "interpolate", "loop", "text-to-video"]
    assert [row.mode for row in read_list(STDIN, "loop", "image,prompt\na.png,x\n")] == ["loop"]


def test_each_bad_row_is_told_with_its_place_and_hides_no_other(here: Path) -> None:
    Path("list.csv").write_text(
        "image,mode,prompt,seed\na.png,,good,1\na.png,,too,many,cells\n"
        'a.png,jump,x,1\ngone.png,,x,1\na.png,,x,-1\n,loop,x,1\nb.png,,"good, too",2\n'
    )
    rows = read_list(Path("list.csv"))
    assert [row.number for row in rows if row.request] == [1, 7], "good rows are lost, or bad ones are taken"
    problems = {row.place: row.problem for row in rows if row.problem}
    for line, said in (
        (3, "more cells"),
        (4, "mode 'jump'"),
        (5, "gone.png"),
        (6, "seed -1 is not possible"),
        (7, "'image' is missing"),
    ):
        assert said in problems[f"list.csv, line {line}"], problems


def test_lines_of_json_that_are_none_are_bad_rows(here: Path) -> None:
    lines = [json.dumps({"image": "a.png", "prompt": "x", "seed": 3}), "{", "[1]", '{"imag": "a.png"}', '{"image": 5}']
    rows = read_list(STDIN, text="\n".join(lines))
    assert [bool(row.request) for row in rows] == [True, False, False, False, False]
    assert rows[0].request is not None
    assert rows[0].request.values["seed"] == 3
    assert "did you mean" in rows[3].problem


def test_a_folder_is_in_the_order_of_its_numbers(here: Path) -> None:
    Path("folder").mkdir()
    for name in ("10.png", "9.png", "2.png"):
        Path("folder", name).write_bytes(Path("a.png").read_bytes())
    Path("folder/test_prompts.txt").write_text("two\nnine\nten\n")
    found = [row.request for row in read_list(Path("folder"))]
    assert [(r.name, r.prompt) for r in found if r] == [("2", "two"), ("9", "nine"), ("10", "ten")]


def test_names_stay_when_a_bad_row_is_mended(here: Path) -> None:
    bad = read_list(STDIN, text="image,prompt,seed\na.png,x,-1\na.png,y,1\n")
    good = read_list(STDIN, text="image,prompt,seed\na.png,x,1\na.png,y,1\n")
    assert [row.name for row in bad] == [row.name for row in good] == ["a", "a_2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imag,prompt\na.png,x\n", "line 1: column 'imag' is not known"),
        ('image,prompt\na.png,"x\n', "not valid CSV"),
        ("image,prompt\n", "lists nothing"),
        ("", "lists nothing"),
    ],
)
def test_what_is_no_list_is_refused_as_a_whole(here: Path, text: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        read_list(STDIN, text=text)


def test_files_that_are_no_lists_are_refused(here: Path) -> None:
    for name, said in (("gone.csv", "no such folder or file"), ("a.png", "should be a folder")):
        with pytest.raises(PromptError, match=said):
            read_list(Path(name))
    Path("prompts.txt").write_text("a cat\n\na dog\n")
    assert [(row.mode, row.name) for row in read_list(Path("prompts.txt"))] == [
        ("text-to-video", "a_cat"),
        ("text-to-video", "a_dog"),
    ]

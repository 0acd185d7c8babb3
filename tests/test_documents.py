"""`lvdm.documents`: what a YAML or JSON file of a stranger may do, which is to be data."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lvdm.cli.errors import WRONG_INPUT, report_error
from lvdm.config import ConfigError, load_yaml
from lvdm.declaration.options import parse_spec
from lvdm.documents import MAX_DEPTH, DocumentError, parse_json, parse_yaml, read_json, read_yaml, short_text
from lvdm.fit.training_setup import load_training_setup

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1e-4", 1e-4),
        ("a: 1E+5", 1e5),
        ("a: -.5", -0.5),
        ("a: 1.", 1.0),
        ("a: 1_000", 1000),
        ("a: 0x10", 16),
        ("a: 0", 0),
        ("a: yes", True),
        ("a: ~", None),
        ("a: 12:30", "12:30"),
        ("a: 2024-01-02", "2024-01-02"),
        ("a: 1.2.3", "1.2.3"),
        ("a: .inf", float("inf")),
        ("a: [1, {b: c}]", [1, {"b": "c"}]),
        ("a: '???'", "???"),
    ],
)
def test_values_of_yaml(text: str, value: Any) -> None:
    found = parse_yaml(text, "x.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


def test_references_are_to_values_of_the_same_document() -> None:
    text = "a: {b: 1, c-d: x}\ne: ${a.b}\nf: '${a.c-d}-${a.b}'\ng: [\"${a.c-d}\"]\n"
    assert parse_yaml(text, "x.yaml") == {"a": {"b": 1, "c-d": "x"}, "e": 1, "f": "x-1", "g": ["x"]}


def test_aliases_give_values_of_their_own_and_merge_keys_count() -> None:
    tree = parse_yaml("a: &a {x: [1]}\nb: *a\nc:\n  <<: *a\n  y: 2\n", "x.yaml")
    assert tree == {"a": {"x": [1]}, "b": {"x": [1]}, "c": {"x": [1], "y": 2}}
    tree["a"]["x"].append(2)
    assert tree["b"] == {"x": [1]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested deeper than 64 levels"),  # libyaml's recursion ends the process
        ("[" * 3000 + "]" * 3000, "nested deeper than 64 levels"),
        ("{a: " * 100_000, "nested deeper than 64 levels"),
        ("- " * 100_000 + "x", "nested deeper than 64 levels"),
        (BOMB, "more than 200000 values, with its aliases"),
        ("[" + "x, " * 250_000 + "]", "more than 200000 values"),
        ("# " + "x" * 3_000_000, "larger than 2 MB"),
        ("a: &a [*a]", "an alias names a value that is not there yet"),
        ("a: '${oc.env:SECRET_OF_MINE}'", "cannot be replaced, write the value"),
        ("a: 'x ${oc.env:SECRET_OF_MINE} ${a}'", "names no single value|cannot be replaced"),
        ("'${oc.env:SECRET_OF_MINE}': 1", "cannot be a key"),
        ("a: ${b}", "names no single value in it"),
        ("a: ${b}\nb: [1]", "names no single value in it"),
        ("a: ${b}\nb: ${a}", "names no single value in it"),
        ("a: ${b}\nb: ${c}\nc: 1", "names no single value in it"),
        ("a: ${${b}}\nb: 1", "cannot be replaced"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!binary aGVsbG8=", "holds a bytes"),
        ("a: !!set {b}", "holds a set"),
        ("a: 1\na: 2", "line 1: .*the key 'a' stands there twice"),
        ("[1]: 2", "unhashable key"),
        ("~: 2", "null cannot be a key"),
        ("a: " + "9" * 5000, "not a readable YAML text: a whole number in it has thousands of digits"),
        ("a: b\x00", "not a readable YAML"),
        ("a: 1\n--- \nb: 2", "another document"),
        ("a: [1, 2\n", "line 2"),
    ],
)
def test_yaml_that_is_refused_in_one_line(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hunter2")
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=reason) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) < len(str(path)) + 220
    assert "\n" not in message
    assert "hunter2" not in message
    with pytest.raises(ConfigError, match=reason):
        load_yaml(path)


def test_the_environment_is_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hunter2")
    path = tmp_path / "x.yaml"
    path.write_text("model:\n  target: lvdm.x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be replaced") as caught:
        load_training_setup([path], ["model.params.name=${oc.env:SECRET_OF_MINE}"])
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="nested deeper than 64 levels"):
        load_training_setup([path], ["model.params.name=" + "[" * 100_000])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper than 64 levels"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -Infinity}', "holds NaN or an infinite number"),
        ('{"a": [1e999]}', "a number that is too large"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON .a whole number in it has thousands of digits"),
        ('{"a": 1,\n}', "is not valid JSON .*line 2"),
        ("", "is not valid JSON"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' stands there twice"),
        (r'{"a": ["\ud800.png"]}', r"holds \\ud800, half of a letter"),
        (r'{"\uDE00": 1}', r"holds \\ude00, half of a letter"),
    ],
)
def test_json_that_is_refused_in_one_line(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DocumentError, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < len(str(path)) + 220


def test_json_that_is_read() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    for value in (deep, {"a": [1, 2.5, None, True, "\u00e9 \U0001f600", os.fsdecode(b"\xff")]}, "x", 3):
        assert parse_json(json.dumps(value), "x") == value
        assert parse_json(json.dumps(value).encode(), "x") == value


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"a: \xff")
    cases = {"pipe": "is not a regular file", "bytes": r"is not UTF-8 text \(byte 3\)", ".": "is a folder"}
    for name, reason in cases.items():
        for read in (read_yaml, read_json):
            with pytest.raises(DocumentError, match=reason):
                read(tmp_path / name)
    with pytest.raises(DocumentError, match="is larger than 1e-06 MB"):
        read_json(tmp_path / "bytes", max_bytes=1)
    with pytest.raises(DocumentError, match="is no name of a file"):
        read_json("a\0b")


def test_a_short_file_takes_little_memory_to_read(tmp_path: Path) -> None:
    """However long it might be: `file.read(limit)` takes memory for the limit first."""
    (tmp_path / "x.json").write_text("[1]")
    tracemalloc.start()
    try:
        assert read_json(tmp_path / "x.json") == [1]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000_000, 10**5000, [10**5000], [[1]] * 9, list(range(10**6)), {"a": "y" * 5000}, object()],
    ids=["a text", "a number", "a list of a number", "lists", "a list", "a dict", "an object"],
)
def test_what_is_shown_is_short(value: Any) -> None:
    assert 0 < len(short_text(value)) < 140


def test_short_values_are_shown_whole() -> None:
    assert [short_text(value) for value in ("a", 1, [1, "a"], (1,), {"a": 1})] == [
        *("'a'", "1", "[1, 'a']", "(1,)", "{'a': 1}")
    ]


def test_what_json_and_yaml_have_is_shown_in_their_words() -> None:
    """A record with null was refused as "None", which nobody finds in it."""
    assert [short_text(value) for value in (None, True, [False, None], {"a": True, "b": "x"})] == [
        *("null", "true", "[false, null]", "{'a': true, 'b': 'x'}")
    ]


def test_options_of_plug_ins_that_are_no_yaml_are_one_line() -> None:
    for text in ("zoom_in:amount={", "zoom_in:amount=" + "[" * 100_000, "zoom_in:amount=${oc.env:HOME}"):
        with pytest.raises(DocumentError, match="camera zoom_in: amount") as caught:
            parse_spec(text, {"zoom_in": object}, "camera")
        assert len(str(caught.value)) < 200


def test_a_message_of_the_command_line_is_no_copy_of_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(ValueError(f"seed {'9' * 100_000} is no number")) == WRONG_INPUT
    printed = capsys.readouterr().err
    assert len(printed) < 300
    assert printed.startswith("Error: seed 999")
    assert printed.rstrip().endswith("is no number")
    assert report_error(ValueError("a b " * 5000)) == WRONG_INPUT
    assert len(capsys.readouterr().err) < 2100, "a message of many words is no shorter"
    assert report_error(ValueError("a: short one")) == WRONG_INPUT
    assert capsys.readouterr().err == "Error: a: short one\n"

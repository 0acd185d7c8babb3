"""The files that are made from the declaration are as it says now."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvdm.declaration.options import as_text
from lvdm.declaration.parameter import GENERATED, parameters_of
from lvdm.jobs.extend import plan_extension
from lvdm.jobs.plan import plan_videos
from lvdm.jobs.run import make_videos
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.keywords import ExtensionKeywords, GenerationKeywords, RequestKeywords
from lvdm.request.layers import all_parameters
from lvdm.request.settings import GenerationSettings
from scripts.write_parameters import (
    KEYWORDS,
    OUTLINES,
    PAGE,
    VALUES,
    keywords_source,
    outlines_source,
    reference_page,
    settings_of_a_generation,
    values_source,
)

REMEDY = "run `python -m scripts.write_parameters` and commit what it wrote"


FILES = [(KEYWORDS, keywords_source), (PAGE, reference_page), (OUTLINES, outlines_source), (VALUES, values_source)]


@pytest.mark.parametrize(("path", "made"), FILES, ids=lambda x: x)
def test_files_are_as_the_declaration_says(path: Path, made: Callable[[], str]) -> None:
    assert path.read_text(encoding="utf-8") == made(), f"{path.name} is out of date: {REMEDY}"


def test_the_keywords_are_all_that_is_read() -> None:
    read = {name: set(found.parameter.modes) for name, found in all_parameters().items()}
    assert set(GenerationKeywords.__annotations__) == set(parameters_of(GenerationSettings)) - {"mode"}
    assert set(settings_of_a_generation()) == set(GenerationKeywords.__annotations__)
    assert set(RequestKeywords.__annotations__) == {name for name, modes in read.items() if modes & set(GENERATED)}
    assert set(ExtensionKeywords.__annotations__) == {name for name, modes in read.items() if "extend" in modes} - {
        "video"
    }


@pytest.mark.parametrize("keywords", [RequestKeywords, ExtensionKeywords], ids=lambda keywords: keywords.__name__)
def test_the_types_are_those_of_python(keywords: type) -> None:
    for name, kind in typing.get_type_hints(keywords).items():
        assert type(None) in typing.get_args(kind), f"{name}: None is as good as left out"
        default = as_text(all_parameters()[name].default)
        bare = [typing.get_origin(part) or part for part in typing.get_args(kind)]
        if default not in (None, ()) and typing.Literal not in bare:
            assert type(default) in bare, f"{name}: its default {default!r} is none of {kind}"


@pytest.mark.parametrize(
    ("function", "keywords"),
    [
        (DynamiCrafterPipeline.__call__, "GenerationKeywords"),
        (plan_videos, "RequestKeywords"),
        (make_videos, "RequestKeywords"),
        (plan_extension, "ExtensionKeywords"),
    ],
)
def test_functions_show_editors_their_keywords(function: Callable[..., Any], keywords: str) -> None:
    parameters = inspect.signature(function).parameters.values()
    assert [p.annotation for p in parameters if p.kind is p.VAR_KEYWORD] == [f"Unpack[{keywords}]"]


def test_the_page_has_every_parameter_and_every_flag_once() -> None:
    rows = [line for line in reference_page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(all_parameters())
    for name, declared in all_parameters().items():
        row = next(row for row in rows if row.startswith(f"| `{name}`"))
        assert declared.parameter.help.replace("|", "\\|") in row
        for flag in (*declared.flags, declared.parameter.original):
            assert not flag or f"`{flag}`" in row, f"{name}: {flag} is not in its row"

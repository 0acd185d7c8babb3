"""The YAML files name the classes that they named, at the same places; `test_released_configs` loads every one."""

from __future__ import annotations

import json

import pytest
from frozen_targets import ROOT, TARGETS, targets_of, yaml_files

FROZEN: dict[str, dict[str, str]] = json.loads(TARGETS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FROZEN)
def test_dotted_paths_stay(file: str) -> None:
    assert (ROOT / file).is_file(), f"{file} is gone: users name it"
    assert targets_of(file) == FROZEN[file]


def test_the_list_is_whole() -> None:
    assert list(FROZEN) == yaml_files(), "a new file: python tests/freeze.py targets"
    assert sum(map(len, FROZEN.values())) > 100

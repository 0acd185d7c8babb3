"""The YAML files name the classes that they named, at the same places; `test_released_configs` loads every one."""

from __future__ import annotations

import json

import pytest
from frozen_targets import ROOT, TARGETS, targets_of, yaml_files

from lvdm.config import FORMER_PACKAGES, resolve_target

FROZEN: dict[str, dict[str, str]] = json.loads(TARGETS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FROZEN)
def test_dotted_paths_stay(file: str) -> None:
    assert (ROOT / file).is_file(), f"{file} is gone: users name it"
    assert targets_of(file) == {place: present(target) for place, target in FROZEN[file].items()}


def present(target: str) -> str:
    """Where a class lies that a YAML of an earlier version names: its former path resolves to the same one."""
    for former, package in FORMER_PACKAGES.items():
        if target.startswith(former):
            moved = package + target.removeprefix(former)
            assert resolve_target(target, "former") is resolve_target(moved, "present"), target
            return moved
    return target


def test_the_list_is_whole() -> None:
    assert list(FROZEN) == yaml_files(), "a new file: python tests/freeze.py targets"
    assert sum(map(len, FROZEN.values())) > 100

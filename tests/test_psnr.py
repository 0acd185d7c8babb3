"""PSNR has closed forms; there is one function for it."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from sources import nodes_of

from lvdm.psnr import MAX_PSNR, psnr, psnr_of_each

ROOT = Path(__file__).parent.parent


def grey(level: float, count: int = 4) -> torch.Tensor:
    return torch.full((count, 6, 5, 3), level)


def test_closed_forms_in_bytes_and_in_floats() -> None:
    assert psnr(grey(0).byte(), grey(255).byte()) == 0.0
    assert psnr(grey(-1), grey(1)) == pytest.approx(0.0, abs=1e-6)
    assert psnr(grey(100).byte(), grey(105).byte()) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(grey(0.2), grey(0.0)) == pytest.approx(20.0, abs=1e-5)


def test_bytes_and_floats_of_one_picture_agree() -> None:
    made, real = (torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8) for _ in range(2))
    floats = [frames.float() / 127.5 - 1 for frames in (made, real)]
    assert psnr_of_each(*floats).tolist() == pytest.approx(psnr_of_each(made, real).tolist(), abs=1e-4)


def test_equal_and_nearly_equal_pictures_get_the_most() -> None:
    assert psnr(grey(0.5), grey(0.5)) == MAX_PSNR
    assert psnr(grey(0.5) + 1e-7, grey(0.5)) == MAX_PSNR
    assert psnr_of_each(grey(9).byte(), grey(9).byte()).tolist() == [MAX_PSNR] * 4


def test_each_is_not_all_together() -> None:
    """Errors of 0.2 and 0.02: the mean of 20 and 40 decibels, against that of the mean squared error."""
    actual, expected = torch.cat([grey(0.2, 1), grey(0.02, 1)]), grey(0.0, 2)
    assert psnr_of_each(actual, expected).tolist() == pytest.approx([20, 40], abs=1e-4)
    assert psnr(actual, expected) == pytest.approx(10 * math.log10(4 / ((0.04 + 0.0004) / 2)), abs=1e-4)


def test_what_is_outside_the_range_counts_as_its_end() -> None:
    assert psnr(grey(3.0), grey(1.0)) == MAX_PSNR
    assert psnr(grey(-7.0), grey(-0.8)) == pytest.approx(20.0, abs=1e-5)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        psnr(grey(0), grey(0, count=1))
    with pytest.raises(ValueError, match="uint8"):
        psnr(grey(0).byte(), grey(0))


def test_there_is_no_other_psnr() -> None:
    """Decibels are computed in one place; other functions with the letters in their names call it."""
    paths = [path for folder in ("lvdm", "main", "scripts", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    found = {
        path.relative_to(ROOT).as_posix()
        for path in paths
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef) and "psnr" in node.name and "log10" in ast.unparse(node)
    }
    assert found == {"lvdm/psnr.py"}

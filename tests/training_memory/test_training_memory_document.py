"""docs/training-memory.md says what the planner says."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_memory_table import CARDS, MODELS, TRAINED, Row, rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "training-memory.md"


@pytest.fixture(scope="module")
def planned() -> list[Row]:
    """The image branch of the 256 model with checkpointing, planned soonest: both optimizers, live and cached."""
    return list(rows("256", ("image_branch",), (True,)))


def tables() -> dict[str, list[str]]:
    """Lines of the table under the heading of each model."""
    sections = DOCUMENT.read_text(encoding="utf-8").split("\n### ")[1:]
    return {
        section.split(":")[0]: [
            line for line in section.splitlines() if line.startswith(tuple(f"| {t}" for t in TRAINED))
        ]
        for section in sections
    }


def test_every_way_is_told_for_every_model() -> None:
    for name in MODELS:
        ways = {tuple(line.split(" | ")[:4]) for line in tables()[name]}
        assert len(ways) == len(tables()[name]) == len(TRAINED) * 2 * 2 * 2, f"{name}: {len(ways)} ways"


def test_the_cells_are_the_planners(planned: list[Row]) -> None:
    """The command that prints the whole tables is in the document."""
    for row in planned:
        assert str(row) in tables()["256"], f"the document is out of date, the planner says {row}; print it anew"


def test_the_largest_batch_is_the_last_that_fits(planned: list[Row]) -> None:
    for card in CARDS:
        batch = planned[0].largest_batch(card)
        assert planned[0].total(batch + 1) > card * 1e9, f"{batch + 1} clips fit {card} GB"
        assert not batch or planned[0].total(batch) <= card * 1e9, f"{batch} clips do not fit {card} GB"

"""benchmarks/train.py compares like with like, and its parts measure what they say."""

from __future__ import annotations

import pytest
import torch
from train_growth import slope
from train_steps import Variant, cached_batch, compile_blocks, measure_steps
from training_sizes import SHAPES, build_model, clips

from lvdm.fit.tuning import TuningConfig


@pytest.fixture(autouse=True)
def _small_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "tiny", (8, 64, 64))


def test_the_precomputed_step_is_the_live_one() -> None:
    model, batch = build_model("tiny", TuningConfig()).eval(), clips("tiny", 1)
    with torch.no_grad():
        live, cached = (model._step(given, "train")["loss"] for given in (batch, cached_batch(model, batch)))
    torch.testing.assert_close(cached, live, msg="the two variants of the benchmark train on different numbers")


def test_shares_add_up_and_checkpointing_keeps_less() -> None:
    variants = [Variant("live"), Variant("checkpointing", checkpointing=True)]
    results = measure_steps("tiny", variants, batch=1, rounds=1, device=torch.device("cpu"))
    for name, row in results.items():
        assert sum(row["shares"].values()) == pytest.approx(1.0), name
        assert min(row["shares"].values()) > 0, f"{name}: {row['shares']}"
    assert results["checkpointing"]["peak_bytes"] < results["live"]["peak_bytes"] / 2


def test_the_slope_is_that_of_a_line() -> None:
    assert slope([0, 10, 20], [5, 25, 45]) == 2.0


def test_an_unknown_class_is_named() -> None:
    with pytest.raises(ValueError, match="no Feedforward"):
        compile_blocks(torch.nn.Linear(1, 1), "Feedforward")

"""The ablation takes away what it says, and nothing else; its document says the same for the same results."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from ablation_document import render_document
from ablation_videos import ABLATIONS, FULL, AblatedRuntime, Row, batches, beginning
from small_model import picture, write_small_model

from lvdm.evaluation.results import (
    FAKE,
    Comparison,
    MetricDifference,
    MetricRow,
    ProtocolNote,
    Results,
    SetNote,
)
from lvdm.modules.carrier import FrameCarrier, FrameCarrierConfig
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.requests import GenerationRequest


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> DynamiCrafterPipeline:
    folder = write_small_model(tmp_path_factory.mktemp("model") / "small")
    return DynamiCrafterPipeline.from_pretrained(folder, device="cpu", dtype="fp32")


@pytest.mark.parametrize("variant", [FULL, *ABLATIONS], ids=lambda variant: variant.folder)
def test_a_variant_lacks_what_it_says(pipe: DynamiCrafterPipeline, variant) -> None:
    settings = pipe.settings(guidance_scale=2.0)
    requests = [GenerationRequest(picture(), "a cat", seed=1)]
    size = pipe.card.height, pipe.card.width
    pictures = {0: torch.rand(1, 3, *size)}
    plain = pipe.runtime.conditions(requests, settings, pictures, 3)
    ablated = AblatedRuntime.of(pipe.runtime, variant).conditions(requests, settings, pictures, 3)
    assert len(ablated) == len(plain) == 2
    for name, own, other in zip(("conditional", "unconditional"), ablated, plain, strict=True):
        assert torch.equal(own.text, other.text), f"{name}: the sentence changed"
        tokens = other.image if variant.tokens else plain[1].image
        assert torch.equal(own.image, tokens), f"{name}: {variant.name} has other image tokens"
        latents = other.concat if variant.latents else torch.zeros_like(other.concat)
        assert torch.equal(own.concat, latents), f"{name}: {variant.name} has other latents"
    if not (variant.tokens and variant.latents):
        assert not torch.equal(ablated[0].image, plain[0].image) or not torch.equal(ablated[0].concat, plain[0].concat)


def test_batches_hold_one_stride_and_every_row() -> None:
    rows = [Row(f"{i}", "x.png", "left", i, stride=i % 3 + 1) for i in range(10)]
    found = batches(rows, 2)
    assert sorted(row.seed for batch in found for row in batch) == list(range(10))
    assert all(len({row.stride for row in batch}) == 1 and len(batch) <= 2 for batch in found)


def test_the_document_says_what_separates(pipe: DynamiCrafterPipeline) -> None:
    protocol, note = ProtocolNote("procedural-v1", {}), SetNote(FAKE, "f", "0", 4, 4, 0, 0)
    row = MetricRow("CLIPSIM[tiny-clip]", FAKE, 0.25, 0.2, 0.3, 4, 4)
    results = Results(protocol, (note,), (), (row,), (), (), (), (), {}, {})
    difference = MetricDifference(row.name, 0.25, 0.05, -0.2, -0.3, -0.1, 4, True, "A is better")
    comparison = Comparison(protocol, note, note, (difference,), {}, {})
    settings = pipe.settings()
    text = render_document({"full": results}, {"neither": comparison}, settings, "ab" * 32, "python x.py")
    assert "| CLIPSIM[tiny-clip] | 0.25 (0.2 .. 0.3) | - | - |" in text
    assert "-0.2 (-0.3 .. -0.1), worse" in text
    assert text == render_document({"full": results}, {"neither": comparison}, settings, "ab" * 32, "python x.py")
    unclear = dataclasses.replace(difference, low=-0.3, high=0.1, verdict="not separated")
    comparison = dataclasses.replace(comparison, differences=(unclear,))
    text = render_document({"full": results}, {"neither": comparison}, settings, "ab", "python x.py")
    assert "not separated" in text


def test_tokens_are_taken_away_without_guidance_too(pipe: DynamiCrafterPipeline) -> None:
    pictures = {0: torch.rand(1, 3, pipe.card.height, pipe.card.width)}
    requests, settings = [GenerationRequest(picture(), "a cat", seed=1)], pipe.settings(guidance_scale=1.0)
    (ablated,) = AblatedRuntime.of(pipe.runtime, ABLATIONS[0]).conditions(requests, settings, pictures, 3)
    (plain,) = pipe.runtime.conditions(requests, settings, pictures, 3)
    grey = pipe.runtime.conditions(requests, settings, {0: torch.zeros_like(pictures[0])}, 3)[0].image
    assert torch.equal(ablated.image, grey)
    assert not torch.equal(grey, plain.image)


def test_from_noise_nothing_carried_is_left_at_the_beginning_or_at_the_end() -> None:
    carrier = FrameCarrier(FrameCarrierConfig(text_dim=16, width=16, layers=1, hidden=16, details=True, start=0.15))
    model = SimpleNamespace(frame_carrier=carrier)
    for variant in (FULL, *ABLATIONS):
        with beginning(model, variant):  # type: ignore[arg-type]
            assert (carrier.config.start, carrier.config.details) == ((0.15, True) if variant.carried else (1.0, False))
        assert carrier.config.start == 0.15
        assert carrier.config.details
    names = {variant.name for variant in (FULL, *ABLATIONS)}
    assert all(variant.latents or not variant.carried for variant in ABLATIONS), "what is carried are the latents"
    assert all(variant.against in names for variant in ABLATIONS)

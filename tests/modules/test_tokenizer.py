"""Tokens of sentences: CLIP's vocabulary against the original, the small one against the captions it is for."""

from __future__ import annotations

import dataclasses
import gzip
import zlib

import pytest
import torch
from golden_vectors import case

from lvdm.config import ConfigError, parse_component
from lvdm.data.procedural_captions import caption
from lvdm.data.procedural_scene import BACKGROUNDS, ProceduralConfig, sample_scene
from lvdm.modules.encoders.condition import (
    SMALL_VOCABULARY,
    FrozenOpenCLIPEmbedder,
    small_vocabulary_size,
    tokenizer,
)
from scripts.make_small_vocabulary import WORDS, small_merges

TINY_VISION = {"image_size": 32, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
TINY_TEXT = {"context_length": 20, "vocab_size": small_vocabulary_size(), "width": 32, "heads": 2, "layers": 2}
TINY = {"embed_dim": 16, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
SMALL = FrozenOpenCLIPEmbedder.Config(vocabulary="small", max_length=20, model_cfg=TINY)
TARGET = "lvdm.modules.encoders.condition.FrozenOpenCLIPEmbedder"


@pytest.fixture(scope="module")
def small() -> FrozenOpenCLIPEmbedder:
    return FrozenOpenCLIPEmbedder(SMALL)


def test_tokens_equal_the_original() -> None:
    reference = case("tokenizer")
    with torch.device("meta"):
        embedder = FrozenOpenCLIPEmbedder(FrozenOpenCLIPEmbedder.Config())
    tokens = embedder.tokenize(reference.meta["prompts"])
    assert torch.equal(tokens, reference.outputs["tokens"]), "tokens differ from the original's"


def test_a_long_sentence_is_cut_and_still_ends(small: FrozenOpenCLIPEmbedder) -> None:
    short, long = small.tokenize(["a red ball", "a red ball " * 20])
    size = small_vocabulary_size()
    assert short.tolist()[:5] == [size - 2, *tokenizer("small").encode("a red ball"), size - 1]
    assert short[5:].eq(0).all(), "what follows the end should be zeros"
    assert long.shape == (20,)
    assert long[-1] == size - 1, "the last token of a cut sentence should be the end"


def test_every_word_of_a_procedural_caption_is_one_token() -> None:
    config = ProceduralConfig(backgrounds=BACKGROUNDS, sprite_probability=0.5)
    captions = {caption(sample_scene(config, index)) for index in range(2000)}
    words = {word for sentence in captions for word in sentence.split()}
    cut = sorted(word for word in words if len(tokenizer("small").encode(word)) != 1)
    assert len(words) > 50
    assert not cut, f"add {cut} to WORDS in scripts/make_small_vocabulary.py (this makes another vocabulary)"


@pytest.mark.parametrize("sentence", ["a giraffe eats leaves in überlingen", "北京 🐧 3.14!", ""])
def test_the_small_vocabulary_loses_no_letter(sentence: str) -> None:
    encoded = tokenizer("small").encode(sentence)
    assert (
        tokenizer("small").decode(encoded).split()
        == tokenizer("clip").decode(tokenizer("clip").encode(sentence)).split()
    )


def test_the_small_vocabulary_is_pinned() -> None:
    merges = gzip.decompress(SMALL_VOCABULARY.read_bytes())
    assert zlib.crc32(merges) == 83073555, "models trained with the small vocabulary depend on it to the letter"
    assert small_vocabulary_size() == 2276


def test_the_script_makes_the_small_vocabulary() -> None:
    assert small_merges(WORDS.split()) == list(tokenizer("small").bpe_ranks)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"vocabulary": "small"}, "set it to 2276"),
        ({"model_cfg": TINY, "max_length": 20}, "set it to 49408"),
        ({"max_length": 78}, "max_length = 78 does not fit"),
        ({"arch": "ViT-X"}, "arch 'ViT-X' is not an open_clip architecture"),
        ({"arch": "hf-hub:someone/something"}, "is not an open_clip architecture"),
        ({"model_cfg": {"embed_dim": 16}}, r"lacks \['text_cfg', 'vision_cfg'\]"),
        ({"model_cfg": {**TINY, "custom_text": True}}, r"has unsupported \['custom_text'\]"),
        ({"model_cfg": {**TINY, "text_cfg": {"hf_model_name": "roberta-base"}}}, "Hugging Face"),
        ({"model_cfg": {**TINY, "text_cfg": None}}, "text_cfg should be a mapping"),
        ({"model_cfg": {**TINY, "vision_cfg": [1]}}, "vision_cfg should be a mapping"),
        (
            {"model_cfg": {**TINY, "text_cfg": {**TINY_TEXT, "widht": 1}}},
            "key 'widht' is not known; did you mean 'width'",
        ),
        (
            {"model_cfg": {**TINY, "text_cfg": {**TINY_TEXT, "layers": "x"}}},
            r"text_cfg\.layers should be int, it is 'x'",
        ),
        ({"model_cfg": {**TINY, "text_cfg": {**TINY_TEXT, "context_length": True}}}, "context_length should be int"),
        ({"layer": "pooled"}, "layer = 'pooled' is not known"),
    ],
)
def test_impossible_text_towers_are_refused_with_the_way_out(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_component({"target": TARGET, "params": params}, "cond_stage_config")


def test_legacy_keys_of_the_original_have_no_effect() -> None:
    params = {"freeze": True, "layer": "penultimate", "version": "laion2b_s32b_b79k", "device": "cuda"}
    component = parse_component({"target": TARGET, "params": params}, "cond_stage_config")
    assert dataclasses.replace(component.params, version=None, device=None) == FrozenOpenCLIPEmbedder.Config(
        layer="penultimate"
    )

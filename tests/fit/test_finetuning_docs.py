"""docs/finetuning.md: each YAML block can be merged over a released training configuration, and counts are right."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from lvdm.config import ConfigError, load_yaml
from lvdm.fit.training_setup import TrainingSetup, load_training_setup, parse_training_setup
from lvdm.fit.tuning import TuningConfig, apply_tuning
from lvdm.models.lora import LoraConfig

ROOT = Path(__file__).parents[2]
BASE = ROOT / "configs" / "training_512_v1.0" / "config.yaml"
TEXT = (ROOT / "docs" / "finetuning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def merged(block: str) -> TrainingSetup:
    tree = OmegaConf.to_container(OmegaConf.merge(load_yaml(BASE), yaml.safe_load(block)))
    assert isinstance(tree, dict)
    return parse_training_setup({str(key): value for key, value in tree.items()})


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_is_a_valid_choice(block: str) -> None:
    default = load_training_setup([BASE])
    setup = merged(block)
    same = replace(setup, tree=default.tree) == default
    repeats_the_default = "train: full" in block or "model.ckpt}" in block
    assert same == repeats_the_default, "a block should change what it is about, and nothing silently"


def test_every_choice_of_training_has_a_block() -> None:
    found = {merged(block).tuning.train for block in BLOCKS}
    assert found == {"full", "temporal", "image_branch", "lora", "carrier"}


def test_what_the_page_says_is_refused_is_refused() -> None:
    with pytest.raises(ConfigError, match="adamw_fused cannot clip"):
        merged("optimizer: {name: adamw_fused}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (TuningConfig("full"), "1,488 M"),
        (TuningConfig("temporal"), "545 M"),
        (TuningConfig("image_branch"), "74 M"),
        (TuningConfig("lora"), "7.6 M"),
        (TuningConfig("lora", LoraConfig(where="temporal")), "3.3 M"),
        (TuningConfig("lora", LoraConfig(where="image")), "0.9 M"),
    ],
)
def test_the_counts_are_those_of_the_released_model(config: TuningConfig, millions: str) -> None:
    with torch.device("meta"):
        trained = apply_tuning(load_training_setup([BASE]).model.build(), config).trained / 1e6
    text = f"{trained:,.0f} M" if trained > 50 else f"{trained:.1f} M"
    assert text == millions
    assert millions in TEXT

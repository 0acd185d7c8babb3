"""Every number of a configuration has a range; what lies outside is refused in one line before anything is built."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import math
import pkgutil
import types
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Union

import pytest
import yaml
from annotated_types import Interval
from small_model import FRAMES, SIDE, small_yaml

import lvdm
from lvdm.config import ConfigError, parse_value
from lvdm.fit.training_setup import LightningConfig, load_training_setup, parse_training_setup
from lvdm.fit.tuning import TuningConfig
from lvdm.models.lora import LoraConfig
from lvdm.models.optimization import OptimizerConfig

ABSURD = (math.nan, math.inf, -math.inf, 1e30, -1e30, 10**400, -(10**30))


@cache
def configurations() -> tuple[type, ...]:
    """The dataclasses of everything that a configuration can name, and those inside them."""
    waiting: list[Any] = [LightningConfig, TuningConfig, OptimizerConfig]
    for package in ("data", "caching", "models", "modules", "fit"):
        for module in pkgutil.walk_packages([f"{lvdm.__path__[0]}/{package}"], f"lvdm.{package}."):
            named = vars(importlib.import_module(module.name)).values()
            waiting += [found.Config for found in named if isinstance(found, type) and hasattr(found, "Config")]
    found: dict[type, None] = {}
    while waiting:
        cls = waiting.pop()
        if dataclasses.is_dataclass(cls) and isinstance(cls, type) and cls not in found:
            found[cls] = None
            waiting += [part for hint in hints_of(cls).values() for part in parts(hint)]
    return tuple(found)


def hints_of(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def parts(hint: Any) -> Iterator[Any]:
    """The types that `hint` is made of, a number with its range as one."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated and args[0] not in (int, float):
        yield from parts(args[0])
    elif origin in (Union, types.UnionType, tuple, list, dict):
        for arg in args:
            yield from parts(arg)
    else:
        yield hint


def test_every_number_has_a_range() -> None:
    assert len(configurations()) > 35, "classes are missing from the list"
    without = [
        f"{cls.__module__}.{cls.__qualname__}.{name}"
        for cls in configurations()
        for name, hint in hints_of(cls).items()
        if any(part in (int, float) for part in parts(hint))
    ]
    assert not without, "declare their ranges, see lvdm.declaration.ranges"


def test_ranges_hold_when_a_program_makes_a_configuration() -> None:
    taken = []
    for cls in configurations():
        for name, hint in hints_of(cls).items():
            if any(typing.get_origin(part) is Annotated for part in parts(hint)):
                with contextlib.suppress(ConfigError):
                    cls(**{name: math.nan})
                    taken.append(f"{cls.__qualname__}.{name}")
    assert not taken, "name `with_ranges` before the class"
    with pytest.raises(ConfigError, match=r"^LoraConfig.rank should be a whole number from 1 to 65,536, it is -2$"):
        dataclasses.replace(LoraConfig(rank=2), rank=-2)


def test_nothing_absurd_lies_in_a_range() -> None:
    numbers = {part for cls in configurations() for hint in hints_of(cls).values() for part in parts(hint)}
    ranged = [part for part in numbers if typing.get_origin(part) is Annotated]
    assert len(ranged) > 15
    for hint in ranged:
        (limit,) = typing.get_args(hint)[1:]
        assert isinstance(limit, Interval)
        for value in ABSURD:
            with pytest.raises(ConfigError) as caught:
                parse_value(value, hint, "a.b")
            assert str(caught.value).startswith("a.b should be a")
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 300, "the number should not be repeated in full"


def training_tree() -> dict[str, Any]:
    clips = {"height": SIDE, "width": SIDE, "num_frames": FRAMES, "length": 8}
    source = {"target": "lvdm.data.procedural.ProceduralClips", "params": clips}
    callback = {"target": "lvdm.fit.callbacks.AveragedWeights", "params": {"decay": 0.5}}
    return {
        "model": {**small_yaml()["model"], "base_learning_rate": 1e-3},
        "data": {"target": "utils_data.DataModuleFromConfig", "params": {"batch_size": 2, "train": source}},
        "lightning": {"trainer": {"max_steps": 2, "accelerator": "cpu"}, "callbacks": {"average": callback}},
    }


CLIP = "model.params.cond_stage_config.params.model_cfg"


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("optimizer.learning_rate", math.inf, "should be a number above 0 to 10, it is inf"),
        ("optimizer.learning_rate", math.nan, "should be a number above 0 to 10, it is nan"),
        ("optimizer.learning_rate", 1e30, "should be a number above 0 to 10, it is 1e+30"),
        ("optimizer.learning_rate", -1e-4, "should be a number above 0 to 10, it is -0.0001"),
        ("model.base_learning_rate", math.inf, "should be a number above 0 to 10, it is inf"),
        ("model.base_learning_rate", "fast", "should be a number above 0 to 10, it is 'fast'"),
        ("model.scale_lr", "no", "should be true or false, it is 'no'"),
        ("model.pretrained_checkpoint", 3, "should be a text or a list, each a text, it is 3"),
        ("model.params.timesteps", 10**9, "should be a whole number from 1 to 100,000, it is 1000000000"),
        ("model.params.unet_config.params.num_res_blocks", 10**6, "from 1 to 256"),
        ("model.params.unet_config.params.channel_mult", [1] * 50, "1 to 10 of them"),
        ("model.params.unet_config.params.channel_mult", [], "1 to 10 of them"),
        ("model.params.unet_config.params.model_channels", 10**7, "from 1 to 65,536"),
        ("model.params.first_stage_config.params.ddconfig.ch", -8, "from 1 to 65,536"),
        (f"{CLIP}.text_cfg.layers", 10**6, "text_cfg.layers should be a number from 0 to 256, it is 1000000"),
        ("lightning.trainer.max_steps", 1.5, "should be -1 or a whole number from 1 to 1,000,000,000, it is 1.5"),
        ("lightning.trainer.max_steps", "x", "it is 'x'"),
        ("lightning.trainer.max_steps", 0, "it is 0"),
        ("lightning.trainer.accumulate_grad_batches", -1, "from 1 to 1,000,000,000, it is -1"),
        ("lightning.trainer.gradient_clip_val", -1.0, "from 0 to 1,000,000, it is -1.0"),
        ("lightning.trainer.limit_train_batches", 0, "or a number above 0 to 1, it is 0"),
        ("lightning.trainer.val_check_interval", 2.5, "or a number above 0 to 1, it is 2.5"),
        ("lightning.trainer.profiler", "quick", "profiler = 'quick' is not known; use one of simple, advanced"),
        ("lightning.trainer.plugins", "slurm", "plugins = 'slurm' is not taken: precision and strategy are"),
        ("lightning.trainer.logger", False, "is not taken: set lightning.logger"),
        ("lightning.trainer.max_time", "1h", "max_time should be days:hours:minutes:seconds"),
        ("lightning.callbacks.average.params.decay", 1.0, "from 0 below 1, it is 1.0"),
        ("lightning.checkpoint.keep", 0, "from 1 to"),
        ("data.params.batch_size", 10**9, "from 1 to 65,536"),
        ("data.params.num_workers", -1, "from 0 to 1,024"),
        ("data.params.train.params.length", -1, "from 1 to"),
    ],
)
def test_the_message_names_place_value_and_range(place: str, value: Any, expected: str) -> None:
    tree = copy.deepcopy(training_tree())
    node = tree
    *parents, last = place.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    with pytest.raises(ConfigError) as caught:
        parse_training_setup(tree)
    message = str(caught.value)
    assert expected in message
    assert place in message or last in message
    assert "\n" not in message


def test_the_message_names_the_file_or_the_command_line(tmp_path: Path) -> None:
    base, later = tmp_path / "base.yaml", tmp_path / "later.yaml"
    base.write_text(yaml.safe_dump(training_tree()))
    later.write_text("optimizer: {learning_rate: .inf}\n")
    with pytest.raises(ConfigError) as caught:
        load_training_setup([base, later])
    assert str(caught.value).startswith(f"{later}: optimizer.learning_rate should be a number above 0 to 10, it is inf")
    with pytest.raises(ConfigError) as caught:
        load_training_setup([base], ["lightning.trainer.max_steps=x"])
    assert str(caught.value).startswith("the command line: lightning.trainer.max_steps should be -1 or a whole number")

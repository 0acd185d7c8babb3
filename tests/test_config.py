"""`lvdm.config`: what a YAML may say, and what the error says when it may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import pytest

from lvdm import config
from lvdm.config import (
    Component,
    ConfigError,
    LegacyOption,
    Nothing,
    load_model_config,
    load_yaml,
    parse_component,
    parse_dataclass,
    resolve_target,
)
from lvdm.documents import short_text


@dataclass(frozen=True)
class Layer:
    """A nested group of options."""

    width: int
    name: str = "plain"


@dataclass(frozen=True)
class Options:
    """One field of every kind that configurations use."""

    channels: int
    rate: float = 0.5
    linear: bool = False
    kind: Literal["eps", "v"] = "eps"
    size: tuple[int, int] = (8, 8)
    mult: tuple[int, ...] = (1, 2)
    limit: int | None = None
    either: int | str = 0
    layer: Layer | None = None
    part: Component | None = None
    named: dict[str, float] = field(default_factory=dict)
    anything: Any = None

    LEGACY: ClassVar[Mapping[str, LegacyOption]] = MappingProxyType(
        {"use_ema": LegacyOption((False,), "the averaged weights are a file of their own")}
    )

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels should be at least 1, it is {self.channels}")


def parse(**params: Any) -> Options:
    """`Options` from a YAML mapping with `channels` given."""
    return parse_dataclass(Options, {"channels": 4, **params}, "file.yaml: model")


def error_of(**params: Any) -> str:
    """The message for a bad mapping; it must be one line that names the place."""
    with pytest.raises(ConfigError) as caught:
        parse(**params)
    message = str(caught.value)
    assert "\n" not in message, f"an error of more than one line: {message!r}"
    assert message.startswith("file.yaml: model"), f"the place is missing: {message}"
    return message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rate", 0.25, 0.25),
        ("rate", 1, 1.0),
        ("linear", True, True),
        ("kind", "v", "v"),
        ("size", [40, 64], (40, 64)),
        ("mult", [], ()),
        ("mult", [1, 2, 4, 4], (1, 2, 4, 4)),
        ("limit", None, None),
        ("limit", 3, 3),
        ("either", "auto", "auto"),
        ("either", 7, 7),
        ("layer", None, None),
        ("layer", {"width": 3}, Layer(3)),
        ("named", {"a": 1}, {"a": 1.0}),
        ("anything", ["x", {"y": 1}], ["x", {"y": 1}]),
        ("part", {"target": "torch.nn.Identity"}, Component("torch.nn.Identity", Nothing.Config())),
    ],
)
def test_values_arrive_with_their_type(key: str, value: Any, expected: Any) -> None:
    found = getattr(parse(**{key: value}), key)
    assert found == expected, f"{key}: {value!r} became {found!r}"
    assert type(found) is type(expected), f"{key}: {value!r} became a {type(found).__name__}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", "4"),
        ("channels", 4.0),
        ("channels", True),
        ("channels", None),
        ("channels", [4]),
        ("rate", "0.5"),
        ("rate", True),
        ("linear", 1),
        ("linear", "false"),
        ("kind", "x0"),
        ("kind", None),
        ("size", [8]),
        ("size", [8, 8, 8]),
        ("size", 8),
        ("size", "88"),
        ("mult", 4),
        ("mult", {"a": 1}),
        ("limit", "none"),
        ("limit", 2.5),
        ("either", 2.5),
        ("layer", "plain"),
        ("layer", 5),
        ("named", ["a"]),
        ("part", "torch.nn.Identity"),
    ],
)
def test_wrong_type_names_the_key_and_the_value(key: str, value: Any) -> None:
    message = error_of(**{key: value})
    assert f".{key}" in message or f"model{key}" in message, f"the key is missing: {message}"
    assert short_text(value) in message, f"the value is missing: {message}"


def test_wrong_item_names_its_position() -> None:
    assert "model.mult[2]" in error_of(mult=[1, 2, "four"])
    assert "model.size[0]" in error_of(size=[8.5, 8])
    assert "model.named.b" in error_of(named={"a": 1.0, "b": "two"})


def test_wrong_nested_key_names_the_whole_path() -> None:
    message = error_of(layer={"width": 1, "nane": "x"})
    assert "model.layer" in message
    assert "did you mean 'name'?" in message


def test_unknown_key_suggests_the_right_one() -> None:
    assert "unknown key 'chanels'; did you mean 'channels'?" in error_of(chanels=4)
    assert "did you mean 'use_ema'?" in error_of(use_emma=False), "legacy keys are suggested too"
    assert "use one of" in error_of(zzz=1), "without a close match the keys are listed"


def test_unknown_choice_suggests_the_right_one() -> None:
    assert "'epsilon'" in error_of(kind="epsilon")
    assert "did you mean 'eps'?" in error_of(kind="epss")


def test_keys_that_are_not_words_are_errors_too() -> None:
    with pytest.raises(ConfigError, match="unknown key 3"):
        parse_dataclass(Options, {"channels": 4, 3: 1}, "file.yaml: model")


def test_missing_keys_are_listed() -> None:
    with pytest.raises(ConfigError, match="missing key channels"):
        parse_dataclass(Options, {}, "file.yaml: model")
    assert "model.layer: missing key width" in error_of(layer={})


def test_legacy_option_passes_at_the_value_that_is_implemented() -> None:
    assert parse(use_ema=False) == parse(), "an accepted legacy option must change nothing"


@pytest.mark.parametrize("value", [True, "yes", None, [False]])
def test_legacy_option_is_refused_at_other_values(value: Any) -> None:
    message = error_of(use_ema=value)
    assert "use_ema" in message
    assert "averaged weights" in message, f"the reason is missing: {message}"
    assert "only False" in message, f"the accepted value is missing: {message}"


def test_check_of_the_class_itself_names_the_place() -> None:
    assert "channels should be at least 1" in error_of(channels=0)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.load",
        "torch.nn.Linear",
        "lvdm_evil.models.Thing",
        "lvdm",
        "lvdm.",
        "lvdm.config",
        "lvdm.config.",
        "lvdm.config.load_yaml",
        "lvdm.config.Component",
        "lvdm.config.Path",
        "lvdm.config.importlib.import_module",
        "lvdm.nowhere.Nothing",
        "lvdm.config.Nothing.Config",
        "lvdm..config.Nothing",
        "main.nowhere.Thing",
        "../lvdm/config.Nothing",
        "",
    ],
)
def test_forbidden_targets(target: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_component({"target": target}, "file.yaml: model")
    assert "file.yaml: model.target" in str(caught.value)
    assert repr(target) in str(caught.value)


@pytest.mark.parametrize("target", [None, 3, ["lvdm.config.Nothing"], {"a": 1}])
def test_target_that_is_not_a_name(target: Any) -> None:
    with pytest.raises(ConfigError, match="dotted path"):
        resolve_target(target, "file.yaml: model.target")


@pytest.mark.parametrize(
    "node", [None, 3, "lvdm.config.Nothing", [], {"params": {}}, {"target": "torch.nn.Identity", "params": [1]}]
)
def test_node_of_the_wrong_shape(node: Any) -> None:
    with pytest.raises(ConfigError, match="file"):
        parse_component(node, "file.yaml: model")


def test_identity_stands_for_nothing() -> None:
    component = parse_component({"target": "torch.nn.Identity"}, "x")
    assert component.resolve() is Nothing, "torch.nn.Identity should resolve to lvdm.config.Nothing"
    with pytest.raises(ConfigError, match="it takes no keys"):
        parse_component({"target": "torch.nn.Identity", "params": {"dim": 3}}, "x")


def test_a_target_is_built_from_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Product:
        config: Options

        Config: ClassVar[type] = Options

    monkeypatch.setattr(config, "Product", Product, raising=False)
    component = parse_component({"target": "lvdm.config.Product", "params": {"channels": 2}}, "x")
    assert component.build() == Product(Options(2))
    assert dataclasses.is_dataclass(component.params)


def write(folder: Path, text: str | bytes) -> Path:
    """A YAML file with the given content."""
    path = folder / "model.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\nb: ${a}\nmodel:\n  target: torch.nn.Identity\n")
    assert load_yaml(path)["b"] == 1, "references between keys are resolved"
    assert load_model_config(path).resolve() is Nothing


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "model"),
        ("- 1\n- 2\n", "mapping"),
        ("just words\n", "should hold a mapping"),
        ("a: [1, 2\n", "not a readable YAML"),
        ("a: ${missing}\n", "not a readable YAML"),
        ("a: !!python/object/apply:os.system ['true']\n", "not a readable YAML"),
        (b"\xff\xfe\x00\x01", "not UTF-8 text (byte 0)"),
        ("data: {}\n", "no top-level `model:`"),
        ("model: 3\n", "should be a mapping"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_model_config(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value), "an error of more than one line"
    assert str(path) in str(caught.value), "the file is missing from the message"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(ConfigError):
        load_yaml(tmp_path)

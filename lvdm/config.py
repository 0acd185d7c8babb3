"""From a YAML tree of `target:` / `params:` nodes to typed, checked dataclasses, before anything heavy is built.

Every class that a configuration may name has a frozen dataclass as its `Config`; the fields of that dataclass are the
keys that the YAML may hold. A `Config` with a static `translate(params, where)` first puts the keys of another program
into its own. A wrong key, type or target is a `ConfigError` that names the place and a hint.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union

from annotated_types import Len

from lvdm.documents import DocumentError, read_yaml, short_text
from lvdm.errors import UserError
from lvdm.regular_files import absence_reason
from lvdm.suggestions import suggest

ALLOWED_PACKAGE = "lvdm."
"""Targets outside this package resolve only through the two tables below, so that a YAML cannot run arbitrary code."""

FORMER_PACKAGES: Mapping[str, str] = types.MappingProxyType({"main.": "lvdm.fit."})
"""Where classes lay that the YAML files of earlier versions name."""

TARGET_ALIASES: Mapping[str, str] = types.MappingProxyType(
    {
        "utils_data.DataModuleFromConfig": "lvdm.fit.utils_data.DataModuleFromConfig",
        "callbacks.ImageLogger": "lvdm.fit.callbacks.ImageLogger",
        "pytorch_lightning.callbacks.ModelCheckpoint": "lvdm.fit.callbacks.ModelCheckpoint",
        "torch.nn.Identity": "lvdm.config.Nothing",
        "lvdm.models.ddpm3d.LatentDepthDiffusion": "lvdm.models.depth_diffusion.LatentDepthDiffusion",
        "lvdm.models.ddpm3d.VIPLatentDiffusion": "lvdm.models.ddpm3d.LatentVisualDiffusion",
        "lvdm.models.autoencoder.AutoencoderKL_Dualref": "lvdm.models.autoencoder.DualReferenceAutoencoder",
        "lvdm.modules.encoders.midas.api.MiDaSInference": "lvdm.modules.encoders.depth.DepthEstimator",
    }
)
"""The originals' dotted paths that are not ours by name. `torch.nn.Identity` is their way of saying 'no loss'."""


CAMERA_ADAPTERS = "CameraControl."
"""Where CamI2V's code has its models and those of the other camera adapters that it trains."""


class ConfigError(UserError):
    """A configuration that cannot be used; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True)
class LegacyOption:
    """A key of the original YAMLs that has one meaning here: accepted at `values`, refused with `reason` otherwise."""

    values: tuple[Any, ...]
    reason: str


class Nothing:
    """Stands for `torch.nn.Identity` in the original YAMLs: a component without parameters that does nothing."""

    @dataclass(frozen=True)
    class Config:
        """No options."""


@dataclass(frozen=True)
class Component:
    """A checked `target:` / `params:` node: the class to build and its typed configuration."""

    target: str
    params: Any

    def resolve(self) -> type:
        """The class that `target` names."""
        return resolve_target(self.target, self.target)

    def build(self) -> Any:
        """An instance of the class that `target` names."""
        return self.resolve()(self.params)


LIBRARY = Path(__file__).resolve().parent
SHIPPED_CONFIGS = (LIBRARY.parent / "configs", LIBRARY / "embedded/configs")
"""Where the YAML files of the released models lie: in a checkout, and in an installed package."""


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML file into plain containers. Raises `ConfigError` if it is missing, malformed or not a mapping."""
    path = Path(path)
    reason = absence_reason(path)
    if reason is not None:
        raise ConfigError(f"configuration file {path} {reason}")
    try:
        tree = read_yaml(path)
    except DocumentError as error:
        raise ConfigError(str(error)) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} should hold a mapping with a top-level `model:` key, it holds {type(tree).__name__}")
    return typing.cast(dict[str, Any], tree)


def load_model_config(path: str | Path) -> Component:
    """The checked `model:` node of a YAML file."""
    return model_component(load_yaml(path), str(path))


def model_component(tree: Mapping[str, Any], where: str) -> Component:
    """`load_model_config` for a YAML that has been read; `where` is the file named in errors."""
    if "model" not in tree:
        raise ConfigError(f"{where} has no top-level `model:` key; it has {short_text(sorted(map(str, tree)))}")
    return parse_component(tree["model"], f"{where}: model")


def parse_component(node: Any, where: str) -> Component:
    """Check a `target:` / `params:` node, and those inside it. `where` is the place named in errors."""
    if not isinstance(node, Mapping) or "target" not in node:
        raise ConfigError(f"{where} should be a mapping with `target:` and `params:`, it is {short_text(node)}")
    target: Any = resolve_target(node["target"], f"{where}.target")
    params = node.get("params") or {}
    if not isinstance(params, Mapping):
        raise ConfigError(f"{where}.params should be a mapping, it is {short_text(params)}")
    translate = getattr(target.Config, "translate", None)
    if translate is not None:
        params = translate(params, f"{where}.params")
    return Component(node["target"], parse_dataclass(target.Config, params, f"{where}.params"))


def resolve_target(target: Any, where: str) -> type:
    """The class behind a dotted path, if a configuration may name it. Raises `ConfigError` otherwise."""
    if not isinstance(target, str):
        raise ConfigError(
            f"{where} should be a dotted path such as lvdm.models.ddpm3d.LatentVisualDiffusion, "
            f"it is {short_text(target)}"
        )
    path = TARGET_ALIASES.get(target, target)
    for former, package in FORMER_PACKAGES.items():
        path = package + path.removeprefix(former) if path.startswith(former) else path
    if path.startswith(CAMERA_ADAPTERS):
        raise ConfigError(
            f"{where}: {short_text(target)} is a camera adapter (CamI2V, CameraCtrl or MotionCtrl), which is not "
            "implemented; the DynamiCrafter checkpoint under it loads by its own configuration"
        )
    if not path.startswith(ALLOWED_PACKAGE):
        raise ConfigError(
            f"{where}: {short_text(target)} is not allowed; a configuration may only name classes of lvdm, "
            f"or {', '.join(alias for alias in TARGET_ALIASES if not alias.startswith(ALLOWED_PACKAGE))}"
        )
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        found = None
    if not isinstance(found, type) or not dataclasses.is_dataclass(getattr(found, "Config", None)):
        raise ConfigError(f"{where}: {short_text(target)} does not name a class that a configuration can build")
    return found


@functools.cache
def type_hints(cls: Any) -> dict[str, Any]:
    """The types of a class's fields, with what is annotated: each is compiled from its text, which takes time."""
    return typing.get_type_hints(cls, include_extras=True)


def parse_dataclass(cls: Any, params: Mapping[Any, Any], where: str) -> Any:
    """Build the dataclass `cls` from `params`, checking keys, types and legacy options.

    Legacy options are those in `cls.LEGACY`, a mapping from key to `LegacyOption`.
    """
    legacy: Mapping[str, LegacyOption] = getattr(cls, "LEGACY", {})
    hints = type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values = {}
    for key, value in params.items():
        if key in fields:
            values[key] = parse_value(value, hints[key], f"{where}.{key}")
        elif key in legacy:
            if value not in legacy[key].values:
                accepted = " or ".join(repr(v) for v in legacy[key].values)
                supported = f"supported, only {accepted}" if accepted else "taken"
                raise ConfigError(f"{where}.{key} = {short_text(value)} is not {supported}: {legacy[key].reason}")
        else:
            hint = suggest(key, [*fields, *legacy]) if fields or legacy else "it takes no keys"
            raise ConfigError(f"{where}: unknown key {short_text(key)}; {hint}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where}: missing key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def parse_value(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`, accepting only what a YAML author can have meant."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Annotated:
        try:
            parsed = parse_value(value, args[0], where)
        except ConfigError:
            if args[0] not in (int, float):
                raise
            parsed = None
        if parsed is None or not all(_lies_in(parsed, limit) for limit in args[1:]):
            raise ConfigError(f"{where} should be {_name(hint)}, it is {short_text(value)}")
        return parsed
    if hint is Component:
        return parse_component(value, where)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [arg for arg in args if arg is not type(None)]
        if len(options) == 1:
            return parse_value(value, options[0], where)
        for option in options:
            try:
                return parse_value(value, option, where)
            except ConfigError:
                continue
        raise ConfigError(f"{where} should be {_name(hint)}, it is {short_text(value)}")
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(
                f"{where} = {short_text(value)} is not known; {suggest(value, [str(arg) for arg in args])}"
            )
        return value
    if origin is tuple and isinstance(value, list | tuple):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(parse_value(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
        if len(args) == len(value):
            return tuple(
                parse_value(item, arg, f"{where}[{i}]") for i, (item, arg) in enumerate(zip(value, args, strict=True))
            )
        raise ConfigError(f"{where} should hold {len(args)} values, it holds {len(value)}: {short_text(value)}")
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return parse_dataclass(hint, value, where)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {parse_value(k, args[0], where): parse_value(v, args[1], f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= sys.float_info.max:
            raise ConfigError(f"{where} should be a finite number, it is {short_text(value)}")
        return float(value)
    if (
        isinstance(hint, type)
        and origin is None
        and isinstance(value, hint)
        and (hint is bool or not isinstance(value, bool))
    ):
        return value
    raise ConfigError(f"{where} should be {_name(hint)}, it is {short_text(value)}")


def _lies_in(value: Any, limit: Any) -> bool:
    """Whether `value` keeps an `Interval` or a `Len`."""
    if isinstance(limit, Len):
        return limit.min_length <= len(value) and (limit.max_length is None or len(value) <= limit.max_length)
    return (
        (limit.gt is None or value > limit.gt)
        and (limit.ge is None or value >= limit.ge)
        and (limit.lt is None or value < limit.lt)
        and (limit.le is None or value <= limit.le)
    )


def _name(hint: Any) -> str:
    """A type in words, with the range of its numbers."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return f"{_name(args[0])}{''.join(_range_name(limit) for limit in args[1:])}"
    if origin in (Union, types.UnionType):
        return " or ".join(_name(arg) for arg in args if arg is not type(None))
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        return f"a list, each {_name(args[0])}" if args[-1] is Ellipsis else f"a list of {len(args)} values"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def _range_name(limit: Any) -> str:
    if isinstance(limit, Len):
        return f", {limit.min_length} to {limit.max_length} of them"
    parts = [
        f"{word} {bound:,}"
        for word, bound in (("above", limit.gt), ("from", limit.ge), ("to", limit.le), ("below", limit.lt))
        if bound is not None
    ]
    return f" {' '.join(parts)}"

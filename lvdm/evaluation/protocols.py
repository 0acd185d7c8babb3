"""Protocols: everything that a number depends on besides the videos, under a name.

A distance of two sets of videos changes with the size, the stride, the choice of clips and the estimator, and published
numbers leave these out. Each file of `protocol_files/` fixes all of them. A protocol of which a field is changed is
another one, and its name says so.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lvdm.config import load_yaml, parse_dataclass
from lvdm.content_hash import hash_text
from lvdm.documents import DocumentError, parse_yaml, short_text
from lvdm.errors import UserError

FOLDER = Path(__file__).parent / "protocol_files"

ClipChoice = Literal["random", "first", "all"]
"""Which frames of a video: a run that starts anywhere, by seed and id; the first run; all runs, one after another."""

Resize = Literal["none", "stretch", "crop"]
"""none: as in the file. stretch: to the size, whatever the aspect. crop: shorter side to the size, then the centre."""

Role = Literal["real", "fake"]

Family = Literal["frechet", "kernel", "kernel_subsets", "similarity", "motion", "reconstruction"]
"""Groups of metrics. frechet, kernel, kernel_subsets: distances of clip features. similarity: of frames to text, image
and each other. motion: what needs no features. reconstruction: of paired clips, frame by frame."""

_DESCRIPTIVE = ("name", "source")


class ProtocolError(UserError):
    """A protocol that does not exist or a field that it cannot have; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How clips are cut, brought to a size, and compared.

    source          where the protocol comes from, in words
    frames          frames of a clip
    stride          a real clip has every `stride`-th frame of its video; `fake_stride` of a generated one
    clip            see `ClipChoice`; `fake_clip` of generated videos
    clips           clips of a set; fewer are reported as too few, more are chosen from by `seed` and id
    short_videos    videos with too few frames: fail are reported as failures, skip are left out and counted
    resize, height, width, antialias   see `Resize`; bilinear
    extractors      names for `build_extractor`
    ddof            covariances are divided by n - `ddof`
    metrics         see `Family`
    paired          whether each generated video belongs to the real one of the same id
    subsets, subset_size   of kernel_subsets
    resamples       of the bootstrap over clips; `distance_resamples` for distances of features
    """

    name: str
    source: str
    frames: int
    stride: int
    fake_stride: int = 1
    clip: ClipChoice = "random"
    fake_clip: ClipChoice = "first"
    clips: int
    short_videos: Literal["fail", "skip"] = "fail"
    resize: Resize
    height: int | None = None
    width: int | None = None
    antialias: bool = False
    extractors: tuple[str, ...]
    ddof: int = 1
    metrics: tuple[Family, ...]
    paired: bool
    seed: int = 0
    subsets: int = 100
    subset_size: int = 1000
    resamples: int = 1000
    distance_resamples: int = 200

    def __post_init__(self) -> None:
        """Raise `ProtocolError` for values that do not fit together."""
        for name in ("frames", "stride", "fake_stride", "clips", "subsets", "resamples", "distance_resamples"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"{name} = {getattr(self, name)} should be at least 1")
        if (self.resize == "none") != (self.height is None or self.width is None):
            raise ProtocolError(f"resize = {self.resize!r} goes with {_size_of(self)}; none takes no height and width")
        if not (self.height is None or self.width is None) and min(self.height, self.width) < 8:
            raise ProtocolError(f"{self.height}x{self.width} should be at least 8x8 pixels")
        if self.ddof not in (0, 1):
            raise ProtocolError(f"ddof = {self.ddof} should be 0 or 1")
        if not self.metrics:
            raise ProtocolError("metrics: name at least one group")
        if "reconstruction" in self.metrics and not self.paired:
            raise ProtocolError("metrics: reconstruction compares pairs, it needs `paired: true`")

    def stride_of(self, role: Role) -> int:
        """Source frames per clip frame."""
        return self.stride if role == "real" else self.fake_stride

    def choice_of(self, role: Role) -> ClipChoice:
        """Which frames of a video."""
        return self.clip if role == "real" else self.fake_clip

    def fields(self) -> dict[str, Any]:
        """All fields but the name, in their order, as JSON has them."""
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "name"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def protocol_names() -> list[str]:
    """The names that `load_protocol` knows."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_protocol(name: str, overrides: Mapping[str, Any] | None = None) -> Protocol:
    """The protocol called `name`, or in the YAML file of that path, with some fields changed.

    A changed protocol is called `custom+` and the beginning of a hash of its fields; a change that leaves every field
    as it is changes nothing. A file outside this package may not take the name of a published protocol with other
    fields.
    Raises `ProtocolError` or `ConfigError`.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise ProtocolError(f"there is no protocol {name!r}; choose {', '.join(protocol_names())}, or a .yaml file")
    tree = {"name": path.stem, **load_yaml(path)}
    protocol: Protocol = parse_dataclass(Protocol, tree, str(path))
    changed: Protocol = parse_dataclass(Protocol, {**tree, **(overrides or {})}, f"protocol {name}")
    published = FOLDER / f"{protocol.name}.yaml"
    if path.parent != FOLDER and published.is_file():
        protocol = parse_dataclass(Protocol, {"name": protocol.name, **load_yaml(published)}, str(published))
    return changed if _settings(changed) == _settings(protocol) else _renamed(changed)


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`field=value` texts, the value in YAML. Raises `ProtocolError` for others, and for the name."""
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name.strip() in _DESCRIPTIVE:
            raise ProtocolError(
                f"{short_text(setting)} should be FIELD=VALUE with a field of the protocol, such as frames=32"
            )
        try:
            values[name.strip()] = parse_yaml(text, name.strip())
        except DocumentError as error:
            raise ProtocolError(f"{short_text(setting)} is not a YAML value: {error}") from error
    return values


def _settings(protocol: Protocol) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(protocol).items() if name not in _DESCRIPTIVE}


def _renamed(protocol: Protocol) -> Protocol:
    text = json.dumps(_settings(protocol), sort_keys=True)
    return dataclasses.replace(protocol, name=f"custom+{hash_text(text)[:8]}")


def _size_of(protocol: Protocol) -> str:
    return f"height = {protocol.height}, width = {protocol.width}"

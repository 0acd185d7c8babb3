"""What the commands of `dynamicrafter evaluate` are given in common: clips, a protocol, weights, a cache."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvdm.declaration.values import MAX_FPS, MIN_FPS
from lvdm.errors import UserError

if TYPE_CHECKING:
    from lvdm.evaluation.building import Extractors
    from lvdm.evaluation.clip_sets import Evaluation
    from lvdm.evaluation.manifest import Manifest
    from lvdm.evaluation.protocols import Protocol, Role

DEFAULT_PROTOCOL = "procedural-v1"
DEFAULT_CACHE = Path("outputs/evaluation_cache")

ProtocolName = Annotated[str, typer.Option("--protocol", help="A published protocol, or a .yaml file of one.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a field: frames=32. It renames the protocol custom+hash.")
]
FakeClips = Annotated[Path, typer.Option("--fake", help="Generated clips: a manifest, a list or a folder of videos.")]
RealClips = Annotated[Path | None, typer.Option("--real", help="Real clips: a manifest, a list or a folder of videos.")]
CacheFolder = Annotated[Path, typer.Option("--cache", help="Folder of the extracted features.")]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights",
        help="NAME=FILE: of an extractor, as i3d-logits=i3d.safetensors; raft-large or raft-small for the flow; "
        "lpips-alex, -vgg or -squeeze (the trunk's); dreamsim=FOLDER.",
    ),
]
ModelFile = Annotated[Path | None, typer.Option("--model", help="A model whose CLIP encoders are taken, if not ours.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ...")]


def _check_rate(value: float | None) -> float | None:
    if value is not None and not MIN_FPS <= value <= MAX_FPS:  # NaN is in no range
        raise typer.BadParameter(f"should be a number from {MIN_FPS:g} to {MAX_FPS:g}, it is {value}")
    return value


FileRate = Annotated[
    float | None,
    typer.Option(
        "--fps",
        help="Frames per second of frame folders and arrays that no manifest gives one.",
        callback=_check_rate,
    ),
]
Reader = Annotated[str, typer.Option("--reader", help="What decodes videos: pyav, torchcodec, decord or imageio.")]


@dataclass(frozen=True)
class Inputs:
    """The options that all commands which measure clips have, as they were given; see `with_inputs`."""

    real: RealClips = None
    cache: CacheFolder = DEFAULT_CACHE
    protocol: ProtocolName = DEFAULT_PROTOCOL
    overrides: Overrides = None
    weights: Weights = None
    model: ModelFile = None
    device: Device = "auto"
    fps: FileRate = None
    reader: Reader = "pyav"

    def load_protocol(self) -> Protocol:
        """The protocol with its changes."""
        from lvdm.evaluation.protocols import load_protocol, parse_overrides

        return load_protocol(self.protocol, parse_overrides(self.overrides or []))

    def evaluation(self, source: Path) -> Evaluation:
        """The generated clips at `source` and the real ones, checked against each other and the protocol."""
        from lvdm.evaluation.clip_sets import Evaluation

        protocol = self.load_protocol()
        real = None if self.real is None else self.clips(self.real, protocol, "real")
        fake = self.clips(source, protocol, "fake", like=real if protocol.paired else None)
        return Evaluation(protocol, fake, real)

    def clips(self, source: Path, protocol: Protocol, role: Role, like: Manifest | None = None) -> Manifest:
        """The clips at `source`, to be decoded by the chosen reader. Raises `BackendError` where it does not run."""
        from dataclasses import replace

        from lvdm.media.video_backends import check_reader

        reader = check_reader(self.reader)
        return replace(open_clips(source, protocol, role, fps=self.fps, like=like), reader=reader)

    def extractors(self, protocol: Protocol, devices: int = 1) -> Extractors:
        """All that the protocol needs, where there are several `devices` on that of this process."""
        from lvdm.evaluation.building import build_extractors

        device = self.device
        if devices > 1:
            from lvdm.cli.extraction import local_device

            device = local_device(device, devices)
        return build_extractors(protocol, parse_weights(self.weights or []), self.model, device)


def with_inputs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, which has a parameter `inputs: Inputs`, the fields of that as options."""
    hints, fields = (typing.get_type_hints(source, include_extras=True) for source in (command, Inputs))
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
        if name != "inputs"
    ]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(Inputs, name), annotation=kind)
        for name, kind in fields.items()
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        inputs = Inputs(**{name: values.pop(name) for name in fields})
        command(**values, inputs=inputs)

    wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return wrapped


def open_clips(
    source: Path, protocol: Protocol, role: Role, *, fps: float | None = None, like: Manifest | None = None
) -> Manifest:
    """The manifest at `source`, or one made on the way of a folder or list of videos."""
    from lvdm.evaluation.manifest import ManifestError, read_manifest, read_table
    from lvdm.evaluation.manifest_making import make_manifest

    if not source.exists():
        raise ManifestError(f"{source}: there is no such file or folder")
    if source.is_file():
        rows = read_table(source)
        if not rows or any("frames" in row for _, row in rows):
            manifest = read_manifest(source)
            return manifest if fps is None else manifest.with_rate(fps)
    target = source / source.resolve().name if source.is_dir() else source
    return make_manifest(source, target, protocol, role, fps=fps, like=like)


def parse_weights(texts: list[str]) -> dict[str, Path]:
    """EXTRACTOR=FILE texts as files by extractor."""
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise UserError(f"--weights {text}: should be EXTRACTOR=FILE, such as i3d-logits=i3d.safetensors")
        found[name] = Path(path)
    return found


def parse_shard(text: str) -> tuple[int, int]:
    """i/n as a part, counted from 0, and the number of parts."""
    first, slash, count = text.partition("/")
    if not (slash and first.isdigit() and count.isdigit()):
        raise UserError(f"--shard {text}: should be a part and the number of parts, such as 0/4")
    return int(first), int(count)

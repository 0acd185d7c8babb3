"""Which clips an evaluation needs, and what of each: the sets that are extracted and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lvdm.data.source_files import shorten_list
from lvdm.errors import counted
from lvdm.evaluation.clip_files import ReferencedClip
from lvdm.evaluation.extraction import ClipSet
from lvdm.evaluation.features.protocol import FeatureExtractor, LoadedClip, Record
from lvdm.evaluation.manifest import Entry, Manifest, ManifestError, check_pairing, stills_of
from lvdm.evaluation.protocols import Protocol, Role
from lvdm.evaluation.results import FAKE, REAL, STILL, ClipProblem

Measure = Callable[[LoadedClip], dict[str, float]]
"""Named numbers of one clip; NaN or infinite where one is not defined."""


class Measures:
    """A measure as an extractor, so that its numbers are cached as features are: a float64 scalar under each name.

    `detail` distinguishes measures that give other numbers under the same names, such as those of another optical flow.
    """

    dim = 0
    dtype = "fp64"

    def __init__(self, measure: Measure, detail: str, min_frames: int = 3, weights_sha256: str | None = None) -> None:
        self.measure = measure
        self.id = f"measures-{detail}"
        self.min_frames = min_frames
        self.weights_sha256 = weights_sha256

    def preprocess(self, clip: LoadedClip) -> Record:
        """The numbers themselves; those that are not finite are left out. Raises what the measure raises."""
        return _scalars(self.measure(clip))

    def __call__(self, batch: Record) -> Record:
        """As they are."""
        return batch


class Reconstruction:
    """Numbers of a generated clip against its real one, frame by frame, cached as those of `Measures` are."""

    dim = 0
    dtype = "fp64"
    min_frames = 1

    def __init__(
        self, compare: Callable[[Tensor, Tensor], dict[str, float]], detail: str, weights_sha256: str | None = None
    ) -> None:
        self.compare = compare
        self.id = f"measures-reconstruction-{detail}"
        self.weights_sha256 = weights_sha256

    def preprocess(self, clip: LoadedClip) -> Record:
        """The numbers themselves. Raises `ValueError` for a clip without its real one."""
        if not isinstance(clip, ReferencedClip):
            raise ValueError("there is no real clip to compare it with")
        return _scalars(self.compare(clip.frames, clip.reference))

    def __call__(self, batch: Record) -> Record:
        """As they are."""
        return batch


def _scalars(numbers: dict[str, float]) -> Record:
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    return {name: value for name, value in tensors.items() if bool(torch.isfinite(value))}


@dataclass(frozen=True)
class Evaluation:
    """Generated clips, the real ones if there are any, and by which protocol they are compared.

    Raises `ManifestError` where the manifests do not fit each other or the protocol.
    """

    protocol: Protocol
    fake: Manifest
    real: Manifest | None

    def __post_init__(self) -> None:
        """Check that all clips are cut as the protocol says, and paired where it says so."""
        _check_cut(self.fake, self.protocol, "fake")
        if self.real is not None:
            _check_cut(self.real, self.protocol, "real")
            if self.protocol.paired:
                check_pairing(self.real, self.fake)

    def sets(self, extractors: Sequence[FeatureExtractor], reconstruction: Reconstruction | None) -> list[ClipSet]:
        """The sets of clips without those that the protocol skips."""
        fake, common = _used(self.fake), tuple(extractors)
        real = None if self.real is None else _used(self.real)
        sets = [ClipSet(FAKE, tuple(map(fake.spec, fake.entries)), common)]
        if real is not None:
            sets.append(ClipSet(REAL, tuple(map(real.spec, real.entries)), common))
        sets.append(ClipSet(STILL, tuple(stills_of(fake, real)), common))
        if real is not None and reconstruction is not None:
            partners = {entry.id: real.spec(entry) for entry in real.entries}
            pairs = [fake.spec(entry) for entry in fake.entries if entry.id in partners]
            specs = tuple(dataclasses.replace(spec, reference=partners[spec.id]) for spec in pairs)
            sets.append(ClipSet(FAKE, specs, (reconstruction,)))
        return sets

    def skipped(self) -> list[ClipProblem]:
        """The clips that the protocol leaves out, with the reason."""
        manifests = [(FAKE, self.fake)] + ([] if self.real is None else [(REAL, self.real)])
        return [
            ClipProblem(name, entry.id, "skipped", entry.skip)
            for name, manifest in manifests
            for entry in manifest.entries
            if entry.skip
        ]


def _used(manifest: Manifest) -> Manifest:
    kept = tuple(entry for entry in manifest.entries if not entry.skip)
    if not kept:
        raise ManifestError(f"{manifest.name}: all {len(manifest.entries)} clips are skipped: {_first_skip(manifest)}")
    return dataclasses.replace(manifest, entries=kept)


def _first_skip(manifest: Manifest) -> str:
    entry = manifest.entries[0]
    return f"{entry.id} {entry.skip}"


def _check_cut(manifest: Manifest, protocol: Protocol, role: Role) -> None:
    wanted: dict[str, Any] = {"frames": protocol.frames, "stride": protocol.stride_of(role)}

    def differs(entry: Entry) -> bool:
        return any(getattr(entry, name) != value for name, value in wanted.items())

    others = [entry for entry in manifest.entries if differs(entry)]
    if others:
        first = others[0]
        raise ManifestError(
            f"{manifest.name}: not cut as {protocol.name} says: {counted(len(others), 'clip')} "
            f"({shorten_list(_ids(others))}); "
            f"{first.id} has {first.frames} frames with stride {first.stride}, wanted are {wanted['frames']} with "
            f"stride {wanted['stride']}; make the manifest with this protocol, or change the protocol's fields"
        )


def _ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]

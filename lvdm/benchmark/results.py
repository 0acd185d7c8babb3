"""What was measured, as JSON: parity, speed and memory, and what was not measured and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lvdm.config import ConfigError, parse_dataclass
from lvdm.documents import read_json

FORMAT = "dynamicrafter-benchmark/1"


@dataclass(frozen=True)
class Machine:
    """What was measured on.

    peak_tflops  of a large matrix product in `dtype`, measured
    """

    device: str
    kind: str
    threads: int
    platform: str
    versions: dict[str, str]
    dtype: str
    peak_tflops: float


@dataclass(frozen=True)
class ParityRow:
    """How far results are from those of a CPU in float32, which come with the package.

    largest  the largest difference as a part of the largest value; None where values are not finite
    limit    for `largest` in this precision
    """

    what: str
    mode: str
    dtype: str
    largest: float | None
    limit: float

    @property
    def passed(self) -> bool:
        """Whether it is within the limit."""
        return self.largest is not None and self.largest <= self.limit


@dataclass(frozen=True)
class SpeedRow:
    """How long guided sampling takes.

    step        seconds of one step
    video       seconds of a video with `steps` steps, the decoder included, by that
    tflops      operations in a second, 1e12; None for modes whose steps differ
    share       of them in the machine's peak
    difference  of the latents after the measured steps from those of the default, as a part of the largest value;
                None for modes that are to change numbers, and where values are not finite
    """

    network: str
    mode: str
    step: float
    steps: int
    video: float
    tflops: float | None
    share: float | None
    difference: float | None


@dataclass(frozen=True)
class MemoryRow:
    """The peak of memory in bytes, and what the plan says; on a CPU, of the process."""

    network: str
    mode: str
    planned: int
    peak: int


@dataclass(frozen=True)
class SkippedRow:
    """What was not measured, and why."""

    what: str
    mode: str
    reason: str


@dataclass(frozen=True)
class BenchmarkReport:
    """All that a run measured; `complete` is False where it was interrupted."""

    machine: Machine
    small: bool
    parity: tuple[ParityRow, ...] = ()
    speed: tuple[SpeedRow, ...] = ()
    memory: tuple[MemoryRow, ...] = ()
    skipped: tuple[SkippedRow, ...] = ()
    seconds: float = 0.0
    complete: bool = False
    format: str = field(default=FORMAT)

    def as_json(self) -> dict[str, Any]:
        """As it is stored, the format first."""
        return {"format": self.format, **asdict(self)}


def read_report(path: Path) -> BenchmarkReport:
    """The report in a file. Raises `ConfigError`, and `ValueError` for a file that cannot be read."""
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ConfigError(f"{path} is no report of `dynamicrafter benchmark`; name its benchmark.json")
    report: BenchmarkReport = parse_dataclass(BenchmarkReport, data, str(path))
    return report

"""The whole benchmark: what runs on this machine, in an order in which what matters most comes first."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from lvdm.benchmark.measuring import Measurement, Mode, matrix_peak, measure, memory_plan
from lvdm.benchmark.networks import NETWORKS, SMALL, NetworkSpec, build_runtime
from lvdm.benchmark.parity import largest_difference, measure_parity
from lvdm.benchmark.results import BenchmarkReport, Machine, MemoryRow, SkippedRow, SpeedRow
from lvdm.declaration.values import Attention
from lvdm.device import DTYPES, Precision, choose_device, choose_precision, device_name, empty_cache, processor_name
from lvdm.errors import UserError
from lvdm.modules.attention_backends import BACKENDS, why_not
from lvdm.pipeline.placement import WeightPlacement
from lvdm.pipeline.process_memory import interpreter_memory
from lvdm.pipeline.runtime import Runtime
from lvdm.precision import AUTO_ATTENTION
from lvdm.progress import ProgressCallback, report_progress
from lvdm.suggestions import suggest
from lvdm.versions import versions

SMALL_MINUTES, USUAL_MINUTES = 1.0, 10.0
SIZES = tuple(name for name in NETWORKS if name != SMALL.name)
DEFAULT = Mode("default")
MODES = (
    Mode("--low-memory", low_memory=True),
    Mode("--fast 1", fast=1, steps=4),
    Mode("--fast 2", fast=2, steps=4),
    Mode("--fast 3", fast=3, steps=4),
    Mode("--chunk-frames 4", settings={"chunk_frames": 4}),
    Mode("--offload group", placement=WeightPlacement(offload="group")),
    Mode("--offload sequential", placement=WeightPlacement(offload="sequential")),
    Mode("--storage fp8", placement=WeightPlacement(storage="fp8")),
)
"""Beside the default; the other attention comes before them."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is to be measured.

    small    one network of a fifth of the channels at 64x64, in the place of those of `sizes`
    sizes    names of released architectures
    minutes  after which no further measurement begins; None: one with `small`, else ten
    """

    small: bool = False
    sizes: tuple[str, ...] = SIZES
    device: str = "auto"
    dtype: str = "auto"
    minutes: float | None = None

    @property
    def seconds(self) -> float:
        """After which no further measurement begins."""
        minutes = (SMALL_MINUTES if self.small else USUAL_MINUTES) if self.minutes is None else self.minutes
        return 60 * minutes

    def check(self) -> tuple[torch.device, Precision]:
        """Device and precision. Raises `ValueError` for what cannot be measured."""
        for name in self.sizes:
            if name not in SIZES:
                raise ValueError(f"size {name!r} is not known; {suggest(name, SIZES)}")
        device = choose_device(self.device)
        if device.type == "cpu" and not self.small and self.sizes == SIZES:
            raise UserError(
                "on a CPU a step of the released networks takes minutes; use --small, or name one by --size 256"
            )
        return device, choose_precision(self.dtype, device)


@dataclass(frozen=True)
class _Unit:
    """A network in one mode."""

    network: NetworkSpec
    mode: Mode


class Benchmark:
    """A run, and the report as far as it is; after an interruption it holds what was measured."""

    def __init__(self, options: BenchmarkOptions, on_progress: ProgressCallback | None = None) -> None:
        self.device, self.precision = options.check()
        self._options, self._on_progress = options, on_progress
        self._began = time.monotonic()
        interpreter_memory()  # measured while there is no model
        peak = matrix_peak(self.device, self.precision.weights)
        self.report = BenchmarkReport(_machine(self.device, self.precision, peak), options.small)
        networks = [SMALL] if options.small else [NETWORKS[name] for name in options.sizes]
        self._attention, self._modes = self._runnable()
        others = [mode for mode in self._modes if mode != DEFAULT]
        self._units = [_Unit(network, DEFAULT) for network in networks]
        self._units += [_Unit(network, mode) for network in networks for mode in others]
        self._usual = dict[str, Measurement]()

    def _runnable(self) -> tuple[dict[Attention, str], list[Mode]]:
        """Attention by name and the modes that run here; the others are reported."""
        attention, modes = {AUTO_ATTENTION: DEFAULT.name}, [DEFAULT]
        for name in BACKENDS:
            if name == AUTO_ATTENTION:
                continue
            reason, label = why_not(name, self.device, self.precision.weights), f"--attention {name}"
            if reason:
                self._skip("all", label, reason)
            else:
                attention[name] = label
                modes.append(Mode(label, attention=name))
        for mode in MODES:
            try:
                mode.placement.check(self.device.type == "cpu")
            except UserError as error:
                self._skip("all", mode.name, str(error))
            else:
                modes.append(mode)
        return attention, modes

    def run(self) -> None:
        """Measure everything; `report` grows with it. Raises `KeyboardInterrupt` as it comes."""
        done, total = 0, 1 + len(self._units)
        self._report(done, total)
        try:
            self._measure_parity()
            done += 1
            self._report(done, total)
            for units in self._by_build():
                runtime: Runtime | None = None
                for unit in units:
                    runtime = self._measure(unit, runtime)
                    done += 1
                    self._report(done, total)
                del runtime
                empty_cache(self.device)
        finally:
            self.report = replace(self.report, seconds=time.monotonic() - self._began)
        self.report = replace(self.report, complete=True)

    def _measure_parity(self) -> None:
        """In float32, and in the precision that was chosen."""
        for dtype in dict.fromkeys(("fp32", self.precision.name)):
            runs = {
                name: label for name, label in self._attention.items() if not why_not(name, self.device, DTYPES[dtype])
            }
            for row in measure_parity(self.device, dtype, runs):
                self.report = replace(self.report, parity=(*self.report.parity, row))
        empty_cache(self.device)

    def _by_build(self) -> Iterator[list[_Unit]]:
        """Units that follow one another and share weights."""
        batch = list[_Unit]()
        for unit in self._units:
            if batch and (batch[-1].network, batch[-1].mode.placement) != (unit.network, unit.mode.placement):
                yield batch
                batch = []
            batch.append(unit)
        yield batch

    def _build(self, unit: _Unit) -> Runtime:
        generator = torch.Generator(self.device).manual_seed(0)
        return build_runtime(unit.network, self.device, self.precision, generator, unit.mode.placement)

    def _measure(self, unit: _Unit, runtime: Runtime | None) -> Runtime | None:
        """Measure one unit with `runtime`, or a new one; returns it for the next unit."""
        network, mode = unit.network, unit.mode
        if time.monotonic() - self._began > self._options.seconds:
            self._skip(network.name, mode.name, "the time was over; give more by --minutes")
            return runtime
        try:
            runtime = runtime or self._build(unit)
            self._add(unit, runtime, measure(runtime, network, mode))
        except torch.OutOfMemoryError:
            self._skip(network.name, mode.name, "the device has too little memory for it")
            empty_cache(self.device)
        return runtime

    def _add(self, unit: _Unit, runtime: Runtime, measurement: Measurement) -> None:
        network, mode, report = unit.network, unit.mode, self.report
        usual = self._usual.setdefault(network.name, measurement)
        if not measurement.latents.isfinite().all():
            self._skip(network.name, f"numbers of {mode.name}", f"they are not finite in {self.precision.name}")
            report = self.report
        steps, tflops = mode.settings_for(network).num_inference_steps, None
        if mode.fast is None:  # other attention does the same as the default's
            counted = measurement if mode.attention == AUTO_ATTENTION else usual
            tflops = counted.operations / measurement.step / 1e12
        row = SpeedRow(
            network.name,
            mode.name,
            measurement.step,
            steps,
            steps * measurement.step + measurement.decoding,
            tflops,
            None if tflops is None else tflops / report.machine.peak_tflops,
            largest_difference(measurement.latents, usual.latents) if mode.same_numbers else None,
        )
        memory = report.memory
        if measurement.peak is not None:
            memory = (
                *memory,
                MemoryRow(network.name, mode.name, memory_plan(runtime, network, mode).total, measurement.peak),
            )
        self.report = replace(report, speed=(*report.speed, row), memory=memory)

    def _skip(self, what: str, mode: str, reason: str) -> None:
        self.report = replace(self.report, skipped=(*self.report.skipped, SkippedRow(what, mode, reason)))

    def _report(self, done: int, total: int) -> None:
        report_progress(self._on_progress, "benchmark", done, total)


def _machine(device: torch.device, precision: Precision, peak: float) -> Machine:
    return Machine(
        device=processor_name() if device.type == "cpu" else device_name(device),
        kind=device.type,
        threads=torch.get_num_threads(),
        platform=platform.platform(),
        versions={name: version for name, version in versions().items() if version is not None},
        dtype=precision.name,
        peak_tflops=peak / 1e12,
    )

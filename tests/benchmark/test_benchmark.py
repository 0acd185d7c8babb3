"""`dynamicrafter benchmark`: what it measures, in which order, and what it keeps when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lvdm.benchmark import measuring, running
from lvdm.benchmark.measuring import Measurement, Mode, measure, memory_plan
from lvdm.benchmark.networks import SMALL
from lvdm.benchmark.parity import embedded_results, largest_difference, reference, small_runtime, step_results
from lvdm.benchmark.report import JSON_NAME, comparison, markdown, write_report
from lvdm.benchmark.results import BenchmarkReport, ParityRow, read_report
from lvdm.benchmark.running import Benchmark, BenchmarkOptions
from lvdm.cli.app import app
from lvdm.media.ownership import check_replaceable
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.pipeline.runtime import Runtime
from lvdm.progress import Progress

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return small_runtime(CPU, "fp32")


def test_this_cpu_gives_the_stored_results(runtime: Runtime) -> None:
    found = {f"small.{name}": value for name, value in step_results(runtime).items()}
    pipe = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu")
    found |= {f"embedded.{name}": value for name, value in embedded_results(pipe).items()}
    assert found.keys() == reference().keys()
    off = {name: largest_difference(value, reference()[name]) for name, value in found.items()}
    assert all(value is not None and value < 1e-5 for value in off.values()), (
        f"other numbers than those stored ({off}); if they are meant, python -m scripts.write_benchmark_reference"
    )


def test_a_measurement_has_the_numbers_of_all_steps(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    short = replace(SMALL)
    short.tree["sampling"]["num_frames"] = 4
    found = measure(runtime, short, Mode("default", steps=1))
    assert found.latents.shape == (1, 4, 4, 8, 8)
    assert found.latents.isfinite().all()
    assert found.operations == pytest.approx(11.3e9, rel=0.01)
    assert found.step > 0
    assert found.decoding > 0
    assert found.peak is None or found.peak > sum(p.numel() * 4 for p in runtime.model.unet.parameters())
    assert memory_plan(runtime, SMALL, Mode("default")).weights > 4 * 60e6


def faked(
    monkeypatch: pytest.MonkeyPatch, stop_at: Any = None, error: type[BaseException] = KeyboardInterrupt
) -> Benchmark:
    """A benchmark of all sizes whose measurements take no time; `error` is raised for the mode `stop_at`."""

    def parity(device: torch.device, dtype: str, modes: Any) -> Iterator[ParityRow]:
        yield from (ParityRow("embedded latents", name, dtype, 1e-6, 1e-4) for name in modes.values())

    def measurement(runtime: Any, network: Any, mode: Mode) -> Measurement:
        if (network.name, mode.name) == stop_at:
            raise error
        return Measurement(2.0, 1.0, torch.full((1,), 2.0 if mode.low_memory else 1.0), 10**9, 10**12)

    monkeypatch.setattr(running, "measure_parity", parity)
    monkeypatch.setattr(running, "measure", measurement)
    monkeypatch.setattr(running, "matrix_peak", lambda device, dtype: 4e12)
    monkeypatch.setattr(running, "build_runtime", lambda *given: None)
    monkeypatch.setattr(running, "memory_plan", lambda *given: PLAN)
    return Benchmark(BenchmarkOptions(sizes=("256", "1024"), device="cpu"))


PLAN = measuring.MemoryPlan(11 * 10**8, 0, 0)


def test_the_default_of_every_size_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    work = faked(monkeypatch)
    heard: list[Progress] = []
    work._on_progress = heard.append
    work.run()
    report = work.report
    assert report.complete
    assert [(row.network, row.mode) for row in report.speed[:3]] == [
        ("256", "default"),
        ("1024", "default"),
        ("256", "--attention plain"),
    ]
    row = report.speed[0]
    assert (row.step, row.steps, row.video, row.tflops, row.share, row.difference) == (2, 50, 101, 0.5, 0.125, 0)
    low = next(row for row in report.speed if row.mode == "--low-memory")
    assert low.difference == 1
    fast = next(row for row in report.speed if row.mode == "--fast 3")
    assert (fast.steps, fast.tflops, fast.difference) == (8, None, None)
    assert {row.planned / row.peak for row in report.memory} == {1.1}
    assert {"--attention xformers", "--offload group"} <= {row.mode for row in report.skipped}
    assert [step.done for step in heard] == list(range(heard[0].total + 1))


def test_ctrl_c_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = faked(monkeypatch, stop_at=("1024", "default"))
    with pytest.raises(KeyboardInterrupt):
        work.run()
    paths = write_report(work.report, tmp_path)
    found = read_report(tmp_path / JSON_NAME)
    assert found == work.report
    assert not found.complete
    assert [row.network for row in found.speed] == ["256"]
    assert "Interrupted" in paths[1].read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["benchmark.json", "benchmark.md"]
    for path in paths:
        check_replaceable(path)  # another run may take their place


def test_too_little_memory_and_time_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    work = faked(monkeypatch, stop_at=("1024", "default"), error=torch.OutOfMemoryError)
    work.run()
    assert ("1024", "default") in {(row.what, row.mode) for row in work.report.skipped}
    work = faked(monkeypatch)
    work._options = replace(work._options, minutes=0)
    work.run()
    assert work.report.parity
    assert not work.report.speed
    assert "--minutes" in work.report.skipped[-1].reason


def test_two_reports_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = faked(monkeypatch)
    work.run()
    first = work.report
    second = replace(first, speed=tuple(replace(row, step=row.step / 2) for row in first.speed[1:]))
    lines = comparison([first, second])
    assert "| 1024 | default | 2 | 1 | 0.50 | 12 % | 12 % |" in lines
    assert not any(line.startswith("| 256 | default | 2 |") for line in lines), "only one of them has measured it"
    paths = [tmp_path / name for name in ("a", "b")]
    for path, report in zip(paths, (first, second), strict=True):
        write_report(report, path)
    command = ["benchmark", "--compare", *(str(path / JSON_NAME) for path in paths)]
    assert CliRunner().invoke(app, command).output.splitlines() == lines


def test_tables_say_what_is_not_within_the_limit() -> None:
    machine = running._machine(CPU, BenchmarkOptions(small=True, device="cpu").check()[1], 1e12)
    rows = tuple(ParityRow("embedded frames", "default", "fp32", largest, 1e-4) for largest in (1e-3, None))
    lines = markdown(BenchmarkReport(machine, small=True, parity=rows))
    assert "| embedded frames | default | fp32 | 1.0e-03 | 1e-04 | NO |" in lines
    assert "| embedded frames | default | fp32 | not finite | 1e-04 | NO |" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpu"], "use --small"),
        (["--small", "--size", "256"], "leave out --size"),
        (["--size", "640", "--device", "cpu"], "size '640' is not known"),
        (["--compare", "other.json", "other.json"], "is no report of"),
        (["--small", "-o", "."], "benchmark.md is there and was not made here"),
    ],
)
def test_refusals(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "matrix_peak", lambda *given: pytest.fail("it began"))
    (tmp_path / "other.json").write_text(json.dumps({"format": "another/1"}))
    (tmp_path / "benchmark.md").write_text("notes")
    result = CliRunner().invoke(app, ["benchmark", *arguments])
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())

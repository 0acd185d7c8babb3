"""`dynamicrafter evaluate extract`: features of all clips into the cache; started again, it fills gaps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lvdm.cli.errors import FINISHED_WITH_FAILURES
from lvdm.cli.evaluate_inputs import FakeClips, Inputs, parse_shard, with_inputs
from lvdm.cli.options import Overwrite
from lvdm.cli.progress import counting_bar, library_messages
from lvdm.errors import counted

if TYPE_CHECKING:
    from lvdm.evaluation.building import Extractors
    from lvdm.evaluation.cache import FeatureCache
    from lvdm.evaluation.clip_sets import Evaluation
    from lvdm.evaluation.extraction import ExtractionReport

_MAX_LISTED = 20
"""Failures that are listed; the file of failures names all."""


@with_inputs
def extract_command(
    fake: FakeClips,
    shard: Annotated[str, typer.Option(help="Part i of n, as i/n from 0 on: for several machines.")] = "0/1",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read clips; 0: the one that computes.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips at once; halved when memory is not enough.")] = 8,
    devices: Annotated[int, typer.Option(min=1, help="Processes that compute, each on a device of its own.")] = 1,
    failures: Annotated[Path | None, typer.Option(help="JSON file for the clips that could not be read.")] = None,
    overwrite: Overwrite = False,
    *,
    inputs: Inputs,
) -> None:
    """Extract features and measures of all clips, and of the input images repeated, into the cache.

    Run it again after Ctrl-C or a failure: only what is missing is made. Exit code 3 if clips could not be read.
    """
    from lvdm.evaluation.cache import FeatureCache
    from lvdm.media.ownership import check_replaceable

    if failures is not None:
        check_replaceable(failures, overwrite)
    with library_messages():
        evaluation = inputs.evaluation(fake)
        extractors = inputs.extractors(evaluation.protocol, devices)
        store = FeatureCache(inputs.cache)
        part = parse_shard(shard)
        report = extract_missing(store, [evaluation], extractors, workers, batch_size, part, devices)
    if report is None:
        return
    if failures is not None:
        write_failures(report, failures)
    show_report(report)
    if report.failures:
        raise typer.Exit(FINISHED_WITH_FAILURES)


def extract_missing(
    cache: FeatureCache,
    evaluations: Sequence[Evaluation],
    extractors: Extractors,
    workers: int = 0,
    batch_size: int = 8,
    part: tuple[int, int] = (0, 1),
    devices: int = 1,
) -> ExtractionReport | None:
    """Fill the gaps of the cache with bars on the way; None in processes that help another one, which reports."""
    from lvdm.evaluation.clip_files import FrameScaling
    from lvdm.evaluation.extraction import FeatureWriter, find_jobs, planned_records, report_on, run_jobs

    scaling = FrameScaling.of(evaluations[0].protocol)
    sets = [clips for own in evaluations for clips in own.sets(extractors.common, extractors.pairs)]
    with counting_bar() as show:
        records = planned_records(cache, sets, scaling, max(1, workers), show)
        jobs = find_jobs(cache, records, *part)
        if devices == 1:
            run_jobs(jobs, FeatureWriter(cache, batch_size), scaling, workers, show)
    if devices > 1 and jobs:
        from lvdm.cli.extraction import extract_on_devices

        if not extract_on_devices(jobs, cache, scaling, devices, workers, batch_size):
            return None
    return report_on(cache, records, jobs)


def show_report(report: ExtractionReport | None) -> None:
    """The counts, and the clips that could not be read."""
    if report is None:
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    clips = {(failure.set, failure.id): failure for failure in report.failures}
    for failure in list(clips.values())[:_MAX_LISTED]:
        console.print(f"{failure.set} {failure.id}: {failure.reason}")
    if len(clips) > _MAX_LISTED:
        console.print(f"... and {len(clips) - _MAX_LISTED} more")
    others = f", {report.missing} left to other parts" if report.missing else ""
    console.print(
        f"{counted(report.made, 'record')} made, {report.kept} were there, {counted(len(clips), 'clip')} failed{others}"
    )


def write_failures(report: ExtractionReport, path: Path) -> None:
    """Every record that could not be made, with the reason."""
    from dataclasses import asdict

    from lvdm.media.atomic import write_json

    write_json(
        path, {"format": "dynamicrafter-failures/1", "failures": [asdict(failure) for failure in report.failures]}
    )

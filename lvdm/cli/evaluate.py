"""`dynamicrafter evaluate`: from videos to numbers that others can repeat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lvdm.cli.evaluate_checks import convert_i3d_command, selftest_command, vbench_export_command
from lvdm.cli.evaluate_extract import extract_command, extract_missing, show_report
from lvdm.cli.evaluate_inputs import DEFAULT_PROTOCOL, FakeClips, FileRate, Inputs, Overrides, ProtocolName, with_inputs
from lvdm.cli.evaluate_report import print_table, report_command
from lvdm.cli.options import Overwrite
from lvdm.cli.progress import counting_bar, library_messages
from lvdm.errors import UserError, counted

if TYPE_CHECKING:
    from lvdm.evaluation.report.writing import Findings
    from lvdm.evaluation.results import ProtocolNote

Extract = Annotated[bool, typer.Option("--extract", help="Extract first what is missing.")]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="With --extract: processes that read clips.")]


def manifest_command(
    output: Annotated[Path, typer.Argument(help="The manifest to write, .jsonl or .csv.")],
    videos: Annotated[Path | None, typer.Option(help="A folder of videos, or a .csv or .jsonl list of them.")] = None,
    procedural: Annotated[bool, typer.Option("--procedural", help="Draw held-out procedural clips instead.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="How many procedural clips, if not the protocol's.")] = None,
    role: Annotated[
        str | None, typer.Option(help="real (the default) or fake: their stride and choice of frames differ.")
    ] = None,
    like: Annotated[Path | None, typer.Option(help="Take prompts, images and rates from this manifest, by id.")] = None,
    fps: FileRate = None,
    protocol: ProtocolName = DEFAULT_PROTOCOL,
    overwrite: Overwrite = False,
    overrides: Overrides = None,
) -> None:
    """List the clips of a set: which frames of which videos, with their prompts and images."""
    from lvdm.evaluation.manifest import read_manifest, write_manifest
    from lvdm.evaluation.manifest_making import make_manifest, make_procedural
    from lvdm.evaluation.protocols import load_protocol, parse_overrides
    from lvdm.media.ownership import check_replaceable

    if (videos is None) != procedural:
        raise UserError("give --videos or --procedural, and not both")
    of_files = {"--fps": fps, "--role": role, "--like": like}
    for flag, value in (of_files if procedural else {"--count": count}).items():
        if value is not None:
            kind = "procedural clips, which are drawn" if procedural else "videos, which are there"
            raise UserError(f"{flag} is not for {kind}; leave it out")
    if role not in (None, "real", "fake"):
        raise UserError(f"--role {role}: should be real or fake")
    check_replaceable(output, overwrite)
    chosen = load_protocol(protocol, parse_overrides(overrides or []))
    with library_messages(), counting_bar() as show:
        if videos is None:
            made = make_procedural(output, chosen, count or chosen.clips, show, overwrite)
        else:
            other = None if like is None else read_manifest(like)
            side = role or "real"
            made = make_manifest(videos, output, chosen, side, fps=fps, like=other, on_progress=show)  # type: ignore[arg-type]
        write_manifest(made, output)
    left_out = [entry for entry in made.entries if entry.skip]
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for entry in left_out:
        console.print(f"{entry.id} is skipped: {entry.skip}")
    counts = f"{counted(len(made.entries), 'clip')} by {chosen.name}, {len(left_out)} of them skipped"
    if made.unreadable:
        counts += f"; {len(made.unreadable)} of the videos cannot be read, which counts as failed"
    console.print(f"{output}: {counts}")


@with_inputs
def score_command(
    fake: FakeClips,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for results.json and per_video.csv.")],
    extract: Extract = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    *,
    inputs: Inputs,
) -> None:
    """Score extracted clips: every metric with interval and floor, beside real clips and static ones."""
    from lvdm.evaluation.cache import FeatureCache
    from lvdm.evaluation.report.writing import Findings
    from lvdm.evaluation.results import check_results_place, write_results
    from lvdm.evaluation.scoring import score

    check_results_place(output, overwrite)
    reading = _workers(extract, workers)
    with library_messages():
        evaluation = inputs.evaluation(fake)
        extractors = inputs.extractors(evaluation.protocol)
        store = FeatureCache(inputs.cache)
        if extract:
            show_report(extract_missing(store, [evaluation], extractors, reading))
        results = score(store, evaluation, extractors.common, extractors.pairs)
    write_results(results, output)
    _show_findings(Findings(results, None), results.protocol, output)


@with_inputs
def compare_command(
    a: Annotated[Path, typer.Argument(help="Generated clips of A: a manifest, a list or a folder of videos.")],
    b: Annotated[Path, typer.Argument(help="Generated clips of B, with the same ids.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for comparison.json.")],
    extract: Extract = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    *,
    inputs: Inputs,
) -> None:
    """Compare two sets of videos of the same inputs; there is a ranking only where the paired interval leaves out 0."""
    from lvdm.evaluation.cache import FeatureCache
    from lvdm.evaluation.comparison import EvaluationPair, compare
    from lvdm.evaluation.report.writing import Findings
    from lvdm.evaluation.results import check_comparison_place, write_comparison

    check_comparison_place(output, overwrite)
    reading = _workers(extract, workers)
    with library_messages():
        first = inputs.evaluation(a)
        second = inputs.clips(b, first.protocol, "fake", like=first.real if first.protocol.paired else None)
        pair = EvaluationPair.of(first.protocol, first.fake, second, first.real)
        extractors = inputs.extractors(first.protocol)
        store = FeatureCache(inputs.cache)
        if extract:
            show_report(extract_missing(store, [pair.a, pair.b], extractors, reading))
        comparison = compare(store, pair, extractors.common, extractors.pairs)
    write_comparison(comparison, output)
    _show_findings(Findings(None, comparison), comparison.protocol, output)


def _workers(extract: bool, workers: int | None) -> int:
    """Processes that read clips. Raises `UserError` where none are read."""
    if workers is not None and not extract:
        raise UserError("--workers is for the extraction; leave it out, or add --extract")
    return workers or 0


def _show_findings(findings: Findings, protocol: ProtocolNote, output: Path) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    texts = {name: " ".join(value) if isinstance(value, list) else value for name, value in protocol.fields.items()}
    fields = ", ".join(f"{name} {text}" for name, text in texts.items() if name != "source")
    console.print(f"protocol {protocol.name}: {fields}")
    for table in findings.tables():
        print_table(table)
    for line in findings.sentences():
        console.print(f"- {line}")
    console.print(str(output))


evaluate = typer.Typer(no_args_is_help=True, help="Measure videos, so that others can repeat it.")
evaluate.command("manifest")(manifest_command)
evaluate.command("extract")(extract_command)
evaluate.command("score")(score_command)
evaluate.command("compare")(compare_command)
evaluate.command("report")(report_command)
evaluate.command("selftest")(selftest_command)
evaluate.command("vbench-export")(vbench_export_command)
evaluate.command("convert-i3d")(convert_i3d_command)

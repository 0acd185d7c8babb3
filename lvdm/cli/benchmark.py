"""`dynamicrafter benchmark`: parity, speed and memory of this machine, to be read and to be posted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lvdm.cli.options import Overwrite
from lvdm.cli.progress import counting_bar, library_messages, print_lines


def benchmark(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for benchmark.json and benchmark.md.")] = Path(
        "outputs/benchmark"
    ),
    small: Annotated[bool, typer.Option("--small", help="One small network: within a minute, on a CPU too.")] = False,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", help="256, 512 or 1024, may be given more than once; all when left out."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or what `doctor` lists.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="After these no further measurement begins; left out, 10, with --small 1."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two benchmark.json to show side by side; nothing is measured.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure how near, how fast and how large the networks are here, for each attention and mode.

    No checkpoint is needed: the released networks have random weights. Ctrl-C keeps what was measured.
    """
    from lvdm.benchmark.report import JSON_NAME, MARKDOWN_NAME, comparison, markdown, write_report

    if compare is not None:
        from lvdm.benchmark.results import read_report

        print_lines(comparison([read_report(path) for path in compare]))
        return
    if small and sizes:
        raise ValueError("--small measures a network of its own; leave out --size, or --small")
    from lvdm.benchmark.running import SIZES, Benchmark, BenchmarkOptions
    from lvdm.media.atomic import check_writable
    from lvdm.media.ownership import check_replaceable

    for name in (JSON_NAME, MARKDOWN_NAME):
        check_replaceable(output / name, overwrite)
        check_writable(output / name)
    with library_messages(), counting_bar() as show:
        work = Benchmark(BenchmarkOptions(small, tuple(sizes or SIZES), device, dtype, minutes), show)
        try:
            work.run()
        finally:
            paths = write_report(work.report, output)
    print_lines([*markdown(work.report)[2:], "", *map(str, paths)])

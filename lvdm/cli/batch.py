"""`batch`: a long list of videos on one device, several, or a cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvdm.cli.errors import FINISHED_WITH_FAILURES
from lvdm.cli.options import with_parameters
from lvdm.declaration.parameter import GENERATED
from lvdm.errors import counted

if TYPE_CHECKING:
    from lvdm.batch.plan import BatchPlan
    from lvdm.progress import ProgressCallback

Source = Annotated[
    Path,
    typer.Argument(
        metavar="LIST",
        help="A folder of images with a prompt file, a .csv or .jsonl table, a .txt of prompts, or - for a table from "
        "stdin.",
        show_default=False,
    ),
]


@with_parameters("batch", *GENERATED, without=("prompts", "replay"))
def batch(source: Source, *, typed: Mapping[str, Any]) -> None:
    """Make the videos of a list, whatever their modes, sizes and seeds; started again, it goes on where it was."""
    from lvdm.batch.planning import PAGE, plan_batch
    from lvdm.cli.progress import library_messages, print_lines
    from lvdm.data.lists import STDIN

    with library_messages():
        plan = plan_batch(source, sys.stdin.read() if source == STDIN else None, **typed)
        if typed.get("dry_run"):
            print_lines(_show_plan(plan))
            is_whole = not plan.bad
        else:
            from lvdm.batch.run import run_batch  # torch takes seconds to import: not for what the plan refuses

            report = run_batch(plan, ConsoleReporter())
            if report is None:
                return  # the first process speaks for all
            print_lines([*report.lines(), str(plan.folder / PAGE)])
            is_whole = report.is_whole
    if not is_whole:
        raise typer.Exit(FINISHED_WITH_FAILURES)


class ConsoleReporter:
    """Lines on stdout, bars and messages on stderr."""

    def start(self) -> None:
        """Show what the library logs, until the process ends."""
        from lvdm.cli.progress import library_messages
        from lvdm.consoles import last_on_any_console

        last_on_any_console()
        library_messages().__enter__()

    def progress(self, title: str) -> AbstractContextManager[ProgressCallback | None]:
        """A bar."""
        from lvdm.cli.progress import progress_bar

        return progress_bar(title)

    def show(self, lines: Iterable[str]) -> None:
        """Print."""
        from lvdm.cli.progress import print_lines

        print_lines(lines)


def _show_plan(plan: BatchPlan) -> Iterator[str]:
    """What `--dry-run` says."""
    from collections import Counter

    from lvdm.batch.run import expected_batch_seconds, listed, report
    from lvdm.batch.states import survey, to_make
    from lvdm.jobs.memory import describe_plan, plan_for
    from lvdm.progress import in_words

    states = survey(plan)
    todo = to_make(plan, states)
    yield from listed([row.line for row in plan.bad])
    yield from listed([f"row {item.row}: {problem}" for item, problem in report(plan, states).failed])
    yield f"{len(todo)} of {len(plan.items)} videos to make; {counted(len(plan.bad), 'row')} cannot be made"
    kinds = Counter[tuple[int, str]]()
    largest = dict[tuple[int, str], int]()
    for number in todo:
        item = plan.items[number]
        request = item.videos[0].request
        size, settings = request.size.inner, request.settings
        key = item.plan, f"{settings.mode}, {size.width}x{size.height}, {counted(settings.num_frames, 'frame')}"
        kinds[key] += len(item.videos)
        largest.setdefault(key, number)
    for (index, kind), count in kinds.items():
        model = plan.plans[index].model
        memory = plan_for(model, plan.items[largest[index, kind]].videos[0].request, plan.how.batch_size)
        yield f"{count} x {kind}, with {model.files.checkpoint}: {describe_plan(memory, model.device_name)}"
    seconds = expected_batch_seconds(plan, todo) if todo else None
    if seconds is not None:
        yield f"expected time on one device: about {in_words(seconds)}, by the records in {plan.folder}"
    elif todo:
        yield f"expected time: not known, as {plan.folder} has no record of this model on this device"
    yield "dry run: nothing was made"

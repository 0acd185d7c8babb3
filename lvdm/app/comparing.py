"""Two videos of one image whose settings differ in a few values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from lvdm.app import showing
from lvdm.app.endpoints import BROKEN, Desk, refusal, with_names
from lvdm.app.making import Result
from lvdm.app.work import View

COMPARED = ("seed", "effort", "motion", "num_inference_steps", "guidance_scale", "camera")
"""Parameters that the two may differ in."""


def comparing(desk: Desk, names: Sequence[str]) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """The function of the tab: status, then video and report of each, then the list of jobs."""

    def compare(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        *values, request = arguments
        session, skip = request.session_hash or "", gr.skip()
        by_name = dict(zip(names, values, strict=True))
        try:
            both = [desk.values(*side_of(by_name, side)) for side in "ab"]  # both are checked before one is made
            yield (showing.running(View()), None, None, None, None, skip)
            shown: list[Any] = [skip] * 4
            for side, given in enumerate(both):
                for seen in desk.results("animate", given, session):
                    if isinstance(seen, tuple):
                        made: Result = seen[0]
                        shown[2 * side : 2 * side + 2] = str(made.video), made.report
                        status = showing.finished(f"{'AB'[side]}: {made.report}", made.seconds, seen[1])
                        yield (status, *shown, desk.jobs_of(session))
                    else:
                        yield (showing.running(replace(seen, title="AB"[side])), *[skip] * 5)
        except (ValueError, OSError) as error:
            line = desk.in_words(error)
            yield (showing.failed(line), *[skip] * 4, desk.jobs_of(session))
            raise refusal(line) from error
        except Exception:
            yield (showing.failed(BROKEN), *[skip] * 4, desk.jobs_of(session))
            raise

    return with_names(compare, names)


def side_of(values: dict[str, Any], side: str) -> tuple[list[str], list[Any]]:
    """Names and values of one of the two."""
    own = {name: values[f"{name}_{side}"] for name in COMPARED}
    compared = {f"{name}_{which}" for name in COMPARED for which in "ab"}
    found = {name: value for name, value in values.items() if name not in compared} | own
    return list(found), list(found.values())

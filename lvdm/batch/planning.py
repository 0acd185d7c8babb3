"""From a list to a plan: every row is resolved, and every bad one found, before any weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from lvdm.batch.plan import BadRow, BatchItem, BatchPlan
from lvdm.data.lists import STDIN, ListRow, read_list
from lvdm.data.prompts import Request
from lvdm.declaration.parameter import parameters_of
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import BatchParameters, MachineParameters, OutputParameters, RunParameters
from lvdm.jobs.images import ImageStore
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.outputs import UsualLayout, suffix_of
from lvdm.jobs.plan import Plan, PlannedVideo, Planner, say_overridden, with_keyframes
from lvdm.jobs.resolved import Resolver
from lvdm.media.ownership import check_replaceable
from lvdm.model_card import ModelCard
from lvdm.model_files import usual_preset
from lvdm.request.effort import bundle_values, check_bundles
from lvdm.request.keywords import BatchKeywords
from lvdm.request.layers import MODEL_FILES, Values, all_parameters, checked, shown_name

logger = logging.getLogger(__name__)

NOT_OF_LISTS = ("prompts", "replay", "image", "end_image")
"""Parameters of single requests, and of the commands that make them."""
PAGE = "index.html"


def plan_batch(source: Path, text: str | None = None, **keywords: Unpack[BatchKeywords]) -> BatchPlan:
    """The plan of a list, see `lvdm.data.lists.read_list`.

    text      of the table, where `source` is `lvdm.data.lists.STDIN`
    keywords  parameters of `lvdm.request` by name, which go before the columns of the list; None is not given

    What is wrong with all rows raises `ValueError`; what is wrong with some is `BatchPlan.bad`.
    """
    typed = checked(keywords)
    for name in NOT_OF_LISTS:
        if name in typed:
            raise ValueError(f"batch does not read {shown_name(name)}; the list says what is made, leave it out")
    how = BatchParameters(**{name: typed.pop(name) for name in parameters_of(BatchParameters) if name in typed})
    run = RunParameters(**{name: typed.pop(name) for name in parameters_of(RunParameters) if name in typed})
    check_bundles(run)
    rows = read_list(source, how.list_mode, text)
    output: OutputParameters = Values().under(typed, "typed").make(OutputParameters)
    if output.output is None and source == STDIN:
        raise ValueError("a list from stdin has no name of its own; say where the videos go by --output FOLDER")
    folder = output.output or Path("outputs") / source.stem
    if folder.suffix and not folder.is_dir():
        raise ValueError(f"--output {folder} should be a folder")
    check_replaceable(folder / PAGE, output.overwrite)
    work = _Rows(folder, typed, run, how)
    work.usual_model().check()
    for row in rows:
        work.add(row)
    work.say_what_is_not_read()
    return BatchPlan(folder, *work.planned(), tuple(work.bad), how)


@dataclass(eq=False)
class _Group:
    """Rows of one mode, made with one model."""

    planner: Planner
    resolver: Resolver
    videos: list[PlannedVideo] = field(default_factory=list)


class _Rows:
    """The rows so far: those that can be made, and the bad ones."""

    def __init__(self, folder: Path, typed: Mapping[str, Any], run: RunParameters, how: BatchParameters) -> None:
        self._folder, self._typed, self._run, self._how = folder, typed, run, how
        self._store = ImageStore()
        self._models: dict[tuple[ModelParameters, str], ChosenModel] = {}
        self._groups: dict[tuple[str, ModelParameters, bool], _Group] = {}
        self._taken: dict[str, int] = {}
        self._index = 0
        self._planned: list[tuple[ListRow, _Group, tuple[PlannedVideo, ...]]] = []
        self.bad: list[BadRow] = []

    def usual_model(self) -> ChosenModel:
        """That of rows which name none. Raises `ValueError`."""
        return self._model(Values().under(self._typed, "typed"))

    def add(self, row: ListRow) -> None:
        """Take the next row."""
        values = {} if row.request is None else row.request.values
        index, self._index = self._index, self._index + self._copies(row.mode, values)
        problem = row.problem
        if row.request is not None:
            try:
                self._planned.append((row, *self._videos(row, row.request, index)))
            except ValueError as error:
                problem = str(error)
        if problem:
            self.bad.append(BadRow(row.number, row.place, row.name, problem))

    def planned(self) -> tuple[tuple[Plan, ...], tuple[BatchItem, ...]]:
        """A plan for each model and mode that has videos, and the items of the list."""
        groups = [group for group in self._groups.values() if group.videos]
        size = self._how.batch_size
        plans = tuple(group.planner.plan(group.videos, skip_finished=True, batch_size=size) for group in groups)
        fitted = {
            id(video): now
            for group, plan in zip(groups, plans, strict=True)
            for video, now in zip(group.videos, plan.videos, strict=True)
        }
        items = list[BatchItem]()
        for row, group, chosen in self._planned:
            videos = tuple(fitted[id(video)] for video in chosen)
            best = videos[0].candidates is not None and videos[0].candidates.best
            together = [videos] if best else [(replace(video, candidates=None),) for video in videos]
            items += [BatchItem(row.number, row.place, row.name, groups.index(group), part) for part in together]
        return plans, tuple(items)

    def say_what_is_not_read(self) -> None:
        """Raise `ValueError` for what was given and no row reads; say what only some of them read."""
        modes = {group.planner.mode for group in self._groups.values() if group.videos}
        for name in self._typed if modes else ():
            reading = sorted(mode for mode in modes if name in self._read_in(mode))
            if not reading:
                raise ValueError(f"none of the rows reads {shown_name(name)}; leave it out")
            if len(reading) < len(modes):
                logger.info("%s is taken for the rows of %s alone", shown_name(name), " and ".join(reading))
        say_overridden(self._typed, [row.request.values for row, *_ in self._planned if row.request])

    def _copies(self, mode: str, row: Mapping[str, Any]) -> int:
        """How many videos the row has; of a bad row, as far as it is known."""
        values = self._base(mode or "animate", row).under(row, "row").under(self._typed, "typed").values
        return int(values.get("num_videos_per_prompt", 1))

    def _base(self, mode: str, row: Mapping[str, Any], card: ModelCard | None = None) -> Values:
        """What the rows of a mode begin with; without the card of their model, what does not depend on it."""
        return Values().under(checked(bundle_values(self._run, mode, {**row, **self._typed}, card)), "preset")

    def _read_in(self, mode: str) -> dict[str, Any]:
        """What was given and is read in `mode`."""
        modes = {mode, "keyframes"} if mode in ("animate", "keyframes") else {mode}
        declared = all_parameters()
        return {name: value for name, value in self._typed.items() if modes & set(declared[name].parameter.modes)}

    def _model(self, values: Values, mode: str = "animate") -> ChosenModel:
        named: ModelParameters = values.make(ModelParameters)
        key = named, usual_preset(mode)
        if key not in self._models:
            machine: MachineParameters = values.make(MachineParameters)
            self._models[key] = choose_model(named, machine, values.values.get("second_stage_unet"), mode)
        return self._models[key]

    def _group(self, row: ListRow, values: Mapping[str, Any]) -> _Group:
        named = {name: value for name, value in values.items() if name in MODEL_FILES}
        model = self._model(Values().under(named, "row").under(self._typed, "typed"), row.mode)
        key = row.mode, model.added, "num_videos_per_prompt" in values
        if key not in self._groups:
            mode, typed = row.mode, self._read_in(row.mode)
            if typed.get("keyframes"):
                mode, typed = with_keyframes(mode, typed)
            planner = Planner(mode, typed, self._base(row.mode, values, model.card), model, self._store)
            self._groups[key] = _Group(planner, Resolver(model, self._store))
        return self._groups[key]

    def _videos(self, row: ListRow, request: Request, index: int) -> tuple[_Group, tuple[PlannedVideo, ...]]:
        """The videos of a row. Raises `ValueError`."""
        group, copies = self._group(row, request.values), self._copies(row.mode, request.values)
        planner = group.planner
        resolved = planner.resolve_row(request, group.resolver, index)
        path, numbered = UsualLayout().paths(self._folder, request, suffix_of(planner.output), copies)
        videos = planner.videos(resolved, path, numbered, range(resolved.index, resolved.index + copies))
        places = {str(place).casefold() for video in videos for place in (video.output, video.place)}
        other = next((self._taken[place] for place in places if place in self._taken), None)
        if other is not None:
            raise ValueError(f"its video would have the name of one of row {other}; give it a name of its own")
        self._taken |= dict.fromkeys(places, row.number)
        group.videos += videos
        return group, tuple(videos)

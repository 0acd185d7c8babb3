"""From parameters to a plan of videos: everything is resolved and checked here, before any weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from lvdm.data.lists import LIST_MODES
from lvdm.data.prompts import Request, name_of_prompt, read_requests
from lvdm.declaration.parameter import IMAGELESS, parameters_of
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters, MemoryParameters, OutputParameters, RunParameters
from lvdm.documents import short_text
from lvdm.errors import Problems
from lvdm.jobs.best_of import Candidates, entries_of
from lvdm.jobs.fitting import fit_plan
from lvdm.jobs.images import ImageStore
from lvdm.jobs.model import ChosenModel, choose_model
from lvdm.jobs.outputs import (
    ListLayout,
    UsualLayout,
    check_length,
    check_places,
    check_suffix,
    numbered_path,
    suffix_of,
)
from lvdm.jobs.record import Record, read_record
from lvdm.jobs.replay import changed_values, check_files, same_files
from lvdm.jobs.resolved import ResolvedRequest, Resolver
from lvdm.media.ownership import record_stem
from lvdm.media.video_writer import check_fps, check_output
from lvdm.regular_files import real_path
from lvdm.request.digest import FileSpec
from lvdm.request.effects import say_idle
from lvdm.request.effort import bundle_values, check_bundles, say_unused_bundle
from lvdm.request.keywords import RequestKeywords
from lvdm.request.layers import Values, check_mode, checked, shown_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PlannedVideo:
    """One video to make, where to, and the digest of its record.

    candidates  the others of the same request
    """

    request: ResolvedRequest
    output: Path
    digest: str
    candidates: Candidates | None = None

    @property
    def place(self) -> Path:
        """Where it lies in the end, or the best one of its candidates."""
        return self.candidates.output if self.candidates and self.candidates.best else self.output


@dataclass(frozen=True, eq=False)
class Plan:
    """Videos to make with one model.

    drop_last_frame  whether the file is without the last frame, which of a loop is the first one again
    skip_finished    whether a video whose record has the same digest is left as it is
    threads          of a replay: sums are rounded in an order that depends on it; None: as it is
    changes          of a replay: what is different from its record
    """

    videos: tuple[PlannedVideo, ...]
    model: ChosenModel
    store: ImageStore
    playback_fps: float
    output: OutputParameters
    drop_last_frame: bool
    skip_finished: bool = False
    threads: int | None = None
    changes: tuple[str, ...] = ()


def plan_videos(
    mode: str,
    layout: ListLayout | None = None,
    usual: Mapping[str, Any] | None = None,
    **keywords: Unpack[RequestKeywords],
) -> Plan:
    """The plan of one video, several, a list (`prompts`), or one made again (`replay`).

    given   parameters of `lvdm.request` by name; None is not given
    usual   values for those that are not given, which lie over the card's and under all others
    layout  of a list, see `ListLayout`

    Raises `ValueError` for what cannot be made, with the row of a list where it is one of its rows.
    """
    typed = checked(keywords)
    if typed.get("keyframes"):
        mode, typed = with_keyframes(mode, typed)
    check_mode([name for name in ("prompts",) if name in typed], mode)
    run = RunParameters(**{name: typed.pop(name) for name in parameters_of(RunParameters) if name in typed})
    if mode != "keyframes" or run.prompts is None:
        check_mode(typed, mode)
    check_bundles(run)
    record = None if run.replay is None else read_record(run.replay)
    if record is not None:
        mode = _mode_of_replay(mode, typed, record, run.prompts is None)
    base = Values().under(checked(usual or {}), "preset")
    if record is not None:
        base = base.under(record.values().values, "record", record.values().derived)
    common = base.under(typed, "typed")
    model = choose_model(
        common.make(ModelParameters), common.make(MachineParameters), common.values.get("second_stage_unet"), mode
    )
    if record is not None:
        check_files(record.path, record.files, common, model)
    bundle = checked(bundle_values(run, mode, typed, model.card))
    planner = Planner(mode, typed, base.under(bundle, "preset"), model, ImageStore(), record)
    plan = planner.single_plan() if run.prompts is None else planner.list_plan(run.prompts, layout or UsualLayout())
    say_unused_bundle(run, bundle, typed, {video.request.settings for video in plan.videos}, model.card)
    return plan


def with_keyframes(mode: str, typed: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The mode and the parameters of `animate` with images at later frames; that of frame 0 is the image."""
    if mode not in ("animate", "keyframes"):
        raise ValueError(f"{mode} does not read {shown_name('keyframes')}; leave it out, or use animate")
    later = dict(typed["keyframes"])
    first = later.pop(0, None)
    if first is not None and typed.get("image") is not None:
        raise ValueError(f"frame 0 was given twice: {typed['image']} and --keyframe 0={first}; leave out one")
    if not later:
        raise ValueError("--keyframe 0 is the image alone; give images for other frames, or leave out --keyframe")
    values = dict(typed) | {"keyframes": tuple(later.items())}
    return "keyframes", values if first is None else values | {"image": first}


@dataclass(frozen=True, eq=False)
class Planner:
    """What the videos of a plan have in common.

    typed   what was given
    base    what lies under it
    record  of a replay
    """

    mode: str
    typed: Mapping[str, Any]
    base: Values
    model: ChosenModel
    store: ImageStore
    record: Record | None = None

    @property
    def common(self) -> Values:
        return self.base.under(self.typed, "typed")

    @property
    def output(self) -> OutputParameters:
        found: OutputParameters = self.common.make(OutputParameters)
        return found

    @property
    def copies(self) -> int:
        return int(self.common.values.get("num_videos_per_prompt", 1))

    def single_plan(self) -> Plan:
        """One request, as often as it is wanted."""
        values, record, output = self.common, self.record, self.output
        prompt = values.values.get("prompt", "")
        if record is None:
            _check_source(self.mode, values)
            if not prompt.strip():
                raise ValueError(
                    'the prompt is empty; say what should happen, e.g. --prompt "the red ball moves to the right"'
                )
        path = output.output or self._usual_output(values)
        check_suffix(output)
        check_output(path)
        resolver = Resolver(self.model, self.store)
        first = 0 if record is None else record.index
        request = resolver.resolve(values, self.mode, first)
        for file in request.files:
            if file.path is not None and real_path(file.path) == real_path(path):
                raise ValueError(f"--output {path} would replace the image; choose another name")
        numbered = [numbered_path(path, number) for number in range(self.copies)]
        videos = self.videos(request, path, numbered, range(first, first + self.copies))
        check_places(videos, self.output)
        if record is None:
            return self.plan(videos)
        resolved = request.settings.as_dict() | {"scale": request.scale}
        same = same_files(record.files, request.all_files)
        sizes = record.size, (request.size.inner.height, request.size.inner.width)
        changes = changed_values(record.path, record.values(), values, resolved, same, sizes)
        return self.plan(videos, threads=record.threads, changes=changes)

    def list_plan(self, source: Path, layout: ListLayout) -> Plan:
        """A folder or a table of requests, into the folder of `output`; finished videos are skipped."""
        target = self.output.output
        if target and target.suffix:
            raise ValueError(f"--output {target} should be a folder when --prompts is given")
        for name in ("image", "end_image", "depth", "driving_video"):
            if name in self.typed:
                what = "an image" if "image" in name else shown_name(name)
                raise ValueError(f"give one of: {what}, --prompts or --replay; {what} and --prompts was given")
        folder, suffix = target or Path("outputs") / source.stem, suffix_of(self.output)
        rows = read_requests(source, mode=LIST_MODES["animate" if self.mode == "keyframes" else self.mode])
        resolver, videos = Resolver(self.model, self.store), list[PlannedVideo]()
        problems = Problems()
        for number, row in enumerate(map(layout.row, rows)):
            with problems.of_row(f"{row.place}request {short_text(row.name)}: "):
                request = self.resolve_row(row, resolver, number * self.copies)
                path, numbered = layout.paths(folder, row, suffix, self.copies)
                indices = range(request.index, request.index + self.copies)
                videos += self.videos(request, path, numbered, indices)
        problems.check()
        say_overridden(self.typed, [row.values for row in rows])
        return self.plan(videos, skip_finished=True)

    def resolve_row(self, row: Request, resolver: Resolver, index: int) -> ResolvedRequest:
        """The request of a row of a list, whose noise is number `index` unless the row has a seed of its own.

        With one, it means the same in any list. Raises `ValueError`.
        """
        index = 0 if "seed" in row.values and "seed" not in self.typed else index
        mode, values = self.mode, dict(row.values)
        if values.get("keyframes") and mode == "animate":
            mode, values = with_keyframes(mode, values)
        check_mode(values, mode)
        return resolver.resolve(self.base.under(values, "row").under(self.typed, "typed"), mode, index)

    def videos(
        self, request: ResolvedRequest, path: Path, numbered: Sequence[Path], indices: Sequence[int]
    ) -> list[PlannedVideo]:
        """The videos of one request: a single one at `path`, several as `numbered`, or as `keep` says.

        Raises `ValueError` for what cannot be written there.
        """
        several, keep = len(indices) > 1, self.output.keep
        entries = entries_of(path, tuple(numbered), keep) if several or keep == "best" else (path,)
        requests = [request.with_index(index) for index in indices]
        digests = tuple(single.digest(self._file(request, path)) for single in requests)
        candidates = Candidates(path, entries, digests, keep == "best") if several else None
        for place in (path,) if keep == "best" else entries:
            check_length(place, self.output, request.settings.num_frames)
            check_output(place)
        parts = zip(requests, entries, digests, strict=True)
        return [PlannedVideo(single, entry, digest, candidates) for single, entry, digest in parts]

    def plan(
        self,
        videos: Sequence[PlannedVideo],
        skip_finished: bool = False,
        threads: int | None = None,
        changes: tuple[str, ...] = (),
        batch_size: int = 1,
    ) -> Plan:
        """The plan of these videos; says which of the values that were given have no effect, and what is not given.

        batch_size: how many are made at once
        """
        say_idle([video.request.idle for video in videos], self.typed)
        self._say_unused_chunks(videos)
        unprompted = sum(not video.request.inputs.prompt.strip() for video in videos)
        if unprompted and self.record is None:
            logger.warning(
                "%d of %d videos have no prompt: the model alone decides what happens", unprompted, len(videos)
            )
        plan = Plan(
            *(tuple(videos), self.model, self.store, self._playback_fps, self.output, self._drops_last_frame),
            *(skip_finished, threads, changes),
        )
        return fit_plan(plan, batch_size)

    def _say_unused_chunks(self, videos: Sequence[PlannedVideo]) -> None:
        memory: MemoryParameters = self.common.make(MemoryParameters)
        if "chunk_frames" in self.typed and memory.chunk_frames is not None:
            longest = max(video.request.settings.num_frames for video in videos)
            if memory.chunk_frames >= longest:
                logger.warning("%s has no effect: no video is longer", shown_name("chunk_frames"))

    def _file(self, request: ResolvedRequest, path: Path) -> FileSpec:
        frames = request.settings.num_frames - self._drops_last_frame
        return FileSpec(path.suffix.lower(), self._playback_fps, frames)

    @property
    def _drops_last_frame(self) -> bool:
        if self.record is not None and self.record.settings.mode == self.mode:
            return self.record.drop_last_frame
        return self.mode == "loop"

    @property
    def _playback_fps(self) -> float:
        fps = self.output.playback_fps
        fps = float(self.model.card.playback_fps) if fps is None else fps
        check_fps(fps)
        return fps

    def _usual_output(self, values: Values) -> Path:
        """Where the video goes when nothing says so: beside the record of a replay, else into outputs/."""
        output, suffix = self.output, suffix_of(self.output)
        if self.record is not None:
            name = record_stem(Path(self.record.video))
            ending = suffix if output.format else self.record.video[len(name) :]
            path = self.record.path
            stem = name if path.stem.startswith(f"{name}.") else path.stem  # of clip.gif.json it is clip
            return path.with_name(f"{stem}_replay{ending}")
        image, seed = values.values.get("image"), values.values.get("seed", 123)
        name = name_of_prompt(values.values.get("prompt", "")) if image is None else image.stem
        return Path("outputs") / f"{name}_{self.mode}_{seed}{suffix}"


def _check_source(mode: str, values: Values) -> None:
    """Raise `ValueError` where there is nothing to begin with."""
    image, end = values.values.get("image"), values.values.get("end_image")
    if mode == "keyframes" and image is None:
        raise ValueError("the video begins with an image: give it, or the key frame 0 (--keyframe 0=FILE)")
    if mode == "interpolate" and (image is None) != (end is None):
        raise ValueError("give two images, the first and the last frame")
    of_text = mode in IMAGELESS
    what, missing = ("a prompt", "prompt" not in values.values) if of_text else ("an image", image is None)
    if missing:
        raise ValueError(f"give one of: {what}, --prompts or --replay; nothing was given")


def _mode_of_replay(mode: str, typed: Mapping[str, Any], record: Record, single: bool) -> str:
    """The mode of the record: any command makes it again, but not a list of what it is itself for.

    Raises `ValueError` for parameters that the mode does not read.
    """
    made = record.settings.mode
    if mode == "keyframes" and made != "keyframes":
        return mode
    if made != mode and not single and (mode, made) != ("animate", "keyframes"):
        raise ValueError(f"{mode} is not the mode of {record.path}, which is {made}; use {made}, or leave out --replay")
    if made != mode:
        logger.info("%s is the record of a video by %s, which is made again", record.path, made)
    check_mode(typed, made)
    return made


def say_overridden(typed: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Log which values were `typed` in the place of others in a list."""
    over = {name for row in rows for name, value in row.items() if typed.get(name, value) != value}
    for name in sorted(over):
        logger.info("%s is taken for all videos, also where the list has another one", shown_name(name))

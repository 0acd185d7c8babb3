"""Stories of visitors: a script in a text box and uploaded files become a storyboard and a film, within the limits."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lvdm.app.endpoints import Desk
from lvdm.app.work import Work
from lvdm.declaration.parameter import parameters_of
from lvdm.declaration.parameters import ModelParameters
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.documents import parse_yaml
from lvdm.hosting.checks import UploadIntake, check_plan
from lvdm.media.file_names import check_name
from lvdm.media.images import load_layer
from lvdm.media.sound import probe_sound
from lvdm.plugins.registry import method_files
from lvdm.request.layers import all_parameters
from lvdm.story.captions import check_font
from lvdm.story.film import Film
from lvdm.story.folder import StoryFolder
from lvdm.story.making import make_story
from lvdm.story.planning import StoryPlan, plan_story
from lvdm.story.reading import parse_story, with_files
from lvdm.story.script import Story, StoryError

WHERE = "the script"
MAX_UPLOADS = 100
"""Files of one story."""
FONTS = (".ttf", ".otf")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac")
"""Files that are kept as they come; all others are images."""


@dataclass(frozen=True)
class StoryVideo:
    """What was made: the film, or without one a single shot; `seconds` that it took."""

    plan: StoryPlan
    video: Path
    seconds: float


@dataclass(frozen=True, eq=False)
class Storyteller:
    """Stories on the page of `desk`. Each visitor's story has a folder, by an id that nobody can guess."""

    desk: Desk

    def begin(self, session: str) -> str:
        """The id of a new story, whose files go when the visitor leaves."""
        sessions = self.desk.sessions
        id_ = sessions.new_id()
        entry = sessions.begin(session, "story", "", Work(lambda work: None, self.desk.turn), id_)
        entry.folder.mkdir(parents=True)
        sessions.end(session, entry, "completed")
        return id_

    def receive(self, id_: str, uploads: Sequence[Path]) -> None:
        """Take files into the story's folder, under their own names: images as PNG, with their transparency.

        Raises `ValueError`; then those before are there.
        """
        folder = self._folder(id_)
        if sum(path.is_file() for path in folder.iterdir()) + len(uploads) > MAX_UPLOADS:
            raise StoryError(f"a story has at most {MAX_UPLOADS} files here")
        intake = UploadIntake(self.desk.limits)
        for upload in uploads:
            try:
                self._keep(upload, folder, intake)
            except ValueError as error:
                raise StoryError(str(error).replace(str(upload), upload.name)) from error

    def _keep(self, upload: Path, folder: Path, intake: UploadIntake) -> None:
        name, kind = check_name(upload.stem, "the name of a file"), upload.suffix.lower()
        if kind in (*FONTS, *SOUNDS):
            (check_font if kind in FONTS else probe_sound)(upload)
            shutil.copyfile(upload, folder / f"{name}{kind}")
            return
        intake.check("image", upload)  # too large, or no image
        layer, _ = load_layer(upload, self.desk.limits.image_pixels)
        layer.convert("RGBA" if layer.has_transparency_data else "RGB").save(folder / f"{name}.png")

    def plan(self, id_: str, text: str, model: str) -> StoryPlan:
        """The plan of a script with uploaded images and a listed model. Raises `ValueError`."""
        folder = self._folder(id_)
        story = parse_story(parse_yaml(text, WHERE), WHERE, folder)
        story = with_files(story, lambda path: _uploaded(path, folder))
        _check_settings(story)
        chosen = self.desk.model(model)
        plan = plan_story(story, StoryFolder(folder, "story"), {**chosen.values, "device": self.desk.device})
        if len(plan.videos) > self.desk.limits.max_videos:
            raise StoryError(
                f"{len(plan.videos)} shots and transitions are more than are made here; use at most "
                f"{self.desk.limits.max_videos}"
            )
        for video in plan.videos:
            check_plan(video.plan, self.desk.limits)
        return plan

    def make(self, work: Work[StoryVideo], id_: str, text: str, model: str, only: str | None) -> StoryVideo:
        """Make the film, or one shot of it. Raises `ValueError`, `SamplingCancelled`."""
        began = time.monotonic()
        work.say("checking the story")
        plan = self.plan(id_, text, model)
        video = plan.folder.film
        for event in make_story(plan, only, work.progress, self.desk.maker.load):
            work.say("reading the next shot")
            video = event.output if isinstance(event, Film) else event.video.output
        return StoryVideo(plan, video, time.monotonic() - began)

    def in_own_words(self, id_: str, message: str) -> str:
        """A message in the words of the page, without the name of the server's folder."""
        return self.desk.in_words(message.replace(f"{self.desk.sessions.folder_of(id_)}/", ""))

    def _folder(self, id_: str) -> Path:
        folder = self.desk.sessions.folder_of(id_)
        if not id_.isalnum() or not folder.is_dir():
            raise StoryError("the story's images are no longer here; load them again")
        return folder


def moved(text: str, shot: str, index: int, box: Sequence[float]) -> str:
    """The script with another box of a character. Raises `ValueError` for one that is not there."""
    tree = parse_yaml(text, WHERE)
    try:
        number = next(n for n, part in enumerate(tree["shots"], start=1) if _name(part, n) == shot)
        placement = tree["shots"][number - 1]["compose"]["characters"][index]
        placement["box"] = [round(float(side), 3) for side in box]
    except (KeyError, IndexError, TypeError, StopIteration) as error:
        raise StoryError(f"shot {shot!r} has no such box; show the storyboard again") from error
    return _dumped(tree)


def with_new_seed(text: str, shot: str) -> str:
    """The script with another seed of a shot. Raises `ValueError`."""
    tree = parse_yaml(text, WHERE)
    try:
        part = next(part for n, part in enumerate(tree["shots"], start=1) if _name(part, n) == shot)
        part["seed"] = secrets.randbelow(2**31)
    except (KeyError, TypeError, StopIteration) as error:
        raise StoryError(f"there is no shot {shot!r}; show the storyboard again") from error
    return _dumped(tree)


def _name(part: Mapping[str, Any], number: int) -> str:
    return str(part.get("name") or f"shot_{number:02d}")


def _dumped(tree: Any) -> str:
    return str(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False, default_flow_style=None, width=100))


def _uploaded(path: Path, folder: Path) -> Path:
    """The uploaded file of this name. Raises `StoryError` for any other file of the server."""
    if path.parent != folder or path.name in ("", "..", "."):
        raise StoryError(f"{path.name}: name a file that was loaded here, without a folder")
    kind = path.suffix.lower()
    stored = path.with_suffix(kind if kind in (*FONTS, *SOUNDS) else ".png")
    if not stored.is_file():
        raise StoryError(f"{path.name} is not loaded; choose it above the script")
    return stored


def _check_settings(story: Story) -> None:
    """Raise `StoryError` for settings that name files of the server, or what the server decides."""
    refused = {*parameters_of(ModelParameters), *parameters_of(MachineParameters), *method_files()}
    refused |= {name for name, declared in all_parameters().items() if declared.kind is Path}
    parts = [story.settings, story.transition_settings, *(shot.settings for shot in story.shots)]
    for name in (name for part in parts for name in part):
        if name in refused:
            raise StoryError(f"settings: {name} is not chosen in a script here; the list of models says which")

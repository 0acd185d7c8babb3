"""What the buttons do, and the API endpoints of the same names."""

from __future__ import annotations

import inspect
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from lvdm.app import showing
from lvdm.app.brush import over
from lvdm.app.controls import parameter_values
from lvdm.app.making import PAINTED, Maker, Result
from lvdm.app.pace import VideoTimes
from lvdm.app.sessions import COLUMNS, Sessions
from lvdm.app.work import LOOK_EVERY, View, Work
from lvdm.declaration.parameter import known_name
from lvdm.declaration.run_parameters import MachineParameters
from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.documents import one_line
from lvdm.hosting.library import Library, ListedModel
from lvdm.hosting.limits import Limits
from lvdm.hosting.words import in_words_of_guests
from lvdm.jobs.preview import soft_images
from lvdm.media.images import fit_image, load_image
from lvdm.media.video_writer import to_uint8
from lvdm.sizes import choose_size

logger = logging.getLogger(__name__)

FURTHER, AT = "further_images", "at_frames"
"""Of the tab that interpolates: images between the first and the last, and the frames that show them."""
EXTRA = (FURTHER, AT, PAINTED)
"""What tabs give besides parameters."""
BROKEN = "something is wrong on the server, which is not your doing; its messages say what"
CLOSING_SECONDS = 60.0
"""How long the end of the page waits for a job to stop."""
OUTPUTS = ("status", "video", "report", "sheet", "files", "record", "last seed", "jobs")
"""What a button gives, in this order."""


@dataclass(eq=False)
class Desk:
    """What all visitors share: the models, the device, and who is making what."""

    library: Library
    limits: Limits
    folder: Path
    device: str = "auto"
    maker: Maker = field(init=False)
    sessions: Sessions = field(init=False)
    pace: VideoTimes = field(default_factory=VideoTimes)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.maker, self.sessions = Maker(self.limits, self.library.files), Sessions(self.folder)

    def model(self, name: str) -> ListedModel:
        """The listed model of this name. Raises `ValueError`."""
        return self.library.models[known_name(name, self.library.models, "model")]

    def values(self, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        """Parameters from the controls, with those of the model that is chosen and of the device. Raises `ValueError`.

        What is no parameter (`EXTRA`) is passed as it is.
        """
        all_values = dict(zip(names, values, strict=True))
        chosen = self.model(str(all_values.pop("model")))
        extra = {name: all_values.pop(name) for name in EXTRA if all_values.get(name)}
        declared = [name for name in all_values if name not in EXTRA]
        parameters = parameter_values(declared, [all_values[name] for name in declared], self.library)
        return {**parameters, **extra, **chosen.values, "device": self.device}

    def measure(self, name: str) -> None:
        """Make a small video with a model, so that times are known; it also loads the model."""
        model = self.model(name)
        id_ = self.sessions.new_id()

        def make(work: Work[Result]) -> Result:
            image = to_uint8(soft_images(1, max(model.card.height, 64)).transpose(0, 1))[0]
            parameters = {"prompt": "it moves", "num_inference_steps": 2, **model.values, "device": self.device}
            folder = self._new_folder(id_)
            Image.fromarray(image.numpy()).save(folder / "first.png")
            mode = model.card.usual_mode
            if mode == "structure":
                np.savez(folder / "depth.npz", depth=np.tile(np.arange(64.0), (model.card.num_frames, 64, 1)))
                return self.maker.make(work, mode, {**parameters, "depth": folder / "depth.npz"}, folder)
            images = {"image": folder / "first.png"} if mode != "text-to-video" else {}
            return self.maker.make(work, mode, {**parameters, **images}, folder)

        work = Work(make, self.turn)
        entry = self.sessions.begin("", "measure", "", work, id_)
        work.start()
        try:
            self.pace.learn(model.card.name, work.result().record)
        except SamplingCancelled:
            logger.debug("the page ended before the time of a video was known")
        except (ValueError, OSError) as error:
            logger.warning("the time of a video could not be measured: %s", one_line(str(error)))
        finally:
            self.sessions.end("", entry, "cancelled")

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Stop all jobs and keep the device from then on: as the process ends, no thread uses torch or writes a file.

        A job ends after the step that it is in; one that takes longer than `seconds` is left alone.
        """
        end = time.monotonic() + seconds
        while not self.turn.acquire(timeout=LOOK_EVERY):
            self.sessions.cancel_all()
            if time.monotonic() > end:
                logger.warning("a video is still being made after %.0f s; it is not waited for", seconds)
                return

    def jobs_of(self, session: str) -> str:
        """The list of a visitor's jobs, as the page shows it."""
        return showing.table(COLUMNS, self.sessions.rows(session))

    def results(self, mode: str, parameters: Mapping[str, Any], session: str) -> Iterator[Any]:
        """Make a video: what the page shows, again and again, and the `Result` at the end. Raises `gr.Error`."""
        id_ = self.sessions.new_id()
        work = Work(lambda job: self._make(job, mode, parameters, id_), self.turn)
        entry = self.sessions.begin(session, mode, str(parameters.get("prompt", "")), work, id_)
        state, result = "cancelled", None
        work.start()
        try:
            yield from work.views()
            result = work.result()
            state = "completed"
        except SamplingCancelled:
            return
        except Exception:
            state = "failed"
            raise
        finally:  # also where nobody listens any more
            work.cancel()
            seconds, seed = (None, None) if result is None else (result.seconds, result.seed)
            self.sessions.end(session, entry, state, seconds, seed)
        self.pace.learn(self.model_of(parameters).card.name, result.record)
        yield result, work.view.notes

    def _make(self, work: Work[Result], mode: str, parameters: Mapping[str, Any], id_: str) -> Result:
        """The video; where it is not completed its files go, and they do so last of all here, in its own thread."""
        folder = self._new_folder(id_)
        try:
            result = self.maker.make(work, mode, parameters, folder)
            work.check()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return result

    def why_not(self, model: ListedModel, mode: str) -> str:
        """Why the model cannot do `mode`; empty where it can."""
        return self.in_words(model.cannot(mode))

    def in_words(self, message: object) -> str:
        """A message of the library in the words of the page."""
        return in_words_of_guests(str(message), self.library.models)

    def model_of(self, parameters: Mapping[str, Any]) -> ListedModel:
        """The listed model that `values` has chosen."""
        return next(
            model
            for model in self.library.models.values()
            if all(parameters.get(name) == value for name, value in model.values.items())
        )

    def _new_folder(self, id_: str) -> Path:
        folder = self.sessions.folder_of(id_)
        folder.mkdir(parents=True)
        return folder


def refusal(line: str) -> gr.Error:
    """The error as visitors and clients see it."""
    return gr.Error(line.replace("<", "&lt;"), print_exception=False)


def generating(desk: Desk, mode: str, names: Sequence[str]) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """The function behind the button of `mode`: takes the values of `names`, yields what `OUTPUTS` says."""

    def generate(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        *values, request = arguments
        session, skip = request.session_hash or "", gr.skip()
        try:
            parameters = desk.values(names, values)
            real_mode, parameters = with_frames(
                mode, parameters, desk.model(values[names.index("model")]).card.num_frames
            )
            yield (showing.running(View()), *[skip] * (len(OUTPUTS) - 1))
            finished = False
            for seen in desk.results(real_mode, parameters, session):
                if isinstance(seen, tuple):
                    yield (*_result_outputs(*seen), desk.jobs_of(session))
                else:
                    yield (showing.running(seen), *[skip] * (len(OUTPUTS) - 1))
                finished = isinstance(seen, tuple)
            if not finished:
                yield (showing.CANCELLED, *[skip] * (len(OUTPUTS) - 2), desk.jobs_of(session))
        except (ValueError, OSError) as error:
            line = desk.in_words(error)
            yield (showing.failed(line), *[skip] * (len(OUTPUTS) - 2), desk.jobs_of(session))
            raise refusal(line) from error
        except Exception:  # a bug of ours: what it was is told where the server runs
            yield (showing.failed(BROKEN), *[skip] * (len(OUTPUTS) - 2), desk.jobs_of(session))
            raise

    return with_names(generate, names)


def with_frames(mode: str, parameters: Mapping[str, Any], trained: int) -> tuple[str, dict[str, Any]]:
    """Mode and parameters where there are `FURTHER` images: the first and the last are key frames as well.

    Without `AT` they are spaced evenly. Raises `ValueError`.
    """
    values = dict(parameters)
    further, numbers = values.pop(FURTHER, []), str(values.pop(AT, "")).replace(",", " ").split()
    if not further:
        return mode, values
    last = values.get("num_frames", trained) - 1
    if not numbers:
        numbers = [str(round(last * (i + 1) / (len(further) + 1))) for i in range(len(further))]
    if len(numbers) != len(further) or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"{len(further)} further images need as many numbers of frames, such as 5 10, or none")
    frames = [(int(number), path) for number, path in zip(numbers, further, strict=True)]
    if "end_image" in values:
        frames.append((last, values.pop("end_image")))
    if len({frame for frame, _ in frames}) < len(frames):
        raise ValueError(f"two images are to be shown at one frame ({', '.join(str(frame) for frame, _ in frames)})")
    return "keyframes", values | {"keyframes": frames}


def with_names(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """`function`, which takes the values of `names` and the request, with a signature that says so: clients see it."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    extra = [inspect.Parameter(name, kind, default=None) for name in names]
    request = inspect.Parameter("request", kind, default=None, annotation=gr.Request)
    function.__signature__ = inspect.Signature([*extra, request])  # type: ignore[attr-defined]
    function.__annotations__ = {"request": gr.Request}
    return function


def fit_preview(
    desk: Desk, count: int, image: Path | None, model: str, height: Any, width: Any, fit: str
) -> tuple[Any, ...]:
    """The image, the same as the model will see it, its size in words, and it under the brush: the first `count`.

    An image that is refused is taken away.
    """
    nothing = gr.update(visible=False, value=None)
    if image is None:
        return (gr.skip(), nothing, "", over(None))[:count]
    try:
        opened = load_image(image, desk.limits.image_pixels)
    except (ValueError, OSError) as error:
        image.unlink(missing_ok=True)
        warn(str(error).replace(str(image), image.name))
        return (None, nothing, "", over(None))[:count]
    try:
        seen, words = _as_seen(
            desk, opened, desk.values(["model", "height", "width", "fit"], [model, height, width, fit])
        )
    except ValueError as error:
        return (gr.skip(), nothing, one_line(str(error)), over(opened))[:count]
    return (gr.skip(), gr.update(visible=True, value=seen), words, over(opened))[:count]


def _as_seen(desk: Desk, image: Image.Image, parameters: Mapping[str, Any]) -> tuple[Image.Image, str]:
    """What the model sees of `image`, and what becomes of it in words. Raises `ValueError`."""
    listed, mode = desk.model_of(parameters), parameters.get("fit", "crop")
    multiple = listed.choose(MachineParameters(device=desk.device)).outline.size_multiple
    shape, trained = (image.height, image.width), (listed.card.height, listed.card.width)
    size = choose_size(parameters.get("height"), parameters.get("width"), shape, trained, multiple)
    inside = size.inner
    if not desk.limits.allows_size(inside.height, inside.width):
        raise ValueError(f"larger than is made here ({desk.limits.max_megapixels:g} megapixels)")
    seen = to_uint8(fit_image(image, inside.height, inside.width, mode)[:, None])[0]
    words = f"{image.width} x {image.height} becomes {inside.width} x {inside.height} by {mode}"
    if not size.is_exact:
        words += f"; the network runs at {size.width} x {size.height}"
    return Image.fromarray(seen.numpy()), words


def warn(message: str) -> None:
    """Show a line for some seconds."""
    gr.Warning(one_line(message).replace("<", "&lt;"))


def _result_outputs(result: Result, notes: tuple[str, ...]) -> tuple[Any, ...]:
    """All of `OUTPUTS` but the list of jobs."""
    status = showing.finished(result.report, result.seconds, notes)
    sheet = None if result.sheet is None else str(result.sheet)
    files = [str(path) for path in result.downloads]
    return status, str(result.video), result.report, sheet, files, result.record, str(result.seed)

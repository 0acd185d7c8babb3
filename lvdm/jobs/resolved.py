"""One request, resolved: every value decided, every file hashed. What comes after it reads this and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lvdm.content_hash import content_hash
from lvdm.declaration.parameter import IMAGELESS
from lvdm.declaration.parameters import FRAMES_OF_FILES, InputParameters, SeedParameters
from lvdm.jobs.images import ImageStore
from lvdm.jobs.model import ChosenModel
from lvdm.jobs.record import request_facts
from lvdm.media.geometry import PaddedSize
from lvdm.model_files import ModelIdentity
from lvdm.pipeline.requests import GenerationRequest, check_request, check_structure_sources
from lvdm.plugins.scaling import plan_scale
from lvdm.request.digest import FileSpec, InputFile, digest_of, files_of_methods
from lvdm.request.effects import effective
from lvdm.request.layers import Values, file_inputs
from lvdm.request.settings import GenerationSettings, choose_fs
from lvdm.sizes import choose_size


@dataclass(frozen=True, eq=False)
class ResolvedRequest:
    """One video to make, before its images are in memory.

    inputs    its images by their files, and its prompts
    settings  with the card's values, and neutral ones for what has no effect
    size      of the video, and of the network around it
    fs        the model's `fs` input
    scale     what is done beyond the trained size, with every value; off for nothing
    seed, index  decide on its noise, see `GenerationRequest`
    files     what was read, with hashes
    model     what decides on the model's numbers
    idle      parameters that were given and have no effect here, and why
    """

    inputs: InputParameters
    settings: GenerationSettings
    size: PaddedSize
    fs: int
    scale: str
    seed: int
    index: int
    files: tuple[InputFile, ...]
    model: ModelIdentity
    idle: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_files(self) -> tuple[InputFile, ...]:
        """What was read, and the files of the model, as a record has them."""
        return (*self.files, *self.model.files())

    def with_index(self, index: int) -> ResolvedRequest:
        """The same with other noise."""
        return replace(self, index=index)

    def digest(self, file: FileSpec) -> str:
        """The digest of the video as it is written by `file`."""
        return digest_of(self.facts(file))

    def facts(self, file: FileSpec) -> dict[str, Any]:
        """What decides on pixels and file."""
        prompts = self.inputs.prompt, self.inputs.negative_prompt, self.inputs.prompts_at
        noise = self.seed, self.index
        return request_facts(
            self.settings, prompts, self.files, noise, self.size, self.fs, self.scale, self.model, file
        )

    def load(self, store: ImageStore) -> GenerationRequest:
        """What the pipeline takes: images, depth and driving video in memory."""
        return replace(loaded(self.inputs, store, self.seed, self.index), **self._load_frames(store))

    def _load_frames(self, store: ImageStore) -> dict[str, Any]:
        """That of `FRAMES_OF_FILES` in memory which is given, if one is."""
        import torch  # a plan is made without

        source = frames_of(self.inputs)
        if source is None:
            return {}
        kind, path = source
        frames = store.frames(path, kind, self.settings.num_frames, self.settings.depth_stride)
        return {kind: torch.from_numpy(frames)}


class Resolver:
    """Requests of one job: what they have in common, such as settings and hashes, is made once."""

    def __init__(self, model: ChosenModel, store: ImageStore) -> None:
        self.model = model
        self.store = store
        self._identity: ModelIdentity | None = None
        self._settings: dict[str, GenerationSettings] = {}

    @property
    def identity(self) -> ModelIdentity:
        """That of the model; its files are read when it is first asked for."""
        if self._identity is None:
            self._identity = self.model.identity()
        return self._identity

    def resolve(self, values: Values, mode: str, index: int = 0) -> ResolvedRequest:
        """The request of these values in `mode`. Raises `ValueError` for what cannot be made."""
        inputs: InputParameters = values.make(InputParameters)
        settings = self._settings_of(values, mode)
        _check_images(inputs, mode)
        card = self.model.card
        source = frames_of(inputs)
        shapes = [self.store.size(path)[::-1] for path in _images(inputs)]
        if source is not None:
            frames = self.store.frames(source[1], source[0], settings.num_frames, settings.depth_stride)
            shapes.append((frames.shape[1], frames.shape[2]))
        trained = card.height, card.width
        shape = shapes[0] if shapes else trained
        size = choose_size(settings.height, settings.width, shape, trained, self.model.outline.size_multiple)
        settings, idle = effective(settings, self.model.circumstances(size, shapes, inputs))
        if "negative_prompt" in idle:
            inputs = replace(inputs, negative_prompt="")
        self._check_inputs(inputs, settings)
        plan = plan_scale(settings.scale, (size.height, size.width), trained)
        scale = "off" if plan is None else plan.text
        self.model.placement.check_settings(settings, scale)
        self.model.check_steps(settings)
        idle = {name: because for name, because in idle.items() if values.layers.get(name) in ("row", "typed")}
        return ResolvedRequest(
            *(inputs, settings, size, choose_fs(card, settings), scale, values.make(SeedParameters).seed, index),
            *(_files(inputs, settings), self.identity, idle),
        )

    def _settings_of(self, values: Values, mode: str) -> GenerationSettings:
        given = values.of(GenerationSettings) | {"mode": mode, "num_videos_per_prompt": 1}
        key = repr(sorted(given.items()))
        if key not in self._settings:
            self._settings[key] = GenerationSettings.from_card(self.model.card, **given)
        return self._settings[key]

    def _check_inputs(self, inputs: InputParameters, settings: GenerationSettings) -> None:
        check_request(loaded(inputs, self.store), settings, self.model.card)
        if inputs.driving_video is not None and inputs.depth_model is None:
            self.model.check_depth_estimator()


def loaded(inputs: InputParameters, store: ImageStore, seed: int = 0, index: int = 0) -> GenerationRequest:
    """The request with its images in memory, without what its structure is read from. Raises `ImageError`."""
    return GenerationRequest(
        None if inputs.image is None else store.image(inputs.image),
        inputs.prompt,
        inputs.negative_prompt,
        None if inputs.end_image is None else store.image(inputs.end_image),
        seed,
        index,
        inputs.image,
        inputs.end_image,
        () if inputs.keep_mask is None else (store.mask(inputs.keep_mask),),
        inputs.keep_mask,
        inputs.prompts_at,
        tuple((frame, store.image(path)) for frame, path in inputs.keyframes),
        inputs.keyframes,
        guide_video_path=inputs.guide_video,
        depth_path=inputs.depth,
        driving_video_path=inputs.driving_video,
        depth_model_path=inputs.depth_model,
    )


def _check_images(inputs: InputParameters, mode: str) -> None:
    """Raise `ValueError` unless the images are there that `mode` begins and ends with."""
    given = [name for name in ("depth", "driving_video") if getattr(inputs, name) is not None]
    check_structure_sources(given, mode)
    if inputs.depth_model is not None and inputs.depth is not None:
        raise ValueError("depth_model estimates the depth of a driving video; leave it out, or depth (--depth)")
    if mode not in IMAGELESS and inputs.image is None:
        raise ValueError(f"{mode} needs an image, and none was given")
    if mode == "interpolate" and inputs.end_image is None:
        raise ValueError("give two images, the first and the last frame")


def alike(request: ResolvedRequest) -> tuple[GenerationSettings, bool]:
    """What requests of one size have in common that are made at once."""
    return request.settings, request.inputs.guide_video is None


def frames_of(inputs: InputParameters) -> tuple[str, Path] | None:
    """That of `FRAMES_OF_FILES` which is given, and its file; None without one."""
    named = [(name, getattr(inputs, name)) for name in FRAMES_OF_FILES]
    return next(((name, path) for name, path in named if path is not None), None)


def _images(inputs: InputParameters) -> list[Path]:
    """The files of all images that are shown, that of frame 0 first."""
    found = [inputs.image, inputs.end_image, *(path for _, path in inputs.keyframes)]
    return [path for path in found if path is not None]


def _files(inputs: InputParameters, settings: GenerationSettings) -> tuple[InputFile, ...]:
    """What is read for the request besides the model, with hashes."""
    single = {name: getattr(inputs, name) for name in file_inputs()}
    files = [InputFile(name, content_hash(path), path) for name, path in single.items() if path is not None]
    files += [InputFile("keyframes", content_hash(path), path, frame) for frame, path in inputs.keyframes]
    return (*files, *files_of_methods(settings))

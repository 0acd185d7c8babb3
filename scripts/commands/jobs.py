"""From options to a list of videos to make: everything is checked here, before the weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lvdm.checkpoint import check_same_unet, checkpoint_hash, read_checkpoint
from lvdm.checkpoint.lora import read_lora
from lvdm.config import load_model_config
from lvdm.data.images import load_image
from lvdm.data.masks import to_masks
from lvdm.data.ownership import check_video_replaceable, record_stem
from lvdm.data.prompts import Mode, Request, name_of_prompt, read_requests
from lvdm.data.video_writer import check_fps, check_output
from lvdm.device import choose_device, choose_precision
from lvdm.generation import MAX_FRAMES, GenerationSettings
from lvdm.model_card import ModelCard
from lvdm.model_files import EMBEDDED, ModelFiles, card_for, find_model, find_preset
from lvdm.model_loading import choose_schedule
from lvdm.provenance import image_hash, read_record
from lvdm.request_checks import check_keep_mask, check_keyframes, check_prompt, check_prompts_at
from scripts.commands.contests import Contest, contest
from scripts.commands.options import GenerationOptions

logger = logging.getLogger(__name__)

READ_MODES: dict[str, Mode] = {"animate": "i2v", "interpolate": "interp", "loop": "loop", "text-to-video": "t2v"}
WHOLE_FORMATS = (".gif", ".webp", ".apng", ".png")
"""Animations: their frames are packed together, and so all held."""
FORMATS = {"png": "_%05d.png"}
"""Formats whose name is not their suffix."""


@dataclass(frozen=True)
class Video:
    """One video to make, and where to. Its images have been looked at, and are read again when it is its turn.

    `contest` has the other videos of the same image and prompt, if there are any.
    """

    asked: Request
    index: int
    settings: GenerationSettings
    output: Path
    contest: Contest | None = None


@dataclass(frozen=True)
class Job:
    """Videos to make with one model."""

    videos: tuple[Video, ...]
    files: ModelFiles
    options: GenerationOptions
    playback_fps: float
    drop_last_frame: bool
    skip_finished: bool = False


def choose_model(options: GenerationOptions) -> tuple[ModelFiles, ModelCard]:
    """The model that the options name; the embedded one when they name none."""
    if options.preset and options.config:
        raise ValueError("--preset brings its own configuration; leave out --config")
    if options.preset and not options.checkpoint:
        files = find_preset(options.preset)
    else:
        source = options.config or options.preset or options.checkpoint or EMBEDDED
        files = find_model(source, options.checkpoint if options.config or options.preset else None)
    load_model_config(files.config)
    choose_schedule(options.schedule)
    card = card_for(files)
    choose_precision(options.dtype, choose_device(options.device))
    for path, _ in options.loras():
        weights = read_checkpoint(files.checkpoint)
        read_lora(path).check_fits({key: weights.shape(key) for key in weights}, f"{card.name} ({files.checkpoint})")
    if options.late_weights is not None:
        if options.lora:
            raise ValueError("a LoRA would change the early weights alone; leave out --late-weights, or --lora")
        check_same_unet(files.checkpoint, options.late_weights)
    return files, card


def single_job(image: Path | None, end_image: Path | None, mode: str, options: GenerationOptions) -> Job:
    """One image, or one sentence for text-to-video, `--num-videos` times."""
    if not (options.prompt or "").strip():
        raise ValueError('the prompt is empty; say what should happen, e.g. --prompt "the red ball moves to the right"')
    if options.output and options.format and not options.output.name.endswith(_suffix(options)):
        raise ValueError(f"--output {options.output} is not a {options.format} file; leave out --format")
    prompt = options.prompt or ""
    asked = Request(image, prompt, image.stem if image else name_of_prompt(prompt), end_image)
    check_request(asked)
    check_prompt(options.negative_prompt, "negative prompt")
    keyframes = options.keyframes()
    for _, path in keyframes:
        load_if_given(path)
    output = options.output or Path("outputs") / f"{asked.name}_{mode}_{options.seed}{_suffix(options)}"
    count = options.num_videos
    outputs = [output] if count == 1 or options.keep == "best" else [_numbered(output, i) for i in range(count)]
    for path in outputs:
        if path.resolve() in [given.resolve() for given in (image, end_image, *dict(keyframes).values()) if given]:
            raise ValueError(f"--output {path} would replace the image; choose another name")
        check_place(path, options)
    if options.keep == "best":
        contest(output, tuple(_numbered(output, i) for i in range(count)), tuple(range(count)), options).check_folder(
            options.overwrite
        )
    files, card = choose_model(options)
    settings = GenerationSettings.from_card(card, mode=mode, **options.settings())
    check_mask(asked, options, settings, card)
    check_prompts_at(options.prompts_at(), settings)
    check_keyframes([frame for frame, _ in keyframes], settings)
    check_length(output, options, settings)
    single = replace(settings, num_videos_per_prompt=1)
    videos = _videos(asked, single, output, [_numbered(output, i) for i in range(count)], range(count), options)
    return Job(tuple(videos), files, options, _playback_fps(options, card), mode == "loop")


def list_job(source: Path, mode: str, options: GenerationOptions) -> Job:
    """A folder, CSV or JSONL of images and prompts, into the folder `--output`; finished videos are skipped."""
    if options.output and options.output.suffix:
        raise ValueError(f"--output {options.output} should be a folder when --prompts is given")
    folder = options.output or Path("outputs") / source.stem
    requests = read_requests(source, mode=READ_MODES[mode])
    files, card = choose_model(options)
    common = GenerationSettings.from_card(card, mode=mode, **options.settings())
    check_prompt(options.negative_prompt, "negative prompt")
    videos = []
    for number, asked in enumerate(requests):
        settings = replace(_settings_of(asked, common, card, options.settings()), num_videos_per_prompt=1)
        count, suffix = options.num_videos, _suffix(options)
        numbered = [folder / f"{asked.name}_{copy + 1:02d}{suffix}" for copy in range(count)]
        # a request with a seed of its own means the same in any list
        first = 0 if asked.seed is not None else number * count
        output = folder / f"{asked.name}{suffix}"
        videos += _videos(asked, settings, output, numbered, range(first, first + count), options)
        check_request(asked)
        check_mask(asked, options, settings, card)
        check_prompts_at(options.prompts_at(), settings)
        check_length(output, options, settings)
    rivals = videos[0].contest
    check_output(rivals.output if rivals else videos[0].output)
    return Job(tuple(videos), files, options, _playback_fps(options, card), mode == "loop", True)


def _videos(
    asked: Request,
    settings: GenerationSettings,
    output: Path,
    numbered: Sequence[Path],
    indices: Sequence[int],
    options: GenerationOptions,
) -> list[Video]:
    """The videos of one request: a single one as `output`, several as `numbered` or as --keep says."""
    rivals = contest(output, tuple(numbered), tuple(indices), options)
    if len(indices) == 1:
        return [Video(asked, indices[0], settings, output)]
    return [Video(asked, i, settings, path, rivals) for i, path in zip(indices, rivals.entries, strict=True)]


def _settings_of(
    asked: Request, common: GenerationSettings, card: ModelCard, given: dict[str, Any]
) -> GenerationSettings:
    """`common`, made from the options `given`, or other settings where the request has values of its own."""
    own: dict[str, Any] = {"num_frames": asked.num_frames, "motion": asked.motion}
    own["fps" if card.fs_meaning == "fps" else "frame_stride"] = asked.fs
    own = {name: value for name, value in own.items() if value is not None}
    if not own:
        return common
    if asked.motion is not None or asked.fs is not None:
        given = given | {"fps": None, "frame_stride": None, "motion": None}
    try:
        return GenerationSettings.from_card(card, mode=common.mode, **given | own)
    except ValueError as error:
        raise ValueError(f"request {asked.name!r}: {error}") from error


def replay_job(path: Path, options: GenerationOptions) -> Job:
    """The video that the record `path` describes, under the same settings, seed, precision and device."""
    recipe = read_record(path)
    asked = Request(recipe.image, recipe.prompt, path.stem, recipe.end_image, recipe.negative_prompt, recipe.seed)
    check_request(asked)
    if recipe.image and image_hash(recipe.image) != recipe.image_sha256:
        raise ValueError(f"{recipe.image} is no longer the image that {path} was made from; put the old one back")
    for frame, picture, sha256 in recipe.keyframes:
        if image_hash(picture) != sha256:
            raise ValueError(f"{picture} is no longer the picture of frame {frame} in {path}; put the old one back")
    if recipe.keep_mask and image_hash(recipe.keep_mask) != recipe.keep_mask_sha256:
        raise ValueError(f"{recipe.keep_mask} is no longer the mask that {path} was made with; put the old one back")
    statistics = recipe.settings.start_statistics
    if statistics and image_hash(Path(statistics)) != recipe.start_statistics_sha256:
        raise ValueError(f"{statistics} is no longer the statistics that {path} was made with; put the old ones back")
    late = recipe.settings.late_weights
    if late and checkpoint_hash(Path(late)) != recipe.late_weights_sha256:
        logger.warning("%s is another checkpoint than the late one in %s: the video will differ", late, path)
    source = options.config or options.preset or options.checkpoint
    files = choose_model(options)[0] if source else find_model(recipe.config, recipe.checkpoint)
    if checkpoint_hash(files.checkpoint) != recipe.checkpoint_sha256:
        logger.warning("%s is another checkpoint than the one in %s: the video will differ", files.checkpoint, path)
    for path_of_lora, _, sha256 in recipe.loras:
        if checkpoint_hash(path_of_lora) != sha256:
            logger.warning("%s is not the LoRA that %s was made with: the video will differ", path_of_lora, path)
    name = record_stem(Path(recipe.video))
    ending = _suffix(options) if options.format else recipe.video[len(name) :]
    stem = name if path.stem.startswith(f"{name}.") else path.stem  # of clip.gif.json it is clip
    output = options.output or path.with_name(f"{stem}_replay{ending}")
    check_place(output, options)
    torch.set_num_threads(recipe.threads)  # sums are rounded in an order that depends on it
    device = options.device if options.device != "auto" else recipe.device
    video = Video(asked, recipe.index, replace(recipe.settings, scale=recipe.scale), output)
    same = replace(
        options,
        device=device,
        dtype=recipe.dtype,
        low_memory=recipe.low_memory,
        schedule=recipe.schedule,
        keep_mask=recipe.keep_mask,
        keyframe=[f"{frame}={picture}" for frame, picture, _ in recipe.keyframes],
        prompt_at=[f"{frame}={prompt}" for frame, prompt in recipe.prompts_at],
        lora=[f"{file}:{scale}" for file, scale, _ in recipe.loras],
    )
    return Job((video,), files, same, recipe.playback_fps, recipe.drop_last_frame)


def check_place(output: Path, options: GenerationOptions) -> None:
    """Raise `OutputError` for a video that cannot be written, or would replace what was not made here."""
    check_output(output)
    check_video_replaceable(output, options.overwrite, options.contact_sheet)


def check_places(videos: Sequence[Video], options: GenerationOptions) -> None:
    """Raise `OutputError` if one of these videos would replace what was not made here."""
    outputs = (video.contest.output if video.contest and video.contest.best else video.output for video in videos)
    for output in dict.fromkeys(outputs):
        check_video_replaceable(output, options.overwrite, options.contact_sheet)
    for rivals in dict.fromkeys(video.contest for video in videos):
        if rivals:
            rivals.check_folder(options.overwrite)


def check_request(asked: Request) -> None:
    """Raise `ValueError` for a prompt or an image of the request that cannot be used."""
    check_prompt(asked.prompt, f"prompt of {asked.name}")
    check_prompt(asked.negative_prompt or "", f"negative prompt of {asked.name}")
    load_if_given(asked.image)
    load_if_given(asked.end_image)


def load_if_given(image: Path | None) -> Image.Image | None:
    """The image; None for none."""
    return None if image is None else load_image(image)


def check_length(output: Path, options: GenerationOptions, settings: GenerationSettings) -> None:
    """Raise `ValueError` for a video whose frames would all have to be held, and are too many."""
    if settings.num_frames <= MAX_FRAMES:
        return
    if output.suffix.lower() in WHOLE_FORMATS and "%" not in output.name:
        raise ValueError(f"{output}: {settings.num_frames} frames are too many for {output.suffix}; use mp4 or webm")
    if options.contact_sheet:
        raise ValueError(f"{settings.num_frames} frames are too many for a contact sheet; leave out --contact-sheet")


def check_mask(asked: Request, options: GenerationOptions, settings: GenerationSettings, card: ModelCard) -> None:
    """Raise `ValueError` for a `--keep-mask` that does not fit the request."""
    masks = () if options.keep_mask is None else to_masks(options.keep_mask)
    check_keep_mask(masks, load_if_given(asked.image), settings, card)


def _playback_fps(options: GenerationOptions, card: ModelCard) -> float:
    fps = card.playback_fps if options.playback_fps is None else options.playback_fps
    check_fps(fps)
    return fps


def _suffix(options: GenerationOptions) -> str:
    if options.format is None:
        return ".mp4"
    return FORMATS.get(options.format, f".{options.format}")


def _numbered(output: Path, number: int) -> Path:
    return output.with_name(f"{output.stem}_{number + 1:02d}{output.suffix}")

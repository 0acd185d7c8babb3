"""What ComfyUI gives to a node: its folders, its progress bar, its Cancel. Imported here alone, and when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lvdm.hosting.library import Library, read_library
from lvdm.jobs.preview import LatentColors
from lvdm.progress import Progress, ProgressCallback, share_of_video

FOLDER = "dynamicrafter"
"""Of ComfyUI's folders of models and of inputs, the one of these nodes."""
TICKS = 1000
"""What a whole video counts in the progress bar."""
PREVIEW_SIDE = 512


def library() -> Library:
    """The released models that are here, those in folders of models/dynamicrafter, and the weight files there."""
    folder = _models()
    here = read_library((), folder if folder.is_dir() else None)
    entries = [f"{path.parent.name}={path.parent}" for path in sorted(folder.glob("*/config.yaml"))]
    own = read_library(entries).models if entries else {}
    return Library({**here.models, **own}, here.files)


def input_folder() -> Path:
    """Where the images of requests are kept, so that records can be replayed."""
    import folder_paths

    return Path(folder_paths.get_input_directory()) / FOLDER


def temporary_folder() -> Path:
    """What ComfyUI empties when it starts."""
    import folder_paths

    return Path(folder_paths.get_temp_directory())


def lora_files() -> list[str]:
    """The names of LoRAs, as in ComfyUI's other nodes."""
    import folder_paths

    return list(folder_paths.get_filename_list("loras"))


def lora_path(name: str) -> Path:
    """The file of one."""
    import folder_paths

    return Path(folder_paths.get_full_path_or_raise("loras", name))


def output_place(prefix: str, width: int, height: int, suffix: str) -> tuple[Path, str]:
    """The next free file for a prefix in ComfyUI's output folder, and its folder in there."""
    import folder_paths

    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), width, height
    )
    return Path(folder) / f"{name}_{counter:05}_{suffix}", str(subfolder)


def make_room(bytes_needed: float, device: torch.device) -> None:
    """Let ComfyUI put its own models aside, where they lie on an accelerator."""
    if device.type != "cpu":
        import comfy.model_management

        comfy.model_management.free_memory(bytes_needed, device)


def _models() -> Path:
    import folder_paths

    return Path(folder_paths.models_dir) / FOLDER


class Bar:
    """The progress bar of one node, with previews where ComfyUI is started with them. Cancel ends the work in it."""

    def __init__(self) -> None:
        import comfy.utils

        self._bar = comfy.utils.ProgressBar(TICKS)
        self._preview: tuple[str, Image.Image, int] | None = None
        self._colors: LatentColors | None = None
        self.check()

    def check(self) -> None:
        """Raise ComfyUI's exception if Cancel was pressed."""
        import comfy.model_management

        comfy.model_management.throw_exception_if_processing_interrupted()

    @contextmanager
    def progress(self, title: str) -> Iterator[ProgressCallback]:
        """What jobs report to."""

        def show(progress: Progress) -> None:
            self.check()
            self._bar.update_absolute(round(TICKS * share_of_video(progress)), TICKS, self._preview)

        yield show

    def show_colors(self, colors: LatentColors) -> None:
        """Let previews be made with this map."""
        self._colors = colors

    def on_step(self, step: int, t: int, x_t: Tensor, pred_x0: Tensor) -> None:
        """Make a preview: the frame in the middle."""
        if self._colors is not None:
            middle = pred_x0.shape[2] // 2
            frame = self._colors.frames(pred_x0[0, :, middle : middle + 1])[0]
            self._preview = ("JPEG", Image.fromarray(frame.numpy()), PREVIEW_SIDE)


def shows_previews() -> bool:
    """Whether ComfyUI is started with previews."""
    from comfy.cli_args import LatentPreviewMethod, args

    return bool(args.preview_method != LatentPreviewMethod.NoPreviews)

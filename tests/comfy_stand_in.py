"""What ComfyUI gives to nodes, in small, as its documentation of custom nodes describes it, for tests without ComfyUI.

The folders, the progress bar and Cancel are modules under ComfyUI's names; a package is loaded from its folder as
ComfyUI does; a prompt in API format is checked against what `INPUT_TYPES` says and then run, each node once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

PACKAGE = Path(__file__).parents[1] / "comfyui"
KINDS: Mapping[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


class InterruptProcessingException(Exception):  # noqa: N818  # ComfyUI's own name
    """What Cancel raises in a node."""


@dataclass(frozen=True)
class ExecutionBlocker:
    """An output that stops the nodes that take it."""

    message: str


@dataclass(eq=False)
class Comfy:
    """One ComfyUI. reports: (value, total, preview) of progress bars. cancel_at: Cancel is pressed after so many."""

    folder: Path
    nodes: dict[str, type] = field(default_factory=dict)
    reports: list[tuple[int, int, Any]] = field(default_factory=list)
    cancel_at: int | None = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put modules under ComfyUI's names in place, and load the package's nodes."""
        for name in ("input", "output", "temp", "models", "loras"):
            (self.folder / name).mkdir(parents=True)
        for name, module in self._modules().items():
            patch.setitem(sys.modules, name, module)
        name = str(PACKAGE).replace(".", "_x_")
        spec = importlib.util.spec_from_file_location(name, PACKAGE / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        for part in ("nodes", "host", "inputs", "stored_images"):
            patch.setitem(sys.modules, f"{name}.{part}", sys.modules[f"{name}.{part}"])  # taken away with the test
        assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
        self.nodes = {**module.NODE_CLASS_MAPPINGS, "LoadImage": _load_image(self.folder), "SaveImage": _SaveImage}

    def _modules(self) -> dict[str, Any]:
        folders = SimpleNamespace(
            models_dir=str(self.folder / "models"),
            get_input_directory=lambda: str(self.folder / "input"),
            get_output_directory=lambda: str(self.folder / "output"),
            get_temp_directory=lambda: str(self.folder / "temp"),
            get_filename_list=lambda kind: sorted(path.name for path in (self.folder / kind).iterdir()),
            get_full_path_or_raise=lambda kind, name: str(self.folder / kind / name),
            get_save_image_path=self._save_path,
        )
        management = SimpleNamespace(
            throw_exception_if_processing_interrupted=self._check, free_memory=lambda needed, device: None
        )
        none = object()
        options = SimpleNamespace(
            LatentPreviewMethod=SimpleNamespace(NoPreviews=none), args=SimpleNamespace(preview_method="latent2rgb")
        )
        found: dict[str, Any] = {
            "folder_paths": folders,
            "comfy": ModuleType("comfy"),
            "comfy.utils": SimpleNamespace(ProgressBar=lambda total: _ProgressBar(self, total)),
            "comfy.model_management": management,
            "comfy.cli_args": options,
            "comfy_execution": ModuleType("comfy_execution"),
            "comfy_execution.graph_utils": SimpleNamespace(ExecutionBlocker=ExecutionBlocker),
        }
        for name in ("utils", "model_management", "cli_args"):
            setattr(found["comfy"], name, found[f"comfy.{name}"])
        return found

    def _save_path(self, prefix: str, folder: str, width: int, height: int) -> tuple[str, str, int, str, str]:
        """Where the next file with a prefix goes: folder, name, counter, folder within the output, prefix."""
        assert min(width, height) > 0
        place = Path(folder) / Path(prefix).parent
        place.mkdir(parents=True, exist_ok=True)
        name = Path(prefix).name
        counter = 1 + len({path.name[: len(name) + 6] for path in place.glob(f"{name}_[0-9]*")})
        return str(place), name, counter, "" if place == Path(folder) else str(Path(prefix).parent), prefix

    def _check(self) -> None:
        if self.cancel_at is not None and len(self.reports) >= self.cancel_at:
            raise InterruptProcessingException

    def faults(self, prompt: Mapping[str, Any]) -> list[str]:
        """What ComfyUI would refuse before it runs a prompt."""
        return [f"{id_}: {fault}" for id_, node in prompt.items() for fault in self._faults_of(node, prompt)]

    def _faults_of(self, node: Mapping[str, Any], prompt: Mapping[str, Any]) -> list[str]:
        declared = self.nodes[node["class_type"]].INPUT_TYPES()
        known, found = {**declared["required"], **declared.get("optional", {})}, []
        found += [f"{name} is missing" for name in declared["required"] if name not in node["inputs"]]
        for name, value in node["inputs"].items():
            if name not in known:
                found.append(f"{name} is no input")
            elif isinstance(value, list):
                source, number = value
                given = self.nodes[prompt[source]["class_type"]].RETURN_TYPES[number]
                found += [] if given == known[name][0] else [f"{name} is {known[name][0]} and gets {given}"]
            else:
                found += fault_of_value(name, value, known[name])
        return found

    def run(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """What each node gives: its outputs, or a dict with what is shown and the outputs."""
        assert not self.faults(prompt)
        done: dict[str, Any] = {}
        with torch.inference_mode():  # as ComfyUI does
            for id_ in prompt:
                self._run_node(id_, prompt, done)
        return done

    def _run_node(self, id_: str, prompt: Mapping[str, Any], done: dict[str, Any]) -> None:
        if id_ in done:
            return
        given = dict(prompt[id_]["inputs"])
        for name, value in given.items():
            if isinstance(value, list):
                self._run_node(value[0], prompt, done)
                made = done[value[0]]
                given[name] = (made["result"] if isinstance(made, dict) else made)[value[1]]
                assert not isinstance(given[name], ExecutionBlocker), given[name]
        node = self.nodes[prompt[id_]["class_type"]]
        function: Callable[..., Any] = getattr(node(), node.FUNCTION)  # type: ignore[attr-defined]
        done[id_] = function(**given)


def fault_of_value(name: str, value: Any, declared: tuple[Any, ...]) -> list[str]:
    """What ComfyUI would refuse of a value that a widget has."""
    kind, told = declared[0], declared[1] if len(declared) > 1 else {}
    if isinstance(kind, list):
        return [] if value in kind else [f"{name} {value!r} is not in the list"]
    if kind not in KINDS:
        return [f"{name} is {kind} and comes from another node"]
    try:
        value = KINDS[kind](value)
    except ValueError:
        return [f"{name} {value!r} is no {kind}"]
    if "min" in told and value < told["min"]:
        return [f"{name} {value} is smaller than {told['min']}"]
    return [f"{name} {value} is larger than {told['max']}"] if "max" in told and value > told["max"] else []


@dataclass(eq=False)
class _ProgressBar:
    comfy: Comfy
    total: int

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        assert preview is None or (preview[0] in ("JPEG", "PNG") and isinstance(preview[1], Image.Image))
        self.comfy.reports.append((value, total or self.total, preview))


def _load_image(folder: Path) -> type:
    """ComfyUI's node: an image (1, h, w, 3) in [0, 1] and its mask."""

    class LoadImage:
        RETURN_TYPES, FUNCTION = ("IMAGE", "MASK"), "load"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
            return {"required": {"image": (sorted(path.name for path in (folder / "input").glob("*.*")), {})}}

        def load(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
            pixels = np.asarray(Image.open(folder / "input" / image).convert("RGB"), dtype=np.float32) / 255
            return torch.from_numpy(pixels)[None], torch.zeros(1, 64, 64)

    return LoadImage


class _SaveImage:
    """ComfyUI's node: it holds images to the layout that all nodes have."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save", True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save(self, images: torch.Tensor, filename_prefix: str) -> dict[str, Any]:
        assert images.dtype == torch.float32
        assert images.ndim == 4
        assert images.shape[3] == 3
        assert 0 <= float(images.min()) <= float(images.max()) <= 1
        return {"ui": {"images": [filename_prefix] * len(images)}, "result": ()}

"""The controls of the page, each made from the declaration of its parameter, and back from their values."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from lvdm.app.components import Choice, ImageUpload
from lvdm.declaration.parameter import GROUPS, Declared
from lvdm.declaration.parameters import FRAMES_OF_FILES
from lvdm.declaration.values import MAX_PROMPT
from lvdm.hosting.library import Library
from lvdm.hosting.limits import Limits
from lvdm.plugins.methods.camera import DIRECTIONS
from lvdm.plugins.methods.carry import KINDS
from lvdm.plugins.registry import method_files
from lvdm.request.layers import all_parameters, help_with_range

OF_THE_SERVER: Mapping[str, str] = MappingProxyType(
    {
        "preset": "the list of models names it",
        "checkpoint": "the list of models names it",
        "config": "the list of models names it",
        "output": "results are given to download",
        "overwrite": "nothing is there to be replaced",
        "contact_sheet": "it is always made",
        "prompts": "a list is a file of the server",
        "replay": "a record is uploaded, and sets the controls",
        "dry_run": "the page shows what it will make",
        "device": "`dynamicrafter app --device` says it",
        **dict.fromkeys(("list_mode", "engine", "devices", "batch_size", "retry_failed"), "they are about lists"),
    }
)
"""Parameters without a control, and why."""
OF_THE_TABS = ("image", "end_image", "keyframes", "video", *FRAMES_OF_FILES, "prompt")
"""Parameters that each tab has a control of its own for."""
VISIBLE = ("effort", "motion", "num_frames", "camera", "seed", "num_videos_per_prompt")
"""The few that matter; the others are folded, by their group."""
FILES = ("encoders", *method_files(), "depth_model")
"""Parameters whose value is a file of the server, by its name."""
SUGGESTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "camera": tuple(DIRECTIONS),
        "carry": tuple(KINDS),
        "scale": ("auto", "off", "scalecrafter", "freescale"),
        "between": ("vibid", "trf"),
        "perturbed_guidance": ("stg", "pag"),
    }
)
"""Words that free text often is."""
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "num_frames": "Frames",
        "num_inference_steps": "Steps",
        "fs": "fs",
        "fps": "Condition fps",
        "num_videos_per_prompt": "Videos",
        "dtype": "Precision",
        "loras": "LoRAs",
        "vae_tile": "VAE tile",
        "free_u": "FreeU",
        "free_init": "FreeInit",
        "deep_cache": "DeepCache",
        "prompts_at": "Prompts at frames",
    }
)
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "effort": "normal",
        "fast": "off",
        "format": "mp4",
        "height": "by the image",
        "width": "by the image",
        "motion": "as trained",
        "negative_prompt": "nothing",
        "prompts_at": "one prompt",
        **dict.fromkeys(("camera", "between", "perturbed_guidance", "free_init", "free_u", "deep_cache"), "none"),
    }
)
"""What some say where they are left out."""


@dataclass(frozen=True, eq=False)
class Control:
    """A parameter and its component."""

    declared: Declared
    component: Any

    @property
    def name(self) -> str:
        """That of the parameter."""
        return self.declared.name


def offered() -> Mapping[str, Declared]:
    """The parameters that all tabs have one control for together."""
    return {
        name: found for name, found in all_parameters().items() if name not in OF_THE_SERVER and name not in OF_THE_TABS
    }


def read_by(mode: str) -> list[str]:
    """The names of those that `mode` reads, in the order of the page."""
    return [name for name, found in offered().items() if mode in found.parameter.modes]


def title(name: str) -> str:
    """What the control is called."""
    return TITLES.get(name, name.replace("_", " ").capitalize())


def build_controls(library: Library, limits: Limits) -> dict[str, Control]:
    """All controls, laid out inside the block that is open: the visible ones, then a fold for each group."""
    parameters = offered()
    built: dict[str, Control] = {}
    with gr.Group(), gr.Row():
        for name in VISIBLE:
            built[name] = Control(parameters[name], make_component(parameters[name], library, limits))
    for group in GROUPS:
        rest = [found for found in parameters.values() if found.parameter.group == group and found.name not in built]
        if rest:
            with gr.Accordion(group, open=False, elem_id=f"group-{group.split()[0].lower()}"), gr.Row():
                for found in rest:
                    built[found.name] = Control(found, make_component(found, library, limits))
    return {name: built[name] for name in parameters}


def make_component(declared: Declared, library: Library, limits: Limits, compared: bool = False) -> Any:
    """The component for one parameter. It is empty, or "" in a list, where the parameter is left out.

    compared: it is one of two, which have no name in the page
    """
    name, common = declared.name, {"label": title(declared.name), "info": help_of(declared, limits), "min_width": 200}
    common["elem_id"] = None if compared else name
    left_out = left_out_word(declared)
    if name == "keep_mask":
        label = "Mask: white stays as it is"
        return ImageUpload(label=label, sources=["upload", "clipboard"], height=180, min_width=200)
    if name == "loras":
        return Choice(choices=list(library.files), value=[], multiselect=True, allow_custom_value=True, **common)
    if name in FILES:
        return Choice(choices=[("none", ""), *library.files], value="", **common)
    if declared.choices:
        return Choice(choices=[(left_out, ""), *declared.choices], value="", **common)
    if declared.kind is bool:
        return Choice(choices=[(left_out, ""), "yes", "no"], value="", **common)
    if declared.kind in (
        int,
        float,
    ):  # as text: gradio shows 0 where there is no number, a browser keeps 53 bits of one
        value = str(declared.default) if name == "seed" else None
        return gr.Textbox(value=value, placeholder=left_out, max_length=30, **common)
    if name in SUGGESTED:
        words = [(left_out, ""), *SUGGESTED[name]]
        return Choice(choices=words, value="", allow_custom_value=True, **common)
    several = typing.get_origin(declared.kind) is tuple
    return gr.Textbox(placeholder=left_out, lines=2 if several else 1, max_length=MAX_PROMPT * 10, **common)


def left_out_word(declared: Declared) -> str:
    """What it means to leave the parameter out."""
    if declared.parameter.card:
        return "the checkpoint's"
    if declared.name in LEFT_OUT:
        return LEFT_OUT[declared.name]
    default = declared.default
    if isinstance(default, bool):
        return "yes" if default else "no"
    return "automatic" if default in (None, "", ()) else str(default)


def help_of(declared: Declared, limits: Limits) -> str:
    """Its help, with the range of a number here."""
    return (
        declared.parameter.help
        if declared.name == "seed"
        else help_with_range(declared, limits.most.get(declared.name))
    )


def parameter_values(names: list[str], values: list[Any], library: Library) -> dict[str, Any]:
    """What visitors gave, by name, as `lvdm.request` takes it. Raises `ValueError`."""
    declared = all_parameters()
    found = {name: _parameter_value(declared[name], value, library) for name, value in zip(names, values, strict=True)}
    return {name: value for name, value in found.items() if value is not None}


def _parameter_value(declared: Declared, value: Any, library: Library) -> Any:
    name = declared.name
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, Path) or name == "keep_mask":
        return value
    if name == "loras":
        return [library.lora(str(text)) for text in (value if isinstance(value, list) else [value])]
    if name in FILES:
        return library.file(str(value), name)
    if typing.get_origin(declared.kind) is tuple:
        return [line for line in str(value).splitlines() if line.strip()]
    if isinstance(value, float) and declared.kind is int and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and declared.kind is float:
        return float(value)
    if isinstance(value, str) and declared.kind in (int, float, bool):
        return declared.read(value.strip())
    return value

"""The page: its tabs, its controls, and which event calls what."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from lvdm.app import showing
from lvdm.app.brush import make_brush
from lvdm.app.comparing import COMPARED, comparing
from lvdm.app.components import Choice, FileUploads, ImageUpload, VideoUpload
from lvdm.app.controls import Control, build_controls, make_component, offered, read_by
from lvdm.app.endpoints import AT, FURTHER, Desk, fit_preview, generating
from lvdm.app.making import PAINTED
from lvdm.app.replaying import taken_over
from lvdm.app.sessions import COLUMNS
from lvdm.app.story_tab import add_story_tab
from lvdm.declaration.parameter import ALL_MODES
from lvdm.declaration.values import MAX_PROMPT
from lvdm.hosting.library import ListedModel
from lvdm.model_files import INSTALLED, REPOSITORY
from lvdm.request.layers import all_parameters

TABS: Mapping[str, str] = {
    "animate": "Animate",
    "interpolate": "Interpolate",
    "loop": "Loop",
    "text-to-video": "From text",
    "structure": "Structure",
    "extend": "Extend",
}
PROMPTS = {
    "animate": "What should happen, such as: the red ball moves to the right",
    "interpolate": "What happens between the two images",
    "loop": "What goes round, such as: waves roll in",
    "text-to-video": "What the video shows",
    "structure": "What the video shows, in the shapes of the depth",
    "extend": "How the video goes on",
}
DEVICE, LIGHT = "device", "light"
"""Queues: one for all that needs the device, one for what is done at once."""
QUIET: Mapping[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(eq=False)
class Tab:
    """The inputs of one tab by name, its button, and where it says why it cannot be used."""

    mode: str
    inputs: dict[str, Any]
    button: Any
    reason: Any
    tab: Any


@dataclass(eq=False)
class Output:
    """Where results are shown; `components` are in the order of `endpoints.OUTPUTS`."""

    components: list[Any]
    cancel: Any
    again: Any
    new_seed: Any

    @property
    def status(self) -> Any:
        return self.components[0]


@dataclass(eq=False)
class Page:
    """The whole page while it is built, and after it."""

    desk: Desk
    blocks: Any = None
    folder: Any = None
    tabs: list[Tab] = field(default_factory=list)
    controls: dict[str, Control] = field(default_factory=dict)
    started: list[Any] = field(default_factory=list)


def build_page(desk: Desk) -> Any:
    """The page as gradio's blocks, ready to be launched."""
    page = Page(desk)
    first = next(iter(desk.library.models.values()))
    with gr.Blocks(title="DynamiCrafter", analytics_enabled=False, delete_cache=(600, 3600)) as page.blocks:
        gr.Markdown("# DynamiCrafter\nA still image and a prompt become a short video.")
        choices = [(model.label, name) for name, model in desk.library.models.items()]
        model = Choice(choices=choices, value=first.name, label="Model", elem_id="model")
        earlier = _earlier()
        with gr.Row(elem_id="work"):
            with gr.Column(), gr.Tabs() as page.folder:
                page.tabs = [_tab(mode, first, desk.why_not(first, mode)) for mode in TABS]
                compare = _compare_tab(page)
                add_story_tab(desk, model)
            with gr.Column(elem_id="made"):
                view: dict[str, Any] = {"interactive": False, "height": 180, "buttons": [], "elem_id": "seen-image"}
                seen = gr.Image(label="What the model sees", visible=False, **view)
                seen_words = gr.Markdown(elem_id="seen")
                output = _output()
            with gr.Column():
                pace = gr.Markdown(desk.pace.line(first.card), elem_id="pace")
                page.controls = build_controls(desk.library, desk.limits)
        _generate_events(page, model, output)
        _compare_events(page, compare, model, output)
        _other_events(page, model, output, pace, compare)
        _earlier_events(page, model, *earlier)
        _preview_events(page, model, seen, seen_words, compare)
    page.blocks.queue(max_size=desk.limits.max_queue, default_concurrency_limit=1)
    return page.blocks


def _earlier() -> tuple[Any, Any]:
    """Where a record is given, and what was taken from it in words."""
    with gr.Accordion("Settings of an earlier video", open=False, elem_id="earlier"):
        file = FileUploads(label="Its record, a JSON file", file_count="single", file_types=[".json"], height=130)
        words = gr.HTML(elem_id="earlier-words")
    return file, words


def _earlier_events(page: Page, model: Any, file: Any, words: Any) -> None:
    """Set all controls as a record says. Its images have to be given again."""
    prompts = [tab.inputs["prompt"] for tab in page.tabs]
    controls = [control.component for control in page.controls.values()]
    at = next(tab.inputs[AT] for tab in page.tabs if AT in tab.inputs)
    file.upload(
        partial(taken_over, page.desk, [tab.mode for tab in page.tabs], list(page.controls)),
        file,
        [words, page.folder, model, at, *prompts, *controls],
        concurrency_id=LIGHT,
        **QUIET,
    )


def _tab(mode: str, model: ListedModel, reason: str) -> Tab:
    inputs: dict[str, Any] = {}
    upload: dict[str, Any] = {"sources": ["upload", "clipboard"], "height": 240, "min_width": 140}
    with gr.Tab(TABS[mode], id=mode) as tab:
        why = gr.HTML(showing.why(reason), visible=bool(reason))
        if mode == "interpolate":
            with gr.Row():
                inputs["image"] = ImageUpload(label="First frame", **upload)
                inputs["end_image"] = ImageUpload(label="Last frame", **upload)
            with gr.Accordion("Further key frames", open=False):
                inputs[FURTHER] = FileUploads(label="Images in their order", file_count="multiple", height=120)
                inputs[AT] = gr.Textbox(label="At frames", info="Such as 5 10; left out, they are spaced evenly.")
        elif mode == "extend":
            inputs["video"] = VideoUpload(label="Video", sources=["upload"], height=240)
        elif mode == "structure":
            with gr.Row():
                for name, label in (("depth", "Depth: near is white"), ("driving_video", "Or a video to take it from")):
                    inputs[name] = VideoUpload(label=label, sources=["upload"], height=240)
        elif mode != "text-to-video":
            inputs["image"] = ImageUpload(label="Image", **upload)
            inputs |= _brush(mode, mode)
            if mode == "animate":
                with gr.Accordion("Follow a video", open=False, elem_id="animate-guide"):
                    inputs["guide_video"] = VideoUpload(
                        label="Its first frames are followed", sources=["upload"], height=200
                    )
        inputs["prompt"] = gr.Textbox(
            label="Prompt", placeholder=PROMPTS[mode], lines=2, max_length=MAX_PROMPT, elem_id=f"{mode}-prompt"
        )
        button = gr.Button("Generate", variant="primary", interactive=model.able(mode), elem_id=f"{mode}-generate")
        _examples(mode, inputs)
    return Tab(mode, inputs, button, why, tab)


def _brush(mode: str, tab: str) -> dict[str, Any]:
    """The brush for the mask, in a fold of `tab`, where `mode` reads one."""
    if mode not in all_parameters()["keep_mask"].parameter.modes:
        return {}
    with gr.Accordion("Paint what stays as it is", open=False, elem_id=f"{tab}-mask"):
        return {PAINTED: make_brush(label="Painted mask")}


def _examples(mode: str, inputs: Mapping[str, Any]) -> None:
    """A gallery of our own images, or prompts, where the tab takes one image or none."""
    found = list(example_pairs())
    if mode not in ("animate", "loop", "text-to-video") or not found:
        return
    images = mode != "text-to-video"
    samples = [[str(image) if images else prompt] for image, prompt in found]
    gallery = gr.Dataset(components=["image" if images else "textbox"], samples=samples, type="index", label="Examples")
    wanted = [inputs[name] for name in ("image", "prompt") if name in inputs]

    def take_over(index: int) -> list[Any]:
        image, prompt = found[index]
        return [str(image), prompt] if images else [prompt]

    gallery.click(take_over, gallery, wanted, queue=False, **QUIET)


def example_pairs() -> Iterator[tuple[Path, str]]:
    """The images and prompts of the embedded model."""
    folder = next((place for place in (REPOSITORY / "prompts/tiny", INSTALLED / "prompts") if place.is_dir()), None)
    if folder is not None:
        lines = (folder / "test_prompts.txt").read_text(encoding="utf-8").splitlines()
        yield from zip(sorted(folder.glob("*.png")), lines, strict=False)


def _output() -> Output:
    status = gr.HTML(showing.IDLE, elem_id="status")
    cancel = gr.Button("Cancel", elem_id="cancel", size="sm")
    video = gr.Video(label="Video", autoplay=True, loop=True, interactive=False, height=360, elem_id="video")
    report = gr.Textbox(label="Quality report", placeholder="of the last video", interactive=False, elem_id="report")
    with gr.Row():
        again = gr.Button("Again with this seed", size="sm", elem_id="again")
        new_seed = gr.Button("New seed", size="sm", elem_id="new-seed")
    files = gr.File(label="Downloads", interactive=False, height=150, elem_id="files")
    with gr.Accordion("Contact sheet", open=False):
        sheet = gr.Image(label="All frames", interactive=False, show_label=False)
    with gr.Accordion("Settings", open=False):
        record = gr.JSON(label="Settings", show_label=False)
    with gr.Accordion("Jobs", open=False):
        jobs = gr.HTML(showing.table(COLUMNS, []), elem_id="jobs")
    seed = gr.Textbox(visible=False)
    return Output([status, video, report, sheet, files, record, seed, jobs], cancel, again, new_seed)


def _generate_events(page: Page, model: Any, output: Output) -> None:
    for tab in page.tabs:
        names = [*tab.inputs, "model", *read_by(tab.mode)]
        components = [*tab.inputs.values(), model, *(page.controls[name].component for name in read_by(tab.mode))]
        page.started.append(
            tab.button.click(
                generating(page.desk, tab.mode, names),
                components,
                output.components,
                api_name=tab.mode,
                api_description=f"Make a video by {tab.mode}; parameters that are left out are the checkpoint's.",
                concurrency_id=DEVICE,
                concurrency_limit=1,
                show_progress="hidden",
                scroll_to_output=True,
            )
        )


def _compare_tab(page: Page) -> dict[str, Any]:
    """The inputs of the tab that makes two videos: an image, a prompt, and the same controls twice."""
    built: dict[str, Any] = {}
    library, limits = page.desk.library, page.desk.limits
    with gr.Tab("Compare", id="compare") as built["tab"]:
        gr.Markdown("Two videos of one image that differ in what stands here; all else is as below.")
        built["image"] = ImageUpload(label="Image", sources=["upload", "clipboard"], height=200)
        built |= _brush("animate", "compare")
        built["prompt"] = gr.Textbox(label="Prompt", lines=2, max_length=MAX_PROMPT, elem_id="compare-prompt")
        with gr.Row():
            for side in "ab":
                with gr.Column(min_width=140), gr.Group():
                    gr.Markdown(f"**{side.upper()}**", padding=True)
                    for name in COMPARED:
                        built[f"{name}_{side}"] = make_component(offered()[name], library, limits, compared=True)
        built["button"] = gr.Button("Generate", variant="primary", elem_id="compare-generate")
        with gr.Row():
            for side in "ab":
                with gr.Column(min_width=140):
                    label = f"Video {side.upper()}"
                    built[f"video_{side}"] = gr.Video(label=label, autoplay=True, loop=True, interactive=False)
                    built[f"report_{side}"] = gr.Textbox(label="Quality report", interactive=False)
    return built


def _compare_events(page: Page, built: Mapping[str, Any], model: Any, output: Output) -> None:
    own = ["image", PAINTED, "prompt", *(f"{name}_{side}" for side in "ab" for name in COMPARED)]
    shared = [name for name in read_by("animate") if name not in COMPARED]
    components = [*(built[name] for name in own), model, *(page.controls[name].component for name in shared)]
    shown = [output.status, *(built[f"{what}_{side}"] for side in "ab" for what in ("video", "report"))]
    page.started.append(
        built["button"].click(
            comparing(page.desk, [*own, "model", *shared]),
            components,
            [*shown, output.components[-1]],
            api_name="compare",
            concurrency_id=DEVICE,
            concurrency_limit=1,
            show_progress="hidden",
        )
    )


def _other_events(page: Page, model: Any, output: Output, pace: Any, compare: Mapping[str, Any]) -> None:
    desk, seed = page.desk, page.controls["seed"].component

    def cancel(request: gr.Request) -> str:
        desk.sessions.cancel(request.session_hash or "")
        return showing.CANCELLED

    def forget(request: gr.Request) -> None:
        desk.sessions.forget(request.session_hash or "")

    def chosen(name: str) -> list[Any]:
        listed = desk.model(name)
        reasons = [desk.why_not(listed, tab.mode) for tab in page.tabs]
        buttons = [gr.update(interactive=listed.able(tab.mode)) for tab in page.tabs]
        reason_updates = [gr.update(value=showing.why(reason), visible=bool(reason)) for reason in reasons]
        return [desk.pace.line(listed.card), *reason_updates, *buttons]

    stopped = output.cancel.click(cancel, None, output.status, queue=False, cancels=page.started, **QUIET)
    stopped.then(lambda: showing.CANCELLED, None, output.status, queue=False, **QUIET)  # what came late is wiped out
    page.blocks.unload(forget)
    shown = [pace, *(tab.reason for tab in page.tabs), *(tab.button for tab in page.tabs)]
    model.change(chosen, model, shown, concurrency_id=LIGHT, concurrency_limit=4, **QUIET)
    page.blocks.load(chosen, model, shown, concurrency_id=LIGHT, **QUIET)
    output.again.click(lambda known: known or gr.skip(), output.components[6], seed, queue=False, **QUIET)
    output.new_seed.click(lambda: str(secrets.randbelow(2**31)), None, seed, queue=False, **QUIET)
    for started in page.started:
        started.then(lambda name: desk.pace.line(desk.model(name).card), model, pace, concurrency_id=LIGHT, **QUIET)
    read = {name: set(found.parameter.modes) for name, found in offered().items()}
    own = [name for name in read if name in COMPARED or set(ALL_MODES) - read[name]]
    components = [page.controls[name].component for name in own]
    for mode, handle in (*((tab.mode, tab.tab) for tab in page.tabs), ("compare", compare["tab"])):
        handle.select(partial(_visible, mode, own), None, components, queue=False, **QUIET)


def _visible(mode: str, names: Sequence[str]) -> list[Any]:
    """Updates that hide what `mode` does not read; what is compared has controls of its own."""
    shown = set(read_by("animate")) - set(COMPARED) if mode == "compare" else set(read_by(mode))
    return [gr.update(visible=name in shown) for name in names]


def _preview_events(page: Page, model: Any, seen: Any, words: Any, compare: Mapping[str, Any]) -> None:
    """Show what the model will see, and what is painted on, when an image is given or its size or fit is changed."""
    size = [model, *(page.controls[name].component for name in ("height", "width", "fit"))]
    common: dict[str, Any] = {"concurrency_id": LIGHT, "trigger_mode": "always_last", **QUIET}
    for mode, inputs in (*((tab.mode, tab.inputs) for tab in page.tabs), ("compare", compare)):
        image, brush = inputs.get("image"), inputs.get(PAINTED)
        if image is None:
            continue
        shown = [image, seen, words, *([] if brush is None else [brush])]
        look = partial(fit_preview, page.desk, len(shown))
        image.change(look, [image, *size], shown, **common)
        for control in size[1:]:
            if mode == "animate":
                control.change(look, [image, *size], shown, **common)

"""Every option of every command is applied, refused, or said to have no effect; a new one is covered by itself.

For what the type of a parameter cannot give, such as the text of `camera`, there are `EXAMPLES`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from frozen_videos import write_inputs
from golden_vectors import rand
from small_model import (
    FRAMES,
    SIDE,
    picture,
    small_structure_yaml,
    small_videocrafter_yaml,
    small_yaml,
    write_model,
)

import lvdm.jobs.extend
import lvdm.jobs.plan
from lvdm.declaration.parameter import ALL_MODES, Declared
from lvdm.jobs.extend import ExtensionPlan, plan_extension, run_extension
from lvdm.jobs.model import choose_model
from lvdm.jobs.plan import Plan, plan_videos
from lvdm.jobs.run import run
from lvdm.media.video_writer import write_video
from lvdm.model_files import CHECKPOINTS_VARIABLE
from lvdm.request.layers import all_parameters, shown_name

PROMPT = "a red ball moves to the right"

EXAMPLES: Mapping[str, tuple[Any, ...]] = {
    "image": ("dog.png",),
    "end_image": ("cat.png",),
    "prompt": ("it stops",),
    "negative_prompt": ("a blue square",),
    "prompts_at": ({2: "it stops"},),
    "keyframes": ({2: "dog.png"}, {1: "owl.png"}),
    "keep_mask": ("mask.png",),
    "prompts": ("list.csv",),
    "num_videos_per_prompt": (2, 3),
    "replay": ("made.json", "extended.json"),
    "video": ("other.mp4",),
    "checkpoint": ("late.safetensors", "t2v"),
    "config": ("edited.yaml",),
    "encoders": ("small/model.safetensors",),
    "loras": ("lora.safetensors:0.5", "lora.safetensors:0"),
    "scale": ("off", "scalecrafter", "freescale:level=1"),
    "camera": ("pan_left", "hold"),
    "start_statistics": ("statistics.safetensors",),
    "carry": ("pan_left", "drag:right=0.3"),
    "carry_flow": ("flow.npz",),
    "free_init": ("iterations=2",),
    "free_u": ("b1=1.2,s1=0.9",),
    "deep_cache": ("interval=2,blocks=1",),
    "guidance_steps": ("until=0.5", "interval=2"),
    "second_stage_unet": ("late.safetensors",),
    "perturbed_guidance": ("stg:scale=1", "pag:scale=1"),
    "between": ("vibid", "trf"),
    "between_prompt": ("it comes back",),
    "output": ("named.mp4",),
    "device": ("cpu", "cuda:7"),
    "guide_video": ("ball.mp4",),
    "depth": ("other.npz",),
    "driving_video": ("ball.mp4",),
    "depth_model": ("late.safetensors",),
    "max_memory": ("900GB",),
}
"""Values of parameters that are text, files or several values, or take long; files are those of `folder`."""

EQUAL: Mapping[str, str] = {
    "dtype=fp32": "what auto comes to on a CPU",
    "device=cpu": "what auto comes to here",
    "format=mp4": "what is written when nothing says so",
    "scale=off": "what auto comes to at the trained size",
    "attention=sdpa": "what auto comes to",
    "offload=none": "what is taken when nothing says so",
    "storage=full": "what is taken when nothing says so",
    "max_memory=900GB": "it is enough",
    "effort=normal": "what is taken when nothing says so",
    "reader=decord": "it does not take frames as small as these",
}
"""Values that may be the same as the one left out, under another name."""

EQUAL_NUMBERS: Mapping[str, str] = {
    "schedule=file": "these weights bring no schedule of their own, which is said when they are loaded",
}
"""Values with a digest of their own whose video is the same here."""

NOT_RUN: Mapping[str, tuple[str, ...]] = {
    "there are no released models here": ("preset",),
    "these weights have all encoders": ("encoders",),
    "this model reads frames per second": ("frame_stride",),
    "there is no accelerator here": ("offload",),
    "known frames of extend are shown at the usual steps": ("free_init", "truncated_start", "start_statistics"),
}
"""Parameters whose values are all refused where videos are made."""

SHORT_FOR_OTHERS = {"effort", "fast", "replay"}
"""Parameters that are no part of a digest, and give values to some that are."""

BY_THE_COMMAND = {"dry_run": "the command stops after the plan, see test_one_request.py"}
"""Parameters that a plan does not hold."""

AROUND: Mapping[str, Mapping[str, Any]] = {
    "without guidance": {"guidance_scale": 1.0},
    "another sampler": {"sampler": "unipc"},
    "in one step": {"num_inference_steps": 1, "guidance_scale": 3.0},
    "longer": {"num_frames": FRAMES + 3},
    "frame by frame": {"num_frames": FRAMES + 3, "long_video": "fifo"},
    "in motion": {"motion": 0.8},
    "late and blurred": {"low_pass": 0.5, "low_pass_until": 0.9, "second_stage_unet": "late.safetensors"},
    "by files": {"checkpoint": "small/model.safetensors", "config": "small/config.yaml"},
    "another shape": {"height": SIDE, "width": SIDE + 16},
    "masked": {"keep_mask": "mask.png"},
    "from below": {"truncated_start": 0.5},
    "larger": {"height": 2 * SIDE, "width": 2 * SIDE, "scale": "scalecrafter"},
}
"""What else is asked for: what one option does depends on others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, images, and one video made of them with its record."""
    folder = tmp_path_factory.mktemp("options")
    write_model(folder / "small", small_yaml())
    write_model(folder / "t2v", small_videocrafter_yaml())
    write_model(folder / "depths", small_structure_yaml(estimator=False))
    for number, name in enumerate(("depth", "other")):
        np.savez(folder / f"{name}.npz", depth=rand(f"depth {number}", (FRAMES, SIDE, SIDE)).numpy())
    write_inputs(folder, folder / "small/model.safetensors")
    edited = small_yaml()
    edited["model"]["params"]["scale_factor"] *= 0.8
    (folder / "edited.yaml").write_text(yaml.safe_dump(edited))
    for number, name in enumerate(("cat", "dog", "owl")):
        picture(seed=number).save(folder / f"{name}.png")
    picture().convert("L").point(lambda level: 255 if level > 128 else 0).save(folder / "mask.png")
    (folder / "list.csv").write_text("image,prompt\ncat.png,left\n")
    for number, name in enumerate(("ball", "other")):
        write_video(rand(f"options {number}", (3, 5, SIDE, SIDE)).mul(0.3).clamp(-1, 1), folder / f"{name}.mp4", 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        list(run(plan_videos("animate", **base_of("animate"), output="made.mp4")))
        run_extension(plan_extension(Path("ball.mp4"), prompt=PROMPT, checkpoint="small", output="extended.mp4"))
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as the one to work in; there are no released models."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(folder / "none"))
    chosen = functools.cache(choose_model)
    for module in (lvdm.jobs.plan, lvdm.jobs.extend):  # the same few models for thousands of plans
        monkeypatch.setattr(module, "choose_model", chosen)
    return folder


def base_of(mode: str) -> dict[str, Any]:
    """The least that a request in `mode` says."""
    others = {"text-to-video": "t2v", "structure": "depths"}
    base: dict[str, Any] = {"prompt": PROMPT, "checkpoint": others.get(mode, "small")}
    if mode == "structure":
        return base | {"depth": "depth.npz"}
    if mode == "extend":
        return base | {"video": "ball.mp4"}
    if mode != "text-to-video":
        base["image"] = "cat.png"
    more = {"interpolate": {"end_image": "dog.png"}, "keyframes": {"keyframes": {3: "dog.png"}}}
    return base | more.get(mode, {})


def planned(mode: str, given: Mapping[str, Any]) -> Plan | ExtensionPlan:
    if mode != "extend":
        return plan_videos(mode, **given)
    values = dict(given)
    return plan_extension(Path(values.pop("video")), **values)


def contents(plan: Plan | ExtensionPlan) -> dict[str, Any]:
    """What a plan holds, as values that can be compared."""
    model = plan.model.machine, plan.model.added, plan.model.precision().weights, plan.model.files.checkpoint
    if isinstance(plan, ExtensionPlan):
        names = ("source", "frames", "extension", "output", "written", "playback_fps", "reader", "digest")
        request = plan.request.inputs, plan.request.settings, plan.request.seed
        return {"model": model, "request": request} | {name: getattr(plan, name) for name in names}
    videos = [
        (video.output, video.digest, video.request.inputs, video.request.settings, video.request.index)
        for video in plan.videos
    ]
    return {"model": model, "videos": videos, "output": plan.output, "fps": plan.playback_fps}


def digests(plan: Plan | ExtensionPlan) -> list[str]:
    return [plan.digest] if isinstance(plan, ExtensionPlan) else [video.digest for video in plan.videos]


def present_value(declared: Declared, plan: Plan | ExtensionPlan, given: Mapping[str, Any]) -> Any:
    """What the parameter is without being given."""
    if isinstance(plan, ExtensionPlan):
        resolved: tuple[Any, ...] = plan.extension, plan.request.settings
    else:
        resolved = (plan.videos[0].request.settings,)
    found = next((getattr(part, declared.name) for part in resolved if hasattr(part, declared.name)), declared.default)
    return given.get(declared.name, found)


def other_values(declared: Declared, present: Any) -> Iterator[Any]:
    """Values besides the `present` one: near by, and both ends of its range."""
    kind, (low, high) = declared.kind, declared.bounds
    if declared.name in EXAMPLES:
        yield from (value for value in EXAMPLES[declared.name] if value != present)
    elif declared.choices:
        yield from (choice for choice in declared.choices if choice != present)
    elif kind is bool:
        yield not present
    elif kind in (int, float):
        assert high < math.inf, f"{declared.name} has no range"
        near = min(high, low + 1 if present is None else present + 1)
        if kind is float and near == high:
            near = (low + high if present in (None, low) else low + present) / 2
        yield from (value for value in dict.fromkeys(map(kind, (near, low, high))) if value != present)
    else:
        raise AssertionError(f"{declared.name} is new: give EXAMPLES a value of it")


def problem_of(
    declared: Declared, value: Any, mode: str, given: Mapping[str, Any], plain: Any, caplog: pytest.LogCaptureFixture
) -> str | None:
    """What is wrong with how the option is taken, against the `plain` plan without it; None if nothing is."""
    name = declared.name
    caplog.clear()
    try:
        plan = planned(mode, {**given, name: value})
    except ValueError as error:
        return None if str(error).splitlines()[0].strip() else "refused without a word"
    if mode not in declared.parameter.modes and name != "keyframes":
        return "taken, though the mode does not read it"
    said = [record.message for record in caplog.records if f"{shown_name(name)} has no effect: " in record.message]
    changed = digests(plan)[:1] != digests(plain)[:1]
    if len(said) > 1:
        return f"said {len(said)} times to have no effect"
    if said:
        return "said to have no effect, and changes the digest" if changed else None
    if name in BY_THE_COMMAND or f"{name}={value}" in EQUAL:
        return None
    if contents(plan) == contents(plain):
        return "ignored"
    if name in (*SHORT_FOR_OTHERS, "num_videos_per_prompt"):
        return None
    right = changed == (declared.parameter.changes != "nothing")
    return None if right else f"changes {declared.parameter.changes}, it says; changes the digest: {changed}"


@pytest.mark.parametrize(
    ("mode", "around"), [*((mode, "plain") for mode in ALL_MODES), *(("animate", around) for around in AROUND)]
)
def test_every_option_is_applied_or_refused_or_said_to_have_no_effect(
    here: Path, mode: str, around: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = base_of(mode) | dict(AROUND.get(around, {}))
    plain = planned(mode, given)
    problems = []
    for name, declared in all_parameters().items():
        present = present_value(declared, plain, given)
        for value in other_values(declared, present):
            if value != given.get(name):
                problem = problem_of(declared, value, mode, given, plain, caplog)
                problems += [f"{name} {value!r}: {problem}"] if problem else []
    assert not problems, "\n".join(problems)


def effective_values(
    mode: str, caplog: pytest.LogCaptureFixture, among: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any, Plan | ExtensionPlan]]:
    """Surroundings, name, value and plan of each option that changes the video by it, in the first where one does.

    Of a number it is a value that is near, of others up to two that are taken; of `extend` one, its segments take time.
    """
    plain_of = functools.cache(lambda around: planned(mode, base_of(mode) | dict(among[around])))
    for name, declared in all_parameters().items():
        if declared.parameter.changes == "nothing" or mode not in declared.parameter.modes:
            continue
        most = 1 if mode == "extend" or declared.kind in (int, float) else 2
        for around, more in among.items():
            given, found, plain = base_of(mode) | dict(more), 0, plain_of(around)
            for value in other_values(declared, present_value(declared, plain, given)):
                caplog.clear()
                try:
                    plan = planned(mode, {**given, name: value})
                except ValueError:
                    continue
                said = any("has no effect" in record.message for record in caplog.records)
                if said or contents(plan) == contents(plain) or f"{name}={value}" in EQUAL or found == most:
                    continue
                found += 1
                yield around, name, value, plan
            if found:
                break


def file_of(plan: Plan | ExtensionPlan) -> bytes:
    """The bytes of the video, or of its frames, once it is made."""
    if isinstance(plan, ExtensionPlan):
        run_extension(plan)
        output = plan.output
    else:
        list(run(plan))
        output = plan.videos[0].output
    return b"".join(path.read_bytes() for path in sorted(output.parent.glob(output.name.replace("%05d", "[0-9]*"))))


@pytest.mark.parametrize(
    ("mode", "among"),
    [("animate", ("plain", *AROUND)), ("extend", ("plain", "late and blurred", "by files", "another shape", "larger"))],
)
def test_what_changes_the_plan_changes_the_file(
    here: Path, mode: str, among: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    surroundings = {around: AROUND.get(around, {}) for around in among}
    plain = functools.cache(lambda around: file_of(planned(mode, base_of(mode) | dict(surroundings[around]))))
    same, tried = [], set()
    for around, name, value, plan in effective_values(mode, caplog, surroundings):
        tried.add(name)
        if file_of(plan) == plain(around) and f"{name}={value}" not in EQUAL_NUMBERS:
            same.append(f"{around}: {name} {value!r}")
    assert not same, "changes the plan, and not the file: " + ", ".join(same)
    changing = {name for name, declared in all_parameters().items() if declared.parameter.changes != "nothing"}
    changing -= {name for names in NOT_RUN.values() for name in names} | {"video"}
    left = [name for name in sorted(changing - tried) if mode in all_parameters()[name].parameter.modes]
    assert not left, f"nothing was made with {', '.join(left)}; add to AROUND where it has an effect"

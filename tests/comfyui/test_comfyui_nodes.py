"""The nodes of ComfyUI, on a stand-in that asserts its contract: `tests/comfy_stand_in.py`."""

from __future__ import annotations

import functools
import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_stand_in import KINDS, PACKAGE, Comfy, ExecutionBlocker, InterruptProcessingException, fault_of_value
from PIL import Image, ImageChops
from small_model import FRAMES, SIDE, picture, small_structure_yaml, write_model, write_small_model

from lvdm.declaration.parameter import ALL_MODES
from lvdm.jobs.plan import plan_videos
from lvdm.media.ownership import record_path
from lvdm.media.video_reader import VideoReader
from lvdm.request.layers import all_parameters

ROOT = PACKAGE.parent
IMAGES, FPS, VIDEO, REPORT, LATENTS = range(5)
FEW = {"prompt": "a red ball", "num_inference_steps": 2, "guidance_scale": 1.0, "seed": 7}


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """ComfyUI with two images and, in its folder of models, the small one."""
    with pytest.MonkeyPatch.context() as patch:
        found = Comfy(tmp_path_factory.mktemp("comfy") / "ui")
        found.install(patch)
        write_small_model(found.folder / "models" / "dynamicrafter" / "small")
        picture().save(found.folder / "input" / "cat.png")
        picture(seed=3).save(found.folder / "input" / "dog.png")
        yield found


@pytest.fixture
def inputs(comfy: Comfy) -> Any:
    """The module that makes inputs of the declaration."""
    import sys

    return sys.modules[f"{str(PACKAGE).replace('.', '_x_')}.inputs"]


def prompt_of(**nodes: Any) -> dict[str, Any]:
    """A prompt with a model `m` and images `i`, `j`."""
    found = {
        "m": {"class_type": "DynamiCrafterLoadModel", "inputs": {"model": "small", "device": "cpu"}},
        "i": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "j": {"class_type": "LoadImage", "inputs": {"image": "dog.png"}},
    }
    for id_, (kind, given) in nodes.items():
        model = {} if kind == "Save" else {"model": ["m", 0], **FEW}
        found[id_] = {"class_type": f"DynamiCrafter{kind}", "inputs": {**model, **given}}
    return found


def nodes_of_modes(comfy: Comfy) -> list[Any]:
    return [node for node in comfy.nodes.values() if hasattr(node, "mode")]


def test_every_parameter_is_an_input_or_elsewhere(comfy: Comfy, inputs: Any) -> None:
    elsewhere = set(inputs.ELSEWHERE)
    assert elsewhere <= set(all_parameters())
    for mode in ALL_MODES:
        found = inputs.inputs_of(mode, ())
        names = {*found["required"], *found["optional"]} - {inputs.KEYFRAME_NUMBERS, inputs.VIDEO_FPS}
        read = {name for name, declared in all_parameters().items() if mode in declared.parameter.modes}
        assert names == read - elsewhere, mode
    assert all(any(node.mode == mode for node in nodes_of_modes(comfy)) for mode in ALL_MODES), "a mode has no node"


def test_widgets_left_alone_give_nothing_and_all_are_as_comfyui_takes_them(comfy: Comfy, inputs: Any) -> None:
    for name, node in comfy.nodes.items():
        declared = node.INPUT_TYPES()
        assert len(node.RETURN_TYPES) == len(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)), name
        assert callable(getattr(node, node.FUNCTION)), name
        for field, (kind, *rest) in {**declared["required"], **declared.get("optional", {})}.items():
            told = rest[0] if rest else {}
            if name == "LoadImage" or field not in all_parameters() or not (isinstance(kind, list) or kind in KINDS):
                continue
            value = told.get("default", kind[0] if isinstance(kind, list) else None)
            where = f"{name} {field}"
            assert not fault_of_value(where, value, (kind, told))
            assert told["tooltip"], where
            assert inputs.parameter_values({field: value}, {}) == {}, f"{where}: what nobody touched is typed"


@pytest.mark.parametrize(
    ("name", "value", "parameter"),
    [
        ("num_frames", 8, 8),
        ("num_frames", -1, None),
        ("motion", 0.0, 0.0),
        ("motion", 1, 1.0),
        ("low_pass", 0.0, None),
        ("fix_final_step", "yes", True),
        ("low_memory", True, True),
        ("sampler", "default", None),
        ("sampler", "unipc", "unipc"),
        ("camera", "zoom_in:amount=0.5", "zoom_in:amount=0.5"),
        ("scale", "auto", None),
        ("prompts_at", "4=it stops\n\n9=it falls", ["4=it stops", "9=it falls"]),
        ("second_stage_unet", "none", None),
        ("second_stage_unet", "a.ckpt", Path("a.ckpt")),
    ],
)
def test_values_of_widgets(name: str, value: Any, parameter: Any, inputs: Any) -> None:
    found = inputs.parameter_values({name: value}, {"a.ckpt": Path("a.ckpt")})
    assert found == ({} if parameter is None else {name: parameter})
    assert all(type(found[key]) is type(parameter) for key in found)


def test_the_example_workflow_makes_the_video_of_the_command_line(comfy: Comfy, tmp_path: Path) -> None:
    """On the embedded model, with fewer steps and frames."""
    prompt = json.loads((PACKAGE / "workflows" / "animate.json").read_text(encoding="utf-8"))
    star = ROOT / "prompts" / "tiny" / prompt["2"]["inputs"]["image"]
    shutil.copy(star, comfy.folder / "input")
    given = prompt["3"]["inputs"] | {"num_inference_steps": 2, "num_frames": 8}
    prompt["3"]["inputs"] = given
    comfy.reports.clear()
    done = comfy.run(prompt)
    written = Path(done["4"]["result"][0])
    assert done["4"]["ui"] == {
        "images": [{"filename": written.name, "subfolder": "", "type": "output"}],
        "animated": (True,),
    }
    assert done["3"][IMAGES].shape == (8, 64, 64, 3)
    assert len(done["5"]["ui"]["images"]) == 8
    assert done["3"][REPORT].startswith("frame 0 ")
    assert [value for value, _, _ in comfy.reports] == sorted(value for value, _, _ in comfy.reports)
    assert comfy.reports[-1][:2] == (1000, 1000)
    assert any(preview for _, _, preview in comfy.reports), "nothing is seen while it runs"
    typed = {name: given[name] for name in ("prompt", "seed", "guidance_scale", "num_inference_steps", "num_frames")}
    record = json.loads(record_path(written).read_text(encoding="utf-8"))
    image, made = Path(record["input"]["image"]), record["digest"]
    assert ImageChops.difference(Image.open(image), Image.open(star).convert("RGB")).getbbox() is None
    same = plan_videos("animate", image=image, preset="tiny", output=tmp_path / "star.mp4", device="cpu", **typed)
    assert same.videos[0].digest == made, "it is not the video of the command line"
    assert plan_videos("animate", replay=record_path(written)).videos[0].digest == made


def test_other_modes_and_their_files(comfy: Comfy) -> None:
    image, last = {"image": ["i", 0]}, {"end_image": ["j", 0]}
    keys = {"keyframes": ["j", 0], "keyframe_numbers": "2"}
    prompt = prompt_of(
        a=("Interpolate", image | last),
        l=("Loop", image),
        k=("KeyFrames", image | keys),
        e=("Extend", {"video": ["a", IMAGES], "video_fps": 8.0, "num_frames": 2, "overlap": 1}),
        sa=("Save", {"video": ["a", VIDEO], "filename_prefix": "all/a", "playback_fps": 12.0}),
        sl=("Save", {"video": ["l", VIDEO], "filename_prefix": "all/l", "format": "png"}),
        se=("Save", {"video": ["e", VIDEO], "filename_prefix": "all/e", "format": "webm"}),
    )
    done = comfy.run(prompt)
    frames = {id_: len(done[id_][IMAGES]) for id_ in "alke"}
    assert frames == {"a": FRAMES, "l": FRAMES - 1, "k": FRAMES, "e": FRAMES + 2}
    assert torch.equal(done["e"][IMAGES][0], (done["a"][IMAGES][0] * 255).round() / 255), "known frames were changed"
    assert done["a"][LATENTS]["samples"].shape == (FRAMES, 4, SIDE // 4, SIDE // 4)
    assert len(done["l"][LATENTS]["samples"]) == FRAMES - 1
    assert isinstance(done["e"][LATENTS], ExecutionBlocker)
    with VideoReader(done["sa"]["result"][0]) as reader:
        assert (reader.num_frames, round(reader.fps)) == (FRAMES, 12)
    with VideoReader(done["se"]["result"][0]) as reader:
        assert reader.num_frames == FRAMES + 2
    record = json.loads(record_path(Path(done["se"]["result"][0])).read_text(encoding="utf-8"))
    assert (record["video"], record["output"]["num_frames"]) == ("e_00001_.webm", FRAMES + 2)
    assert (comfy.folder / "output" / "all" / "l_00001__00002.png").is_file()
    assert done["sl"]["ui"]["animated"] == (False,)


def test_a_video_follows_the_frames_of_depth_or_of_a_video(comfy: Comfy) -> None:
    write_model(comfy.folder / "models" / "dynamicrafter" / "depth", small_structure_yaml())
    load = {"class_type": "DynamiCrafterLoadModel", "inputs": {"model": "depth", "device": "cpu"}}
    (model,) = comfy.run({"m": load})["m"]
    node, frames = comfy.nodes["DynamiCrafterStructure"](), torch.rand(2, SIDE, SIDE, 3)
    generate = functools.partial(node.generate, model, **FEW)  # type: ignore[attr-defined]
    made = generate(depth=frames, num_frames=2)
    assert len(made[IMAGES]) == len(generate(driving_video=made[IMAGES], num_frames=2)[IMAGES]) == 2
    stored = made[VIDEO].plan.videos[0].request.inputs.depth
    assert np.allclose(np.load(stored)["depth"], frames.mean(-1)), "depth was rounded"
    with pytest.raises(ValueError, match="has 2 frames, fewer than the 4 of the video"):
        generate(driving_video=frames, num_frames=4)
    with pytest.raises(ValueError, match="the depth of 2 frames and the video has 4; use num_frames 2, or give"):
        generate(depth=frames, num_frames=4)
    still = frames[:1].expand(2, -1, -1, -1)
    assert len(generate(driving_video=still, num_frames=2)[IMAGES]) == 2, "equal frames count as one"
    with pytest.raises(ValueError, match="driving_video is one image; give the frames of a video as a batch"):
        generate(driving_video=frames[:1])


def test_latents_are_those_of_the_autoencoder(comfy: Comfy) -> None:
    done = comfy.run(prompt_of(a=("Animate", {"image": ["i", 0], "decode_chunk_size": 1})))
    pipeline = done["a"][VIDEO].pipeline
    with torch.inference_mode():
        decoded = pipeline.runtime.model.first_stage_model.decode(done["a"][LATENTS]["samples"])
    shown = ((decoded.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1)
    assert (shown - done["a"][IMAGES]).abs().max() < 1e-5, "ComfyUI's decoder would show another video"


def test_cancel_ends_it_at_the_next_report(comfy: Comfy) -> None:
    comfy.reports.clear()
    comfy.cancel_at = 2
    try:
        with pytest.raises(InterruptProcessingException):
            comfy.run(prompt_of(a=("Animate", {"image": ["i", 0], "num_inference_steps": 50})))
    finally:
        comfy.cancel_at = None
    assert len(comfy.reports) == 2, "it went on after Cancel"


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("Animate", {"prompt": " "}, "the prompt is empty"),
        ("Animate", {"num_frames": 0}, "num_frames 0 is not possible"),
        ("Animate", {"motion": 0.5, "fps": 8.0}, "fps and motion set the same thing"),
        ("KeyFrames", {"keyframes": ["j", 0], "keyframe_numbers": "2 3"}, "keyframe_numbers should be 1 numbers"),
    ],
)
def test_what_cannot_be_made_is_refused(kind: str, given: dict[str, Any], said: str, comfy: Comfy) -> None:
    with pytest.raises(ValueError, match=said):
        comfy.run(prompt_of(a=(kind, {"image": ["i", 0], **given})))


def test_one_image_is_one_image(comfy: Comfy) -> None:
    node = comfy.nodes["DynamiCrafterAnimate"]()
    model = comfy.run(prompt_of())["m"][0]
    with pytest.raises(ValueError, match="image holds 2 images, and one is needed"):
        node.generate(model, image=torch.zeros(2, SIDE, SIDE, 3), **FEW)  # type: ignore[attr-defined]


def test_the_package_has_our_version() -> None:
    ours, theirs = (
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for path in (ROOT / "pyproject.toml", PACKAGE / "pyproject.toml")
    )
    assert theirs["version"] == ours["version"]
    assert theirs["dependencies"] == [ours["name"]]

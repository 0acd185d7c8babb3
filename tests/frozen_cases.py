"""One small video for each mode, method and setting: what is asked of the pipeline, as plain data.

The videos that these gave are in `tests/golden/frozen/`; `tests/freeze.py` made them. A keyword argument of a case is
one of `DynamiCrafterPipeline.__call__`. A case that is in the file stays as it is; new ones are added at will.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from golden_vectors import int_image, rand
from PIL import Image
from small_model import FRAMES, SIDE, small_structure_yaml, small_videocrafter_yaml, small_yaml

LONG = FRAMES + 3
PROMPT = "a red ball moves to the right"
TOLERANCE = 1e-4
"""Absolute: another processor rounds otherwise. With other kernels and threads the worst case moves by half of it."""
LATE, STATISTICS, LORA, FLOW = "late.safetensors", "statistics.safetensors", "lora.safetensors", "flow.npz"
"""Files that `frozen_videos.write_inputs` makes; in a case the names stand for their paths."""


def image(name: str, height: int = SIDE, width: int = SIDE) -> Image.Image:
    """The picture called `name`: whole-number operations only, the same on every machine."""
    return Image.fromarray(int_image(f"frozen {name}", height, width))


def _eps_yaml() -> dict[str, Any]:
    """A model as the one for 256x256: eps prediction, plain schedule, frame stride, unscaled latents."""
    tree = small_yaml()
    params = tree["model"]["params"]
    params |= {"parameterization": "eps", "rescale_betas_zero_snr": False, "use_dynamic_rescale": False}
    del params["base_scale"]
    fs = {"fs_meaning": "stride", "fs_min": 1, "fs_max": 6, "fs_default": 3}
    tree["sampling"] |= {**fs, "timestep_spacing": "uniform"}
    params["fps_condition_type"] = "fs"
    return tree


MODELS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = MappingProxyType(
    {
        "small": (small_yaml(), {}),
        "low memory": (small_yaml(), {"low_memory": True}),
        "eps": (_eps_yaml(), {}),
        "t2v": (small_videocrafter_yaml(), {}),
        "vc-i2v": (small_videocrafter_yaml(images=True), {}),
        "depth": (small_structure_yaml(estimator=False), {}),
    }
)
"""The tree of each model's YAML, and how it is loaded besides on the CPU in fp32."""


@dataclass(frozen=True)
class Case:
    """Keyword arguments of one call; `model` is a name in `MODELS`, `loras` the scales at which `LORA` is added."""

    asked: Mapping[str, Any]
    model: str = "small"
    loras: tuple[float, ...] = ()


@dataclass(frozen=True)
class ExtensionCase:
    """A video of `frames` frames to go on with: new frames, overlap, colour lock, and the settings of segments.

    Each segment but the first begins with a picture of whole grey levels, 1/127.5 apart: where rounding tips one over,
    that is seen, hence a `tolerance` of its own.
    """

    extension: tuple[int, int, float]
    frames: int = 5
    settings: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE


def _animate(model: str = "small", **more: Any) -> Case:
    return Case({"image": image("cat"), "prompt": PROMPT, **more}, model)


def _to_last(**more: Any) -> Case:
    return _animate(end_image=image("dog"), **more)


def _text(**more: Any) -> Case:
    return Case({"prompt": PROMPT, **more}, "t2v")


def _structure(**more: Any) -> Case:
    return Case({"prompt": PROMPT, "depth": rand("frozen depth", (FRAMES, SIDE, SIDE)), **more}, "depth")


MODES = {
    "animate": _animate(),
    "interpolate": _to_last(),
    "loop": _animate(loop=True),
    "loop plain": _animate(loop=True, long_video="plain"),
    "keyframes": _animate(keyframes={2: image("dog"), 3: image("owl")}),
    "animate eps": _animate("eps"),
    "interpolate eps": _animate("eps", end_image=image("dog")),
    "animate low memory": _animate("low memory"),
    "text-to-video": _text(),
    "videocrafter i2v": _animate("vc-i2v"),
    "structure": _structure(),
}
SETTINGS = {
    "sampler dpm++": _animate(sampler="dpm++", num_inference_steps=3),
    "sampler unipc": _animate(sampler="unipc", num_inference_steps=3),
    "sampler dpm++ eps": _animate("eps", sampler="dpm++", num_inference_steps=3),
    "eta 0": _animate(eta=0.0),
    "eta 0.5 eps": _animate("eps", eta=0.5, num_inference_steps=3),
    "spacing uniform": _animate(timestep_spacing="uniform", num_inference_steps=3),
    "spacing quad": _animate(timestep_spacing="quad", num_inference_steps=3),
    "fix final step": _animate(fix_final_step=True),
    "guidance off": _animate(guidance_scale=1.0),
    "guidance 4, rescaled": _animate(guidance_scale=4.0, guidance_rescale=0.7),
    "image guidance": _animate(image_guidance_scale=1.5),
    "image guidance, rescaled": _animate(image_guidance_scale=1.5, guidance_rescale=0.7),
    "image guidance low memory": _animate("low memory", image_guidance_scale=1.5),
    "image guidance videocrafter": _animate("vc-i2v", image_guidance_scale=1.5),
    "negative prompt": _animate(negative_prompt="a blue square"),
    "negative prompt t2v": _text(negative_prompt="a blue square"),
    "seed and sample": _animate(seed=7, sample_index=2),
    "two videos of each prompt": Case(
        {"image": [image("cat"), image("dog")], "prompt": [PROMPT, "it stops"], "num_videos_per_prompt": 2}
    ),
    "two seeds": Case({"image": [image("cat"), image("dog")], "prompt": PROMPT, "seed": [1, 2]}),
    "two sentences t2v": Case({"prompt": [PROMPT, "it stops"], "seed": 5}, "t2v"),
    "fps": _animate(fps=24),
    "frame stride": _animate("eps", frame_stride=5),
    "motion 0": _animate(motion=0.0),
    "motion 1": _animate(motion=1.0),
    "six frames, plain": _animate(num_frames=FRAMES + 2, long_video="plain"),
    "image tokens nearest": _animate(num_frames=FRAMES - 1, image_token_policy="nearest"),
    "image tokens broadcast": _animate(num_frames=FRAMES - 1, image_token_policy="broadcast"),
    "depth range of each frame": _structure(depth_range="frame"),
    "fit pad": Case({"image": image("wide", 24, 40), "prompt": PROMPT, "fit": "pad", "height": SIDE, "width": SIDE}),
    "fit stretch": Case(
        {"image": image("wide", 24, 40), "prompt": PROMPT, "fit": "stretch", "height": SIDE, "width": SIDE}
    ),
    "size of the image": Case({"image": image("tall", 44, 28), "prompt": PROMPT}),
    "padded size": _animate(height=36, width=28),
    "decoded one by one": _animate(decode_chunk_size=1),
    "decoded in tiles": _animate(vae_tile=8, height=2 * SIDE, width=2 * SIDE, scale="off"),
}
BETWEEN = {
    "between vibid": _to_last(between="vibid", num_inference_steps=3),
    "between vibid, back first": _to_last(between="vibid:first=back"),
    "between trf": _to_last(between="trf", num_inference_steps=3),
    "between trf, repeated": _to_last(between="trf:repeats=2,until=1"),
    "between with its own prompt": _to_last(between="trf", between_prompt="the ball rolls back"),
    "between in a loop": _animate(loop=True, between="vibid"),
    "between key frames": _animate(keyframes={2: image("dog")}, between="trf", num_frames=5),
    "between dpm++": _to_last(between="trf", sampler="dpm++"),
}
LONG_VIDEOS = {
    "freenoise": _animate(num_frames=LONG),
    "freenoise t2v": _text(num_frames=LONG),
    "freenoise videocrafter i2v": _animate("vc-i2v", num_frames=LONG),
    "freenoise both ways": _to_last(num_frames=LONG, between="vibid"),
    "freelong": _animate(num_frames=LONG, long_video="freelong"),
    "fifo": _animate(num_frames=LONG, long_video="fifo"),
    "fifo t2v": _text(num_frames=LONG, long_video="fifo"),
    "ring": _animate(num_frames=LONG, long_video="cyclic"),
    "long loop": _animate(num_frames=LONG, loop=True),
    "chunked": _animate(num_frames=LONG, long_video="plain", chunk_frames=2),
    "freenoise in small chunks": _animate(num_frames=LONG, chunk_frames=2),
}
_MASK = torch.ones(SIDE, SIDE)
LARGER = {"height": 2 * SIDE, "width": 2 * SIDE}
METHODS = {
    "anchor soft": _animate(anchor="soft"),
    "anchor exact": _animate(anchor="exact"),
    "color lock": _animate(color_lock=0.5),
    "keep mask": _animate(keep_mask=_MASK.tril()),
    "keep mask, feathered": _animate(keep_mask=_MASK.tril(), keep_feather=2),
    "keep mask of each frame": _animate(keep_mask=torch.stack([_MASK.tril(8 * i - 16) for i in range(FRAMES)])),
    "camera": _animate(camera="pan_left"),
    "camera, begun earlier": _animate(camera="zoom_in:amount=0.5,begin=yes"),
    "camera path": _animate(camera="path:points=0.2 0 1; 0.2 0.1 1.5"),
    "carry": _animate(carry="zoom_in:amount=0.5"),
    "carry, dragged": _animate(carry="drag:radius=0.3,right=0.3"),
    "carry by a flow": _animate(carry_flow=FLOW),
    "low pass": _animate(low_pass=0.5, low_pass_until=0.5),
    "start time": _animate(truncated_start=0.9),
    "start statistics": _animate(truncated_start=0.9, start_statistics=STATISTICS),
    "free init": _animate(free_init="iterations=2,level=0.9"),
    "free u": _animate(free_u="b1=1.2,s1=0.9"),
    "deep cache": _animate(deep_cache="interval=2,blocks=1", num_inference_steps=4),
    "guidance steps": _animate(guidance_steps="after=0.25,interval=2", num_inference_steps=4),
    "late weights": _animate(second_stage_unet=LATE, second_stage_below=0.6),
    "weak stg": _animate(perturbed_guidance="stg:scale=1"),
    "weak pag": _animate(perturbed_guidance="pag:scale=2,blocks=output,until=0.5,rescale=0.7"),
    "scale auto": _animate(**LARGER),
    "scale off": _animate(**LARGER, scale="off"),
    "scalecrafter": _animate(**LARGER, scale="scalecrafter:factor=2,until=1"),
    "scalecrafter, progressive": _animate(
        **LARGER, scale="scalecrafter:factor=3,until=1,progressive=yes,damped=yes", num_inference_steps=3
    ),
    "scalecrafter, dispersed": _animate(**LARGER, scale="scalecrafter:factor=2,until=1,dispersed=yes,attention=yes"),
    "freescale": _animate(**LARGER, scale="freescale:factor=2,until=0.5,level=1"),
    "freescale cascade": _animate(**LARGER, scale="freescale:factor=2,until=0.5,level=0.8"),
    "prompts at": _animate(prompts_at={2: "it stops", 3: "it falls"}),
    "lora": Case({"image": image("cat"), "prompt": PROMPT}, loras=(0.5, 1.0)),
}
TOGETHER = {
    "freenoise, keep mask and prompts at": _animate(
        num_frames=LONG, keep_mask=_MASK.tril(), prompts_at={4: "it stops"}
    ),
    "freelong and weak": _animate(num_frames=LONG, long_video="freelong", perturbed_guidance="stg:scale=1"),
    "fifo, anchor exact and weak": _animate(
        num_frames=LONG, long_video="fifo", anchor="exact", perturbed_guidance="stg:scale=1"
    ),
    "scalecrafter and free u": _animate(**LARGER, free_u="b1=1.2,s1=0.9"),
    "late weights, weak and color lock": _animate(
        second_stage_unet=LATE,
        second_stage_below=0.6,
        perturbed_guidance="pag:scale=1",
        color_lock=1.0,
        num_inference_steps=3,
    ),
    "between, weak and image guidance": _to_last(
        between="vibid", perturbed_guidance="stg:scale=1", image_guidance_scale=1.5
    ),
}
CASES: Mapping[str, Case] = MappingProxyType({**MODES, **SETTINGS, **BETWEEN, **LONG_VIDEOS, **METHODS, **TOGETHER})
EXTENSIONS: Mapping[str, ExtensionCase] = MappingProxyType(
    {
        "extend": ExtensionCase((2, 2, 1.0)),
        "extend by three segments": ExtensionCase((5, 2, 1.0), tolerance=0.02),
        "extend with weak, colours free": ExtensionCase((2, 1, 0.0), settings={"perturbed_guidance": "stg:scale=1"}),
    }
)

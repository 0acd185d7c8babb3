"""The clip generator keeps its promises: motion as captioned, reproducible, no leak from frame 0 or the test split."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lvdm.config import parse_component
from lvdm.data.procedural import (
    ProceduralClips,
    ProceduralConfig,
    Scene,
    caption,
    displacement,
    render,
    render_mask,
    sample_scene,
)
from lvdm.data.procedural_captions import CAMERA_MOTIONS
from lvdm.data.procedural_scene import COLORS, DIRECTIONS, MOTIONS, PANS, SHAPES, SPEEDS

CONFIG = ProceduralConfig(num_frames=16)
SMALL = ProceduralConfig(height=32, width=48, num_frames=4)


def centred_scene(motion: str, **changes: object) -> Scene:
    """A scene in the middle of the frame that does not leave it at normal speed."""
    scene = sample_scene(CONFIG, 3)
    fixed = {"x": 0.5, "y": 0.5, "radius": 0.16, "speed": "normal", "frame_stride": 2, "texture": "marked"}
    return dataclasses.replace(scene, motion=motion, **{**fixed, **changes})


def centroids(mask: Tensor) -> Tensor:
    """(b, t, 2): x and y in pixels of the centre of mass of masks (b, t, H, W)."""
    y, x = torch.meshgrid(torch.arange(mask.shape[2]) + 0.5, torch.arange(mask.shape[3]) + 0.5, indexing="ij")
    area = mask.sum((2, 3))
    return torch.stack(((mask * x).sum((2, 3)) / area, (mask * y).sum((2, 3)) / area), dim=-1)


@pytest.mark.parametrize("motion", [*DIRECTIONS, *PANS])
def test_sprite_travels_as_said(motion: str) -> None:
    scenes = [
        centred_scene(motion, speed=speed, frame_stride=stride, shape=shape)
        for speed, stride, shape in [("slowly", 3, "star"), ("normal", 2, "heart"), ("quickly", 1, "ring")]
    ]
    path = centroids(render_mask(scenes, CONFIG))
    for scene, measured in zip(scenes, path[:, -1] - path[:, 0], strict=True):
        expected = torch.tensor(displacement(scene, CONFIG)) * (CONFIG.num_frames - 1)
        assert (measured - expected).abs().max() < 0.5, f"{caption(scene)}: moved {measured}, expected {expected}"
        direction = DIRECTIONS[motion] if motion in DIRECTIONS else tuple(-part for part in PANS[motion])
        assert expected @ torch.tensor(direction) == pytest.approx(math.hypot(*expected.tolist())), "another direction"


@pytest.mark.parametrize(
    ("motion", "growth"), [("grow", 1.5), ("shrink", 1 / 1.5), ("zoom in", 1.5), ("zoom out", 1 / 1.5), ("still", 1.0)]
)
def test_sprite_changes_size_as_said(motion: str, growth: float) -> None:
    scene = centred_scene(motion, shape="circle")
    area = render_mask([scene], CONFIG)[0].sum((1, 2))
    assert (area[-1] / area[0]).sqrt() == pytest.approx(growth, rel=0.02), f"{motion}: another final size"


def test_rotation_is_clockwise_as_seen() -> None:
    scenes = [centred_scene(motion, shape="circle", angle=0.0) for motion in ("clockwise", "counterclockwise")]
    plain = [dataclasses.replace(scene, texture="solid") for scene in scenes]
    mark = centroids((render(plain, CONFIG) - render(scenes, CONFIG)).clamp(min=0).mean(1)) - CONFIG.width / 2
    angle = torch.atan2(mark[..., 1], mark[..., 0])  # y down: grows clockwise
    turned = torch.rad2deg(angle[:, 6] - angle[:, 0])
    assert turned[0] == pytest.approx(48.0, abs=2), "120 degrees in 15 frames, measured after 6"
    assert turned[1] == pytest.approx(-48.0, abs=2)


@pytest.mark.parametrize("seed", range(3))
def test_frame_0_does_not_tell_the_motion(seed: int) -> None:
    scene = sample_scene(CONFIG, seed)
    first_frames = render([dataclasses.replace(scene, motion=motion) for motion in MOTIONS], CONFIG)[:, :, 0]
    assert torch.equal(first_frames, first_frames[:1].expand_as(first_frames))


def test_speed_times_stride_is_all_that_counts() -> None:
    scenes = [centred_scene("right", speed=speed, frame_stride=stride) for speed in SPEEDS for stride in (1, 3)]
    for scene in scenes:
        normal = displacement(centred_scene("right", frame_stride=1), CONFIG)[0]
        assert displacement(scene, CONFIG)[0] == pytest.approx(normal * SPEEDS[scene.speed] * scene.frame_stride)


def test_sprites_rarely_leave_the_frame() -> None:
    config = dataclasses.replace(CONFIG, motions=tuple(DIRECTIONS))
    area = render_mask([sample_scene(config, seed) for seed in range(200)], config).sum((2, 3))
    assert (area[:, -1] < 0.5 * area[:, 0]).float().mean() < 0.1, "more than a tenth of the sprites end half outside"


@pytest.mark.parametrize("size", [(64, 64), (32, 48), (48, 24)])
def test_video_and_mask_ranges(size: tuple[int, int]) -> None:
    config = ProceduralConfig(height=size[0], width=size[1], num_frames=3)
    scenes = [sample_scene(config, seed) for seed in range(24)]
    video, mask = render(scenes, config), render_mask(scenes, config)
    assert video.shape == (24, 3, 3, *size)
    assert mask.shape == (24, 3, *size)
    assert video.dtype == mask.dtype == torch.float32
    assert video.abs().max() <= 1, "video leaves [-1, 1]"
    assert mask.aminmax() == (0, 1), "a sprite should cover some pixels fully and not all"
    sprite = (video * mask[:, None]).sum((2, 3, 4)) / mask.sum((1, 2, 3))[:, None]
    other = (video * (1 - mask[:, None])).sum((2, 3, 4)) / (1 - mask).sum((1, 2, 3))[:, None]
    assert (sprite - other).norm(dim=1).min() > 0.3, "a sprite has nearly the colour of its background"


def test_batch_equals_singles() -> None:
    scenes = [sample_scene(SMALL, seed) for seed in range(11)]
    singles = torch.cat([render([scene], SMALL) for scene in scenes])
    assert (render(scenes, SMALL) - singles).abs().max() < 1e-5


def test_captions_name_motion_and_speed_unambiguously() -> None:
    base = centred_scene("left")
    for motion in MOTIONS:
        for speed in SPEEDS:
            for template in CONFIG.templates:
                for wording in range(18):
                    check_caption(
                        dataclasses.replace(base, motion=motion, speed=speed, template=template, wording=wording)
                    )


def check_caption(scene: Scene) -> None:
    words = caption(scene).split()
    said = {word for word in ("left", "right") if word in words}
    said |= {"up"} & {{"upper": "up", "upwards": "up"}.get(word, word) for word in words}
    said |= {"down"} & {{"lower": "down", "downwards": "down"}.get(word, word) for word in words}
    synonyms = {"upper": "up", "lower": "down", "pan": ""}
    wanted = {synonyms.get(word, word) for word in scene.motion.split()} - {""}
    if scene.motion in DIRECTIONS or scene.motion in PANS:
        assert said == wanted, f"{caption(scene)!r} for {scene.motion}"
    else:
        assert not said, f"{caption(scene)!r} names a direction, the motion is {scene.motion}"
    if scene.motion in ("clockwise", "counterclockwise"):
        assert scene.motion in words
    spoken = {"slowly", "quickly"} & set(words)
    assert spoken == ({scene.speed} & {"slowly", "quickly"} if scene.motion != "still" else set()), caption(scene)
    assert ("camera" in words) == (scene.motion in CAMERA_MOTIONS), caption(scene)
    assert len(words) <= 20, f"{caption(scene)!r} is too long for a short text context"


def test_different_motions_never_share_a_caption() -> None:
    base = centred_scene("left")
    owner: dict[str, str] = {}
    for motion in MOTIONS:
        for template in CONFIG.templates:
            for wording in range(18):
                text = caption(dataclasses.replace(base, motion=motion, template=template, wording=wording))
                assert owner.setdefault(text, motion) == motion, f"{text!r} stands for {owner[text]} and {motion}"


def test_caption_examples() -> None:
    base = centred_scene("left", shape="hexagon", color="orange", background="striped", wording=0)
    said = {
        template: caption(dataclasses.replace(base, template=template, speed="slowly")) for template in CONFIG.templates
    }
    assert said == {
        0: "an orange hexagon moves slowly to the left",
        1: "the orange hexagon moves to the left slowly",
        2: "an orange hexagon moves slowly to the left on a striped background",
        3: "an orange hexagon moving slowly to the left",
        4: "a marked orange hexagon moves slowly to the left on a striped background",
        5: "the hexagon moves slowly to the left",
    }


def test_clip_depends_on_seed_and_index_only() -> None:
    params = {"height": 32, "width": 32, "num_frames": 4, "length": 50, "seed": 7}
    dataset = parse_component({"target": "lvdm.data.procedural.ProceduralClips", "params": params}, "data").build()
    assert isinstance(dataset, ProceduralClips)
    batch = next(iter(DataLoader(dataset, batch_size=4, sampler=[9, 3, 3, 41])))
    assert batch["video"].shape == (4, 3, 4, 32, 32)
    assert torch.equal(batch["video"][1], batch["video"][2])
    alone = dataset[41]
    assert (batch["video"][3] - alone["video"]).abs().max() < 1e-5
    assert (batch["caption"][3], int(batch["frame_stride"][3])) == (alone["caption"], alone["frame_stride"])
    assert sorted(alone) == ["caption", "fps", "frame_stride", "path", "video"]
    other = ProceduralClips(dataclasses.replace(dataset.config, seed=8))
    assert other.scene(41) != dataset.scene(41), "another seed gives other clips"
    with pytest.raises(IndexError, match="clip 50"):
        dataset[50]


def test_scenes_are_json_and_sampling_is_pinned() -> None:
    scene = sample_scene(CONFIG, random.Random("0/0"))
    assert json.loads(json.dumps(dataclasses.asdict(scene)))["motion"] == scene.motion
    assert scene == sample_scene(CONFIG, random.Random("0/0"))


def test_train_and_test_triples_are_disjoint() -> None:
    splits = {split: dataclasses.replace(CONFIG, split=split) for split in ("train", "test")}
    triples = {
        split: {(s.shape, s.color, s.motion) for s in (sample_scene(config, seed) for seed in range(1500))}
        for split, config in splits.items()
    }
    assert not triples["train"] & triples["test"], "a held-out combination was sampled for training"
    everything = [(shape, color, motion) for shape in SHAPES for color in COLORS for motion in MOTIONS]
    held_out = sum(splits["test"].accepts(*triple) for triple in everything) / len(everything)
    assert held_out == pytest.approx(0.2, abs=0.03)
    assert all(splits["test"].accepts(*triple) != splits["train"].accepts(*triple) for triple in everything)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motions": ("sideways",)}, "motions = .*sideways.*upper right"),
        ({"shapes": ()}, "shapes = "),
        ({"frame_strides": (0,)}, "frame_strides"),
        ({"min_radius": 0.3}, "radii 0.3..0.24"),
        ({"height": 4}, "at least 8x8"),
        ({"split": "test", "holdout": 0.0}, "no .* triple belongs to split 'test'"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProceduralConfig(**options)  # type: ignore[arg-type]


def test_nothing_to_render_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scenes"):
        render([], CONFIG)

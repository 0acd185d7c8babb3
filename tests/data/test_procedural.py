"""The clip generator keeps its promises: motion as captioned, reproducible, no leak from frame 0 or the test split."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lvdm.config import parse_component, parse_dataclass
from lvdm.data.clips import ClipDataset, ClipSize, Draw
from lvdm.data.procedural import (
    ProceduralClips,
    ProceduralClipsConfig,
    ProceduralConfig,
    Scene,
    caption,
    displacement,
    render,
    render_mask,
    sample_scene,
)
from lvdm.data.procedural_images import IMAGE_SIZE, NUM_LEVELS, image_atlas
from lvdm.data.procedural_scene import (
    BACKGROUNDS,
    CAMERA_MOTIONS,
    COLORS,
    DIRECTIONS,
    IMAGES,
    MOTIONS,
    NO_SPRITE,
    NUM_IMAGES,
    PANS,
    SHAPES,
    SPEEDS,
)

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
@pytest.mark.parametrize("background", ["checkered", *IMAGES])
def test_frame_0_does_not_tell_the_motion(seed: int, background: str) -> None:
    scene = dataclasses.replace(sample_scene(CONFIG, seed), background=background)
    short = dataclasses.replace(CONFIG, num_frames=2)
    first_frames = render([dataclasses.replace(scene, motion=motion) for motion in MOTIONS], short)[:, :, 0]
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
    config = dataclasses.replace(SMALL, backgrounds=BACKGROUNDS, sprite_probability=0.5)
    scenes = [sample_scene(config, seed) for seed in range(22)]
    singles = torch.cat([render([scene], SMALL) for scene in scenes])
    assert (render(scenes, SMALL) - singles).abs().max() < 1e-5


def test_captions_name_motion_and_speed_unambiguously() -> None:
    base = centred_scene("left")
    for motion in MOTIONS:
        for speed in SPEEDS:
            for template in CONFIG.templates:
                for wording in range(18):
                    scene = dataclasses.replace(base, motion=motion, speed=speed, template=template, wording=wording)
                    check_caption(scene)
                    if motion in (*CAMERA_MOTIONS, "still"):
                        check_caption(dataclasses.replace(scene, shape=NO_SPRITE))


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
    if scene.shape == NO_SPRITE:
        assert {"camera", "scene"} & set(words), caption(scene)
        assert not {scene.color, scene.shape, "shows"} & set(words), f"{caption(scene)!r} names a sprite without one"
    else:
        assert ("camera" in words) == (scene.motion in CAMERA_MOTIONS), caption(scene)
    assert len(words) <= 20, f"{caption(scene)!r} is too long for a short text context"


def test_different_motions_never_share_a_caption() -> None:
    base = centred_scene("left")
    owner: dict[str, str] = {}
    for motion, template, wording, shape in itertools.product(MOTIONS, CONFIG.templates, range(18), ("heart", "none")):
        if shape == "heart" or motion in (*CAMERA_MOTIONS, "still"):
            text = caption(dataclasses.replace(base, motion=motion, template=template, wording=wording, shape=shape))
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
    assert sorted(alone) == ["caption", "failures", "fps", "frame_stride", "path", "video"]
    other = ProceduralClips(dataclasses.replace(dataset.config, seed=8))
    assert other.scene(41) != dataset.scene(41), "another seed gives other clips"
    with pytest.raises(IndexError, match="clip 50"):
        dataset[50]


def test_clips_of_a_source_ignore_the_generator() -> None:
    source = ProceduralClips(ProceduralClipsConfig(num_frames=3, height=32, width=32, length=9))
    assert source.native_size(4) == ClipSize(3, 32, 32)
    first, other = (ClipDataset(source, seed=seed).__getitems__([Draw(4, 0), Draw(8, 1)]) for seed in (0, 1))
    assert torch.equal(first[0]["video"], other[0]["video"])
    assert (first[0]["number"], first[0]["path"], first[0]["failures"]) == (0, "procedural/0/4", "")
    wide = source.clip(4, random.Random(0), ClipSize(2, 16, 24))
    assert wide["video"].shape == (3, 2, 16, 24)
    assert wide["caption"] == first[0]["caption"]


def test_scenes_are_json_and_sampling_is_pinned() -> None:
    scene = sample_scene(CONFIG, random.Random("0/0"))
    assert json.loads(json.dumps(dataclasses.asdict(scene)))["motion"] == scene.motion
    assert scene == sample_scene(CONFIG, random.Random("0/0"))


def test_train_and_test_triples_are_disjoint() -> None:
    config = dataclasses.replace(CONFIG, backgrounds=BACKGROUNDS, sprite_probability=0.5)
    splits = {split: dataclasses.replace(config, split=split) for split in ("train", "test")}
    scenes = {name: [sample_scene(split, seed) for seed in range(1500)] for name, split in splits.items()}
    triples = {
        name: {(s.shape, s.color, s.background) for s in some if s.shape != NO_SPRITE} for name, some in scenes.items()
    }
    assert not triples["train"] & triples["test"], "a held-out combination was sampled for training"
    pictures = {name: {s.background_image for s in some} for name, some in scenes.items()}
    assert sorted([*pictures["train"], *pictures["test"]]) == list(range(NUM_IMAGES)), "the splits share a picture"
    everything = list(itertools.product(SHAPES, COLORS, BACKGROUNDS))
    held_out = sum(splits["test"].accepts(*triple) for triple in everything) / len(everything)
    assert held_out == pytest.approx(0.1, abs=0.02)
    assert all(splits["test"].accepts(*triple) != splits["train"].accepts(*triple) for triple in everything)


def test_repeated_motions_are_drawn_as_often() -> None:
    config = dataclasses.replace(CONFIG, motions=("still", "left", "left", "left"))
    count = sum(sample_scene(config, seed).motion == "left" for seed in range(1000))
    assert count == pytest.approx(750, abs=50)


def test_only_scenes_that_need_no_sprite_go_without() -> None:
    config = dataclasses.replace(CONFIG, sprite_probability=0.0)
    scenes = [sample_scene(config, seed) for seed in range(200)]
    for scene in scenes:
        assert (scene.shape == NO_SPRITE) == (scene.motion in (*CAMERA_MOTIONS, "still")), scene.motion
    empty = next(scene for scene in scenes if scene.shape == NO_SPRITE)
    assert render_mask([empty], CONFIG).abs().max() == 0
    mixed = [dataclasses.replace(empty, shape=shape, background="plain") for shape in (NO_SPRITE, "star")]
    without, with_star = render(mixed, CONFIG)
    assert without.flatten(2).std(2).max() < 1e-6, "a plain background without a sprite should be one colour"
    assert with_star.flatten(2).std(2).max() > 0.1


@pytest.mark.parametrize("kind", IMAGES)
def test_the_camera_moves_a_picture_as_said(kind: str) -> None:
    scene = centred_scene("pan right", background=kind, shape=NO_SPRITE)
    moved = round(-displacement(scene, CONFIG)[0] * 15)
    assert moved >= 10
    video = render([scene], CONFIG)[0]
    sharp = (video[:, 15, :, :-moved] - video[:, 0, :, moved:]).abs().mean()
    unmoved = (video[:, 15] - video[:, 0]).abs().mean()
    assert sharp < 0.5 * unmoved, f"the view right of the {kind} did not come in: {sharp:.3f} against {unmoved:.3f}"

    zoomed = render([dataclasses.replace(scene, motion="zoom out")], CONFIG)[0]
    small = F.interpolate(zoomed[:, 0][None], scale_factor=1 / 1.5, mode="area")[0]  # (3, 42, 42)
    inner = zoomed[:, 15, 11:53, 11:53]
    assert (inner - small).abs().mean() < 0.5 * (inner - zoomed[:, 0, 11:53, 11:53]).abs().mean()


@pytest.mark.parametrize("kind", IMAGES)
def test_pictures_repeat_and_differ(kind: str) -> None:
    pictures = image_atlas(kind, torch.device("cpu"))
    assert pictures.shape == (NUM_IMAGES, 3, NUM_LEVELS, IMAGE_SIZE, IMAGE_SIZE)
    assert pictures.dtype == torch.uint8
    sharp = pictures.float()[:, :, 0]
    seam = (sharp[..., 0] - sharp[..., -1]).abs().mean()
    assert seam < 1.5 * sharp.diff(dim=-1).abs().mean(), "left and right edge should fit together"
    detail = pictures.float().diff(dim=-1).abs().mean((0, 1, 3, 4))
    assert (detail.diff() < 0).all(), f"each level should be smoother than the one before, not {detail.tolist()}"
    assert (sharp[1:] - sharp[:-1]).abs().mean((1, 2, 3)).min() > 10, "two pictures are nearly the same"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"motions": ("sideways",)}, "motions = .*sideways.*upper right"),
        ({"shapes": ()}, "shapes = "),
        ({"frame_strides": (0,)}, "frame_strides"),
        ({"min_radius": 0.3}, "radii 0.3..0.24"),
        ({"height": 4}, "at least 8x8"),
        ({"sprite_probability": 1.5}, "sprite_probability should be a number from 0 to 1, it is 1.5"),
        ({"split": "test", "holdout": 0.0}, "no .* triple belongs to split 'test'"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_dataclass(ProceduralConfig, options, "clips")


def test_nothing_to_render_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scenes"):
        render([], CONFIG)


@pytest.mark.parametrize("motion", ["right", "clockwise", "grow", "pan up", "zoom in"])
def test_what_returns_ends_as_it_began(motion: str) -> None:
    config = ProceduralConfig(motions=(motion,), return_probability=1.0, backgrounds=("checkered",))
    scene = sample_scene(config, 4)
    assert caption(scene).count("and back") == 1, caption(scene)
    video = render([scene], config)[0]
    assert torch.allclose(video[:, -1], video[:, 0], atol=1e-3), "the last frame should be the first"
    assert torch.allclose(video[:, 3], video[:, 12], atol=1e-3), "the way back should be the way there"
    assert (video[:, 7] - video[:, 0]).abs().mean() > 0.005, "it should have moved in between"
    one_way = render([dataclasses.replace(scene, returns=False)], config)[0]
    distances = [float((frame - video[:, 7]).abs().mean()) for frame in one_way.unbind(1)]
    assert min(range(16), key=distances.__getitem__) in (7, 8), "half-way through it should have gone half the way"


def test_nothing_returns_unless_asked_and_stillness_never() -> None:
    assert not any(sample_scene(ProceduralConfig(), seed).returns for seed in range(50))
    still = ProceduralConfig(motions=("still",), return_probability=1.0)
    assert not any(sample_scene(still, seed).returns for seed in range(20))

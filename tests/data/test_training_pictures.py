"""Photographs and emoji in procedural clips, and the true motion that clips hold for a frame carrier."""

from __future__ import annotations

import dataclasses
import random
import re
from importlib import resources

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lvdm.data.clips import ClipDataset, Draw
from lvdm.data.picture_files import GLYPH_SIDE, glyph_names, read_glyphs, read_photographs
from lvdm.data.procedural import (
    ProceduralClips,
    ProceduralClipsConfig,
    ProceduralConfig,
    Scene,
    caption,
    moving_mask,
    render,
    render_flow,
    render_mask,
    sample_scene,
)
from lvdm.data.procedural_images import PHOTOGRAPH_LEVELS, image_atlas
from lvdm.data.procedural_motion import true_generators
from lvdm.data.procedural_scene import CAMERA_MOTIONS, MOTIONS, NUM_IMAGES, PHOTOGRAPH
from lvdm.modules.carrying import affine_maps, around, compose, places, points
from lvdm.modules.encoders.condition import tokenizer

CONFIG = ProceduralConfig(num_frames=4, backgrounds=(PHOTOGRAPH,), glyph_probability=0.5)
SMOOTH = dataclasses.replace(CONFIG, backgrounds=("gradient",), glyph_probability=0.0, textures=("solid",))
FOLDER = resources.files("lvdm.data") / "picture_files"


def scenes(config: ProceduralConfig, count: int) -> list[Scene]:
    return [sample_scene(config, seed) for seed in range(count)]


def test_there_is_an_emoji_for_every_name() -> None:
    glyphs = read_glyphs()
    assert len(set(glyph_names())) == len(glyph_names()) >= 100
    assert glyphs.shape[1:] == (4, GLYPH_SIDE, GLYPH_SIDE)
    covered = glyphs[:, 3].mean((1, 2))
    assert covered[: len(glyph_names())].min() > 0.1, "a name without a picture"
    assert covered[len(glyph_names()) :].sum() == 0, "a picture without a name"
    assert (glyphs[:, :3] <= glyphs[:, 3:]).all(), "colours are those times opacity"


def test_a_name_leaves_room_for_the_motion() -> None:
    long = {name: len(tokenizer("small").encode(name)) for name in glyph_names()}
    assert max(long.values()) <= 8, f"too many tokens, of 24 for a sentence: {long}"


def test_every_photograph_is_attributed() -> None:
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    names = sorted(f.name for f in (FOLDER / "photographs").iterdir() if f.name.endswith(".jpg"))
    assert len(names) == NUM_IMAGES
    for name in names:
        number, title = re.fullmatch(r"(\d[ab])_(.+?)_by_.+\.jpg", name).groups()  # type: ignore[union-attr]
        line = next(line for line in notice.lower().splitlines() if re.search(rf"\b{number}\b", line))
        assert title in line, f"{name}: the NOTICE has another photograph under its number"
        assert re.search(r"cc by 4\.0|cc0 1\.0", line), f"{name}: no permissive licence in {line!r}"
    assert "Noto Color Emoji" in notice
    assert "share" not in notice.lower(), "share-alike pictures are not taken"


def test_photographs_are_pictures_like_the_others() -> None:
    atlas = image_atlas(PHOTOGRAPH, torch.device("cpu"))
    assert atlas.shape[:3] == (NUM_IMAGES, 3, PHOTOGRAPH_LEVELS)
    torch.testing.assert_close(atlas[:, :, 0].float() / 255, read_photographs(), atol=0.003, rtol=0)
    roughness = (atlas[..., 1:].float() - atlas[..., :-1].float()).abs().mean((0, 1, 3, 4))
    assert (roughness[1:] < roughness[:-1]).all(), "coarser levels should be smoother"


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_splits_share_no_emoji(split: str) -> None:
    config = dataclasses.replace(CONFIG, split=split, glyph_probability=1.0)
    names = {scene.glyph for scene in scenes(config, 2500) if scene.glyph}
    assert names == set(config.glyphs)
    if split == "test":
        assert 8 <= len(names) <= 30
        assert not names & set(dataclasses.replace(CONFIG, split="train").glyphs)


def test_scenes_without_emoji_are_what_they_were() -> None:
    plain = scenes(dataclasses.replace(CONFIG, glyph_probability=0.0), 30)
    some = scenes(CONFIG, 30)
    assert plain == [dataclasses.replace(scene, glyph="") for scene in some]
    assert any(scene.glyph for scene in some)


def test_captions_name_the_emoji() -> None:
    scene = dataclasses.replace(sample_scene(CONFIG, 1), glyph="rocket", motion="up", speed="normal", returns=False)
    sentences = {caption(dataclasses.replace(scene, template=template, wording=0)) for template in range(6)}
    assert all("rocket" in sentence and scene.color not in sentence for sentence in sentences), sentences
    owl = dataclasses.replace(scene, glyph="owl", template=0)
    assert caption(owl).startswith("an owl ")


def test_an_emoji_is_drawn_where_its_mask_is() -> None:
    glyph, bare = [], []
    for scene in scenes(dataclasses.replace(CONFIG, glyph_probability=1.0, motions=("right", "grow", "zoom in")), 6):
        glyph.append(scene)
        bare.append(dataclasses.replace(scene, shape="none", glyph=""))
    mask = render_mask(glyph, CONFIG)[:, None]
    changed = (render(glyph, CONFIG) - render(bare, CONFIG)).abs().amax(1, keepdim=True)
    assert (mask.sum((1, 2, 3, 4)) > 100).all()
    assert changed[mask == 0].max() < 1e-5, "pixels outside the emoji changed"
    assert (changed[mask > 0.99] > 0.02).float().mean() > 0.8


# ---------------------------------------------------------------------- true motion


def warped(first: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Frame 0 (b, c, H, W) seen through the flow (b, 2, t, H, W), and where that lies inside it, (b, t, H, W)."""
    height, width = first.shape[-2:]
    side = min(height, width)
    x = (torch.arange(width) + 0.5 - width / 2) / side
    y = (torch.arange(height) + 0.5 - height / 2) / side
    where = flow + torch.stack(torch.broadcast_tensors(x, y[:, None]))[None, :, None]
    grid = where.movedim(1, -1) * (2 * side / torch.tensor([width, height]))
    frames = [F.grid_sample(first, grid[:, k], align_corners=False) for k in range(grid.shape[1])]
    return torch.stack(frames, dim=2), (grid.abs() < 1 - 2 / side).all(-1)


@pytest.mark.parametrize("size", [(48, 48), (32, 56)])
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_flow_says_where_frame_0_shows_the_same(motion: str, size: tuple[int, int]) -> None:
    config = dataclasses.replace(SMOOTH, height=size[0], width=size[1], motions=(motion,), frame_strides=(3,))
    for scene in scenes(config, 3):
        video, mask = render([scene], config), render_mask([scene], config)
        seen, inside = warped(video[:, :, 0], render_flow([scene], config))
        first, _ = warped(mask[:, :1].flatten(0, 1)[:, None], render_flow([scene], config))
        # rims are mixtures, and behind the sprite of frame 0 there is something that it does not show
        sure = inside & ((mask < 0.01) | (mask > 0.99)) & ((first[:, 0] - mask).abs() < 0.01)
        assert sure.float().mean() > 0.4
        error = (seen - video).abs().amax(1)[sure]
        allowed = 0.15 if "clockwise" in motion else 0.06  # light does not turn with a sprite; rims do not grow either
        assert error.quantile(0.95) < allowed, f"{caption(scene)}: off by {error.quantile(0.95):.3f}"


def test_frame_0_has_no_flow() -> None:
    flow = render_flow(scenes(CONFIG, 8), CONFIG)
    assert flow[:, :, 0].abs().max() < 1e-6


def test_only_what_moves_on_its_own_is_in_the_moving_mask() -> None:
    some = scenes(CONFIG, 40)
    moving, whole = moving_mask(some, CONFIG), render_mask(some, CONFIG)
    for scene, mine, all_of_it in zip(some, moving, whole, strict=True):
        if scene.motion in (*CAMERA_MOTIONS, "still"):
            assert not mine.any(), caption(scene)
        else:
            assert torch.equal(mine, all_of_it), caption(scene)


def test_clips_hold_the_true_motion_if_asked() -> None:
    config = ProceduralClipsConfig(num_frames=4, height=32, width=48, motion_targets=True, glyph_probability=0.5)
    clip = ClipDataset(ProceduralClips(config), 0)[Draw(3, 0)]
    scene = ProceduralClips(config).scene(3)
    assert clip["flow"].shape == (2, 4, 32, 48)
    assert torch.equal(clip["flow"], render_flow([scene], config)[0])
    assert torch.equal(clip["mask"][0], moving_mask([scene], config)[0])
    plain = ProceduralClips(dataclasses.replace(config, motion_targets=False)).clip(3, random.Random(0))
    assert "flow" not in plain
    assert torch.equal(plain["video"], clip["video"])


@pytest.mark.parametrize("motion", MOTIONS)
def test_generators_and_flow_are_the_same_motion(motion: str) -> None:
    config = dataclasses.replace(SMOOTH, height=32, width=48, motions=(motion,), return_probability=0.5)
    some = scenes(config, 6)
    generators, progress = true_generators(some, config)
    camera, own = affine_maps(generators[:, :, None].expand(-1, -1, config.num_frames, -1, -1), progress)
    centre = torch.tensor([[(s.x - 0.5) * config.width, (s.y - 0.5) * config.height] for s in some]) / config.side
    thing = compose(around(own, centre), camera)
    here = points(config.height, config.width, centre.device)[:, None]
    flow, mask = render_flow(some, config), moving_mask(some, config)[:, None]
    for maps, where in ((camera, mask == 0), (thing, mask > 0.5)):
        expected = places(maps, config.height, config.width).transpose(1, 2) - here
        torch.testing.assert_close((flow * where), (expected * where), atol=1e-4, rtol=0)


def test_glyphs_stay_within_the_range_of_videos() -> None:
    """Colours are premultiplied, so that white on white is a sum that rounds beyond 1."""
    config = dataclasses.replace(CONFIG, split="test", backgrounds=("checkered", "striped"), glyph_probability=1.0)
    cheese = [scene for scene in scenes(config, 400) if scene.glyph == "cheese"]
    assert cheese
    assert render(cheese, config).abs().max() <= 1

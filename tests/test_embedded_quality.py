"""The measures of the embedded model find the truth in true videos, and nothing in still ones."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import embedded_quality
import pytest
import torch
from embedded_quality import bars_table, finished_rows, flat
from embedded_rows import _class_row, _cross_fade, _seen_psnr
from motion_classes import HELD_OUT, TELLING_BACKGROUNDS, held_out_scenes, opposite
from motion_measures import at_speed, direction_error, nearest_motions, speed_ratio, track_sprite
from photographs import PROMPTS, CameraMove, find_photographs, move_camera, read_photograph, register
from PIL import Image
from sheets import write_rows
from sprite_rows import sprite_left
from torch import Tensor

from lvdm.data.procedural import render, render_mask
from lvdm.data.procedural_scene import DIRECTIONS, MOTIONS, NO_SPRITE
from lvdm.evaluation.metrics.loops import seam_ratio
from lvdm.psnr import psnr

TELLING = dataclasses.replace(
    HELD_OUT, backgrounds=TELLING_BACKGROUNDS, num_frames=8, frame_strides=(2, 3), speeds=("normal",)
)


def still(video: Tensor) -> Tensor:
    return video[:, :1].expand_as(video)


def noisy(video: Tensor) -> Tensor:
    return video + 0.1 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))


def test_every_class_is_found_in_true_and_noisy_videos() -> None:
    for scene in held_out_scenes(MOTIONS, len(MOTIONS), 5, TELLING):
        video = render([scene], TELLING)[0]
        found = nearest_motions([noisy(video), still(video)], scene, TELLING)
        assert found == [scene.motion, "still"], f"{scene}"


def test_another_motion_counts_as_what_it_is() -> None:
    for scene in held_out_scenes(("left", "zoom in", "clockwise"), 3, 6, TELLING):
        video = render([opposite(scene)], TELLING)[0]
        assert nearest_motions([video], scene, TELLING) == [opposite(scene).motion]


@pytest.mark.parametrize("factor", [0.55, 1.37])
def test_speed_is_measured_between_the_tried_ones(factor: float) -> None:
    for scene in held_out_scenes(("upper left", "clockwise", "grow", "pan down", "zoom out"), 5, 7, TELLING):
        video = render([at_speed(scene, factor)], TELLING)[0]
        assert speed_ratio(video, scene, TELLING) == pytest.approx(factor, abs=0.04), scene.motion


def test_directions_have_signs_and_speeds() -> None:
    for scene in held_out_scenes(("right", "upper left"), 2, 8):
        video = render([scene], HELD_OUT)[0]
        error, ratio = direction_error(video, scene, HELD_OUT)
        assert error < 15
        assert ratio == pytest.approx(1, abs=0.1)
        assert direction_error(render([opposite(scene)], HELD_OUT)[0], scene, HELD_OUT)[0] > 165
        assert math.isinf(direction_error(still(video), scene, HELD_OUT)[0]), "what stays has no direction"


def test_a_fading_sprite_is_followed_among_others_of_its_colour() -> None:
    space = dataclasses.replace(HELD_OUT, backgrounds=("collage",))
    fade = torch.linspace(1, 0.3, space.num_frames)[:, None, None]
    errors = []
    for scene in held_out_scenes(tuple(DIRECTIONS), 16, 9, space):
        true, empty = render([scene, dataclasses.replace(scene, shape=NO_SPRITE)], space)
        errors.append(direction_error(noisy(torch.lerp(empty, true, fade)), scene, space)[0])
    assert sum(error <= 45 for error in errors) >= 15, f"sprites were lost: degrees off are {errors}"


def test_a_sprite_that_leaves_the_frame_is_followed_to_its_edge() -> None:
    video, mask = torch.full((3, 12, 32, 32), -1.0), torch.zeros(32, 32)
    mask[12:20, 20:28] = 1
    for i in range(12):
        video[:, i, 12:20, 20 + i : 28 + i] = 1.0
    path = track_sprite(video, mask)
    assert path[:9].tolist() == [[i, 0] for i in range(9)], "all but half of the sprite is still to be seen"


def test_psnr_and_seam_are_their_formulas() -> None:
    video = torch.zeros(3, 5, 8, 8)
    assert psnr(video + 0.2, video) == pytest.approx(20.0)
    assert psnr(video, video) == pytest.approx(100)
    ramp = video + torch.tensor([0.0, 0.1, 0.2, 0.1, 0.05])[:, None, None]
    assert seam_ratio(ramp) == pytest.approx(0.5), "0.05 across the seam over a median step of 0.1"
    fade = _cross_fade(torch.stack([video[:, 0], *[video[:, 0]] * 3, video[:, 0] + 1], dim=1))
    assert fade.mean((0, 2, 3)).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_class_row_counts() -> None:
    scenes = held_out_scenes(("left", "still"), 4, 9, TELLING)
    videos = [render([scene], TELLING)[0] for scene in scenes]
    row = _class_row(videos, ["left", "still", "right", "still"], scenes, TELLING)
    assert (row["n"], row["right"]) == (4, 0.75)
    assert row["confusion"] == {"left": {"left": 1, "right": 1}, "still": {"still": 2}}
    assert row["speed_by_family"]["move"]["n"] == 1, "the speed of what goes elsewhere says nothing"
    assert flat(row)["right_by_family.move.right"] == 0.5


def test_camera_moves_over_a_picture_are_registered() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9, generator=generator) * 2 - 1, size=64)[0]
    for motion in PROMPTS:
        video, inside = move_camera(image, motion, 1.0, 2, 8)
        assert torch.allclose(video[:, 0], image, atol=1e-5), "the camera starts on the image"
        assert inside[0].all()
        assert register(noisy(video), image, 2) == CameraMove(motion, 0.0 if motion == "still" else 1.0)
    shift = move_camera(image, "pan right", 1.0, 2, 16)[0][:, 15]
    pixels = round(0.26 * 64)
    assert (shift[..., : 64 - pixels] - image[..., pixels:]).abs().mean() < 0.2, "the camera pans to the right"


def test_photographs_are_found_and_cut(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no"):
        find_photographs(tmp_path)
    Image.new("RGB", (90, 30), "red").save(tmp_path / "a.png")
    assert find_photographs(tmp_path) == [tmp_path / "a.png"]
    assert read_photograph(tmp_path / "a.png", 16, 32).shape == (3, 16, 32)
    assert read_photograph(tmp_path / "a.png", 16, 16)[0].min() == 1


def test_finished_rows_are_kept_only_for_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "new" / "quality.json"
    assert finished_rows(path, {"count": 1}) == {}
    path.write_text(json.dumps({"settings": {"count": 1}, "rows": {"loops": {"n": 3}}}))
    assert finished_rows(path, {"count": 1}) == {"loops": {"n": 3}}
    assert finished_rows(path, {"count": 2}) == {}


def test_bars_are_those_of_figures_that_exist() -> None:
    names = {row for row, *_ in embedded_quality.BARS}
    assert names <= set(embedded_quality.ALL_ROWS)
    table = bars_table({"loops": {"seam_ratio_median": 1.4}, "shape": {"generated": {"iou": 0.72, "ghost": 0.04}}})
    assert list(table.columns[-1].cells) == ["NO", "yes", "yes"]


def test_sheets_have_a_row_for_each_video(tmp_path: Path) -> None:
    write_rows(tmp_path / "sheet.png", [("one", torch.zeros(3, 3, 16, 16)), ("two", torch.zeros(3, 3, 16, 16))])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 100 + 4, 2 * (96 + 14 + 4) + 4)


def test_a_sprite_that_keeps_its_shape_and_one_that_leaves_a_ghost() -> None:
    space = dataclasses.replace(
        HELD_OUT, motions=("right",), backgrounds=("plain", "striped"), textures=("solid",), frame_strides=(3,)
    )
    for scene in held_out_scenes(("right", "left", "down"), 3, 12, space):
        video = render([scene], space)[0]
        iou, ghost = sprite_left(video, scene, space)
        assert iou > 0.85, "rims are darker than the sprite's colour, the rest should be found"
        assert ghost == 0
        stayed_iou, stayed = sprite_left(still(video), scene, space)
        assert stayed_iou < 0.35
        assert stayed > 0.8, "nothing has left"
        half = video.clone()
        covered = render_mask([scene], space)[0, 0] > 0.95
        upper = covered & (torch.arange(space.height)[:, None] < torch.where(covered)[0].float().mean())
        half[:, -1] = torch.where(upper, video[:, 0], half[:, -1])
        assert 0.2 < sprite_left(half, scene, space)[1] < 0.8, "half of it was left behind"


def test_seen_pixels_are_those_that_frame_0_shows() -> None:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    motions = ("pan left", "zoom in", "still")
    videos = [move_camera(image, motion, 1.0, 2, 16)[0] for motion in motions]
    shown = [torch.where(move_camera(image, m, 1.0, 2, 16)[1], v, -v) for m, v in zip(motions, videos, strict=True)]
    figures = _seen_psnr(shown, [image] * 3, motions, 2)
    assert list(figures) == ["pan", "zoom", "still"]
    assert all(list(row) == ["frame_0", "frame_5", "frame_10", "frame_15"] for row in figures.values())
    assert all(value == pytest.approx(100, abs=1) for row in figures.values() for value in row.values())
    frozen = _seen_psnr([still(video) for video in videos], [image] * 3, motions, 2)
    assert frozen["pan"]["frame_15"] < 15
    assert frozen["still"]["frame_15"] == pytest.approx(100, abs=1)

"""Draw the example images of `prompts/`, and write their prompts: `python -m scripts.draw_examples`.

All images are made here from polygons and from the clip generator, so they are free of anybody's rights.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lvdm.data.procedural import ProceduralConfig, caption, render, sample_scene
from lvdm.media.video_writer import to_uint8

Point = tuple[float, float]
Color = tuple[int, int, int]

OVERSAMPLING = 3
TINY_SEED = 7
TINY_MOTIONS = ("right", "left", "up", "down", "upper left", "grow", "lower right", "still")

PROMPTS = {
    "boat": "a sailing boat gliding to the right across the sea at sunset, gentle waves",
    "balloon": "a hot air balloon rising slowly over green hills",
    "fish": "an orange fish swimming between sea plants, bubbles rising",
    "rocket": "a rocket taking off at night, flames below it, stars above",
    "windmill": "a windmill turning in the wind on a field, clouds drifting by",
    "campfire": "a campfire flickering under the moon in front of a tent",
}


class Canvas:
    """An image to draw on in units of its height: x from 0 to `right`, y from 0 (top) to 1."""

    def __init__(self, height: int, width: int, top: Color, bottom: Color) -> None:
        self.size = (width, height)
        self.right = width / height
        self._unit = height * OVERSAMPLING
        column = Image.new("RGB", (1, self._unit))
        for row in range(self._unit):
            column.putpixel((0, row), _mix(top, bottom, row / self._unit))
        self._image = column.resize((width * OVERSAMPLING, self._unit))
        self._pen = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill the polygon through `points`."""
        self._pen.polygon([(x * self._unit, y * self._unit) for x, y in points], fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color, squash: float = 1.0) -> None:
        """Fill an ellipse with the half-axes `radius` and `radius * squash`."""
        box = (x - radius, y - radius * squash, x + radius, y + radius * squash)
        self._pen.ellipse([value * self._unit for value in box], fill=color)

    def line(self, points: Sequence[Point], thickness: float, color: Color) -> None:
        """Draw a line through `points`."""
        path = [(x * self._unit, y * self._unit) for x, y in points]
        self._pen.line(path, fill=color, width=max(1, round(thickness * self._unit)), joint="curve")

    def hill(self, height_at: Callable[[float], float], color: Color) -> None:
        """Fill everything below the curve `height_at`."""
        steps = 160
        curve = [(self.right * i / steps, height_at(self.right * i / steps)) for i in range(steps + 1)]
        self.polygon([*curve, (self.right, 1), (0, 1)], color)

    def finish(self) -> Image.Image:
        """The image at its final size."""
        return self._image.resize(self.size, Image.Resampling.BOX)


def _mix(first: Color, second: Color, part: float) -> Color:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(first, second, strict=True))
    return red, green, blue


def boat(height: int, width: int, place: float = 0.4) -> Image.Image:
    """A sailing boat at sunset; `place` is its position across the image."""
    canvas = Canvas(height, width, (58, 76, 148), (255, 186, 120))
    canvas.disc(canvas.right * 0.72, 0.5, 0.13, (255, 236, 170))
    colors = [(38, 92, 140), (30, 78, 124), (22, 62, 106), (16, 48, 88)]
    x = canvas.right * place
    for index, color in enumerate(colors):
        level = 0.58 + 0.11 * index
        if index == 1:
            _draw_hull(canvas, x)
        canvas.hill(_wave(level, 14 / (1 + 0.3 * index), 2 * index), color)
    return canvas.finish()


def _wave(level: float, frequency: float, phase: float) -> Callable[[float], float]:
    return lambda x: level + 0.012 * math.sin(frequency * x + phase)


def _draw_hull(canvas: Canvas, x: float) -> None:
    canvas.line([(x, 0.66), (x, 0.2)], 0.012, (92, 62, 42))
    canvas.polygon([(x + 0.02, 0.22), (x + 0.02, 0.58), (x + 0.24, 0.58)], (250, 246, 236))
    canvas.polygon([(x - 0.02, 0.28), (x - 0.02, 0.58), (x - 0.16, 0.58)], (226, 78, 66))
    canvas.polygon([(x - 0.24, 0.62), (x + 0.28, 0.62), (x + 0.18, 0.73), (x - 0.17, 0.73)], (126, 72, 44))


def balloon(height: int, width: int, place: float = 0.5, altitude: float = 0.36) -> Image.Image:
    """A striped hot air balloon; `altitude` is the y of its centre."""
    canvas = Canvas(height, width, (96, 168, 226), (222, 240, 248))
    for x, y, size in ((0.15, 0.2, 0.07), (0.82, 0.3, 0.09), (0.62, 0.12, 0.05)):
        _draw_cloud(canvas, canvas.right * x, y, size)
    canvas.hill(lambda s: 0.76 - 0.07 * math.sin(2.4 * s + 0.4), (138, 186, 108))
    canvas.hill(lambda s: 0.86 - 0.06 * math.sin(3.1 * s + 2.2), (92, 154, 84))
    x, radius = canvas.right * place, 0.19
    stripes = [(222, 66, 62), (250, 206, 80), (58, 126, 190), (250, 206, 80), (222, 66, 62)]
    canvas.polygon([(x - 0.17, altitude + 0.08), (x + 0.17, altitude + 0.08), (x, altitude + 0.34)], (176, 48, 50))
    for index, color in enumerate(stripes):
        half = radius * (1 - 0.22 * index)
        canvas.polygon(
            [(x + half * math.cos(a), altitude + radius * math.sin(a)) for a in (math.tau * k / 60 for k in range(60))],
            color,
        )
    canvas.line([(x - 0.05, altitude + 0.26), (x - 0.03, altitude + 0.36)], 0.006, (80, 60, 40))
    canvas.line([(x + 0.05, altitude + 0.26), (x + 0.03, altitude + 0.36)], 0.006, (80, 60, 40))
    basket = [(-0.04, 0.35), (0.04, 0.35), (0.032, 0.42), (-0.032, 0.42)]
    canvas.polygon([(x + dx, altitude + dy) for dx, dy in basket], (134, 86, 46))
    return canvas.finish()


def _draw_cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    for dx, dy, scale in ((-1.0, 0.2, 0.7), (0.0, 0.0, 1.0), (1.0, 0.2, 0.75), (0.4, 0.3, 0.9)):
        canvas.disc(x + dx * size, y + dy * size, size * scale, (252, 252, 254), squash=0.65)


def fish(height: int, width: int, place: float = 0.45) -> Image.Image:
    """An orange fish under water."""
    canvas = Canvas(height, width, (52, 168, 190), (10, 52, 102))
    canvas.hill(lambda s: 0.88 - 0.03 * math.sin(5 * s), (206, 184, 128))
    rng = random.Random(5)
    for index in range(8):
        root, length = canvas.right * (index + 0.5) / 8, rng.uniform(0.2, 0.42)
        stem = [(root + 0.025 * math.sin(9 * k / 12 + index), 0.92 - length * k / 12) for k in range(13)]
        canvas.line(stem, 0.022, (34, 128 + 10 * (index % 4), 84))
    x, y = canvas.right * place, 0.46
    canvas.polygon([(x - 0.18, y), (x - 0.36, y - 0.13), (x - 0.31, y), (x - 0.36, y + 0.13)], (230, 96, 30))
    canvas.polygon([(x - 0.08, y - 0.1), (x + 0.06, y - 0.22), (x + 0.12, y - 0.1)], (230, 96, 30))
    canvas.disc(x, y, 0.22, (250, 136, 44), squash=0.62)
    for offset in (-0.09, 0.06):
        canvas.polygon(
            [(x + offset + d, y + e) for d, e in ((-0.02, -0.11), (0.03, -0.12), (0.03, 0.12), (-0.02, 0.11))],
            (255, 240, 222),
        )
    canvas.disc(x + 0.14, y - 0.03, 0.03, (255, 255, 255))
    canvas.disc(x + 0.148, y - 0.03, 0.015, (20, 20, 30))
    for dx, dy, size in ((0.27, -0.08, 0.018), (0.31, -0.18, 0.024), (0.28, -0.3, 0.014)):
        canvas.disc(x + dx, y + dy, size, (196, 236, 240))
    return canvas.finish()


def rocket(height: int, width: int) -> Image.Image:
    """A rocket above its flame at night."""
    canvas = Canvas(height, width, (12, 14, 42), (72, 58, 118))
    rng = random.Random(11)
    for _ in range(60):
        canvas.disc(
            rng.uniform(0, canvas.right), rng.uniform(0, 0.75), rng.choice((0.003, 0.004, 0.006)), (246, 244, 214)
        )
    canvas.disc(canvas.right * 0.82, 0.2, 0.09, (236, 230, 200))
    canvas.disc(canvas.right * 0.82 - 0.03, 0.18, 0.022, (212, 204, 170))
    canvas.hill(lambda s: 0.88 - 0.05 * math.sin(2.7 * s + 1), (30, 28, 62))
    x = canvas.right * 0.45
    for half, length, color in (
        (0.075, 0.3, (244, 110, 40)),
        (0.05, 0.22, (252, 196, 70)),
        (0.025, 0.12, (255, 250, 224)),
    ):
        canvas.polygon([(x - half, 0.6), (x + half, 0.6), (x, 0.6 + length)], color)
    canvas.polygon([(x - 0.08, 0.44), (x - 0.17, 0.62), (x - 0.06, 0.58)], (206, 54, 60))
    canvas.polygon([(x + 0.08, 0.44), (x + 0.17, 0.62), (x + 0.06, 0.58)], (206, 54, 60))
    body = [
        (x + side * (0.09 * math.sin(math.pi * (0.08 + 0.72 * k / 20))), 0.14 + 0.46 * k / 20)
        for side, order in ((-1, range(21)), (1, range(20, -1, -1)))
        for k in order
    ]
    canvas.polygon(body, (236, 238, 244))
    canvas.polygon([(x, 0.1), (x - 0.055, 0.22), (x + 0.055, 0.22)], (206, 54, 60))
    canvas.disc(x, 0.34, 0.042, (60, 80, 120))
    canvas.disc(x, 0.34, 0.03, (136, 206, 238))
    return canvas.finish()


def windmill(height: int, width: int) -> Image.Image:
    """A windmill on a field."""
    canvas = Canvas(height, width, (112, 180, 232), (232, 244, 250))
    _draw_cloud(canvas, canvas.right * 0.18, 0.22, 0.08)
    _draw_cloud(canvas, canvas.right * 0.85, 0.16, 0.06)
    canvas.hill(lambda s: 0.74 - 0.03 * math.sin(3 * s), (170, 196, 96))
    canvas.hill(lambda s: 0.86 - 0.02 * math.sin(4 * s + 1), (232, 190, 84))
    x, y = canvas.right * 0.52, 0.34
    canvas.polygon([(x - 0.07, y), (x + 0.07, y), (x + 0.12, 0.82), (x - 0.12, 0.82)], (240, 232, 216))
    canvas.polygon([(x - 0.085, y), (x, y - 0.1), (x + 0.085, y)], (172, 70, 58))
    canvas.polygon([(x - 0.03, 0.68), (x + 0.03, 0.68), (x + 0.03, 0.82), (x - 0.03, 0.82)], (112, 74, 50))
    for quarter in range(4):
        angle = math.radians(25 + 90 * quarter)
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        corners = ((0.07, 0.0), (0.3, 0.0), (0.3, 0.07), (0.07, 0.07))
        sail = [(x + a * along[0] + c * across[0], y + a * along[1] + c * across[1]) for a, c in corners]
        canvas.polygon(sail, (222, 92, 72))
        canvas.line([(x, y), (x + 0.31 * along[0], y + 0.31 * along[1])], 0.014, (98, 66, 46))
    canvas.disc(x, y, 0.022, (70, 48, 36))
    return canvas.finish()


def campfire(height: int, width: int) -> Image.Image:
    """A fire and a tent by night."""
    canvas = Canvas(height, width, (16, 24, 58), (60, 74, 110))
    canvas.disc(canvas.right * 0.2, 0.2, 0.08, (244, 238, 206))
    canvas.hill(lambda s: 0.62 - 0.1 * math.sin(2.2 * s + 0.6), (28, 48, 66))
    canvas.hill(lambda s: 0.8 - 0.015 * math.sin(5 * s), (34, 62, 44))
    tent = canvas.right * 0.72
    canvas.polygon([(tent - 0.26, 0.84), (tent, 0.48), (tent + 0.26, 0.84)], (224, 140, 56))
    canvas.polygon([(tent - 0.06, 0.84), (tent, 0.48), (tent + 0.09, 0.84)], (110, 60, 34))
    x = canvas.right * 0.36
    for half, top, color in ((0.13, 0.44, (230, 80, 36)), (0.09, 0.54, (250, 152, 44)), (0.05, 0.64, (255, 228, 130))):
        flame = [
            (x - half, 0.8),
            (x - half * 0.8, top + 0.16),
            (x - half * 0.2, top + 0.18),
            (x, top),
            (x + half * 0.4, top + 0.14),
            (x + half * 0.85, top + 0.12),
            (x + half, 0.8),
        ]
        canvas.polygon(flame, color)
    canvas.line([(x - 0.17, 0.85), (x + 0.15, 0.79)], 0.035, (96, 60, 38))
    canvas.line([(x - 0.15, 0.79), (x + 0.17, 0.85)], 0.035, (122, 78, 48))
    return canvas.finish()


def draw_all(folder: Path) -> None:
    """Write every preset's images and `test_prompts.txt` under `folder`."""
    _save(folder / "256", 256, 256, {"01_fish": fish, "02_balloon": balloon, "03_windmill": windmill})
    _save(folder / "512", 320, 512, {"01_boat": boat, "02_campfire": campfire, "03_rocket": rocket})
    _save(folder / "1024", 576, 1024, {"01_balloon": balloon, "02_boat": boat, "03_fish": fish})
    _save(folder / "512_loop", 320, 512, {"01_windmill": windmill, "02_campfire": campfire})
    pairs: dict[str, Callable[[int, int], Image.Image]] = {
        "01_boat_frame1": lambda height, width: boat(height, width, place=0.25),
        "01_boat_frame2": lambda height, width: boat(height, width, place=0.6),
        "02_balloon_frame1": lambda height, width: balloon(height, width, altitude=0.46),
        "02_balloon_frame2": lambda height, width: balloon(height, width, altitude=0.26),
    }
    _save(folder / "512_interp", 320, 512, pairs)
    _save_tiny(folder / "tiny")


def _save(folder: Path, height: int, width: int, images: dict[str, Callable[[int, int], Image.Image]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    prompts: dict[str, None] = {}  # ordered, each once: the two images of a pair share theirs
    for name, draw in images.items():
        draw(height, width).save(folder / f"{name}.png", optimize=True)
        prompts[PROMPTS[name.split("_")[1]]] = None
    _write_prompts(folder, list(prompts))


def _save_tiny(folder: Path) -> None:
    """Sprites with a (shape, colour, motion) that the embedded model has not seen in training."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = []
    for number, motion in enumerate(TINY_MOTIONS, start=1):
        name, frames, prompt = _tiny_clip(motion)
        frames[0].save(folder / f"{number:02d}_{name}.png", optimize=True)
        prompts.append(prompt)
    _write_prompts(folder, prompts)


def _tiny_clip(motion: str) -> tuple[str, list[Image.Image], str]:
    """A name for files, the frames and the caption of a held-out clip with this motion."""
    config = ProceduralConfig(split="test", motions=(motion,), speeds=("normal",), frame_strides=(2,))
    scene = sample_scene(config, random.Random(f"{TINY_SEED}/{motion}"))
    frames = [Image.fromarray(frame.numpy()) for frame in to_uint8(render([scene], config)[0])]
    return f"{scene.color}_{scene.shape}".replace(" ", "_"), frames, caption(scene)


def _write_prompts(folder: Path, prompts: Sequence[str]) -> None:
    (folder / "test_prompts.txt").write_text(
        "".join(f"{prompt}\n" for prompt in prompts), encoding="utf-8", newline="\n"
    )


def main() -> None:
    """Draw into the folder given on the command line."""
    parser = argparse.ArgumentParser(description="Draw the example images and write their prompts.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("prompts"))
    draw_all(parser.parse_args().folder)


if __name__ == "__main__":
    main()

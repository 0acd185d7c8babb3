"""Show what parameters do to the frames: `python -m scripts.draw_effects [NAME ...]`.

Makes videos with the embedded model and lays their frames in rows, one for each value, as images of
`docs/effects.md`, which is written with them. Run it again when the model's weights change. With names it
draws these alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lvdm.media.images import load_image
from lvdm.media.video_writer import to_uint8
from lvdm.pipeline import DynamiCrafterPipeline
from lvdm.request.layers import all_parameters

ROOT = Path(__file__).parent.parent
PAGE, IMAGES = ROOT / "docs" / "effects.md", ROOT / "docs" / "pictures" / "effects"
STAR, SHAPES = "08_red_star.png", ROOT / "prompts" / "tiny"
USUAL: Mapping[str, Any] = {"prompt": "the red star moves to the right", "seed": 7, "num_inference_steps": 12}
FRAMES_SHOWN, SIDE, MARGIN, LABEL = 6, 96, 4, 118
"""Frames of a row, their height, the space between them, and the width of a row's name (pixels)."""


@dataclass(frozen=True)
class Effect:
    """A parameter, the values that are shown, and what else is set for all of them.

    words  what is to be seen
    image  the first frame, where it is not the usual one
    """

    name: str
    values: Sequence[Any]
    words: str
    others: Mapping[str, Any] = field(default_factory=dict)
    image: str = STAR

    @property
    def file(self) -> str:
        """The name of its image."""
        return f"{self.name}.png"


EFFECTS = (
    Effect(
        "prompt",
        ("the red star moves to the right", "the red star moves up", "the red star grows"),
        "What happens, and which way. Name the movement: without it, little moves.",
    ),
    Effect("seed", (7, 8, 9), "Other noise: another video of the same image and prompt."),
    Effect(
        "motion",
        (0.0, 0.5, 1.0),
        "How far things go from frame to frame, the same way for every checkpoint. It stands for `fs` within the range "
        "of the training, in the unit that the checkpoint reads.",
    ),
    Effect(
        "num_inference_steps",
        (2, 6, 25),
        "Few steps are fast, and softer; from some number on, more of them change little. Large models need 25 to 50.",
    ),
    Effect(
        "sampler",
        ("ddim", "dpm++", "unipc"),
        "Three ways to one end. With few steps, here 6, `dpm++` and `unipc` are meant to be nearer to it than `ddim`.",
        {"num_inference_steps": 6},
    ),
    Effect(
        "eta",
        (0.0, 1.0),
        "0 adds no noise on the way, 1 as much as was trained with: livelier, and rougher with few steps.",
    ),
    Effect(
        "guidance_scale",
        (1.0, 2.0, 7.5),
        "How strongly the prompt counts. At 1 it is read, and not pushed; too much makes hard edges and loud colours.",
        {"guidance_rescale": 0.0},
    ),
    Effect(
        "guidance_rescale",
        (0.0, 0.7),
        "Takes back the contrast that guidance adds, here at `guidance_scale` 7.5.",
        {"guidance_scale": 7.5},
    ),
    Effect(
        "fix_final_step",
        (False, True),
        "Ends at the clean latents. With few steps, here 4, the usual end leaves the video a little too flat.",
        {"num_inference_steps": 4},
    ),
    Effect(
        "anchor",
        ("free", "exact"),
        "With `exact`, frame 0 is the image, pixel by pixel; else it is the image as the model gives it again.",
    ),
    Effect(
        "num_frames",
        (8, 16, 32),
        "Length of the video; the frames of a row are spread over it. Beyond the trained length (here 16) FreeNoise "
        "makes longer ones.",
    ),
    Effect(
        "fit",
        ("crop", "pad", "stretch"),
        "An image of another shape, here twice as wide: its middle, bars, or squeezed.",
        {"height": 64, "width": 64},
        "wide",
    ),
    Effect(
        "height",
        (64, 96),
        "Other sizes than the trained one. Beyond about 1.6 times its area `scale` steps in.",
        {"width": 64},
    ),
)


def draw(effect: Effect, pipeline: DynamiCrafterPipeline) -> Image.Image:
    """The image of one effect: a row of frames for each value."""
    rows = [_row(str(value), _video(effect, value, pipeline)) for value in effect.values]
    width, height = max(row.width for row in rows), sum(row.height + MARGIN for row in rows) - MARGIN
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + MARGIN
    return sheet.quantize(192, dither=Image.Dither.NONE)


def _video(effect: Effect, value: Any, pipeline: DynamiCrafterPipeline) -> Tensor:
    """The frames (t, H, W, 3) as bytes."""
    keywords = {**USUAL, **effect.others, effect.name: value}
    image = _wide() if effect.image == "wide" else load_image(SHAPES / effect.image)
    return to_uint8(pipeline(image, **keywords).video[0])


def _wide() -> Image.Image:
    """Two of the example images side by side."""
    both = [load_image(SHAPES / name) for name in (STAR, "01_purple_ring.png")]
    wide = Image.new("RGB", (sum(image.width for image in both), both[0].height))
    wide.paste(both[0], (0, 0))
    wide.paste(both[1], (both[0].width, 0))
    return wide


def _row(name: str, frames: Tensor) -> Image.Image:
    picked = torch.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().long()
    width = SIDE * frames.shape[2] // frames.shape[1]
    row = Image.new("RGB", (LABEL + FRAMES_SHOWN * (width + MARGIN) - MARGIN, SIDE), "white")
    pen = ImageDraw.Draw(row)
    words, line = name.split(), ""
    lines = []
    for word in words:  # a prompt is longer than the column is wide
        if pen.textlength(f"{line} {word}") > LABEL - 12:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    pen.multiline_text((4, SIDE // 2 - 7 * (len(lines) + 1)), "\n".join([*lines, line]), fill="black", spacing=3)
    for i, frame in enumerate(frames[picked].numpy()):
        seen = Image.fromarray(frame).resize((width, SIDE), Image.Resampling.BICUBIC)
        row.paste(seen, (LABEL + i * (width + MARGIN), 0))
    return row


def page() -> Iterator[str]:
    """The lines of the page."""
    yield "# What parameters do to the frames"
    yield ""
    yield (
        "Each row is one video of the embedded model: six frames of it, from the first to the last. All else is as in\n"
        f'the other rows: the image of a red star, "{USUAL["prompt"]}", seed {USUAL["seed"]},\n'
        f"{USUAL['num_inference_steps']} steps. Some effects are small on so plain a scene.\n"
        "`python -m scripts.draw_effects` makes this page and its images; [parameters.md](parameters.md) has every\n"
        "parameter with its range, [plugins.md](plugins.md) the methods on top of the sampler."
    )
    for effect in EFFECTS:
        parameter = all_parameters()[effect.name]
        yield ""
        yield f"## {effect.name}"
        yield ""
        yield f"`{parameter.flag}`: {effect.words}"
        yield ""
        yield f"![{effect.name}: {', '.join(map(str, effect.values))}](pictures/effects/{effect.file})"


def main() -> None:
    """Draw, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [effect.name for effect in EFFECTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; left out, all")
    wanted = parser.parse_args().names or names
    for name in wanted:
        if name not in names:
            parser.error(f"{name} is not drawn; use {', '.join(names)}")
    IMAGES.mkdir(parents=True, exist_ok=True)
    pipeline = DynamiCrafterPipeline.from_pretrained("tiny", device="cpu")
    for effect in EFFECTS:
        if effect.name in wanted:
            draw(effect, pipeline).save(IMAGES / effect.file, optimize=True)
            print(IMAGES / effect.file)
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

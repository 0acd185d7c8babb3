"""Make the images that the embedded model is trained on beside its own: photographs, and a sheet of emoji.

    apt-get install lomiri-wallpapers-16.04 fonts-noto-color-emoji
    python -m scripts.make_training_images [--wallpapers FOLDER] [--font FILE] [--output FOLDER]

Only wallpapers under CC BY 4.0 and CC0 are taken, by the copyright file of their package;
lvdm/data/picture_files/NOTICE names their authors, and says what was changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PHOTOGRAPHS = (
    "aitzgorri_by_Aitzol_Berasategi",
    "friends_by_Aitzol_Berasategi",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "seeding_by_Clements_Engelhardt",
    "Wine_by_Jakkub_Mede",
    "sunset_by_Aitzol_Berasategi",  # this and the next are held out of training
    "umang_by_Abhishek_Mudgal",
)
PHOTOGRAPH_SIDE = 384
"""Two squares of this side are cut from each photograph: from both ends of its longer side."""
QUALITY = 82

GLYPH_SIDE, GLYPH_COLUMNS = 64, 12
FONT_SIZE = 109
"""The one size, in pixels, that the bitmaps of the font have."""

GLYPHS: dict[str, str] = {
    "🚀": "rocket", "🚗": "car", "🚕": "taxi", "🚌": "bus", "🚒": "fire engine", "🚜": "tractor", "🚲": "bicycle",
    "🚂": "train", "🚁": "helicopter", "🛸": "flying saucer", "⛵": "sailboat", "🚢": "ship", "🎈": "balloon",
    "🐶": "dog", "🐱": "cat", "🐭": "mouse", "🐰": "rabbit", "🦊": "fox", "🐻": "bear", "🐼": "panda", "🐯": "tiger",
    "🦁": "lion", "🐮": "cow", "🐷": "pig", "🐸": "frog", "🐵": "monkey", "🐔": "chicken", "🐧": "penguin",
    "🐦": "bird", "🦉": "owl", "🦄": "unicorn", "🐝": "bee", "🐞": "ladybug", "🦋": "butterfly", "🐌": "snail",
    "🐢": "turtle", "🐙": "octopus", "🦀": "crab", "🐠": "fish", "🐬": "dolphin", "🐳": "whale", "🦈": "shark",
    "🐘": "elephant", "🐫": "camel", "🐎": "horse", "🐑": "sheep", "🐓": "rooster", "🦆": "duck", "🕷": "spider",
    "🌸": "blossom", "🌹": "rose", "🌻": "sunflower", "🌷": "tulip", "🌵": "cactus", "🌲": "pine tree",
    "🌴": "palm tree", "🍀": "clover", "🍁": "maple leaf", "🍄": "mushroom", "🌍": "globe", "🌞": "sun",
    "🌝": "full moon", "☁": "cloud", "⛄": "snowman", "🔥": "fire", "💧": "drop of water", "🍎": "apple",
    "🍐": "pear", "🍊": "tangerine", "🍋": "lemon", "🍌": "banana", "🍉": "watermelon", "🍇": "bunch of grapes",
    "🍓": "strawberry", "🍒": "pair of cherries", "🍑": "peach", "🍍": "pineapple", "🥝": "kiwi", "🍅": "tomato",
    "🍆": "eggplant", "🥕": "carrot", "🌽": "corn", "🥐": "croissant", "🍞": "bread", "🧀": "cheese",
    "🍔": "hamburger", "🍕": "pizza", "🍩": "doughnut", "🍪": "cookie", "🎂": "cake", "🍦": "ice cream",
    "🍭": "lollipop", "🍫": "chocolate", "☕": "cup of coffee", "🍺": "beer", "⚽": "football", "🏀": "basketball",
    "🎾": "tennis ball", "🎱": "billiard ball", "🏆": "trophy", "🎲": "die", "🎸": "guitar", "🎺": "trumpet",
    "🎻": "violin", "🥁": "drum", "🎁": "present", "🎩": "top hat", "👑": "crown", "💎": "gem", "👟": "shoe",
    "👕": "shirt", "👖": "pair of jeans", "🎒": "backpack", "☂": "umbrella", "👓": "pair of glasses",
    "💡": "light bulb", "🔑": "key", "🔔": "bell", "🔨": "hammer", "📻": "radio", "📺": "television", "💻": "laptop",
    "📞": "telephone", "⏰": "alarm clock", "📕": "book", "✏": "pencil", "🖍": "crayon", "📦": "package",
    "✉": "envelope", "🧲": "magnet", "🔭": "telescope", "🎃": "pumpkin", "👻": "ghost", "🤖": "robot", "👽": "alien",
    "💀": "skull", "🏠": "house", "🏰": "castle", "🗿": "statue", "🪁": "kite", "🧸": "teddy bear", "🪀": "yo-yo",
    "😀": "smiling face", "🐉": "dragon", "🦖": "dinosaur",
}  # fmt: skip


def main() -> None:
    """Write photographs/*.jpg, emoji.png and emoji.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wallpapers", type=Path, default=Path("/usr/share/backgrounds"))
    parser.add_argument("--font", type=Path, default=Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
    parser.add_argument("--output", type=Path, default=Path("lvdm/data/picture_files"))
    args = parser.parse_args()
    photographs = args.output / "photographs"
    photographs.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(PHOTOGRAPHS):
        image = Image.open(args.wallpapers / f"{name}.jpg").convert("RGB")
        for end, square in zip("ab", squares(image), strict=True):
            square.save(photographs / f"{number}{end}_{name.lower()}.jpg", quality=QUALITY, optimize=True)
    font = ImageFont.truetype(str(args.font), FONT_SIZE)
    rows = -(-len(GLYPHS) // GLYPH_COLUMNS)
    sheet = Image.new("RGBA", (GLYPH_COLUMNS * GLYPH_SIDE, rows * GLYPH_SIDE))
    for number, character in enumerate(GLYPHS):
        row, column = divmod(number, GLYPH_COLUMNS)
        sheet.paste(draw_glyph(character, font), (column * GLYPH_SIDE, row * GLYPH_SIDE))
    sheet.save(args.output / "emoji.png", optimize=True)
    (args.output / "emoji.txt").write_text("\n".join(GLYPHS.values()) + "\n", encoding="utf-8")


def squares(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The squares at both ends of the longer side, scaled down."""
    width, height = image.size
    side, size = min(width, height), (PHOTOGRAPH_SIDE, PHOTOGRAPH_SIDE)
    boxes = (0, 0, side, side), (width - side, height - side, width, height)
    first, second = (image.resize(size, Image.Resampling.LANCZOS, box=box) for box in boxes)
    return first, second


def draw_glyph(character: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """A square RGBA image that an emoji fills, with a rim of a pixel."""
    canvas = Image.new("RGBA", (2 * FONT_SIZE, 2 * FONT_SIZE))
    ImageDraw.Draw(canvas).text((20, 20), character, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"the font has no image of {character!r}; use Noto Color Emoji")
    glyph = canvas.crop(box)
    glyph.thumbnail((GLYPH_SIDE - 2, GLYPH_SIDE - 2), Image.Resampling.LANCZOS)
    result = Image.new("RGBA", (GLYPH_SIDE, GLYPH_SIDE))
    result.paste(glyph, ((GLYPH_SIDE - glyph.width) // 2, (GLYPH_SIDE - glyph.height) // 2))
    return result


if __name__ == "__main__":
    main()

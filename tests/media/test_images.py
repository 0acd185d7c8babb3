"""Every kind of image file gives the right pixels, or an error of one line that says what to do."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_vectors import assert_close, case, int_image
from PIL import Image

from lvdm.declaration.values import MAX_SIDE
from lvdm.media.geometry import Box, SizeError, check_size, contained_size, fit_box, padded_size
from lvdm.media.images import ImageError, fit_image, load_image, to_image

RED, WHITE = (200, 30, 40), (255, 255, 255)


def pixel(image: Image.Image, x: int = 10, y: int = 10) -> tuple[int, ...]:
    return tuple(np.asarray(image)[y, x].tolist())


def ramp(height: int = 16, width: int = 32) -> Image.Image:
    values = np.linspace(0, 255, width).round().astype(np.uint8)
    return Image.fromarray(np.broadcast_to(values[None, :, None], (height, width, 3)).copy())


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    picture = ramp()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture.save(tmp_path / "phone.png", exif=exif)
    loaded = load_image(tmp_path / "phone.png")
    assert loaded.size == (16, 32), "the rotation stored by the camera was not applied"
    assert np.array_equal(np.asarray(loaded), np.rot90(np.asarray(picture), -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((80, 80, 80, 255), (0, 0, 20, 10))
    picture = picture.convert("RGBA" if mode == "P" else mode)
    if mode == "P":
        picture = picture.quantize(8)
    picture.save(tmp_path / "clear.png")
    with caplog.at_level(logging.INFO):
        loaded = load_image(tmp_path / "clear.png")
    assert pixel(loaded, 10, 15) == WHITE, f"{mode}: transparent pixels are not white"
    assert pixel(loaded, 10, 4) == (80, 80, 80), f"{mode}: opaque pixels changed"
    assert "laid on white" in caplog.text


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).round().astype(np.uint16)
    Image.fromarray(np.tile(values, (16, 1))).save(tmp_path / "deep.png")
    row = np.asarray(load_image(tmp_path / "deep.png"))[0, :, 0]
    assert np.array_equal(row, np.arange(256)), "16-bit levels were not scaled linearly to 8 bits"
    assert np.array_equal(np.asarray(to_image(np.tile(values, (16, 1))))[0, :, 0], np.arange(256))


def png_of_16_bit_colour(level: int, side: int = 16) -> bytes:
    """Pillow cannot write 16-bit RGB, so the file is put together here."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    rows = (b"\0" + struct.pack(">HHH", level, level // 2, 65535) * side) * side
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    (tmp_path / "deep_rgb.png").write_bytes(png_of_16_bit_colour(0x8080))
    assert pixel(load_image(tmp_path / "deep_rgb.png")) == (128, 64, 255)


def test_other_colour_modes(tmp_path: Path) -> None:
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    red, green, blue = pixel(load_image(tmp_path / "print.jpg"))
    assert red > 200, f"CMYK red came out as {(red, green, blue)}"
    assert max(green, blue) < 60, f"CMYK red came out as {(red, green, blue)}"
    Image.new("RGB", (20, 20), RED).quantize(4).save(tmp_path / "palette.png")
    assert pixel(load_image(tmp_path / "palette.png")) == RED
    Image.new("L", (20, 20), 77).save(tmp_path / "grey.png")
    assert pixel(load_image(tmp_path / "grey.png")) == (77, 77, 77)
    Image.new("1", (20, 20), 1).save(tmp_path / "bits.png")
    assert pixel(load_image(tmp_path / "bits.png")) == WHITE


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_animation_gives_its_first_frame(suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in (RED, (0, 0, 0))]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:], duration=100, **options)
    loaded = load_image(tmp_path / f"moving.{suffix}")
    assert pixel(loaded) == RED, f"{suffix}: not the first frame"
    assert "2 frames, only the first" in caplog.text


def bomb(side: int) -> bytes:
    """A few bytes whose header promises `side` x `side` pixels; the data is not even there."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT" + b"\0" * 100


def test_bad_files_are_one_line_errors(tmp_path: Path) -> None:
    good = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(good, "PNG")
    files = {
        "empty.png": (b"", "is empty"),
        "text.jpg": (b"hello\n" * 40, "not an image that can be read"),
        "truncated.png": (good.getvalue()[:900], "damaged or incomplete"),
        "bomb.png": (bomb(12_000), "144 megapixels, more than the limit"),
        "huge_bomb.png": (bomb(60_000), "too large"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=reason) as caught:
            load_image(tmp_path / name)
        assert name in str(caught.value), f"{name}: the error does not name the file"
        assert "\n" not in str(caught.value), f"{name}: the error has several lines"
    for side in (1, 7):
        Image.new("RGB", (side, 64)).save(tmp_path / "small.png")
        with pytest.raises(ImageError, match=f"{side}x64 is too small, at least 8x8"):
            load_image(tmp_path / "small.png")
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    Image.fromarray(np.ones((16, 16), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ImageError, match="floating-point"):
        load_image(tmp_path / "float.tiff")


def test_the_size_limit_can_be_set(tmp_path: Path) -> None:
    ramp(100, 100).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="more than the limit"):
        load_image(tmp_path / "a.png", max_pixels=9_999)
    assert load_image(tmp_path / "a.png", max_pixels=10_000).size == (100, 100)


def test_arrays_and_tensors_agree() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    as_tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for source in (pixels, pixels / 255, as_tensor, as_tensor / 127.5 - 1, as_tensor[None], Image.fromarray(pixels)):
        assert np.array_equal(np.asarray(to_image(source)), pixels), (
            f"{type(source)} {source.dtype=}" if hasattr(source, "dtype") else "PIL"
        )
    for bad in (np.zeros((16, 16, 2)), pixels * 1.0, torch.full((3, 16, 16), torch.nan), torch.zeros(16, 16), 7):
        with pytest.raises(ImageError):
            to_image(bad)  # type: ignore[arg-type]


def test_matching_size_is_the_identity() -> None:
    image = ramp(32, 48)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1
    for mode in ("crop", "pad", "stretch"):
        assert torch.equal(fit_image(image, 32, 48, mode), expected), f"{mode} changed an image that already fits"


@pytest.mark.parametrize("size", ["100x200", "64x96", "65x131"])
def test_crop_equals_the_original_where_it_adds_no_bars(size: str) -> None:
    height, width = map(int, size.split("x"))
    image = to_image(int_image(f"golden/image_transforms/{size}", height, width))
    assert_close(case("image_transforms"), f"cli_{size}", fit_image(image, 64, 96, "crop"))


@pytest.mark.parametrize("size", [(100, 100), (150, 90), (60, 80), (33, 200), (9, 8)])
def test_crop_never_adds_bars(size: tuple[int, int]) -> None:
    white = Image.new("RGB", (size[1], size[0]), "white")
    for target in ((64, 96), (96, 64), (64, 64)):
        assert fit_image(white, *target).min() == 1, f"{size} to {target}: not covered (the original adds black bars)"


def test_pad_centres_the_picture_on_grey() -> None:
    fitted = fit_image(Image.new("RGB", (50, 100), "white"), 64, 96, "pad")
    assert contained_size((1000, 1), (10, 10)) == (10, 1), "a thin image has one pixel, and no more"
    for mode in ("crop", "stretch"):
        assert fit_box((100, 50), (64, 96), mode) == Box(0, 0, 64, 96), f"{mode} leaves a border"
    box = fit_box((100, 50), (64, 96), "pad")
    assert (box.top, box.left, box.height, box.width) == (0, 32, 64, 32)
    assert bool((box.crop(fitted) == 1).all()), "the box does not hold the picture"
    assert fitted.sum() == 3 * box.height * box.width, "around the picture is not neutral grey"


def test_padded_size_round_trip() -> None:
    exact = padded_size(320, 512, 64)
    assert exact.is_exact
    image = torch.randn(1, 320, 512)
    assert exact.pad(image) is image, "nothing is to be padded"
    with pytest.raises(SizeError, match=r"^expected 320x512 pixels, got \(512, 320\)$"):
        exact.pad(image.mT)
    padded = padded_size(300, 517, 64)
    assert (padded.height, padded.width) == (320, 576)
    image = torch.randn(3, 300, 517)
    big = padded.pad(image)
    assert big.shape == (3, 320, 576)
    assert torch.equal(padded.crop(big), image)
    assert torch.equal(big[:, 0, 40], image[:, 0, 40 - padded.inner.left]), "the border is not repeated"
    check_size(1, 1)
    check_size(MAX_SIDE, MAX_SIDE)
    assert MAX_SIDE == 8192, "what is larger is taken for a mistake"
    for height, width in ((0, 64), (-8, 64), (64, MAX_SIDE + 1)):
        with pytest.raises(SizeError, match="out of range"):
            padded_size(height, width, 64)

"""Every reader shows a frame as a player does: upright, square pixels, on white; held to each other and to truth."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from lvdm.data.video_header import probe_size
from lvdm.evaluation.clip_files import ClipSpec, FrameScaling, load_clip
from lvdm.media.presentation import Presentation, upright_frame
from lvdm.media.torchcodec_reader import check_container
from lvdm.media.video_backends import open_video
from lvdm.media.video_reader import VideoError, VideoReader

HEIGHT, WIDTH = 48, 64
QUARTERS = np.array([[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), (90, 90, 90)]], np.uint8)
"""Red and green above, blue and grey below: tells all eight ways a frame can lie."""
STORED = QUARTERS.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)
ONE = 1 << 16
MATRICES = {
    "as it is": (1, 0, 0, 1),
    "quarter turn": (0, 1, -1, 0),
    "half turn": (-1, 0, 0, -1),
    "three quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down mirrored": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
"""a, b, c, d of the display matrix: a point (x, y) of the file is shown at (a x + c y, b x + d y)."""
EXIF = dict(zip(MATRICES, (1, 6, 3, 8, 2, 4, 5, 7), strict=True))
ASPECTS = (Fraction(1), Fraction(4, 3), Fraction(1, 2))


def placed(matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The four colours (2, 2, 3) as a player shows them: each is put where the matrix says, and nothing else."""
    a, b, c, d = matrix
    shown = np.empty_like(QUARTERS)
    for row, y in enumerate((-1, 1)):
        for column, x in enumerate((-1, 1)):
            shown[(b * x + d * y + 1) // 2, (a * x + c * y + 1) // 2] = QUARTERS[row, column]
    return shown


def quarters_of(frame: np.ndarray) -> np.ndarray:
    """The colours in the middles of the four quarters of a frame (H, W, 3)."""
    height, width = frame.shape[:2]
    return frame[height // 4 :: height // 2][:2, width // 4 :: width // 2][:, :2]


def write(path: Path, aspect: Fraction, matrix: tuple[int, int, int, int] = (1, 0, 0, 1)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(STORED, format="rgb24")))
        container.mux(stream.encode())
    if path.suffix == ".mp4":
        content = bytearray(path.read_bytes())
        at = content.index(b"tkhd") + 44
        a, b, c, d = (ONE * value for value in matrix)
        content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        path.write_bytes(content)
    return path


def shown_size(aspect: Fraction, matrix: tuple[int, int, int, int]) -> tuple[int, int]:
    """Height and width on the screen, by the areas that ISO/IEC 14496-12 and EXIF speak of."""
    width, height = (round(WIDTH * aspect), HEIGHT) if aspect > 1 else (WIDTH, round(HEIGHT / aspect))
    return (width, height) if matrix[0] == 0 else (height, width)


def check_shown(frame: np.ndarray, expected: np.ndarray, size: tuple[int, int], who: str, tolerance: int = 8) -> None:
    assert frame.shape == (*size, 3), f"{who}: the frame has another size than on a screen"
    off = np.abs(quarters_of(frame).astype(int) - expected.astype(int)).max()
    assert off <= tolerance, f"{who}: a quarter of the frame is off by {off} levels"


@pytest.mark.parametrize("aspect", ASPECTS, ids=str)
@pytest.mark.parametrize("name", MATRICES)
def test_files_are_shown_as_their_matrix_and_aspect_say(name: str, aspect: Fraction, tmp_path: Path) -> None:
    matrix = MATRICES[name]
    path, expected, size = write(tmp_path / "a.mp4", aspect, matrix), placed(matrix), shown_size(aspect, matrix)
    with VideoReader(path) as accurate, open_video(path) as fast, open_video(path, path.read_bytes()) as held:
        for who, reader in (("accurate", accurate), ("fast", fast), ("bytes", held)):
            assert (reader.height, reader.width) == size, f"{who}: promises another size"
            check_shown(reader.read([1])[0].numpy(), expected, size, who)
            squeezed = reader.read([0], height=40, width=24)[0].numpy()
            check_shown(squeezed, expected, (40, 24), f"{who}, squeezed")
    with open_video(path, backend="imageio") as imageio:
        check_shown(imageio.read([1])[0].numpy(), expected, size, "imageio")
    header = probe_size(path)
    assert header is not None
    assert (header.height, header.width) == size, "the header's size is another one"
    clip = load_clip(ClipSpec("a", path, 0, 1, 2), FrameScaling())
    check_shown(clip.frames[0].numpy(), expected, size, "evaluation")


@pytest.mark.parametrize("aspect", ASPECTS, ids=str)
@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mov"])
def test_other_containers_hold_the_aspect_too(suffix: str, aspect: Fraction, tmp_path: Path) -> None:
    with VideoReader(write(tmp_path / f"a{suffix}", aspect)) as reader:
        check_shown(reader.read([0])[0].numpy(), QUARTERS, shown_size(aspect, MATRICES["as it is"]), suffix)


def test_what_is_clear_is_refused_by_the_reader_that_lays_it_on_black(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="not read by imageio, it is transparent; choose reader: pyav"):
        open_video(transparent(tmp_path / "a.webm"), backend="imageio")


@pytest.mark.parametrize("name", EXIF)
def test_exif_means_the_same_as_the_matrix(name: str) -> None:
    """For frames that other libraries decode: a folder of photographs, animated WebP and PNG."""
    exif = Image.Exif()
    exif[0x0112] = EXIF[name]
    still = Image.fromarray(STORED)
    still.info["exif"] = exif.tobytes()
    still.getexif()[0x0112] = EXIF[name]
    a, b, c, d = MATRICES[name]
    by_matrix = Presentation.of((a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30), None, Path("a"))
    assert Presentation.of_exif(EXIF[name]) == by_matrix, f"{name}: EXIF and the matrix mean different things"
    assert np.array_equal(upright_frame(STORED, by_matrix), np.asarray(ImageOps.exif_transpose(still)))
    assert np.array_equal(quarters_of(upright_frame(STORED, by_matrix)), placed(MATRICES[name]))


def transparent(path: Path) -> Path:
    """Two frames: red, of which the right half is clear."""
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0], pixels[:, : WIDTH // 2, 3] = 200, 255
    images = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    kinds = {".gif": ("GIF", {"disposal": 2}), ".apng": ("PNG", {}), ".png": ("PNG", {})}
    kinds[".webp"] = "WEBP", {"lossless": True}
    if path.suffix in kinds:
        kind, options = kinds[path.suffix]
        images[1].putpixel((0, 0), (0, 200, 0, 255))  # writers leave out frames that repeat
        images[0].save(path, kind, save_all=True, append_images=images[1:], duration=100, **options)
        return path
    codec, pixel_format = ("libvpx-vp9", "yuva420p") if path.suffix == ".webm" else ("prores_ks", "yuva444p10le")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".gif", ".apng", ".png", ".webp", ".webm", ".mov"])
def test_what_is_clear_is_white_as_in_still_images(suffix: str, tmp_path: Path) -> None:
    with VideoReader(transparent(tmp_path / f"a{suffix}")) as reader:
        frames = reader.read([0, 1]).numpy()
        small = reader.read([1], height=24, width=32).numpy()
    for number, frame in enumerate((*frames, small[0])):
        left, right = frame[8, 8], frame[8, -8]
        assert np.abs(right.astype(int) - 255).max() <= 4, f"{suffix}: what is clear in frame {number} is {right}"
        assert np.abs(left.astype(int) - (200, 0, 0)).max() <= 6, f"{suffix}: what is opaque became {left}"


@pytest.mark.parametrize(("name", "matrix"), [("mirrored", "mirrored"), ("4/3", "as it is"), ("transparent", "")])
def test_torchcodec_gets_no_file_that_it_would_show_otherwise(name: str, matrix: str, tmp_path: Path) -> None:
    aspect = Fraction(4, 3) if name == "4/3" else Fraction(1)
    path = write(tmp_path / "a.mp4", aspect, MATRICES[matrix]) if matrix else transparent(tmp_path / "a.webm")
    with pytest.raises(VideoError, match=rf"does not show it as a player does \(.*{name}.*choose reader: pyav"):
        check_container(path, None)
    check_container(write(tmp_path / "turned.mp4", Fraction(1), MATRICES["quarter turn"]), None)


def test_absurd_aspects_and_matrices_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Presentation.of((0,) * 9, Fraction(5000, 1), tmp_path / "a.mp4").is_plain
    assert "a.mp4: says that its pixels are 5000 as wide as high" in caplog.text
    slightly = tuple(round(ONE * value) for value in (0.99, 0.1, 0, -0.1, 0.99, 0, 0, 0, 1))
    assert Presentation.of(slightly, None, tmp_path).is_plain, "a matrix that turns by 6 degrees is the nearest quarter"
    assert str(Presentation(True, 3, Fraction(4, 3))) == "mirrored, turned by 270 degrees, pixels 4/3 as wide as high"

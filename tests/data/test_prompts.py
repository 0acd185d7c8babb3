"""Images and prompts are paired by sorted name; whatever does not fit together is an error that shows both sides."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lvdm.data.prompts import PromptError, output_names, read_requests

PROMPTS = Path(__file__).parents[2] / "prompts"
SIZES = {
    "256": (256, 256),
    "512": (512, 320),
    "1024": (1024, 576),
    "512_interp": (512, 320),
    "512_loop": (512, 320),
    "tiny": (64, 64),
}


def make_folder(folder: Path, images: list[str], text: str, name: str = "test_prompts.txt") -> Path:
    folder.mkdir(exist_ok=True)
    for image in images:
        (folder / image).write_bytes(b"")
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_images_pair_with_lines_by_sorted_name(tmp_path: Path) -> None:
    images = ["b.JPG", "a.png", "d.WebP", "c.jpeg", ".hidden.png"]
    folder = make_folder(tmp_path, images, "\ufefffirst\n  second  \n\nfourth\n\n\n")
    requests = read_requests(folder)
    assert [request.image.name for request in requests] == ["a.png", "b.JPG", "c.jpeg", "d.WebP"]
    assert [request.prompt for request in requests] == ["first", "second", "", "fourth"]
    assert [request.name for request in requests] == ["a", "b", "c", "d"]
    assert all(request.end_image is None for request in requests)


def test_numbers_in_names_count_as_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path, [f"{number}.png" for number in range(1, 12)], "\n".join("abcdefghijk"))
    with caplog.at_level("INFO"):
        requests = read_requests(folder)
    assert [request.image.name for request in requests] == [f"{number}.png" for number in range(1, 12)]
    assert "1. 1.png | 'a'; 2. 2.png | 'b'; 3. 3.png | 'c'" in caplog.text, "the pairs are not shown"
    assert "and 6 more" in caplog.text
    assert "1.png before 2.png; the original sorts them as text" in caplog.text


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_all_rows_that_cannot_be_used_are_named_at_once(suffix: str, tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png"], "")
    table = tmp_path / f"list{suffix}"
    rows = [{"image": "a.png", "seed": seed} for seed in (1, -1, "abc", 2, "9" * 5000)]
    lines = ["image,seed", *(f"{row['image']},{row['seed']}" for row in rows)]
    table.write_text("\n".join(map(json.dumps, rows) if suffix == ".jsonl" else lines))
    with pytest.raises(PromptError) as caught:
        read_requests(table)
    message, first = str(caught.value), 1 if suffix == ".jsonl" else 2
    assert message.startswith("3 problems:")
    for number in (1, 2, 4):
        assert f"line {first + number}: seed " in message, f"row {number} is not named"
    assert len(message) < 1500, "an input is repeated in full"
    table.write_text("image\n" + "gone.png\n" * 30 if suffix == ".csv" else '{"image": "gone.png"}\n' * 30)
    with pytest.raises(PromptError, match=r"(?s)30 problems:.*line 3.*gone\.png.*and 20 more"):
        read_requests(table)


def test_other_prompt_file_names(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["a.png"], "from the only txt\n", "captions.txt")
    assert read_requests(folder)[0].prompt == "from the only txt"
    (folder / "more.txt").write_text("from more\n")
    with pytest.raises(PromptError, match=r"found: captions.txt, more.txt"):
        read_requests(folder)
    assert read_requests(folder, prompt_file=folder / "more.txt")[0].prompt == "from more"


def test_interpolation_takes_pairs_and_loops_take_one(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["x_1.png", "x_2.png", "y_1.png", "y_2.png"], "one\ntwo\n")
    requests = read_requests(folder, mode="interp")
    ends = [(request.image.name, request.end_image and request.end_image.name) for request in requests]
    assert ends == [("x_1.png", "x_2.png"), ("y_1.png", "y_2.png")]
    loop = make_folder(tmp_path / "loop", ["x.png"], "one\n")
    assert read_requests(loop, mode="loop")[0].values == {"image": loop / "x.png", "prompt": "one"}
    (folder / "z.png").write_bytes(b"")
    with pytest.raises(PromptError, match=r"2 prompts for 5 images, need two images per prompt") as caught:
        read_requests(folder, mode="interp")
    assert "3. z.png + (no image) | (no prompt)" in str(caught.value)


@pytest.mark.parametrize("images", [["a.png"], ["a.png", "b.png", "c.png"]])
def test_count_mismatch_lists_both(images: list[str], tmp_path: Path) -> None:
    """The original ignores images that are too many, and fails with an IndexError where they are too few."""
    folder = make_folder(tmp_path, images, "first\nsecond\n")
    with pytest.raises(PromptError, match=f"2 prompts for {len(images)} image") as caught:
        read_requests(folder)
    message = str(caught.value)
    for wanted in ("1. a.png | 'first'", "second", *images):
        assert wanted in message, f"the error does not show {wanted}"
    assert ("(no image)" in message) == (len(images) == 1)
    assert ("(no prompt)" in message) == (len(images) == 3)


def test_a_long_name_of_a_missing_file_is_cut(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"image,prompt\n{'x' * 5000}.png,p\n", encoding="utf-8")
    with pytest.raises(
        PromptError, match=r"list\.csv, line 2: the image .*x \.\.\. x+\.png of request 'x+\.\.\. "
    ) as caught:
        read_requests(tmp_path / "list.csv")
    assert len(str(caught.value)) < 600


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no such folder"):
        read_requests(tmp_path / "missing")
    with pytest.raises(PromptError, match="holds no images"):
        read_requests(make_folder(tmp_path / "bare", [], "one\n"))
    with pytest.raises(PromptError, match="found: none"):
        read_requests(make_folder(tmp_path / "mute", ["a.png"], "", "notes.md"))
    (tmp_path / "latin.txt").write_bytes("größer".encode("latin-1"))
    with pytest.raises(PromptError, match="is not UTF-8"):
        read_requests(make_folder(tmp_path / "ok", ["a.png"], "x"), prompt_file=tmp_path / "latin.txt")
    with pytest.raises(PromptError, match=r"should be a folder of images .* or a \.csv or \.jsonl"):
        read_requests(tmp_path / "latin.txt")


def test_names_never_collide() -> None:
    """The original cuts names at the first dot: a.b.png and a.c.png overwrite each other."""
    images = [Path(name) for name in ("a.b.png", "a.c.png", "x.png", "x.jpg", "Y.png", "y.png", "x/x.png")]
    names = output_names(images)
    assert names[:4] == ["a.b", "a.c", "x_png", "x_jpg"]
    assert len({name.casefold() for name in names}) == len(images), f"names collide: {names}"


def test_csv(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", ["a.png", "b.png"], "")
    table = tmp_path / "list.csv"
    table.write_text(
        "image, prompt, seed, motion, end_image, name\n"
        'images/a.png, "a boat, sailing", 7, 0.5, images/b.png, sea\n'
        "images/b.png,,,,,\n",
        encoding="utf-8-sig",
    )
    first, second = read_requests(table)
    assert (first.image, first.end_image) == (tmp_path / "images/a.png", tmp_path / "images/b.png")
    assert (first.prompt, first.seed, first.values["motion"], first.name) == ("a boat, sailing", 7, 0.5, "sea")
    assert (second.prompt, second.seed, second.end_image, second.name) == ("", None, None, "b")


def test_jsonl(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png", "b.png"], "")
    table = tmp_path / "list.jsonl"
    rows = [
        {"image": "a.png", "prompt": "größer", "fs": 3, "num_frames": 8},
        {"image": "b.png", "prompt": "", "name": "../evil/name"},
        {"image": "b.png", "name": "a"},
    ]
    table.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    requests = read_requests(table)
    assert (requests[0].prompt, requests[0].values["fs"], requests[0].values["num_frames"]) == ("größer", 3, 8)
    assert [request.name for request in requests] == ["a", "_evil_name", "a_2"]
    assert read_requests(table, mode="loop")[1].image == tmp_path / "b.png"


BAD_TABLES = {
    "image,promt\na.png,x\n": r"line 2: column 'promt' is not known; did you mean 'prompt'\?",
    "image,prompt\na.png,a boat, sailing\n": r"line 2: has more cells .* quotes",
    "image,prompt, prompt\na.png,x,y\n": r"line 1: the column 'prompt' stands there twice",
    "image,prompt\n,x\n": r"line 2: the column 'image' is missing",
    "image,seed\na.png,1.5\n": r"line 2: seed '1.5' is not possible; use a whole number",
    "image,motion\na.png,fast\n": r"motion 'fast' is not possible; use a number",
    "image,prompt\nmissing.png,x\n": r"missing.png of request 'missing' does not exist",
    "image,prompt\n": r"lists nothing",
    'image,prompt\na.png,"x\n': r"not valid CSV",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_csv(text: str, tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png"], "")
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(PromptError, match=BAD_TABLES[text]) as caught:
        read_requests(tmp_path / "bad.csv")
    assert "bad.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_jsonl_and_interpolation_without_end(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png"], "")
    for text, reason in (
        ("{oops", "line 1: is not valid JSON"),
        ("[1]", "should be an object"),
        ('{"image": 3}', "image 3 is not possible; use the name of a file"),
    ):
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(PromptError, match=reason):
            read_requests(tmp_path / "bad.jsonl")
    (tmp_path / "one.csv").write_text("image,prompt\na.png,x\n")
    with pytest.raises(PromptError, match="needs the column 'end_image'"):
        read_requests(tmp_path / "one.csv", mode="interp")


def test_prompts_that_no_model_reads_are_refused_with_their_place(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["a.png"], "x" * 10_000)
    with pytest.raises(PromptError, match=r"request 'a': the prompt has 10000 characters") as caught:
        read_requests(folder)
    assert len(str(caught.value)) < 1000, "the prompt is repeated in full"


def test_a_table_may_have_every_parameter_that_a_video_can_differ_in(tmp_path: Path) -> None:
    make_folder(tmp_path, ["a.png", "b.png", "m.png"], "")
    rows = [
        {"image": "a.png", "num_inference_steps": 4, "guidance_scale": 3, "keyframes": {"3": "b.png"}},
        {"image": "a.png", "prompts_at": [[2, "it stops"]], "keep_mask": "m.png", "fix_final_step": True},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first, second = read_requests(tmp_path / "list.jsonl")
    assert first.values["keyframes"] == ((3, tmp_path / "b.png"),)
    assert (first.values["num_inference_steps"], first.values["guidance_scale"]) == (4, 3.0)
    assert second.values["prompts_at"] == ((2, "it stops"),)
    assert (second.values["keep_mask"], second.values["fix_final_step"]) == (tmp_path / "m.png", True)
    (tmp_path / "list.csv").write_text("image,keyframes,fix_final_step\na.png,2=b.png;3=m.png,yes\n")
    (row,) = read_requests(tmp_path / "list.csv")
    assert row.values["keyframes"] == ((2, tmp_path / "b.png"), (3, tmp_path / "m.png"))
    assert row.values["fix_final_step"] is True
    for name in ("device", "preset", "output", "keep"):
        (tmp_path / "bad.csv").write_text(f"image,{name}\na.png,x\n")
        with pytest.raises(PromptError, match=f"{name} is no column, but one for all videos; give it as --{name}"):
            read_requests(tmp_path / "bad.csv")


@pytest.mark.parametrize("preset", SIZES)
def test_shipped_examples(preset: str) -> None:
    mode = "interp" if preset.endswith("interp") else "loop" if preset.endswith("loop") else "i2v"
    requests = read_requests(PROMPTS / preset, mode=mode)
    assert len(requests) >= 2
    for request in requests:
        assert request.prompt
        for image in {request.image, request.end_image} - {None}:
            assert Image.open(image).size == SIZES[preset], f"{image} has another size than its preset"
            assert image.stat().st_size < 60_000, f"{image} is too large to ship"


def test_sentences_alone_come_from_a_text_file_or_a_table(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red/blue ball\n\na red/blue ball\n", encoding="utf-8")
    requests = read_requests(tmp_path / "prompts.txt", mode="t2v")
    assert [request.prompt for request in requests] == ["a red/blue ball"] * 2
    assert [request.name for request in requests] == ["a_red_blue_ball", "a_red_blue_ball_2"]
    assert all(request.image is None for request in requests)
    (tmp_path / "table.csv").write_text("prompt,seed\na red ball,7\n", encoding="utf-8")
    assert read_requests(tmp_path / "table.csv", mode="t2v")[0].seed == 7
    (tmp_path / "table.jsonl").write_text('{"prompt": "a", "image": "a.png"}\n', encoding="utf-8")
    with pytest.raises(PromptError, match="takes no image"):
        read_requests(tmp_path / "table.jsonl", mode="t2v")
    with pytest.raises(PromptError, match="is a folder"):
        read_requests(tmp_path, mode="t2v")
    with pytest.raises(PromptError, match="the column 'image' is missing"):
        read_requests(tmp_path / "table.csv")

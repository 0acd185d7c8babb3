"""The cases of `benchmarks/fuzz.py`: what is typed, and the files that lie there. Made by hand, and by chance."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz_files import ValidFiles
from fuzz_mutations import DEEP, DIGITS, LONG, WORDS, mutated, mutated_tree
from fuzz_options import option_words

from lvdm.model_files import EMBEDDED, find_preset

JSON, FORM = "application/json", "multipart/form-data; boundary=b"


@dataclass(frozen=True)
class Case:
    """One command, or one request of the server.

    words    of the command; empty for a request
    files    by their names in the folder where it runs
    special  what else lies there, by kind: pipe, loop (a link to itself), folders (in each other)
    body     content type and body of a request
    valid    whether it is to be taken: nothing is wrong with it
    """

    name: str
    words: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    special: Mapping[str, str] = field(default_factory=dict)
    body: tuple[str, bytes] | None = None
    valid: bool = False


@dataclass(frozen=True)
class Reader:
    """Commands that read a file of a kind.

    names     of the valid files, by their suffix
    commands  in which FILE stands for the file, and others for `places`
    beside    valid files that lie there too, by name
    """

    names: tuple[str, ...]
    commands: tuple[str, ...]
    beside: Mapping[str, str] = field(default_factory=dict)
    share: int = 1


QUICK = "--prompt a --dry-run --output out.mp4"
CHECK = "data check . --video-length 2 --resolution 16x16 --workers 1 --output out --captions"
MANIFEST = "evaluate manifest out.jsonl"
IMAGES = ("png", "jpeg", "webp", "bmp", "tiff", "gif", "ppm", "tga", "ico", "avif")
VIDEOS = tuple(f"video.{suffix}" for suffix in ("mp4", "mkv", "webm", "avi", "mov", "ts"))
READERS: Mapping[str, Reader] = {
    "image": Reader(
        (*(f"image.{kind}" for kind in IMAGES), "animation.gif", "animation.png", "deep.png", "clear.png"),
        (f"animate FILE {QUICK}", f"interpolate CAT FILE {QUICK}", f"animate CAT --keep-mask FILE {QUICK}"),
        share=9,
    ),
    "video": Reader(
        (*VIDEOS, "animation.gif", "animation.webp", "animation.png"),
        (
            f"{CHECK} none",
            f"extend FILE {QUICK} --num-frames 1 --overlap 1",
            f"{MANIFEST} --videos .",
            "read frames FILE",
        ),
        share=9,
    ),
    "depth": Reader(("depth.npz", "depth.npz", "video.mp4"), ("read depth FILE",), share=2),
    "upload": Reader(
        (*(f"image.{kind}" for kind in IMAGES), "animation.gif", "depth.npz", *VIDEOS),
        ("read image FILE", "read video FILE", "read driving_video FILE"),
        share=2,
    ),
    "flow": Reader(("flow.npz",), (f"animate CAT --carry-flow FILE {QUICK}",), share=2),
    "weights": Reader(
        ("weights.safetensors", "weights.ckpt", "plain.pt", "legacy.ckpt"),
        ("info FILE", "convert FILE out.safetensors", f"animate CAT --checkpoint FILE --config CONFIG {QUICK}"),
        share=8,
    ),
    "lora": Reader(("lora.safetensors",), (f"animate CAT --lora FILE {QUICK}", "info FILE"), share=3),
    "configuration": Reader(
        ("config.yaml",),
        (f"animate CAT --checkpoint WEIGHTS --config FILE {QUICK}", "info WEIGHTS --no-hash --config FILE"),
        share=5,
    ),
    "training": Reader(("training.yaml",), ("data check --config FILE --output out",), share=1),
    "list": Reader(
        ("list.csv", "list.jsonl", "prompts.txt"),
        ("batch FILE --dry-run --output out", "animate --prompts FILE --dry-run --output out"),
        share=6,
    ),
    "story": Reader(("story.yaml",), ("story plan FILE --output out",), share=2),
    "caption": Reader(("caption.json",), (f"{CHECK} json",), {"caption.mp4": "video.mp4"}, share=2),
    "shard": Reader(("shard.tar",), (f"{CHECK} txt",), share=2),
}
TREES: Mapping[str, tuple[tuple[str, ...], int]] = {
    "record.json": (("animate --replay FILE --dry-run", "animate --replay FILE --dry-run", "read earlier FILE"), 6),
    "extended.json": (("extend --replay FILE --dry-run", "read earlier FILE"), 3),
    "story.yaml": (("story plan FILE --output out", "story make FILE --output out --shot none"), 4),
    "list.jsonl": (("batch FILE --dry-run --output out", "animate --prompts FILE --dry-run --output out"), 4),
}
"""Commands that read a tree, and how often."""


def cases(valid: ValidFiles, count: int, seed: int, every: int = 1) -> Iterator[Case]:
    """Each `every`-th of so many cases; those made by hand come first."""
    by_hand = [*valid_cases(valid), *cases_by_hand(valid)]
    yield from by_hand[:count:every]
    kinds = _kinds()
    for number in range(-len(by_hand) % every, count - len(by_hand), every):
        chance = Random(f"{seed}/{number}")
        kind = chance.choice(kinds)
        yield _MAKERS.get(kind, _damaged)(valid, kind, f"{kind} {number}", chance)


def _kinds() -> list[str]:
    shares = {kind: reader.share for kind, reader in READERS.items()} | {
        name: share for name, (_, share) in TREES.items()
    }
    shares |= {"body": 7, "replay": 4, "option": 14}
    return [kind for kind, share in shares.items() for _ in range(share)]


def _damaged(valid: ValidFiles, kind: str, name: str, chance: Random) -> Case:
    """A valid file with mistakes in its bytes."""
    reader = READERS[kind]
    file = chance.choice(reader.names)
    command = chance.choice(reader.commands)
    beside = {there: valid.contents[content] for there, content in reader.beside.items()}
    content = mutated(valid.contents[file], chance)
    return Case(name, words_of(command, file, valid), {file: content, **beside})


def _wrong_tree(valid: ValidFiles, kind: str, name: str, chance: Random) -> Case:
    """A valid tree with mistakes in its values."""
    content = as_json(mutated_tree(valid.trees[kind], chance))
    return Case(name, words_of(chance.choice(TREES[kind][0]), kind, valid), {kind: content})


def _body(valid: ValidFiles, kind: str, name: str, chance: Random) -> Case:
    """A request of the server with mistakes in its values, or in its bytes."""
    tree = _whole_body(valid)
    if chance.random() < 0.6:
        return Case(name, body=(JSON, as_json(mutated_tree(tree, chance))))
    return Case(name, body=_in_bytes(tree, chance))


def _replay_body(valid: ValidFiles, kind: str, name: str, chance: Random) -> Case:
    """A request of the server that begins with a record, of which a value or a byte is wrong."""
    record = chance.choice(("record.json", "extended.json"))
    if chance.random() < 0.8:
        tree = _whole_replay(valid, record, mutated_tree(valid.trees[record], chance))
        return Case(name, body=(JSON, as_json(tree)))
    return Case(name, body=_in_bytes(_whole_replay(valid, record, valid.trees[record]), chance))


def _in_bytes(tree: Mapping[str, Any], chance: Random) -> tuple[str, bytes]:
    """A body with mistakes in its bytes, as JSON or as a form."""
    if chance.random() < 0.5:
        return JSON, mutated(json.dumps(tree).encode(), chance)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in tree.items()}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n' for key, text in texts.items()]
    return FORM, mutated(("".join(parts) + "--b--\r\n").encode(), chance)


def _whole_body(valid: ValidFiles) -> dict[str, Any]:
    return {**valid.trees["body.json"], "input_reference": _data_url(valid, "image.png", "image/png")}


def _whole_replay(valid: ValidFiles, name: str, record: Any) -> dict[str, Any]:
    file = ("image.png", "image/png") if name == "record.json" else ("video.mp4", "video/mp4")
    return {"record": record, "dry_run": True, "input_reference": _data_url(valid, *file)}


def _data_url(valid: ValidFiles, name: str, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(valid.contents[name]).decode()}"


def _option(valid: ValidFiles, kind: str, name: str, chance: Random) -> Case:
    """A command with one option or argument that is wrong."""
    words = option_words(chance, chance.choice(WORDS))
    places = places_of(valid)
    return Case(f"{name} {words[0]}", tuple(places.get(word, word) for word in words))


_Maker = Callable[[ValidFiles, str, str, Random], Case]
_MAKERS: Mapping[str, _Maker] = {
    **{"body": _body, "replay": _replay_body, "option": _option},
    **dict.fromkeys(TREES, _wrong_tree),
}


def as_json(tree: Any) -> bytes:
    """The text of a tree, NaN and half characters included, and numbers that Python would not write."""
    return json.dumps(tree).replace(f'"{DIGITS}"', DIGITS).encode()


def places_of(valid: ValidFiles) -> dict[str, str]:
    """What words in capitals stand for."""
    model = find_preset(EMBEDDED)
    return {
        "CAT": str(valid.folder / "cat.png"),
        "MASK": str(valid.folder / "mask.png"),
        "CLIP": str(valid.folder / "clip.mp4"),
        "LIST": str(valid.folder / "list.csv"),
        "STORY": str(valid.folder / "story.yaml"),
        "SMALL": str(valid.folder / "weights.safetensors"),
        "CONFIG": str(model.config.resolve()),
        "WEIGHTS": str(model.checkpoint.resolve()),
    }


def words_of(command: str, file: str, valid: ValidFiles) -> tuple[str, ...]:
    """The words of a command with files in their places."""
    places = places_of(valid) | {"FILE": file}
    return tuple(places.get(word, word) for word in command.split())


def valid_cases(valid: ValidFiles) -> Iterator[Case]:
    """What the others are made from, without a mistake: all of it is to be taken."""
    for kind, reader in READERS.items():
        for command in reader.commands if kind not in _NOT_WHOLE else ():
            files = {reader.names[0]: valid.contents[reader.names[0]]}
            files |= {there: valid.contents[content] for there, content in reader.beside.items()}
            yield Case(f"valid: {kind}, {command}", words_of(command, reader.names[0], valid), files, valid=True)
    for name, (commands, _) in TREES.items():
        yield Case(f"valid: {name}", words_of(commands[0], name, valid), {name: as_json(valid.trees[name])}, valid=True)
    yield Case("valid: body", body=(JSON, as_json(_whole_body(valid))), valid=True)
    for name in ("record.json", "extended.json"):
        tree = _whole_replay(valid, name, valid.trees[name])
        yield Case(f"valid: replay of {name}", body=(JSON, as_json(tree)), valid=True)


_NOT_WHOLE = ("weights", "training", "upload")
"""A few tensors are no model, the training's videos are not here, and no file is both an image and a video."""


def cases_by_hand(valid: ValidFiles) -> Iterator[Case]:
    """What people do on purpose, or once by mistake."""
    for name, content in _hostile_files().items():
        suffix = name.rpartition(".")[2]
        for command in _READ_BY.get(suffix, _READ_BY["png"]):
            yield Case(f"by hand: {name}, {command}", words_of(command, name, valid), {name: content})
    for kind in ("pipe", "loop", "folders"):
        for suffix, commands in _READ_BY.items():
            name = f"{kind}.{suffix}"
            yield Case(f"by hand: {name}", words_of(commands[0], name, valid), special={name: kind})
    for words in _HOSTILE_WORDS:
        yield Case(f"by hand: {words[:60]}", words_of(words, "", valid))
    rows = b"image,prompt\n" + f"{valid.folder / 'cat.png'},a\n".encode() * 2000
    yield Case(
        "by hand: many rows of one image", words_of("batch FILE --dry-run", "list.csv", valid), {"list.csv": rows}
    )
    for body in _hostile_bodies():
        yield Case(f"by hand: body {body[:30]!r}", body=(JSON, body))


_READ_BY: Mapping[str, Sequence[str]] = {
    "png": (f"animate FILE {QUICK}", f"animate CAT --keep-mask FILE {QUICK}"),
    "mp4": (f"extend FILE {QUICK} --num-frames 1", f"{CHECK} none"),
    "yaml": (f"animate CAT --checkpoint WEIGHTS --config FILE {QUICK}", "data check --config FILE", "story plan FILE"),
    "json": ("animate --replay FILE --dry-run", "extend --replay FILE --dry-run"),
    "jsonl": ("batch FILE --dry-run", "animate --prompts FILE --dry-run"),
    "csv": ("batch FILE --dry-run", "animate --prompts FILE --dry-run"),
    "txt": ("batch FILE --dry-run",),
    "safetensors": ("info FILE", f"animate CAT --lora FILE {QUICK}"),
    "ckpt": ("info FILE", "convert FILE out.safetensors"),
    "tar": (f"{CHECK} txt",),
    "npy": (f"{MANIFEST} --videos . --fps 8",),
    "npz": (f"{MANIFEST} --videos . --fps 8", "read depth FILE"),
}
"""Commands for files of a kind, by suffix."""

_LOOKALIKES = {
    "drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(canary) (w) file closefile\nshowpage\n",
    "script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "empty": b"",
    "zeros": bytes(5000),
}


def _hostile_files() -> dict[str, bytes]:
    files = {f"{name}.{suffix}": content for name, content in _LOOKALIKES.items() for suffix in ("png", "mp4")}
    files |= {f"empty.{suffix}": b"" for suffix in _READ_BY}
    for suffix, opening in {"yaml": b"[", "json": b"[", "jsonl": b'{"a":', "csv": b'"'}.items():
        files[f"deep.{suffix}"] = opening * DEEP
        files[f"digits.{suffix}"] = b'{"seed": ' + DIGITS.encode() + b"}"
        files[f"long.{suffix}"] = LONG.encode()
        files[f"half.{suffix}"] = b'{"prompt": "\\ud800", "image": "\xff"}'
        files[f"null.{suffix}"] = b'{"image": "a\\u0000.png", "prompt": "a"}\n\0'
    files["named.jsonl"] = json.dumps({"image": "cat.png", "prompt": LONG, LONG: LONG}).encode()
    files["named.csv"] = f"image,prompt,{LONG}\n{LONG},{LONG},{LONG}\n".encode()
    files["digits.csv"] = f"image,prompt,seed\ncat.png,a,{DIGITS}\n".encode()
    files["many.yaml"] = b"a0: &a0 [x, x, x, x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)
    )
    files["tag.yaml"] = b"model: !!python/object/apply:os.mkdir ['../canary']\n"
    files["target.yaml"] = b"model: {target: canary.Model, params: {}}\ndata: {target: os.mkdir, params: {}}\n"
    files["environment.yaml"] = b"model: {target: '${oc.env:HOME}'}\ndata: {target: '${oc.env:HOME}'}\n"
    files["names.yaml"] = ("model: {target: lvdm." + "a." * 2000 + "b}\n").encode()
    files["keys.yaml"] = b"".join(b"k%d: 1\n" % i for i in range(90_000))
    files["twice.json"] = files["twice.jsonl"] = b'{"prompt": "a", "image": "cat.png", "prompt": "b"}'
    for name, shape in {"negative": b"(-4, 8, 8, 3)", "brackets": b"(" * 90, "far": b"(%d, 9, 9, 3)" % 10**9}.items():
        header = (b"{'descr': '|u1', 'fortran_order': False, 'shape': " + shape + b", }").ljust(200) + b"\n"
        files[f"{name}.npy"] = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(999)
        files[f"{name}.npz"] = _archive({"depth.npy": files[f"{name}.npy"]})
    files["none.npz"] = _archive({"depth.npy": b"no array"})
    files["pickle.ckpt"] = b"cos\nmkdir\n(S'../canary'\ntR."
    files["bomb.ckpt"] = _bomb()
    files["header.safetensors"] = (2**40).to_bytes(8, "little") + b"{}"
    files["deep.safetensors"] = DEEP.to_bytes(8, "little") + b"[" * DEEP
    files["bomb.png"] = _png(60_000, 60_000)
    files["tall.png"] = _png(1, 90_000_000)
    return files


def _archive(parts: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A zip in torch's layout whose pickle unpacks to a gigabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # half of the time of 6
        with archive.open("archive/data.pkl", "w", force_zip64=True) as part:
            for _ in range(1000):
                part.write(bytes(1_000_000))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


_HOSTILE_WORDS = (
    f"animate CAT {QUICK} --num-videos 100000000",
    f"extend CLIP {QUICK} --frames 99999999999",
    f"animate CAT {QUICK} --camera zoom_in:amount={{",
    f"animate CAT {QUICK} --camera zoom_in:amount={'[' * 20_000}",
    f"animate CAT {QUICK} --device hpu",
    f"animate CAT {QUICK} --device meta",
    f"animate CAT {QUICK} --seed {DIGITS}",
    f"animate CAT {QUICK} --{LONG}",
    f"animate CAT {QUICK} --sampler {LONG}",
    f"animate CAT {QUICK} --lora {LONG}",
    f"animate CAT {QUICK} --keyframe {DIGITS}=CAT",
    f"animate {LONG} {QUICK}",
    f"animate CAT --prompt a --dry-run --output {LONG}.mp4",
    f"animate CAT --prompt a --dry-run --output {'a/' * 3000}b.mp4",
    f"animate CAT --prompt {LONG} --dry-run",
    f"{LONG}",
)


def _hostile_bodies() -> Iterator[bytes]:
    yield b"[" * DEEP
    yield b'{"a":' * DEEP
    yield b'{"seed": ' + DIGITS.encode() + b"}"
    yield json.dumps({"prompt": "a", LONG: 1}).encode()
    yield json.dumps({"prompt": "a", "mode": LONG}).encode()
    yield b'{"record": ' + b'{"a":' * DEEP
    yield json.dumps({"record": {"format": LONG, "model": {}}}).encode()
    yield json.dumps({"record": {"format": "dynamicrafter-video/2", LONG: 1, "video": LONG}}).encode()
    yield json.dumps({"prompt": "a", "input_reference": LONG * 100}).encode()

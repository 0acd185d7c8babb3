"""The private words that were replaced by those of the field do not come back.

In names, options, messages and docstrings of the library, the nodes of ComfyUI, scripts and benchmarks; in documents.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sources import nodes_of

ROOT = Path(__file__).parent.parent
WORDS = {
    "sentence": "prompt (generation), caption (training)",
    "picture": "image, frame",
    "tower": "text encoder, image encoder",
    "shelf": "activation offload",
    "shelve": "activation offload",
    "stock": "weights in host memory",
    "leg": "forward pass, backward pass",
    "contest": "best-of-N, comparison",
    "rival": "candidate",
    "settle": "select",
    "settled": "selected",
    "stranger": "unexpected key",
    "recipe": "record, format",
    "manieth": "frame interval",
    "tell": "report, log",
    "told": "reported, logged, given by",
    "mend": "fix",
    "fewest": "MIN_...",
    "least": "MIN_...",
    "rings": "cyclic loop",
    "seam": "hook",
}
"""Word -> what the field says. Plurals in s count, too; the words of a name are between underscores or capitals."""

PHRASES = {
    "way out": "hint, fix",
    "ways out": "hints",
    "stands still": "static",
    "stand still": "static",
    "there and back": "forward pass, backward pass",
    "put to work": "load to device",
    "handed on": "streamed",
    "kept region": "mask",
    "regions that stay": "mask",
    "weak guidance": "perturbed guidance",
    "late weights": "second-stage UNet",
    "early start": "truncated start",
    "sentence alone": "text-to-video",
}
"""The same of several words, in messages; in names they are joined by underscores."""

PARTICIPLES = {"asked", "given", "wanted", "made", "found", "own", "told", "shown", "taught"}
"""No names for what lives longer than a few lines: functions, classes, parameters, fields, constants. A noun is."""

ALLOWED = {
    ("lvdm/caching/latent_caching.py", "made"): "a count of the report, beside `kept`",
    ("lvdm/pipeline/extension_request.py", "seam"): "where new frames meet the old ones, in records that people have",
    ("lvdm/data/picture_files/__init__.py", "picture"): "released configurations name this folder for its attribution",
    ("lvdm/evaluation/extraction.py", "made"): "a count of the report, beside `kept`",
    ("lvdm/evaluation/extraction.py", "wanted"): "the old name of `records`, which warns for one version",
    (
        "lvdm/evaluation/metrics/loops.py",
        "seam",
    ): "where the end of a loop meets its beginning, of `seam ratio`",
    ("lvdm/evaluation/metrics/metric.py", "seam"): "the flow from the last frame to the first, of the same metric",
    ("lvdm/evaluation/report/findings.py", "sentence"): "the sentences of a report",
    ("lvdm/evaluation/report/markdown.py", "sentence"): "the sentences of a report",
    ("lvdm/evaluation/report/meaning.py", "sentence"): "the sentences of a report",
    ("lvdm/evaluation/report/page.py", "sentence"): "the sentences of a report",
    ("lvdm/evaluation/report/plot.py", "sentence"): "the sentences of a report",
    ("lvdm/evaluation/report/writing.py", "sentence"): "the sentences of a report",
    ("lvdm/pipeline/pipeline.py", "tower"): "the former name of `encoders`, which warns for one version",
    ("scripts/make_small_vocabulary.py", "picture"): "a word that captions may have",
}
"""(file, word) -> why it is no private word there."""

NAMED_ALIKE = {"Config", "Downsample", "Upsample"}
"""The nested configurations of components; layers of the UNet and of the autoencoder under the original's names."""

PLAIN = {"least", "tell", "leg", "seam", "stock", "rings"}
"""Words that are private in names only: in a message they are English."""

ROOMS = ("lvdm", "comfyui", "main", "scripts", "benchmarks")
DOCUMENTS = ("*.md", "docs/*.md", "configs/**/*.md", "checkpoints/**/*.md", "benchmarks/*.md")
OF_EARLIER_VERSIONS = ("CHANGELOG.md", "upgrading.md")
"""Documents that name what things were called."""

PRIVATE = re.compile(rf"(?<![a-z])({'|'.join(sorted(WORDS.keys() - PLAIN))})s?(?![a-z])|({'|'.join(PHRASES)})")
CODE_OR_LINK = re.compile(r"`[^`]*`|\]\([^)]*\)|src=\S+|\S+/\S+")

Hit = tuple[str, int, str, str]


def parts_of(name: str) -> list[str]:
    """The words of an identifier, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def singular(word: str) -> str:
    """The entry of `WORDS` that a word is, if any."""
    return next((form for form in (word, word.removesuffix("s")) if form in WORDS), word)


def names_of(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str, bool]]:
    """Line, name, and whether it lives long, of all that a file defines. nodes: those of its tree."""
    module = [statement for node in nodes if isinstance(node, ast.Module) for statement in node.body]
    fields = [node for cls in nodes if isinstance(cls, ast.ClassDef) for node in cls.body]
    lasting = {
        id(name)
        for node in [*module, *fields]
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for name in ast.walk(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    }
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name, True
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg, True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, id(node) in lasting
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr, True


def texts_of(nodes: Sequence[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and text of every message, docstring and option: it has a space or begins with dashes."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if " " in text.strip() or text.startswith("--"):
                yield node.lineno, text


def hits(path: str, nodes: Sequence[ast.AST]) -> list[Hit]:
    """Every private word of a file with these nodes: (path, line, word, where it stands)."""
    found: list[Hit] = []
    for line, name, lasting in [*((0, part, True) for part in Path(path).with_suffix("").parts), *names_of(nodes)]:
        parts = parts_of(name)
        words = [singular(part) for part in parts if singular(part) in WORDS]
        words += [phrase for phrase in PHRASES if f"_{phrase.replace(' ', '_')}_" in f"_{'_'.join(parts)}_"]
        if lasting and name.strip("_").lower() in PARTICIPLES:
            words.append(name.strip("_").lower())
        found += [(path, line, word, name) for word in words]
    return found + [(path, line, word, text) for line, text in texts_of(nodes) for word in private_words(text)]


def private_words(text: str) -> list[str]:
    """Those of a text, without what it quotes as code and without addresses of links."""
    return [match[1] or match[2] for match in PRIVATE.finditer(CODE_OR_LINK.sub(" ", text.lower()))]


def all_hits() -> list[Hit]:
    """Those of all code and all documents."""
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    found = [hit for path in paths for hit in hits(path.relative_to(ROOT).as_posix(), nodes_of(path))]
    documents = {path for pattern in DOCUMENTS for path in ROOT.glob(pattern) if path.name not in OF_EARLIER_VERSIONS}
    for path in sorted(documents):
        name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        found += [
            (name, line, word, part) for line, part in enumerate(text.split("\n"), 1) for word in private_words(part)
        ]
    return found


def test_private_words_do_not_come_back() -> None:
    found = all_hits()
    bad = [hit for hit in found if (hit[0], hit[2]) not in ALLOWED]
    advice = {**WORDS, **PHRASES}
    lines = [
        f"{path}:{line}: {word!r} in {where!r}: write {advice.get(word, 'a noun')}" for path, line, word, where in bad
    ]
    assert not bad, "\n".join(["private words:", *lines])
    used = {(path, word) for path, _, word, _ in found}
    assert not set(ALLOWED) - used, "these uses are gone: remove them from ALLOWED"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def read_pictures(): ...", ["picture"]),
        ("class ClipTowers: ...", ["tower"]),
        ("LEAST_CLIPS = 6", ["least"]),
        ("def f(way_out): ...", ["way out"]),
        ("def f(given): ...", ["given"]),
        ("class A:\n    made: int", ["made"]),
        ("def f():\n    found = 1\n    return found", []),
        ("def f(run_id, legend, ringing): ...", []),
        ("raise ValueError(f'{x} names no sentence')", ["sentence"]),
        ("log.info('told by the file')", ["told"]),
        ("option('--towers')", ["tower"]),
        ("f(help='The way out.')", ["way out"]),
        ("raise ValueError('at least 2')", []),
        ("record['picture'] = 1", []),
        ("def f():\n    'A picture.'", ["picture"]),
        ("def f():\n    '`towers` is a former name.'", []),
    ],
)
def test_the_check_sees_names_options_and_messages(source: str, words: list[str]) -> None:
    assert [word for _, _, word, _ in hits("x.py", tuple(ast.walk(ast.parse(source))))] == words


def test_a_class_has_its_name_alone() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "lvdm").rglob("*.py")):
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    shared = {name: paths for name, paths in places.items() if len(paths) > 1 and name not in NAMED_ALIKE}
    assert not shared, "one word, one thing: give each its own name"

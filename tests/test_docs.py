"""What the documents say is checked: links, commands, Python examples, names of tests."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

ROOT = Path(__file__).parent.parent
SKIPPED = {".venv", ".git", ".pytest_cache", "node_modules", "outputs"}
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
FILE_NAME = re.compile(r"`((?:configs|scripts|docs|prompts|benchmarks|lvdm|main|checkpoints)/[\w./-]+\.\w+)`")
ABSENT_BY_NATURE = re.compile(r"checkpoints/(dynamicrafter|base|i2v|makeyourvideo|tooncrafter)_\w+/.*|.*_example\..*")
"""Files that a reader puts there: downloaded checkpoints and what an example writes."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, *languages: str) -> Iterator[str]:
    """Fenced blocks of the document in one of the languages."""
    for language, text in FENCE.findall(path.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def commands(path: Path) -> Iterator[list[str]]:
    """Shell commands of the document's fenced blocks, as lists of words; a backslash continues a line."""
    for block in blocks(path, "bash", "shell", "sh", "console", "powershell"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ ").removeprefix("> "), comments=True)
            if words:
                yield words


def anchors(path: Path) -> set[str]:
    """The names by which headings are linked to."""
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{relative(path)} links to {target}, which does not exist"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{relative(path)} links to {target}; no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_named_files_exist(path: Path) -> None:
    for name in FILE_NAME.findall(path.read_text(encoding="utf-8")):
        if not ABSENT_BY_NATURE.fullmatch(name):
            assert (ROOT / name).exists(), f"{relative(path)} names {name}, which does not exist"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_named_tests_exist(path: Path) -> None:
    for name, function in TEST_NAME.findall(path.read_text(encoding="utf-8")):
        test = ROOT / name
        assert test.is_file(), f"{relative(path)} names {name}, which does not exist"
        if function:
            defined = {node.name for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.FunctionDef)}
            assert function in defined, f"{relative(path)} names {name}::{function}, which does not exist"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_commands_parse(path: Path) -> None:
    """Every `dynamicrafter` command has a subcommand and flags that exist; every script that is run exists."""
    for words in commands(path):
        where = f"{relative(path)}: {shlex.join(words)}"
        if words[0] == "dynamicrafter":
            check_command_line(words[1:], where)
        elif words[-1].startswith(".venv"):
            continue  # the reader makes it
        elif words[0] in ("bash", "python", "source") and "/" in words[-1 if len(words) == 2 else 1]:
            assert (ROOT / words[1]).is_file(), f"{where}: no such script"


@functools.cache
def command_line() -> typer.core.TyperGroup:
    """`dynamicrafter` with all its commands."""
    return typer.main.get_command(importlib.import_module("lvdm.cli.app").app)


def check_command_line(arguments: list[str], where: str) -> None:
    """Fail if `dynamicrafter` does not know the subcommand or one of its flags; values are not looked at."""
    group = command_line()
    name, *rest = arguments
    assert name in group.commands, f"{where}: no command {name}; there are {sorted(group.commands)}"
    context = group.commands[name].make_context(name, [], resilient_parsing=True)
    context.resilient_parsing = False  # else the parser passes over flags that do not exist
    try:
        group.commands[name].make_parser(context).parse_args(rest)
    except Exception as error:  # click's usage errors live in different packages by typer's version
        pytest.fail(f"{where}: {error}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_python_examples_import_what_exists(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{relative(path)}: {node.module} has no {alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


@pytest.mark.parametrize(("language", "job"), [("bash", "macos"), ("powershell", "windows")])
def test_the_smoke_run_is_the_quick_start_of_the_readme(language: str, job: str) -> None:
    """Nobody here has these systems: that the workflow says what the README says is all that can be checked."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "smoke.yml").read_text(encoding="utf-8"))
    run = workflow["jobs"][job]["steps"][-1]["run"]
    quick_start = next(block for block in blocks(ROOT / "README.md", language) if "venv" in block).splitlines()
    assert len(quick_start) == 4
    assert [line for line in run.splitlines() if line in quick_start] == quick_start

"""The library's files as trees, each parsed once in a process: several tests look through all of them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parent.parent


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The tree of the file at `path`."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of the file at `path`, as `ast.walk` gives them."""
    return tuple(ast.walk(parsed(path)))

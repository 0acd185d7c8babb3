"""What is new is short: the test of the design."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_LINES = 20


def code_lines(node: ast.AST) -> set[int]:
    """The lines of the statements in a function or a block, without its docstring."""
    body = getattr(node, "body", [])
    if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
        body = body[1:]
    inner = [part for statement in body for part in ast.walk(statement) if isinstance(part, ast.stmt | ast.expr)]
    return {line for part in inner for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)}


def test_condition_noise_takes_twenty_lines_beside_the_code() -> None:
    """TimeNoise of conditional-image-leakage: what draws and adds the noise, and where the training calls it."""
    method = ast.parse((ROOT / "lvdm/models/condition_noise.py").read_text())
    functions = [node for node in method.body if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in functions} == {"noise_level", "add_time_noise"}
    training = ast.parse((ROOT / "lvdm/models/ddpm3d.py").read_text())
    calls = [node for node in ast.walk(training) if isinstance(node, ast.If) and "time_noise" in ast.unparse(node.test)]
    assert len(calls) == 1, "the training should know of it in one place"
    count = sum(len(code_lines(node)) for node in functions) + len(code_lines(calls[0])) + 1
    assert count <= MOST_LINES, f"{count} lines"

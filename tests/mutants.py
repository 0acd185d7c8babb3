"""Changes pure files in every small way, one at a time, and says which changes the tests do not notice.

    python tests/mutants.py                        # all files of `FILES`: some minutes
    python tests/mutants.py timesteps --every 3    # one of them, each third change

A change is another comparison, another sign, a number that is one more, `and` for `or`, a condition turned round, or a
step left out. What survives is a test that is missing, or a change that changes nothing: `EQUIVALENT` says why for
those that were looked at. Exits with 1 if another one survives. Like `planted_mistakes.py`, it is no part of the suite.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from planted_mistakes import ROOT, SHARED, copy_of_the_project, passes

FILES: Mapping[str, tuple[str, ...]] = {
    "lvdm/diffusion/schedule.py": ("tests/diffusion/test_schedule.py",),
    "lvdm/diffusion/timesteps.py": ("tests/diffusion/test_timesteps.py",),
    "lvdm/diffusion/guidance.py": ("tests/diffusion/test_guidance.py",),
    "lvdm/diffusion/noise.py": ("tests/diffusion/test_noise.py",),
    "lvdm/diffusion/samplers/ddim.py": ("tests/diffusion/test_samplers.py", "tests/diffusion/test_ddim_parity.py"),
    "lvdm/conditioning.py": (
        *("tests/test_conditioning.py", "tests/test_descendants.py", "tests/models/test_makeyourvideo_parity.py"),
    ),
    "lvdm/checkpoint/blending.py": ("tests/checkpoint/test_blending.py",),
    "lvdm/diffusion/parameterization.py": ("tests/diffusion/test_parameterization.py",),
    "lvdm/media/geometry.py": ("tests/media/test_images.py", "tests/test_properties.py"),
    "lvdm/request/digest.py": ("tests/request/test_digest_facts.py", "tests/test_properties.py"),
    "lvdm/request/layers.py": (
        *("tests/request/test_digest_facts.py", "tests/request/test_former_names.py", "tests/test_properties.py"),
    ),
}
"""What is changed, and the tests that should notice."""

_TYPES = "types are not read when the file is run; tests/cli/test_without_torch.py says that nothing loads torch"
_IMPORT = "lvdm/media/geometry.py, line 12: if TYPE_CHECKING: from torch import Tensor -> if"
_ASPECT = "width * target_height {} height * target_width"
_FLAT = "high - low {} FLAT * torch.maximum(low.abs(), high.abs())"
_KEPT = "torch.rand(difference.shape, generator=self._generator(key))"
EQUIVALENT: Mapping[str, str] = {
    f"{_IMPORT} not TYPE_CHECKING: from torch import Tensor": _TYPES,
    f"{_IMPORT} TYPE_CHECKING: pass": _TYPES,
    f"lvdm/media/geometry.py, line 94: {_ASPECT.format('>=')} -> {_ASPECT.format('>')}": (
        "where both are equal, either side fits exactly, and both ways come to the target"
    ),
    "lvdm/media/geometry.py, line 102: True -> False": "both always have two sides",
    **dict.fromkeys(
        (f"lvdm/checkpoint/blending.py, line 52: {change}" for change in ("self.keep < 1 -> self.keep <= 1", "1 -> 2")),
        "where all of a difference is kept, the choice keeps all of it",
    ),
    f"lvdm/checkpoint/blending.py, line 53: {_KEPT} < self.ke -> {_KEPT} <= self.k": (
        "a random number is equal to the share once in millions"
    ),
    "lvdm/diffusion/noise.py, line 37: True -> False": "the lengths are compared before",
    f"lvdm/conditioning.py, line 106: {_FLAT.format('<')} -> {_FLAT.format('<=')}": (
        "both are equal where all depth is 0, which is -1 in either way"
    ),
}
"""Changes that survive, as they are printed, and why they change nothing."""

_COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq}
_COMPARISONS |= {ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
_SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_SIGNS |= {ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.Pow: ast.Mult, ast.Mod: ast.Mult}


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Each change in words, and the source with it."""
    tree = ast.parse(source)
    types = {id(part) for node in ast.walk(tree) for part in _types(node)}
    for node in [node for node in ast.walk(tree) if id(node) not in types]:
        before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
        kept = {name: list(value) if isinstance(value, list) else value for name, value in vars(node).items()}
        for variant in range(2):
            if _change(node, variant):
                yield f"line {node.lineno}: {_short(before)} -> {_short(ast.unparse(node))}", ast.unparse(tree)  # type: ignore[attr-defined]
            vars(node).update({name: list(value) if isinstance(value, list) else value for name, value in kept.items()})


def _types(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of annotations, which are not run, and of decorators, which say what may be done with a class."""
    parts = [getattr(node, name, None) for name in ("annotation", "returns")] + getattr(node, "decorator_list", [])
    for part in parts:
        if part is not None:
            yield from ast.walk(part)


def _short(text: str) -> str:
    return " ".join(text.split())[:70]


def _change(node: ast.AST, variant: int) -> bool:
    """Change a node in place; whether there is such a change."""
    if variant == 1:
        return _leave_out(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        node.ops[0] = _COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _SIGNS:
        node.op = _SIGNS[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node.op = ast.UAdd()
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        node.value = node.value + 1
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        return False
    return True


def _leave_out(node: ast.AST) -> bool:
    """Leave out a call or an assignment that stands alone, or the first condition of several."""
    if isinstance(node, ast.If) and not node.orelse:
        node.body = [ast.Pass()]
    elif isinstance(node, ast.AugAssign):
        node.value = ast.Constant(0) if isinstance(node.op, ast.Add) else node.value
        return isinstance(node.op, ast.Add)
    else:
        return False
    return True


def main() -> int:
    """Run the changes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="of the files")
    parser.add_argument("--every", type=int, default=1, help="each so manieth change")
    chosen = parser.parse_args()
    for name in SHARED:
        importlib.import_module(name)
    survivors, explained, total = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        place = copy_of_the_project(Path(folder))
        for name, tests in FILES.items():
            if chosen.words and not any(word in name for word in chosen.words):
                continue
            source = (ROOT / name).read_text(encoding="utf-8")
            if not passes(place, tests):
                print((place / "output.txt").read_text()[-3000:])
                raise SystemExit(f"{name}: its tests fail without a change; mend that first")
            for change, changed in list(mutants(source))[:: chosen.every]:
                total += 1
                label = f"{name}, {change}"
                if label in EQUIVALENT:
                    explained += 1
                    continue
                (place / name).write_text(changed, encoding="utf-8")
                if _survives(place, tests):
                    survivors += 1
                    print(f"SURVIVES  {label}", flush=True)
            (place / name).write_text(source, encoding="utf-8")
            counts = f"{total} changes so far, {survivors} survive, {explained} are explained"
            print(f"{name}: done, {counts}", flush=True)
    return int(survivors > 0)


def _survives(place: Path, tests: tuple[str, ...]) -> bool:
    """Whether all tests pass; a change with which they cannot even be collected is noticed."""
    try:
        return passes(place, tests)
    except RuntimeError:
        return False


if __name__ == "__main__":
    sys.exit(main())

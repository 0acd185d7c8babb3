"""Which part of the code may import which: a test, because a layer that is crossed once is crossed for good.

The rule is in CONTRIBUTING.md under "Layout". Files are read, not run; `test_package.py` imports all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from sources import parsed

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("lvdm", "main", "scripts") for path in (ROOT / folder).rglob("*.py"))
ROOMS = (
    "lvdm.errors",
    "lvdm.deprecation",
    "lvdm.regular_files",
    "lvdm.documents",
    "lvdm.suggestions",
    "lvdm.progress",
    "lvdm.consoles",
    "lvdm.versions",
    "lvdm.psnr",
    "lvdm.config",
    "lvdm.launched",
    "lvdm.declaration",
    "lvdm.precision",
    "lvdm.device",
    "lvdm.diffusion",
    "lvdm.modules",
    "lvdm.conditioning",
    "lvdm.media",
    "lvdm.content_hash",
    "lvdm.motion_levels",
    "lvdm.model_card",
    "lvdm.checkpoint",
    "lvdm.plugins",
    "lvdm.request",
    "lvdm.sizes",
    "lvdm.model_files",
    "lvdm.data",
    "lvdm.models",
    "lvdm.model_outline",
    "lvdm.model_outlines",
    "lvdm.pipeline",
    "lvdm.diffusers_pipeline",
    "lvdm.caching",
    "lvdm.training_memory",
    "lvdm.quality",
    "lvdm.jobs",
    "lvdm.benchmark",
    "lvdm.hosting",
    "lvdm.batch",
    "lvdm.story",
    "lvdm.serving",
    "lvdm.app",
    "lvdm.evaluation",
    "lvdm.fit",
    "lvdm.cli",
    "lvdm.moved",
    "main",
    "scripts",
)
"""The parts from the innermost to the outermost; each is a layer of its own, which may import only those before it."""
LAYERS = {name: number for number, name in enumerate(ROOMS)}
LEAVES = {
    "lvdm.batch": ("lvdm.cli", "scripts"),
    "lvdm.benchmark": ("lvdm.cli", "scripts"),
    "lvdm.evaluation": ("lvdm.cli", "scripts"),
    "lvdm.diffusers_pipeline": (),
    "lvdm.app": ("lvdm.cli",),
    "lvdm.cli": ("main", "scripts"),
    "lvdm.fit": ("lvdm.cli", "main", "scripts"),
    "lvdm.hosting": ("lvdm.app", "lvdm.cli", "lvdm.serving", "lvdm.story"),
    "lvdm.serving": ("lvdm.cli",),
    "lvdm.story": ("lvdm.app", "lvdm.cli"),
}
"""Parts that only some others may import."""
DECLARATIONS = ("lvdm.plugins.method", "lvdm.plugins.methods", "lvdm.plugins.registry")
"""Where imports of functions do not count: a method is declared where requests are, and made where the pipeline is."""
TYPED = ("lvdm.plugins.conflicts", "lvdm.plugins.assembly", "lvdm.plugins.context", *DECLARATIONS)
"""Where imports for types alone do not count: what methods are told is the settings, which are made of their own."""
SIBLINGS = {"lvdm.diffusion", "lvdm.modules"}
"""Parts of one layer that do not know each other."""

EXTERNAL = {
    "pytorch_lightning": ("lvdm.models.ddpm3d", "lvdm.fit.", "lvdm.cli.extraction.", "lvdm.batch.predicting."),
    "ray": ("lvdm.batch.ray_pool.",),
    "open_clip": ("lvdm.modules.encoders.", "scripts.make_small_vocabulary."),
    "kornia": ("lvdm.modules.encoders.",),
    "av": ("lvdm.media.", "lvdm.data.", "lvdm.cli.inspection."),  # `doctor` tells which codecs there are
    "imageio": ("lvdm.media.", "lvdm.data."),
    "fastapi": ("lvdm.serving.",),
    "starlette": ("lvdm.serving.", "lvdm.app.server."),  # gradio stands on it
    "uvicorn": ("lvdm.cli.serve.",),
    "prometheus_client": ("lvdm.serving.",),
    "diffusers": ("lvdm.diffusers_pipeline.", "lvdm.pipeline.placement."),
    "accelerate": ("lvdm.diffusers_pipeline.", "lvdm.pipeline.placement."),
    "opentimelineio": ("lvdm.story.timeline.",),
    "gradio": ("lvdm.app.",),
    "gradio_client": ("lvdm.app.",),
    "typer": ("lvdm.cli.",),
    "rich": ("lvdm.cli.", "lvdm.fit."),
    "argparse": ("lvdm.cli.", "lvdm.fit.", "scripts."),
    "difflib": ("lvdm.suggestions.",),
}
"""Packages that only some modules may import, so that replacing one of them touches one place."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def counted(node: ast.AST, here: str) -> Iterator[ast.AST]:
    """The nodes below `node`, without those whose imports do not count in `here`."""
    types_alone = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if types_alone and here.startswith(TYPED):
        return
    if isinstance(node, ast.FunctionDef) and here.startswith(DECLARATIONS):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from counted(child, here)


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that the file imports, with line numbers; `from a import b` gives a.b."""
    for node in counted(parsed(path), module_name(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; write the full name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def part_of(name: str) -> str | None:
    """The entry of `LAYERS` that a dotted name of ours belongs to; None for other packages.

    `lvdm.pipeline_batch` and `lvdm.checkpoint_convert` belong to `lvdm.pipeline` and `lvdm.checkpoint`. What a package
    holds may be a layer of its own, which is named then.
    """
    third = ".".join(name.split(".")[:3])
    if third in LAYERS:
        return third
    first, _, rest = name.partition(".")
    if first in LAYERS:
        return first
    if first != "lvdm" or not rest:
        return None
    second = rest.split(".")[0]
    if f"lvdm.{second}" in LAYERS:
        return f"lvdm.{second}"
    return next((part for part in LAYERS if f"lvdm.{second}".startswith(part + "_")), f"lvdm.{second}")


def outward_imports(path: Path) -> Iterator[str]:
    """What one file imports from where it may not."""
    here = part_of(module_name(path))
    if here is None:  # lvdm/__init__.py
        return
    if here not in LAYERS:
        yield f"{path.name} belongs to no layer: add {here} to LAYERS in {__file__} and to CONTRIBUTING.md"
        return
    for name, line in imports_of(path):
        there = part_of(name)
        where = f"{path.relative_to(ROOT)}:{line} imports {name}"
        if there is None or there == here:
            continue
        if there not in LAYERS:
            yield f"{where}, which belongs to no layer"
        elif LAYERS[there] >= LAYERS[here]:
            yield f"{where}: {there} is further out than {here}"
        elif here not in LEAVES.get(there, (here,)):
            yield f"{where}: only {' and '.join(LEAVES[there])} may"
        elif {here, there} <= SIBLINGS:
            yield f"{where}: {here} and {there} must not know each other"


def test_imports_point_inwards() -> None:
    faults = [fault for path in SOURCES for fault in outward_imports(path)]
    assert not faults, "\n".join(faults)


def test_packages_stay_where_they_belong() -> None:
    faults = []
    for path in SOURCES:
        for name, line in imports_of(path):
            allowed = EXTERNAL.get(name.split(".")[0])
            if allowed is not None and not f"{module_name(path)}.".startswith(allowed):
                where = f"{path.relative_to(ROOT)}:{line} imports {name}"
                faults.append(f"{where}, which belongs to {' or '.join(allowed)}")
    assert not faults, "\n".join(faults)


def is_attribute(node: ast.AST, owner: str, name: str) -> bool:
    """Whether `node` is `owner.name`."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
    )


def habits(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """The places of a file that do what no file should, and why not."""
    here = module_name(path)
    in_library = here.startswith("lvdm") and not here.startswith(("lvdm.cli", "lvdm.fit"))
    for node in ast.walk(parsed(path)):
        if is_attribute(node, "sys", "path"):
            yield node, "sys.path; install the project with pip install -e . instead"
        if isinstance(node, ast.ImportFrom) and node.module == "safetensors.torch":
            for writer in {alias.name for alias in node.names} & {"save", "save_file"}:
                yield node, f"{writer}; write tensors through lvdm.checkpoint.writing"
        if is_attribute(node, "torch", "load") and not here.startswith("lvdm.checkpoint"):
            yield node, "torch.load; read checkpoints through lvdm.checkpoint"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node, "a bare except hides the real error"
        if not in_library:
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node, "the library does not print; log or raise"
        value = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if here != "lvdm.device" and (value == "cuda" or value.startswith("cuda:")):
            yield node, "a device by name; ask lvdm.device or use the device of a tensor"


def test_forbidden_habits() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {why}"
        for path in SOURCES
        for node, why in habits(path)
    ]
    assert not faults, "\n".join(faults)


def test_no_module_collects_odds_and_ends() -> None:
    """`lvdm/fit/utils_data.py` keeps its name because the original's YAMLs name it."""
    names = {module_name(path) for path in SOURCES}
    odd = {
        name for name in names if set(name.split(".")[-1].split("_")) & {"utils", "util", "helpers", "helper", "misc"}
    }
    assert odd <= {"lvdm.fit.utils_data"}, f"name these after what they do: {sorted(odd)}"

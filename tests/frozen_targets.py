"""The dotted paths that YAML files name, by the place where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golden_vectors import GOLDEN

from lvdm.config import load_yaml

TARGETS = GOLDEN / "frozen" / "targets.json"
ROOT = Path(__file__).parent.parent


def yaml_files() -> list[str]:
    """All that come with us, from the root."""
    files = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("checkpoints/tiny*/*.yaml")]
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


def targets_of(file: str) -> dict[str, str]:
    """Place in the file, such as model.params.unet_config -> target."""
    return dict(_targets(load_yaml(ROOT / file), ""))


def _targets(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(node.get("target"), str):
            yield place, node["target"]
        for key, value in node.items():
            yield from _targets(value, f"{place}.{key}".lstrip("."))

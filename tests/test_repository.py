"""What may be committed: no large files outside the checkpoints, no paths of somebody's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EMBEDDED = (ROOT / "checkpoints" / "tiny", ROOT / "checkpoints" / "tiny-structure")
MEBIBYTE = 1 << 20
LIMITS = {"checkpoints": 40 * MEBIBYTE, "tests/golden": 4 * MEBIBYTE}
"""Largest file by folder; 1 MiB elsewhere."""
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:home|root|Users|work|mnt|scratch|workspace)/[\w.-]+")


def tracked_files() -> list[Path]:
    """Committed files that are still there; all files of an unpacked archive, which has no history to ask."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_large_files() -> None:
    large = []
    for path in tracked_files():
        limit = next((limit for folder, limit in LIMITS.items() if path.is_relative_to(ROOT / folder)), MEBIBYTE)
        if path.stat().st_size > limit:
            large.append(f"{path.relative_to(ROOT)}: {path.stat().st_size / MEBIBYTE:.1f} MiB")
    assert not large, f"large files make every clone slow: {large}"


def test_embedded_model_is_small() -> None:
    files = [path for folder in EMBEDDED for path in folder.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    assert total <= 45e6, f"the embedded models take {total / 1e6:.1f} MB, at most 45 MB may be committed"


def test_downloaded_checkpoints_are_not_committed() -> None:
    committed = [path for path in tracked_files() if path.is_relative_to(ROOT / "checkpoints")]
    allowed = (*EMBEDDED, ROOT / "checkpoints" / "README.md")
    strangers = [str(path) for path in committed if not any(path.is_relative_to(place) for place in allowed)]
    assert not strangers, f"only the embedded model belongs under checkpoints/: {strangers}"


def test_no_paths_of_one_machine() -> None:
    found = {}
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" in data[:8192]:  # images, videos and weights
            continue
        if match := MACHINE_PATH.search(data):
            found[str(path.relative_to(ROOT))] = match.group().decode(errors="replace")
    assert not found, f"absolute paths that exist on one machine only: {found}"


def test_shell_scripts_parse() -> None:
    scripts = [path for path in tracked_files() if path.suffix == ".sh" or path == ROOT / ".ci" / "run"]
    assert scripts, "no shell scripts are tracked"
    for path in scripts:
        run = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{path.relative_to(ROOT)}: {run.stderr}"

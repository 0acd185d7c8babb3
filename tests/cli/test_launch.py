"""What the installed command settles before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from lvdm.cli.launch import SPINS, wait_asleep


def test_the_installed_command_is_the_launcher() -> None:
    (command,) = (entry for entry in entry_points(group="console_scripts") if entry.name == "dynamicrafter")
    assert command.value == "lvdm.cli.launch:main", "install the project again: pip install -e ."


def test_it_comes_before_torch() -> None:
    """OpenMP reads its variables when it is loaded: later they would do nothing."""
    code = "import sys, lvdm.cli.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "the launcher loads torch"


def test_no_command_loads_torch_before_it_runs() -> None:
    """`--help` and a mistyped option answer at once: each command imports what it needs when it is called."""
    code = "import sys, lvdm.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "a command's module loads torch"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": SPINS}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_what_the_user_chose_stays(chosen: dict[str, str], expected: dict[str, str]) -> None:
    environment = dict(chosen)
    wait_asleep(environment)
    assert environment == expected

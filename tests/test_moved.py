"""Modules that moved are found under their former names for one version, with a warning that says where they are."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys

import pytest

from lvdm.moved import PLACES, MovedModules


@pytest.mark.parametrize("name", PLACES)
def test_former_names_warn_and_lead_to_the_present_modules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{name} is {PLACES[name][0]}.* now; the old name goes") as said:
        old = importlib.import_module(name)
    assert len(said) == 1
    for place in PLACES[name]:
        new = importlib.import_module(place)
        public = [key for key, value in vars(new).items() if getattr(value, "__module__", None) == place]
        assert public, f"{place} defines nothing"
        assert all(getattr(old, key) is getattr(new, key) for key in public)
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'never_was'; see {PLACES[name][0]}"):
        _ = old.never_was


def test_the_warning_names_the_line_that_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lvdm.provenance", raising=False)
    with pytest.warns(DeprecationWarning, match="lvdm.provenance is lvdm.jobs.record") as said:
        from lvdm.provenance import read_record  # type: ignore[import-not-found]
    assert said[0].filename == __file__
    assert read_record is importlib.import_module("lvdm.jobs.record").read_record


def test_torch_can_be_imported_after_a_former_name() -> None:
    """While it is imported it asks all modules for their files, when ours cannot be imported yet."""
    code = "import lvdm.results, torch; lvdm.results.GenerationRequest"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_former_names_are_free_and_nothing_here_uses_them() -> None:
    finders = [finder for finder in sys.meta_path if isinstance(finder, MovedModules)]
    assert len(finders) == 1
    for name in PLACES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is finders[0], f"{name} is a module again; take it out of PLACES"


def test_other_names_are_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lvdm.never_was")

"""What is installed: the library with the embedded model and the YAML files, and nothing under names of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from processes import fresh_environment
from small_model import picture

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


IMPORT_ALL_AND_RUN = """
import contextlib, importlib, json, random, sys
from pathlib import Path
import av, kornia, numpy, open_clip, pytorch_lightning, torch  # theirs may touch the state
for extra in ("diffusers", "gradio", "ray.data"):
    with contextlib.suppress(ImportError):
        importlib.import_module(extra)

def state():
    return {
        "random": random.getstate(),
        "numpy.random": numpy.random.get_state()[1].tolist(),
        "torch random": torch.get_rng_state().tolist(),
        "the default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "sys.path": list(sys.path),
    }

before = state()
for name in json.loads(Path("modules.json").read_text()):
    importlib.import_module(name)
changed = [key for key, value in state().items() if value != before[key]]
assert not changed, f"importing lvdm changed {changed}"
assert not torch.cuda.is_initialized(), "importing lvdm started CUDA"
print("all of it is imported", flush=True)
sys.modules["lvdm.cli.launch"].main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built without the network."""
    pytest.importorskip("hatchling", reason="the builder comes with the extra `test`")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_only_the_library_is_installed(wheel: Path) -> None:
    top = {path.name for path in wheel.iterdir()}
    assert top == {"lvdm", f"dynamicrafter-{PROJECT['version']}.dist-info"}, "top-level packages of other names"
    (entry,) = (wheel / f"dynamicrafter-{PROJECT['version']}.dist-info").glob("entry_points.txt")
    assert "dynamicrafter = lvdm.cli.launch:main" in entry.read_text()


def test_everything_that_a_command_needs_is_in_the_wheel(wheel: Path) -> None:
    inside = wheel / "lvdm"
    for name in ("embedded/tiny/config.yaml", "embedded/tiny/model.safetensors", "data/picture_files/NOTICE"):
        assert (inside / name).is_file(), f"{name} is missing"
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert (inside / "embedded/configs" / path.relative_to(ROOT / "configs")).is_file(), f"{path} is missing"
    tracked = subprocess.run(["git", "ls-files", "lvdm"], cwd=ROOT, capture_output=True, text=True, check=False)
    missing = [name for name in tracked.stdout.split("\n") if name and not (wheel / name).is_file()]
    assert not missing, f"tracked, but not in the wheel: {missing[:5]}"


def test_an_installed_copy_is_imported_in_silence_and_animates_in_any_folder(wheel: Path, tmp_path: Path) -> None:
    """Importing all of it prints nothing, starts no CUDA, draws no random number and changes no default."""
    picture().save(tmp_path / "cat.png")
    files = sorted((wheel / "lvdm").rglob("*.py"))
    names = [".".join(path.relative_to(wheel).with_suffix("").parts).removesuffix(".__init__") for path in files]
    optional = {"diffusers": "lvdm.diffusers_pipeline", "gradio": "lvdm.app", "ray": "lvdm.batch.ray_pool"}
    left_out = tuple(part for extra, part in optional.items() if importlib.util.find_spec(extra) is None)
    modules = [name for name in names if not name.startswith(left_out)]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    words = ("animate", "cat.png", "-p", "a red disc moves", "-o", "a.mp4", "--num-inference-steps", "1")
    command = [sys.executable, "-P", "-c", IMPORT_ALL_AND_RUN, *words, "--num-frames", "2"]
    environment = fresh_environment(PYTHONPATH=str(wheel))
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    said, _, _ = run.stdout.partition("all of it is imported")
    assert said == "", f"importing lvdm printed: {said}"
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert Path(record["model"]["checkpoint"]).is_relative_to(wheel), "it took the model of another copy"


def test_the_version_is_printed() -> None:
    command = [sys.executable, "-m", "lvdm.cli.app", "--version"]
    run = subprocess.run(command, cwd=ROOT, env=fresh_environment(), capture_output=True, text=True, check=False)
    assert run.stdout.strip() == f"dynamicrafter {PROJECT['version']}"


def test_presets_of_an_installed_copy_find_their_yaml(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "dynamicrafter_512_v1").mkdir()
    (tmp_path / "dynamicrafter_512_v1/model.ckpt").write_bytes(b"")
    code = "from lvdm.model_files import find_preset; print(find_preset('512').config)"
    environment = fresh_environment(PYTHONPATH=str(wheel), DYNAMICRAFTER_CHECKPOINTS=str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == str(wheel / "lvdm/embedded/configs/inference_512_v1.0.yaml"), run.stderr


def test_the_container_has_what_the_wheel_is_built_of() -> None:
    """Without one of them pip fails inside the container, which nobody here builds."""
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = tree["tool"]["hatch"]["build"]["targets"]["wheel"]
    copies = [line.split() for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()]
    copied = {source for words in copies if words[:1] == ["COPY"] for source in words[1:-1]}
    needed = {*wheel["packages"], *wheel["force-include"], tree["project"]["readme"]}
    assert not needed - copied, f"the Dockerfile does not copy {', '.join(sorted(needed - copied))}"
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert copied == sent, f"docker finds no {', '.join(sorted(copied - sent))}, or is sent what it does not need"

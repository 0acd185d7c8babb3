"""The drop-in script: the original's flags and names, ranks, resume, batches."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_model import FRAMES, SIDE, picture, write_small_model

from lvdm.cli import inference
from lvdm.media.video_reader import VideoReader
from scripts.evaluation import ddp_wrapper

ROOT = Path(__file__).parents[2]
ORIGINAL_DEFAULTS = {
    "savedir": None,
    "ckpt_path": None,
    "config": None,
    "prompt_dir": None,
    "n_samples": 1,
    "ddim_steps": 50,
    "ddim_eta": 1.0,
    "bs": 1,
    "height": 512,
    "width": 512,
    "frame_stride": 3,
    "unconditional_guidance_scale": 1.0,
    "seed": 123,
    "video_length": 16,
    "negative_prompt": False,
    "text_input": False,
    "multiple_cond_cfg": False,
    "cfg_img": None,
    "timestep_spacing": "uniform",
    "guidance_rescale": 0.0,
    "perframe_ae": False,
    "loop": False,
    "interp": False,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def flags(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        Path("prompts").mkdir(exist_ok=True)
        picture(seed=i).save(f"prompts/{i}.a.png")
    Path("prompts/test_prompts.txt").write_text("left\nright\nup\ndown\n")
    common = f"--ckpt_path {model}/model.safetensors --config {model}/config.yaml --prompt_dir prompts --savedir out"
    size = f"--height {SIDE} --width {SIDE} --video_length {FRAMES} --ddim_steps 2 --frame_stride 10 --device cpu"
    return f"{common} {size} --timestep_spacing uniform_trailing".split()


def refused(flags: list[str], capsys: pytest.CaptureFixture[str], *extra: str) -> str:
    """The one line that the script prints for what it refuses."""
    code = inference.main([*flags, *extra])
    errors = capsys.readouterr().err
    assert code == 2, f"exit {code}: {errors}"
    lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, f"not one line: {errors}"
    assert not list(Path().rglob("*.mp4")), "a video was written"
    return lines[0]


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder, "samples_separate").glob("*.mp4"))


def test_flags_and_defaults_are_the_originals():
    given = vars(inference.get_parser().parse_args([]))
    assert {name: given[name] for name in ORIGINAL_DEFAULTS} == ORIGINAL_DEFAULTS
    ours = {"resume", "device", "dtype", "low_memory", "rank", "world_size", "overwrite", "devices"}
    assert set(given) == set(ORIGINAL_DEFAULTS) | ours


def test_a_folder_is_made_shared_by_ranks_and_resumed(flags, capsys, monkeypatch):
    assert inference.main([*flags, "--text_input", "--savedir", "whole"]) == 0
    assert names("whole") == [f"{i}.a_sample0.mp4" for i in range(4)], "names with dots must not collide"
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        assert ddp_wrapper.main(["--module", "inference", "--local-rank", str(rank), *flags, "--text_input"]) == 0
    assert names() == names("whole"), "the original drops the remainder of requests / devices"
    for name in names():
        same = Path("out/samples_separate", name).read_bytes() == Path("whole/samples_separate", name).read_bytes()
        assert same, f"{name} depends on the number of processes"
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    capsys.readouterr()
    assert inference.main([*flags, "--text_input", "--resume"]) == 0
    assert "4 of 4 videos are finished already" in capsys.readouterr().err


def test_batches_and_samples(flags):
    assert inference.main([*flags, "--bs", "3", "--n_samples", "2"]) == 0
    assert len(names()) == 8
    record = json.loads(Path("out/samples_separate/1.a_sample1.json").read_text())
    assert record["runtime"]["batch"] == 3
    assert record["input"]["prompt"] == "", "prompts are used with --text_input only"
    assert record["input"]["index"] == 3


@pytest.mark.parametrize(
    ("extra", "count", "num_frames"),
    [
        (["--loop"], 2, FRAMES - 1),
        (["--interp", "--video_length", "5"], 2, 5),
        (["--multiple_cond_cfg", "--cfg_img", "1.0", "--unconditional_guidance_scale", "2"], 2, FRAMES),
        (["--multiple_cond_cfg", "--cfg_img", "2.0"], 2, FRAMES),
        (["--multiple_cond_cfg", "--perframe_ae"], 2, FRAMES),
    ],
    ids=["loop", "interp, odd", "cfg_img 1", "cfg 1", "no cfg_img"],
)
def test_modes_that_fail_in_the_original(flags, extra, count, num_frames):
    Path("prompts/test_prompts.txt").write_text("left\nright\n")
    if "--interp" not in extra:  # which takes two images for each prompt
        for number in (2, 3):
            Path(f"prompts/{number}.a.png").unlink()
    assert inference.main([*flags, *extra, "--bs", "2"]) == 0
    assert len(names()) == count
    with VideoReader(Path("out/samples_separate", names()[0])) as reader:
        assert len(reader) == num_frames


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--ddim_steps", "0"], "sampling without DDIM is not offered"),
        (["--loop", "--interp"], "exclude each other"),
        (["--rank", "2", "--world_size", "2"], "count from 0 to 1"),
        (["--ckpt_path", "gone/model.ckpt"], "gone/model.ckpt does not exist; put the file there"),
        (["--savedir", ""], "--savedir must be given"),
        (["--height", "0"], "height 0 is not possible"),
        (["--height", "-64"], "height -64 is not possible"),
        (["--width", "100000"], "width 100000 is not possible"),
        (["--timestep_spacing", "uniform_trialing"], "did you mean 'uniform_trailing'"),
        (["--n_samples", "0"], "--n_samples and --bs must be at least 1"),
        (["--bs", "0"], "--n_samples and --bs must be at least 1"),
        (["--video_length", "0"], "num_frames 0 is not possible"),
        (["--guidance_rescale", "2"], "guidance_rescale 2.0 is not possible"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--dtype", "fp8"], "dtype 'fp8' is not known"),
    ],
)
def test_wrong_flags_are_one_line(flags, no_weights, capsys, extra, message):
    assert message in refused(flags, capsys, *extra)


def test_one_flag_of_two_that_belong_together_is_said(flags, capsys):
    flags = [*flags, "--text_input", "--unconditional_guidance_scale", "3"]
    videos = set()
    for extra in (["--cfg_img", "2"], ["--multiple_cond_cfg"]):
        assert inference.main([*flags, *extra]) == 0
        other = {"--cfg_img": "--multiple_cond_cfg"}.get(extra[0], "--cfg_img")
        assert f"{extra[0]} has no effect without {other}" in " ".join(capsys.readouterr().err.split())
        videos.add(Path("out/samples_separate/0.a_sample0.mp4").read_bytes())
    assert len(videos) == 1
    assert inference.main([*flags, "--multiple_cond_cfg", "--cfg_img", "2"]) == 0
    assert "has no effect" not in capsys.readouterr().err
    assert Path("out/samples_separate/0.a_sample0.mp4").read_bytes() not in videos


FOLDERS = {
    "missing image": (lambda: Path("prompts/2.a.png").unlink(), "4 prompts for 3 images"),
    "one image too many": (lambda: picture().save("prompts/9.png"), "4 prompts for 5 images"),
    "empty image": (lambda: Path("prompts/2.a.png").write_bytes(b""), "2.a.png: the file is empty"),
    "text as image": (lambda: Path("prompts/2.a.png").write_text("hello"), "2.a.png: not an image"),
    "cut image": (lambda: _cut(Path("prompts/3.a.png")), "3.a.png"),
    "no images": (lambda: [path.unlink() for path in Path("prompts").glob("*.png")], "holds no images"),
    "no prompts": (lambda: Path("prompts/test_prompts.txt").unlink(), "needs test_prompts.txt"),
    "no folder": (lambda: shutil.rmtree("prompts"), "there is no such folder"),
    "long prompt": (
        lambda: Path("prompts/test_prompts.txt").write_text("x" * 10_000 + "\na\nb\nc"),
        "10000 characters",
    ),
    "file in the way": (lambda: Path("out").write_text(""), "a file stands where its folder should be"),
}


def _cut(path: Path) -> None:
    picture(200, 200).save(path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("name", FOLDERS)
def test_wrong_folders_are_one_line(flags, no_weights, capsys, name):
    spoil, message = FOLDERS[name]
    spoil()
    assert message in refused(flags, capsys, "--text_input")


def test_wrong_configurations_are_one_line(flags, no_weights, capsys, model):
    text = Path(model, "config.yaml").read_text()
    for old, new in (("base_scale", "base_sacle"), ("sampling:", "sampling: [] #"), ("model:", "modle:")):
        Path("wrong.yaml").write_text(text.replace(old, new, 1))
        assert "wrong.yaml" in refused(flags, capsys, "--config", "wrong.yaml")
    assert "gone.yaml" in refused(flags, capsys, "--config", "gone.yaml")


def test_a_checkpoint_of_another_model_is_one_line(flags, capsys):
    Path("other.ckpt").write_text("hello")
    assert "other.ckpt is not a checkpoint" in refused(flags, capsys, "--ckpt_path", "other.ckpt")
    save_file({"unet.weight": torch.zeros(3)}, "other.safetensors")
    assert "other.safetensors" in refused(flags, capsys, "--ckpt_path", "other.safetensors")


@pytest.mark.skipif(shutil.which("bash") is None, reason="the shells need bash; the scripts behind them do not")
@pytest.mark.parametrize(
    ("script", "preset", "message"),
    [
        ("run.sh", "256", "dynamicrafter_256_v1/model.ckpt is not here"),
        ("run.sh", "333", "use one of: 256, 512, 1024, tiny"),
        ("run_application.sh", "interp", "dynamicrafter_512_interp_v1/model.ckpt is not here"),
        ("run_application.sh", "tiny", "preset 'tiny' is not known; use one of: interp, loop"),
        ("run_mp.sh", "1024", "dynamicrafter_1024_v1/model.ckpt is not here"),
    ],
)
def test_shells_say_where_a_checkpoint_belongs(tmp_path, script, preset, message):
    command = ["bash", str(ROOT / "scripts" / script), *preset.split()]
    environment = {"PATH": "/usr/bin:/bin", "DYNAMICRAFTER_CHECKPOINTS": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode != 0
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr

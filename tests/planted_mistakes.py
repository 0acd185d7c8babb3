"""Plants mistakes in a copy of the project, one at a time, and says whether the tests catch them.

    python tests/planted_mistakes.py             # all of them: some minutes
    python tests/planted_mistakes.py dropout     # those with the word in their name

Each is one edit of one file and the test files that have to fail. It is no part of the suite. Exits with 1 if a mistake
escapes, an edit no longer fits its file, or a test fails without any. Needs an operating system that can fork.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("pytest", "numpy", "yaml", "safetensors.torch", "PIL.Image", "einops", "torch", "torchvision", "kornia")
"""Imported once, before the processes of the mistakes are forked. Nothing of the project is."""
SHARED += ("open_clip", "pytorch_lightning", "typer.testing", "pydantic", "av", "hypothesis")


@dataclass(frozen=True)
class Mistake:
    """`old`, which stands once in `file`, becomes `new`; one of `tests` should fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


DIFFUSION = "lvdm/diffusion/"
MISTAKES = (
    Mistake(
        "a region that is carried goes the other way",
        "lvdm/plugins/carry.py",
        "thing[0, :, :, 2] = -torch",
        "thing[0, :, :, 2] = torch",
        ("tests/plugins/test_carry.py",),
    ),
    Mistake(
        "a flow that carries is taken in pixels of the video",
        "lvdm/plugins/carry.py",
        "field.nan_to_num() * scale / min(height, width)",
        "field.nan_to_num() / min(height, width)",
        ("tests/plugins/test_carry.py",),
    ),
    Mistake(
        "what a flow that carries does not show counts as shown",
        "lvdm/plugins/carry.py",
        " * (1 - hidden.transpose(0, 1))",
        "",
        ("tests/plugins/test_carry.py",),
    ),
    Mistake(
        "the given frames that carry are not those of the network",
        "lvdm/pipeline/encoding.py",
        "        if given:\n",
        "        if False:\n",
        ("tests/plugins/test_carry.py",),
    ),
    Mistake(
        "no dropout in temporal convolutions",
        "lvdm/modules/layers.py",
        "drop = [] if dropout is None else [nn.Dropout(dropout)]",
        "drop = [] if dropout is None else [nn.Dropout(0.0)]",
        ("tests/modules/test_dropout.py",),
    ),
    Mistake(
        "dropout in the first temporal convolution's place",
        "lvdm/modules/layers.py",
        "stage(None, spans_pixels)",
        "stage(dropout, spans_pixels)",
        ("tests/modules/test_dropout.py",),
    ),
    Mistake(
        "spatial dropout is lost on the way",
        "lvdm/modules/networks/openaimodel3d.py",
        "            config.dropout,\n",
        "            0.0,\n",
        ("tests/modules/test_dropout.py",),
    ),
    Mistake(
        "velocity with the other sign",
        DIFFUSION + "parameterization.py",
        "return signal * noise - sigma * x_0",
        "return signal * noise + sigma * x_0",
        ("tests/diffusion/test_parameterization.py",),
    ),
    Mistake(
        "noise from the velocity without its signal",
        DIFFUSION + "parameterization.py",
        "return signal * v + sigma * x_t",
        "return v + sigma * x_t",
        ("tests/diffusion/test_parameterization.py",),
    ),
    Mistake(
        "DDIM's noise grows with eta squared",
        DIFFUSION + "samplers/ddim.py",
        "sigma = eta * ((1.0",
        "sigma = eta**2 * ((1.0",
        ("tests/diffusion/test_samplers.py", "tests/diffusion/test_ddim_parity.py"),
    ),
    Mistake(
        "DDIM goes on from the scale before",
        DIFFUSION + "samplers/ddim.py",
        "scale_prev = torch.cat([scale[1:],",
        "scale_prev = torch.cat([scale[:-1],",
        ("tests/diffusion/test_samplers.py", "tests/diffusion/test_ddim_parity.py"),
    ),
    Mistake(
        "trailing steps one too late",
        DIFFUSION + "timesteps.py",
        "return np.round(descending[::-1]).astype(np.int64) - 1",
        "return np.round(descending[::-1]).astype(np.int64) - 2",
        ("tests/diffusion/test_timesteps.py",),
    ),
    Mistake(
        "image guidance on the wrong pair",
        DIFFUSION + "guidance.py",
        "image_guidance_scale * (image - uncond)",
        "image_guidance_scale * (cond - uncond)",
        ("tests/diffusion/test_guidance.py",),
    ),
    Mistake(
        "guidance rescaled the wrong way",
        DIFFUSION + "guidance.py",
        "(guided * (std_cond / std_guided))",
        "(guided * (std_guided / std_cond))",
        ("tests/diffusion/test_guidance.py",),
    ),
    Mistake(
        "a stream of noise forgets its sample",
        DIFFUSION + "noise.py",
        'f"{seed}/{index}/{stream}"',
        'f"{seed}/{stream}"',
        ("tests/diffusion/test_noise.py",),
    ),
    Mistake(
        "the loss squares nothing",
        DIFFUSION + "loss.py",
        "squared_error = (prediction - target) ** 2",
        "squared_error = (prediction - target).abs()",
        ("tests/models/test_objective.py", "tests/models/test_training_parity.py"),
    ),
    Mistake(
        "image tokens are added twice",
        "lvdm/modules/attention.py",
        "(torch.tanh(self.alpha) + 1)",
        "(torch.tanh(self.alpha) + 2)",
        ("tests/modules/test_unet.py",),
    ),
    Mistake(
        "the last key frame of an interpolation is one early",
        "lvdm/conditioning.py",
        "return place_keyframes({0: first, num_frames - 1: last}, num_frames)",
        "return place_keyframes({0: first, num_frames - 2: last}, num_frames)",
        ("tests/test_conditioning.py",),
    ),
    Mistake(
        "weights that are given twice are taken",
        "lvdm/checkpoint/filling.py",
        "shape = missing.pop(key, None)",
        "shape = missing.get(key, None)",
        ("tests/checkpoint/test_filling.py",),
    ),
    Mistake(
        "a LoRA is not scaled by its rank",
        "lvdm/checkpoint/lora.py",
        "* (self.info.alpha / self.info.rank)",
        "* self.info.alpha",
        ("tests/models/test_lora.py",),
    ),
    Mistake(
        "digests forget the contents of files",
        "lvdm/request/digest.py",
        ".fact, file.frame, file.sha256]",
        ".fact, file.frame]",
        ("tests/request/test_digest_facts.py",),
    ),
    Mistake(
        "what was typed keeps what it replaces",
        "lvdm/request/layers.py",
        "replaced |= set(group)",
        "pass",
        ("tests/request/test_digest_facts.py",),
    ),
    Mistake(
        "PSNR of floats has the span of a half",
        "lvdm/psnr.py",
        "expected.float(), 2.0",
        "expected.float(), 1.0",
        ("tests/test_psnr.py",),
    ),
    Mistake(
        "Frechet distance without the overlap",
        "lvdm/evaluation/frechet.py",
        "+ traces - 2 * overlap",
        "+ traces - overlap",
        ("tests/evaluation/test_frechet.py",),
    ),
    Mistake(
        "images are covered from the left, not around the middle",
        "lvdm/media/geometry.py",
        "return Box((target[0] - height) // 2, (target[1] - width) // 2, height, width)",
        "return Box(0, 0, height, width)",
        ("tests/media/test_images.py", "tests/data/test_training_pictures.py"),
    ),
    Mistake(
        "a changed file counts as known",
        "lvdm/content_hash.py",
        "entry is not None and entry[0] == before and not verify",
        "entry is not None and not verify",
        ("tests/test_content_hash.py",),
    ),
    Mistake(
        "the nearest image tokens are those before",
        "lvdm/conditioning.py",
        "(position + 0.5).long()",
        "position.long()",
        ("tests/test_conditioning.py",),
    ),
    Mistake(
        "parts of a record are taken as they are",
        "lvdm/jobs/record_parts.py",
        "return of_type(record[name], dict, name)",
        "return record[name]",
        ("tests/cli/test_frozen_records.py::test_a_value_of_another_kind_is_named_with_its_file",),
    ),
    Mistake(
        "the record of a loop forgets that its last frame was left out",
        "lvdm/jobs/record.py",
        'drop_last_frame=of_type(output["drop_last_frame"], bool, "drop_last_frame")',
        "drop_last_frame=False",
        ("tests/cli/test_frozen_records.py::test_a_record_is_read_with_all_that_it_says",),
    ),
    Mistake(
        "a flag is told to who gave a field",
        "lvdm/request/layers.py",
        "names.get(flag[0], flag[0])",
        "flag[0]",
        ("tests/request/test_digest_facts.py",),
    ),
    Mistake(
        "a mask keeps what was not painted",
        "lvdm/media/masks.py",
        "np.where(levels == high, 255, 0)",
        "np.where(levels == high, 0, 255)",
        ("tests/media/test_masks.py",),
    ),
    Mistake(
        "a record of something else is a permission to replace it",
        "lvdm/media/ownership.py",
        "if not overwrite and not _may_be_record_of(record, path):",
        "if not overwrite and False:",
        ("tests/media/test_ownership.py",),
    ),
    Mistake(
        "every device is given the first share of a batch",
        "lvdm/data/sampling.py",
        "slice(rank * size, (rank + 1) * size)",
        "slice(0, size)",
        ("tests/data/test_sampling.py",),
    ),
    Mistake(
        "a step counts as a spike when it is none",
        "lvdm/fit/callbacks/guard.py",
        "if value > limit * usual:",
        "if value < limit * usual:",
        ("tests/fit/test_callbacks_guard.py::test_a_spike_is_skipped_only_when_asked_for",),
    ),
)


def copy_of_the_project(folder: Path) -> Path:
    """The files that git knows, and new ones that it does not ignore, as they are on the disk."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def passes(copy: Path, tests: tuple[str, ...]) -> bool:
    """Run `tests` on the copy, in a process of their own."""
    child = os.fork()
    if child == 0:
        with (copy / "output.txt").open("wb", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(copy)
        sys.path[:] = [str(copy), *(place for place in sys.path if not place.startswith(str(ROOT / "tests")))]
        sys.dont_write_bytecode = True  # an edit within one second of another would find the other's
        os.environ |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        pytest = importlib.import_module("pytest")
        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):
        raise RuntimeError(f"the tests did not run:\n{(copy / 'output.txt').read_text()[-3000:]}")
    return code == 0


def planted(copy: Path, mistake: Mistake) -> bool:
    """Whether the tests catch `mistake`."""
    file = copy / mistake.file
    text = file.read_text(encoding="utf-8")
    if text.count(mistake.old) != 1:
        raise RuntimeError(f"{mistake.name}: {mistake.file} has {mistake.old!r} {text.count(mistake.old)} times")
    file.write_text(text.replace(mistake.old, mistake.new), encoding="utf-8")
    try:
        return not passes(copy, mistake.tests)
    finally:
        file.write_text(text, encoding="utf-8")


def main(words: list[str]) -> int:
    chosen = [mistake for mistake in MISTAKES if all(word in mistake.name for word in words)]
    for name in SHARED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_project(Path(folder))
        every = tuple(sorted({test for mistake in chosen for test in mistake.tests}))
        if not passes(copy, every):
            print((copy / "output.txt").read_text()[-3000:])
            print("these tests fail without any mistake; mend that first")
            return 1
        escaped = 0
        for mistake in chosen:
            caught = planted(copy, mistake)
            escaped += not caught
            print(f"{'caught ' if caught else 'ESCAPED'}  {mistake.name}  ({mistake.file})", flush=True)
    print(f"{len(chosen) - escaped} of {len(chosen)} mistakes are caught")
    return int(escaped > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

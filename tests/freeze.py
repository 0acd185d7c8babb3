"""Stores how the project behaves, in `tests/golden/frozen/`; by hand, from the root: `python tests/freeze.py`.

videos   `videos.safetensors`, the cases of `frozen_cases`
records  `records/`, the records and videos of `frozen_records`
options  `options.json`, the flags of every command, and `help.txt`, what `--help` prints, to read before and after
targets  `targets.json`, the dotted paths in the YAML files

Run it for a change that is meant only. With `--to FOLDER` the files go elsewhere: made before and after a change, on
one machine and with one number of threads, videos should be the same to the byte.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def freeze_videos(to: Path) -> None:
    """All cases, as float32."""
    from frozen_cases import CASES, EXTENSIONS
    from frozen_videos import VIDEOS, FrozenPipelines, flat, make, make_extension
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        pipelines = FrozenPipelines(Path(folder))
        made = {name: make(pipelines, case) for name, case in CASES.items()}
        made |= {name: make_extension(pipelines, case) for name, case in EXTENSIONS.items()}
    save_file(flat(made), to / VIDEOS.name)


def freeze_options(to: Path) -> None:
    """Flags and help, 120 columns wide and without colours. Flags that are stored stay: people type them."""
    os.environ |= {"COLUMNS": "120", "TERMINAL_WIDTH": "120", "NO_COLOR": "1", "TERM": "dumb"}
    from frozen_options import HELP, OPTIONS, all_options, commands, parsers
    from typer.testing import CliRunner

    from lvdm.cli.app import app

    stored = json.loads(OPTIONS.read_text(encoding="utf-8"))
    for kind, named in all_options().items():
        for name, options in named.items():
            before = stored[kind].setdefault(name, [])
            known = {flag for option in before for flag in option["flags"]}
            before += [option for option in options if not known & set(option["flags"])]
    (to / OPTIONS.name).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    texts = []
    for name in ("", *commands()):
        if name != "train":  # it has the flags and the help of main/trainer.py
            result = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="dynamicrafter")
            texts.append((f"dynamicrafter {name}".strip(), result.stdout))
    texts += [(f"python {name}", parser.format_help()) for name, parser in parsers().items()]
    lines = [line.rstrip() for name, text in texts for line in (f"==== {name} --help", *text.splitlines())]
    (to / HELP.name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def freeze_records(to: Path) -> None:
    """Each command is run in an empty folder; what was measured and the versions stay as they are here."""
    from frozen_records import INPUTS, RECORDS, RUNS, SMALL, video_of, without_place, write_models, write_pictures
    from typer.testing import CliRunner

    from lvdm.cli.app import app
    from lvdm.model_files import CHECKPOINTS_VARIABLE

    to = to / RECORDS.name
    to.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_models(folder)
        write_pictures(folder)
        os.environ[CHECKPOINTS_VARIABLE] = str((folder / SMALL).parent)
        os.chdir(folder)
        for run, words in RUNS.items():
            result = CliRunner().invoke(app, [*words, "--output", video_of(run), "--device", "cpu"])
            if result.exit_code:
                raise SystemExit(f"{run}: {result.output}")
        os.chdir(to)
        for file in (*INPUTS, *map(video_of, RUNS)):
            shutil.copyfile(folder / file, to / file)
        for run in RUNS:
            record = (folder / f"{run}.json").read_text(encoding="utf-8")
            (to / f"{run}.json").write_text(without_place(record, folder), encoding="utf-8")


def freeze_targets(to: Path) -> None:
    """Of all files in `configs/`, and of the embedded model's."""
    from frozen_targets import TARGETS, targets_of, yaml_files

    found = {file: targets_of(file) for file in yaml_files()}
    (to / TARGETS.name).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


KINDS = {"records": freeze_records, "videos": freeze_videos, "options": freeze_options, "targets": freeze_targets}


def main() -> None:
    """Parse the arguments and write what is asked for."""
    from frozen_videos import FROZEN

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="|".join(KINDS), help="all when left out")
    parser.add_argument("--to", type=Path, default=FROZEN, help="folder to write to")
    args = parser.parse_args()
    unknown = set(args.kinds) - KINDS.keys()
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not known; use {', '.join(KINDS)}")
    to = args.to.resolve()
    to.mkdir(parents=True, exist_ok=True)
    for kind in args.kinds or KINDS:
        KINDS[kind](to)


if __name__ == "__main__":
    main()

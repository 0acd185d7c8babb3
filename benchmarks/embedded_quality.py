"""What the embedded model can do, measured from generated pixels on held-out scenes and on photographs.

    python benchmarks/embedded_quality.py [--model tiny] [--rows directions classes] [--count 256] [--output FOLDER]

Rows: autoencoder, directions, classes, turning, four_prompts, interpolation, loops, photographs, shape, glyphs. Each
compares the true clips, those clips through the autoencoder, the first frame repeated, and the model under the right, a
wrong and the empty prompt, where that makes sense: a measure that is not near perfect on the truth measures nothing.
`--count 8` gives a first impression. FOLDER/quality.json is written after every row, with contact sheets beside it, and
a run that was interrupted goes on with the rows that it lacks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from embedded_generation import Settings, load_pipeline
from embedded_rows import ROWS, Bench
from motion_classes import FAMILIES
from rich.console import Console
from rich.table import Table
from sprite_rows import SPRITE_ROWS

from lvdm.checkpoint import checkpoint_hash
from lvdm.media.atomic import write_json

ALL_ROWS = {**ROWS, **SPRITE_ROWS}
NO_LIMIT = float("inf")
BARS: tuple[tuple[str, str, float, float], ...] = (
    ("directions", "generated.within_45", 0.97, 1.0),
    ("directions", "generated.speed_ratio", 0.9, 1.1),
    *(("classes", f"generated.right_by_family.{name}.right", 0.9, 1.0) for name in FAMILIES if name != "turn"),
    ("classes", "generated.speed_ratio", 0.9, 1.1),
    ("turning", "generated.right", 0.75, 1.0),
    ("four_prompts", "all_four_right", 1.0, 1.0),
    ("four_prompts", "all_pairs_differ", 1.0, 1.0),
    ("interpolation", "first_frame_psnr", 28.0, NO_LIMIT),
    ("interpolation", "last_frame_psnr", 28.0, NO_LIMIT),
    ("interpolation", "better_than_cross_fade", 0.5, 1.0),
    ("loops", "seam_ratio_median", 0.0, 1.2),
    ("photographs", "generated.right", 54 / 56, 1.0),
    ("photographs", "generated.first_frame_psnr", 28.0, NO_LIMIT),
    ("photographs", "generated.seen_psnr.pan.frame_15", 24.0, NO_LIMIT),
    ("photographs", "generated.seen_psnr.zoom.frame_15", 24.0, NO_LIMIT),
    ("shape", "generated.iou", 0.7, 1.0),
    ("shape", "generated.ghost", 0.0, 0.05),
    ("glyphs", "generated.within_45", 0.9, 1.0),
)
"""Row, figure, and the range it should lie in."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="preset, folder or YAML with a sampling block")
    parser.add_argument("--checkpoint", default=None, help="weight file, if not the model's own")
    parser.add_argument("--rows", nargs="+", choices=tuple(ALL_ROWS), default=list(ALL_ROWS))
    parser.add_argument("--count", type=int, default=256, help="scenes of a row")
    parser.add_argument(
        "--control-count", type=int, default=None, help="of wrong and empty prompts; an eighth of these"
    )
    parser.add_argument("--batch-size", type=int, default=Settings.batch_size)
    parser.add_argument("--steps", type=int, default=None, help="sampling steps; the model's own by default")
    parser.add_argument("--guidance", type=float, default=None)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--photographs", type=Path, default=None, help="folder; the installed packages' by default")
    parser.add_argument("--output", type=Path, default=Path("outputs/embedded_quality"), help="folder")
    args = parser.parse_args()
    if args.count < 1:
        parser.error(f"--count should be at least 1, it is {args.count}")
    pipe = load_pipeline(args.model, args.checkpoint)
    settings = Settings(args.steps, args.guidance, args.batch_size, args.seed)
    control = args.count // 8 if args.control_count is None else min(args.control_count, args.count)
    bench = Bench(pipe, settings, args.count, control, args.output, args.photographs)
    used = {
        "model": args.model,
        "weights": checkpoint_hash(pipe.files.checkpoint),
        "sampling": dataclasses.asdict(pipe.settings()),
        "run": dataclasses.asdict(settings) | {"count": args.count, "control_count": control},
    }
    path = args.output / "quality.json"
    rows = finished_rows(path, used)
    console = Console()
    for name in args.rows:
        if name not in rows:
            console.print(f"[bold]{name}[/]")
            rows[name] = ALL_ROWS[name](bench)
            write_json(path, {"settings": used, "rows": rows})
        else:
            console.print(f"{name}: measured before, in {path}")
    console.print(figures_table({name: rows[name] for name in args.rows}))
    console.print(bars_table(rows))


def finished_rows(path: Path, used: dict[str, Any]) -> dict[str, Any]:
    """Rows of an earlier run with the same settings and weights."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    rows: dict[str, Any] = found["rows"] if found["settings"] == json.loads(json.dumps(used)) else {}
    return rows


def flat(figures: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested figures by dotted name, without confusion matrices."""
    result: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, dict) and name != "confusion":
            result |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            result[prefix + name] = value
    return result


def figures_table(rows: dict[str, Any]) -> Table:
    """Every number."""
    table = Table("row", "figure", "value")
    for row, figures in rows.items():
        for name, value in flat(figures).items():
            table.add_row(row, name, str(value) if isinstance(value, int) else f"{value:.3f}")
    return table


def bars_table(rows: dict[str, Any]) -> Table:
    """The figures that there is a bar for."""
    table = Table("row", "figure", "value", "wanted", "held")
    for row, name, low, high in BARS:
        if row in rows:
            value = flat(rows[row]).get(name)
            held = value is not None and low <= value <= high
            wanted = f"{low:g} .. {high:g}" if high != NO_LIMIT else f"{low:g} or more"
            table.add_row(row, name, "none" if value is None else f"{value:.3f}", wanted, "yes" if held else "NO")
    return table


if __name__ == "__main__":
    main()

"""What the ways in for the image are worth: the embedded model without one, the other, and both.

    python benchmarks/ablation.py [--steps N] [--count N] [--document benchmarks/ablation.md]

The model animates the first frames of held-out procedural clips with their captions, as it is and with parts of its
condition taken away; the protocol `procedural-v1` measures all of it, each variant against one that lacks less, on the
same clips. Videos and features stay in --output: a run that was interrupted goes on where it was. --count below the
protocol's gives a first impression, and the protocol another name.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablation_document import render_document
from ablation_videos import ABLATIONS, FULL, Variant, generate_missing
from rich.console import Console

from lvdm.checkpoint import checkpoint_hash
from lvdm.cli.evaluate_extract import extract_missing, show_report
from lvdm.evaluation.building import Extractors, build_extractors
from lvdm.evaluation.cache import FeatureCache
from lvdm.evaluation.clip_sets import Evaluation
from lvdm.evaluation.comparison import EvaluationPair, compare
from lvdm.evaluation.manifest import Manifest, read_manifest, relative_path, write_manifest
from lvdm.evaluation.manifest_making import make_procedural
from lvdm.evaluation.protocols import Protocol, load_protocol
from lvdm.evaluation.report.writing import Findings, write_report
from lvdm.evaluation.results import Comparison, Results, write_comparison, write_results
from lvdm.evaluation.scoring import score
from lvdm.media.atomic import atomic_path
from lvdm.pipeline import DynamiCrafterPipeline

PROTOCOL = "procedural-v1"


def main() -> None:
    """Draw clips, make videos, measure, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="preset, folder or YAML with a sampling block")
    parser.add_argument("--count", type=int, default=None, help="clips, if not the protocol's")
    parser.add_argument("--steps", type=int, default=None, help="sampling steps; the model's own by default")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--output", type=Path, default=Path("outputs/ablation"), help="folder")
    parser.add_argument("--document", type=Path, default=None, help="Markdown file to write, beside --output's own")
    args = parser.parse_args()
    protocol = load_protocol(PROTOCOL, {} if args.count is None else {"clips": args.count})
    real = procedural_clips(args.output / "real.jsonl", protocol)
    pipe = DynamiCrafterPipeline.from_pretrained(args.model)
    sampling = pipe.settings(num_inference_steps=args.steps)
    place = args.output / f"{checkpoint_hash(pipe.files.checkpoint)[:8]}-{sampling.num_inference_steps}-steps"
    sets = {}
    for variant in (FULL, *ABLATIONS):
        folder = place / variant.folder
        generate_missing(pipe, variant, real, folder, args.batch_size, sampling.num_inference_steps)
        sets[variant] = made_clips(real, folder)
        write_manifest(sets[variant], folder / "manifest.jsonl")
    results, comparisons = measure(protocol, real, sets, args.output / "cache", place)
    given = [f"--{name} {value}" for name in ("count", "steps") if (value := getattr(args, name)) is not None]
    command = " ".join(["python benchmarks/ablation.py", *given, "--document benchmarks/ablation.md"])
    text = render_document(results, comparisons, sampling, checkpoint_hash(pipe.files.checkpoint), command)
    for path in filter(None, (place / "ablation.md", args.document)):
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    Console(highlight=False, markup=False, soft_wrap=True).print(text)


def procedural_clips(path: Path, protocol: Protocol) -> Manifest:
    """The real clips of the protocol, drawn beside `path` unless they are there."""
    if path.exists() and len(read_manifest(path).entries) == protocol.clips:
        return read_manifest(path)
    manifest = make_procedural(path, protocol, protocol.clips)
    write_manifest(manifest, path)
    return manifest


def made_clips(real: Manifest, folder: Path) -> Manifest:
    """The videos in `folder` that were made of the clips of `real`; it may hold others, of a run with more clips."""
    entries = (
        dataclasses.replace(entry, video=f"{entry.id}.mp4", image=relative_path(real.folder / entry.image, folder))
        for entry in real.entries
    )
    return Manifest("manifest.jsonl", folder, tuple(entries))


def measure(
    protocol: Protocol, real: Manifest, sets: Mapping[Variant, Manifest], cache: Path, folder: Path
) -> tuple[dict[str, Results], dict[str, Comparison]]:
    """Results of every variant by name, and the comparison of each ablation with its `against`; written to files."""
    by_name = {variant.name: manifest for variant, manifest in sets.items()}
    extractors, store = build_extractors(protocol, {}), FeatureCache(cache)
    evaluations = {variant: Evaluation(protocol, manifest, real) for variant, manifest in sets.items()}
    extract_all(store, list(evaluations.values()), extractors)
    results, comparisons = {}, {}
    for variant, evaluation in evaluations.items():
        found = score(store, evaluation, extractors.common, extractors.pairs)
        results[variant.name] = found
        write_results(found, folder / variant.folder)
        comparison = None
        if variant != FULL:
            pair = EvaluationPair.of(protocol, by_name[variant.against], sets[variant], real)
            title = f"{variant.name} (against {variant.against})"
            comparison = comparisons[title] = compare(store, pair, extractors.common, extractors.pairs)
            write_comparison(comparison, folder / variant.folder)
        write_report(Findings(found, comparison), folder / variant.folder, (folder / variant.folder, real.folder))
    return results, comparisons


def extract_all(store: FeatureCache, evaluations: Sequence[Evaluation], extractors: Extractors) -> None:
    """Fill the gaps of the cache. Raises `ValueError` if a clip could not be read: an ablation leaves out none."""
    report = extract_missing(store, evaluations, extractors)
    show_report(report)
    if report is None or report.failures:
        raise ValueError("some clips could not be read; remove their files and run this again")


if __name__ == "__main__":
    main()

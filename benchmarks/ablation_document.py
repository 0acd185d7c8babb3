"""The ablation as a document: one table of values, one of paired differences, and what they do and do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lvdm.evaluation.results import FAKE, REAL, STILL, Comparison, MetricDifference, MetricRow, Results
from lvdm.request.settings import GenerationSettings

INTRODUCTION = """\
# What the ways in for the image are worth

DynamiCrafter shows the image to its network twice: as *context tokens* beside those of the prompt (a query
transformer over CLIP's image tokens), and as its *latents*, concatenated to the noise. In the embedded model a frame
carrier moves these latents along, and shows the image a third time: sampling begins with them under a little noise, and
details that the autoencoder loses are added to decoded frames. Here the model animates the same held-out clips with one
of them taken away, or several, in every branch of the guidance: tokens become those of a grey image, latents become
zeros, and *from noise* begins with noise alone and adds no details, as the paper has it.
"""

LIMITS = """\
## What this shows, and what not

- The parts are taken away from a finished model that was never without its latents (and seldom without its tokens)
  while it learned. The numbers say what *this* model uses, not how good a model would be that was trained without the
  part; the paper trains anew for each variant.
- Zeros for the latents are an input that the model has not seen at every frame: part of the loss is the shock of it.
- The clips are generated ones of 64x64 pixels. Nothing here carries over to photographs or to the released models.
- `FD[stpyr-v1]` is a distance of hand-made statistics, not FVD, and has no scale that compares with published numbers.
- Similarities by `tiny-clip` are as good as that small CLIP: read its card before reading anything into them.
- A static video has a perfect similarity to its image: read fidelity together with motion.
- At 95 % about one difference in twenty is separated by chance alone, and there are eighteen in each column: look at
  its size before its verdict.
"""


def render_document(
    results: Mapping[str, Results],
    comparisons: Mapping[str, Comparison],
    sampling: GenerationSettings,
    checkpoint_sha256: str,
    command: str,
) -> str:
    """Markdown; equal inputs give equal text. `command` is how it was made."""
    first = next(iter(results.values()))
    names = list(dict.fromkeys(row.name for row in first.metrics if row.set == FAKE))
    lines = [INTRODUCTION, "```bash", command, "```", ""]
    lines += [
        f"Protocol `{first.protocol.name}`, {first.sets[0].listed} clips; checkpoint `{checkpoint_sha256[:12]}`; "
        f"{sampling.num_inference_steps} {sampling.sampler.upper()} steps, guidance {sampling.guidance_scale:g}, "
        f"rescale {sampling.guidance_rescale:g}, eta {sampling.eta:g}.",
        "",
        "## Values",
        "",
        "Mean or distance with its 95 % interval. `still` is the first frame repeated, `real` the clips; for",
        "distances, one half of them against the other.",
        "",
        *_table(["metric", *results, "still", "real"], [_values(name, results, first) for name in names]),
        "",
        "## Differences",
        "",
        "Paired difference to the variant that is named, on the same clips, with its 95 % interval. *Not separated*:",
        "the interval holds 0.",
        "",
        *_table(["metric", *comparisons], [_differences(name, comparisons) for name in names]),
        "",
        LIMITS,
    ]
    return "\n".join(lines)


def _values(name: str, results: Mapping[str, Results], first: Results) -> list[str]:
    rows = [found.metric(name, FAKE) for found in results.values()]
    return [name, *map(_cell, rows), _cell(first.metric(name, STILL)), _cell(first.metric(name, REAL))]


def _cell(row: MetricRow | None) -> str:
    if row is None or row.value is None:
        return "-"
    interval = "" if row.low is None or row.high is None else f" ({_number(row.low)} .. {_number(row.high)})"
    return f"{_number(row.value)}{interval}"


def _differences(name: str, comparisons: Mapping[str, Comparison]) -> list[str]:
    return [name, *(_difference(_find(name, comparison)) for comparison in comparisons.values())]


def _find(name: str, comparison: Comparison) -> MetricDifference | None:
    return next((difference for difference in comparison.differences if difference.name == name), None)


def _difference(difference: MetricDifference | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return "-"
    verdict = {"A is better": "worse", "B is better": "better"}.get(difference.verdict, difference.verdict)
    return f"{difference.difference:+.3g} ({_number(difference.low)} .. {_number(difference.high)}), {verdict}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]

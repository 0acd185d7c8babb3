"""What a reader has to know before quoting a number, in sentences."""

from __future__ import annotations

from lvdm.evaluation.distances import MIN_DISTANCE_CLIPS
from lvdm.evaluation.report.meaning import clip_measures, fidelity_measure, prompt_measure
from lvdm.evaluation.report.number_format import format_number
from lvdm.evaluation.report.tables import clips_label, reasons, set_label
from lvdm.evaluation.resampling import MIN_RANKED_CLIPS
from lvdm.evaluation.results import FAKE, REAL, STILL, Comparison, Results


def cautions(results: Results) -> list[str]:
    """Values that should not be published, clips without numbers, and what a still image would score."""
    lacking = [*_without_distances(results), *_without_inputs(results)]
    return [*lacking, *_unreliable(results), *_lost(results), *_still(results)]


def verdicts(comparison: Comparison) -> list[str]:
    """For each verdict, which metrics have it."""
    sentences = []
    for verdict in ("B is better", "A is better", "separated", "not separated"):
        names = [row.name for row in comparison.differences if row.verdict == verdict]
        if names:
            statement = (
                "They differ, without one being better" if verdict == "separated" else verdict[0].upper() + verdict[1:]
            )
            sentences.append(f"{statement}: {', '.join(names)}.")
    smallest = min((row.n for row in comparison.differences), default=MIN_RANKED_CLIPS)
    if smallest < MIN_RANKED_CLIPS:
        sentences.append(
            f"{smallest} pairs are too few for an interval of 95 %: fewer than {MIN_RANKED_CLIPS} rank nothing."
        )
    if comparison.differences and all(row.verdict == "not separated" for row in comparison.differences):
        sentences.append("Nothing separates the two: do not rank them.")
    return sentences


def _without_distances(results: Results) -> list[str]:
    """Why distances that the protocol asks for are not there."""
    distances = [metric for metric in ("frechet", "kernel") if metric in results.protocol.fields.get("metrics", ())]
    counts = {note.name: note.read for note in results.sets}
    if not distances or min(counts.get(FAKE, 0), counts.get(REAL, 0)) >= MIN_DISTANCE_CLIPS:
        return []
    if REAL not in counts:
        return ["There is no distance: give real clips (--real) to measure from."]
    there = ", ".join(f"{set_label(name)} {counts[name]:,}" for name in (FAKE, REAL))
    return [f"There is no distance: it takes {MIN_DISTANCE_CLIPS} clips on each side, there are: {there}."]


def _without_inputs(results: Results) -> list[str]:
    """Which similarities that the protocol asks for are not there, as no clip of the manifest has its inputs."""
    if "similarity" not in results.protocol.fields.get("metrics", ()):
        return []
    names = [row.name for row in results.metrics if row.set == FAKE]
    lacking = [
        (text, column)
        for measure, text, column in (
            (fidelity_measure, "to the input image (PIC)", "`image`"),
            (prompt_measure, "to the prompt (CLIPSIM)", "`prompt`"),
        )
        if measure(names) is None
    ]
    if not lacking:
        return []
    texts, columns = (" and ".join(words) for words in zip(*lacking, strict=True))
    return [f"There is no similarity {texts}: the manifest gives no {columns}."]


def _unreliable(results: Results) -> list[str]:
    doubtful = sum(bool(row.unreliable) for row in results.metrics)
    listed = "; ".join(f"({number}) {reason}" for number, reason in enumerate(reasons(results), start=1))
    if not doubtful:
        return []
    return [f"{doubtful} of {len(results.metrics)} values are unreliable, do not publish them: {listed}."]


def _lost(results: Results) -> list[str]:
    sentences = []
    for note in results.sets:
        parts = [f"{count:,} {what}" for count, what in ((note.failed, "failed"), (note.skipped, "skipped")) if count]
        if parts:
            sentences.append(
                f"Of {note.listed:,} {clips_label(note.name)}, {' and '.join(parts)}; the reasons are below."
            )
    return sentences


def _still(results: Results) -> list[str]:
    name = fidelity_measure(dict.fromkeys([*(row.name for row in results.metrics), *clip_measures(results)]))
    own, still = (results.metric(name, which) if name else None for which in (FAKE, STILL))
    if own is None or still is None or own.value is None or still.value is None:
        return []
    compared = "more than" if still.value > own.value else "not more than"
    return [
        f"The input image repeated scores {format_number(still.value)} in {name}, {compared} the evaluated clips "
        f"({format_number(own.value)}): such a number says something only together with motion."
    ]

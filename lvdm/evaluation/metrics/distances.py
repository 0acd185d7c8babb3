"""Distances of sets of clips: what they are called and mean; `lvdm.evaluation.distances` measures them."""

from __future__ import annotations

from lvdm.evaluation.metrics.metric import Metric

FVD = Metric(
    name="FVD",
    better="lower",
    meaning="Fréchet distance of I3D logits: how far the set of clips is from real ones. Small sets give large values.",
)
FD = Metric(
    name="FD",
    better="lower",
    meaning="Fréchet distance of features: how far the set of clips is from real ones. Small sets give large values.",
)
KVD = Metric(
    name="KVD",
    better="lower",
    meaning="Kernel distance of I3D logits, without bias: about 0, and below it at times, for clips as real ones.",
)
KD = Metric(
    name="KD",
    better="lower",
    meaning="Kernel distance of features, without bias: about 0, and below it at times, for clips as real ones.",
)
KVD_DEVIATION = Metric(
    name="KVD deviation",
    better="neither",
    meaning="Kernel distance of I3D logits: its standard deviation over random subsets of the clips.",
)
KD_DEVIATION = Metric(
    name="KD deviation",
    better="neither",
    meaning="Kernel distance of features: its standard deviation over random subsets of the clips.",
)

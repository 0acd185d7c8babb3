"""Write the "small" vocabulary: the start of CLIP's merges, and those that make each word of `WORDS` one token.

    python scripts/make_small_vocabulary.py lvdm/modules/encoders/bpe_small.txt.gz

Models trained with the file depend on it to the letter: a changed list of words makes another vocabulary.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from lvdm.modules.encoders.condition import tokenizer

NUM_COMMON_MERGES = 1500
"""Merges kept whatever the words: enough that other English is cut into short pieces rather than letters."""

WORDS = """
a an the and on in of to at by with from over under behind while then is are it its one two three four five not does
red green blue yellow orange purple pink white black cyan magenta brown gray grey gold silver violet teal navy lime
light dark bright pale color colored
circle square triangle star ring cross heart diamond hexagon pentagon ellipse oval ball disc dot box bar line shape
moon flower drop arrow
moves moving move slides sliding drifts drifting glides gliding travels traveling floats floating flies flying
falls falling rises rising bounces bouncing goes going rolls rolling swings swinging
left right up down upper lower top bottom upwards downwards towards forward backward diagonally straight sideways
slowly slow quickly quick fast gently smoothly steadily corner center middle edge across around back away closer
rotates rotating turns turning spins spinning clockwise counterclockwise anticlockwise
grows growing shrinks shrinking gets getting becomes becoming bigger smaller larger big small large tiny huge
camera pans panning zooms zooming out tilts scene view shows showing
stays staying stands standing remains remaining still motionless static stops
pan zoom tilt grow shrink rotate turn spin normal speed
background plain gradient striped stripes checkered checkerboard noisy dotted dots spotted textured texture solid marked
pattern grid sky snow snowing rain raining falling wind water sea clouds night day picture video image
"""

Pair = tuple[str, str]


def merges_of(word: str, ranks: Mapping[Pair, int]) -> tuple[list[Pair], list[str]]:
    """The merges that byte-pair encoding applies to `word`, of ASCII letters, and the pieces that remain."""
    pieces, applied = [*word[:-1], word[-1] + "</w>"], []
    while len(pieces) > 1:
        best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        applied.append(best)
        pieces = merge(pieces, best)
    return applied, pieces


def merge(pieces: list[str], pair: Pair) -> list[str]:
    """Join every occurrence of `pair`, from the left."""
    joined: list[str] = []
    i = 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            joined.append(pieces[i] + pieces[i + 1])
            i += 2
        else:
            joined.append(pieces[i])
            i += 1
    return joined


def small_merges(words: list[str]) -> list[Pair]:
    """The common merges and those that `words` need, in CLIP's order; words CLIP cuts up get their own."""
    ranks = tokenizer("clip").bpe_ranks
    kept = {pair for pair, rank in ranks.items() if rank < NUM_COMMON_MERGES}
    own: list[Pair] = []
    for word in words:
        applied, pieces = merges_of(word, ranks)
        kept.update(applied)
        while len(pieces) > 1:  # merges after all of CLIP's, so that nothing else is cut differently
            pair = (pieces[0], pieces[1])
            own.append(pair)
            pieces = merge(pieces, pair)
    return sorted(kept, key=ranks.__getitem__) + list(dict.fromkeys(own))


def main(path: str) -> None:
    """Write the vocabulary to `path`. No final newline: the tokenizer would read an empty merge after it."""
    merges = small_merges(WORDS.split())
    text = "\n".join(["# merges of the small vocabulary", *(" ".join(pair) for pair in merges)])
    Path(path).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/make_small_vocabulary.py OUTPUT.txt.gz")
    main(sys.argv[1])

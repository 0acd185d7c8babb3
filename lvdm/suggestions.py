"""What a message says of a name that is not known: the one that may have been meant, or all there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "did you mean 'ddim'?", or "use one of ddim, unipc".

    The nearest of `known` is suggested: one spelled much like `name`, else the first that begins with it, else the
    first of which it is a whole word ("steps" of "num_inference_steps"). Where none is near, all are listed in their
    order; "there are none" where there are none.
    """
    text, names = str(name)[:100], list(known)
    near = (
        difflib.get_close_matches(text, names, n=1)
        or [other for other in names if text and other.startswith(text)]
        or [other for other in names if text in other.split("_")]
    )
    if near:
        return f"did you mean {near[0]!r}?"
    return f"use one of {', '.join(names)}" if names else "there are none"

"""What excludes what: computed from the needs and the holds that methods declare, and checked once.

Two methods exclude each other if both take hold of the same exclusive thing, or if one denies what the other needs. A
method is not possible in a mode that lacks what it needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from lvdm.plugins.method import Hold, Method, Need, When
from lvdm.plugins.registry import active_methods, methods

if TYPE_CHECKING:
    from lvdm.plugins.settings import MethodSettings

_TO_AN_END = frozenset({Need.IMAGE, Need.LATER_IMAGE, Need.WHOLE_CLIP, Need.WHOLE_LAYERS})
PROVIDED: Mapping[str, frozenset[Need]] = MappingProxyType(
    {
        "animate": frozenset(Need) - {Need.LATER_IMAGE},
        "interpolate": _TO_AN_END,
        "loop": _TO_AN_END | {Need.ONE_IMAGE, Need.RETURN},
        "keyframes": _TO_AN_END | {Need.RETURN},
        "text-to-video": frozenset({Need.OPEN_END, Need.RETURN, Need.WHOLE_CLIP, Need.WHOLE_LAYERS}),
    }
)
"""What each mode has for methods that need it."""

MISSING: Mapping[Need, str] = MappingProxyType(
    {
        Need.IMAGE: "{names} need an image, and {by} has none; leave out {first}",
        Need.ONE_IMAGE: "{names} keeps to one image, and {by} has several; leave out {first}, or the other images",
        Need.LATER_IMAGE: "{names} goes from image to image, and {by} has none at a later frame; give a last image or "
        "key frames, or leave out {first}",
        Need.OPEN_END: "{names} has no image to end at, as {by} asks for; leave out {first} to {by}",
        Need.RETURN: "{names} goes back to where it began; leave out {first} to {by}",
        Need.WHOLE_CLIP: "{names} work on a whole clip and {by} has none; leave out {first}, or use long_video "
        "freenoise",
        Need.WHOLE_LAYERS: "{names} looks at frames, rows and columns together; leave out {by}",
    }
)
"""The message where a need is not met, by a mode or beside another method."""

SHARED: Mapping[Hold, str] = MappingProxyType(
    {
        Hold.INITIAL_NOISE: "make the noise that sampling begins with",
        Hold.START: "say where sampling begins",
        Hold.IMAGE_LATENTS: "decide on the image latents that the network is shown",
        Hold.IMAGE_TOKENS: "decide on the image tokens that each frame reads",
        Hold.PROMPT: "decide on the prompt that each frame reads",
    }
)
"""What methods do that take hold of the same exclusive thing."""


@dataclass(frozen=True)
class Claim:
    """A need or an exclusive hold of a method, and what messages call it for that; `denied`: a need of others."""

    method: str
    what: Need | Hold
    label: str
    denied: bool = False


@dataclass(frozen=True)
class Exclusion:
    """Two methods, or a method and a mode, that cannot be together; `because` is the message."""

    one: str
    other: str
    because: str


def claims_of(settings: MethodSettings, inputs: Iterable[str] = ()) -> list[Claim]:
    """The claims of all methods that settings and inputs ask for."""
    return [claim for method in active_methods(settings, inputs) for claim in _claims(method, settings)]


def exclusions(claims: Sequence[Claim]) -> Iterator[Exclusion]:
    """Every two methods among the claims that exclude each other, named in their order."""
    for (i, one), (j, other) in itertools.permutations(enumerate(claims), 2):
        if one.method == other.method or one.what != other.what:
            continue
        if isinstance(one.what, Need) and other.denied and not one.denied:
            yield Exclusion(one.method, other.method, _missing(one.what, [one.label], other.label))
        elif isinstance(one.what, Hold) and i < j:
            yield Exclusion(one.method, other.method, _shared(one.what, [one.label, other.label]))


def lacking_in(mode: str, claims: Sequence[Claim]) -> Iterator[Exclusion]:
    """The claims that cannot be met in a mode."""
    for claim in claims:
        if isinstance(claim.what, Need) and not claim.denied and claim.what not in PROVIDED[mode]:
            yield Exclusion(claim.method, mode, _missing(claim.what, [claim.label], mode))


def check_methods(settings: MethodSettings, mode: str, inputs: Iterable[str] = ()) -> None:
    """Raise `ValueError` for methods that are not possible in `mode`, or together."""
    claims = claims_of(settings, inputs)
    lacking = [(need, mode) for need in Need if need not in PROVIDED[mode]]
    lacking += [(claim.what, claim.label) for claim in claims if isinstance(claim.what, Need) and claim.denied]
    for need, by in lacking:
        names = _labels(claims, need)
        if names:
            raise ValueError(_missing(need, names, by))
    for hold in SHARED:
        names = _labels(claims, hold)
        if len(names) > 1:
            raise ValueError(_shared(hold, names))


def check_alone(settings: MethodSettings) -> None:
    """Raise `ValueError` for values of a method that are not possible by themselves."""
    for method in methods().values():
        if method.check is not None:
            method.check(settings)


def _claims(method: Method, settings: MethodSettings | None = None) -> Iterator[Claim]:
    """Those of a method under `settings`; None: of any."""
    for claim in (*method.needs, *method.holds):
        what, label = (claim.what, claim.label) if isinstance(claim, When) else (claim, method.label)
        if isinstance(claim, When) and settings is not None and not claim.test(settings):
            continue
        if isinstance(what, Need) or what.exclusive:
            yield Claim(method.name, what, label)
    for need in method.denies:
        yield Claim(method.name, need, method.label, denied=True)


def _labels(claims: Sequence[Claim], what: Need | Hold) -> list[str]:
    return list(dict.fromkeys(claim.label for claim in claims if claim.what == what and not claim.denied))


def _missing(need: Need, names: Sequence[str], by: str) -> str:
    return MISSING[need].format(names=" and ".join(names), by=by, first=names[0])


def _shared(hold: Hold, names: Sequence[str]) -> str:
    both = "both" if len(names) == 2 else "all"
    return f"{' and '.join(names)} {both} {SHARED[hold]}; give only one of them"


def table() -> list[tuple[str, tuple[str, ...]]]:
    """For each method, or value of one, what it cannot be together with: others, and modes."""
    claims = [claim for method in methods().values() for claim in _claims(method)]
    found: dict[str, set[str]] = {}
    for one in claims:
        others = found.setdefault(one.label, set())
        others_alike = [other for other in claims if other.what == one.what and other.method != one.method]
        if isinstance(one.what, Hold):
            others |= {other.label for other in others_alike}
        elif one.denied:
            others |= {other.label for other in others_alike if not other.denied}
        else:
            others |= {other.label for other in others_alike if other.denied}
            others |= {mode for mode, provided in PROVIDED.items() if one.what not in provided}
    return [(label, tuple(sorted(others))) for label, others in sorted(found.items()) if others]

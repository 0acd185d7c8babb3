"""Captions of procedural clips: templates times synonyms, always with an unambiguous word for the motion."""

from __future__ import annotations

from lvdm.data.procedural_scene import CAMERA_MOTIONS, NO_SPRITE, PANS, Scene

Verb = tuple[str, str]
"""Third person and participle: ("moves", "moving")."""

MOVE_VERBS: tuple[Verb, ...] = (
    ("moves", "moving"),
    ("slides", "sliding"),
    ("drifts", "drifting"),
    ("glides", "gliding"),
    ("travels", "traveling"),
    ("floats", "floating"),
)
TURN_VERBS: tuple[Verb, ...] = (("rotates", "rotating"), ("turns", "turning"), ("spins", "spinning"))

DIRECTION_PHRASES: dict[str, tuple[str, ...]] = {
    "right": ("to the right", "right", "towards the right"),
    "left": ("to the left", "left", "towards the left"),
    "up": ("up", "upwards", "straight up"),
    "down": ("down", "downwards", "straight down"),
    "upper right": ("towards the upper right", "to the upper right", "up and to the right"),
    "upper left": ("towards the upper left", "to the upper left", "up and to the left"),
    "lower right": ("towards the lower right", "to the lower right", "down and to the right"),
    "lower left": ("towards the lower left", "to the lower left", "down and to the left"),
}

OTHER_ACTIONS: dict[str, tuple[tuple[Verb, str], ...]] = {
    "clockwise": tuple((verb, "clockwise") for verb in TURN_VERBS),
    "counterclockwise": tuple((verb, "counterclockwise") for verb in TURN_VERBS),
    "grow": (
        (("grows", "growing"), ""),
        (("gets", "getting"), "bigger"),
        (("becomes", "becoming"), "larger"),
        (("grows", "growing"), "larger"),
    ),
    "shrink": (
        (("shrinks", "shrinking"), ""),
        (("gets", "getting"), "smaller"),
        (("becomes", "becoming"), "smaller"),
        (("shrinks", "shrinking"), "smaller"),
    ),
    "zoom in": ((("zooms", "zooming"), "in"), (("moves", "moving"), "closer")),
    "zoom out": ((("zooms", "zooming"), "out"), (("moves", "moving"), "away")),
    "still": (
        (("stays", "staying"), "still"),
        (("stands", "standing"), "still"),
        (("remains", "remaining"), "motionless"),
        (("does not move", "not moving"), ""),
    ),
}

BACKGROUND_WORDS = {"collage": "textured", "cloudy": "sky", "photograph": "photo"}
"""Where the word for a background is not its name: words that are single tokens of the small vocabulary."""


def caption(scene: Scene) -> str:
    """The caption that goes with a scene, in lower case and without a full stop."""
    (third_person, participle), target = _action(scene)
    # The normal speed goes without saying, and stillness has none.
    adverb = "" if scene.motion == "still" or scene.speed == "normal" else scene.speed
    verb = participle if scene.template == 3 else third_person
    action = _join(verb, target, adverb) if scene.template == 1 else _join(verb, adverb, target)
    action = _join(action, "and back" if scene.returns else "")
    background = f"on a {BACKGROUND_WORDS.get(scene.background, scene.background)} background"
    if scene.shape == NO_SPRITE:
        whole = "scene" if scene.motion == "still" and scene.template in (2, 4) else "camera"
        return _join(whole if scene.template == 3 else f"the {whole}", action)
    if scene.motion in CAMERA_MOTIONS:
        camera = "camera" if scene.template == 3 else "the camera"
        if scene.template in (2, 4):
            return _join(camera, action, "and shows", _subject(scene, "a"), background)
        return _join(camera, action)
    if scene.template in (2, 4):
        return _join(_subject(scene, "a"), action, background)
    return _join(_subject(scene, "the" if scene.template in (1, 5) else "a"), action)


def _action(scene: Scene) -> tuple[Verb, str]:
    """The verb, and where or how it goes."""
    if scene.motion in OTHER_ACTIONS:
        actions = OTHER_ACTIONS[scene.motion]
        return actions[scene.wording % len(actions)]
    verbs = (("pans", "panning"),) if scene.motion in PANS else MOVE_VERBS
    phrases = DIRECTION_PHRASES[scene.motion.removeprefix("pan ")]
    rest, choice = divmod(scene.wording, len(verbs))
    return verbs[choice], phrases[rest % len(phrases)]


def _subject(scene: Scene, article: str) -> str:
    if scene.glyph:
        return f"{'an' if article == 'a' and scene.glyph[0] in 'aeio' else article} {scene.glyph}"
    texture = scene.texture if scene.template == 4 and scene.texture != "solid" else ""
    color = "" if scene.template == 5 else scene.color
    words = _join(texture, color, scene.shape)
    if article == "a" and words[0] in "aeiou":
        article = "an"
    return f"{article} {words}"


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)

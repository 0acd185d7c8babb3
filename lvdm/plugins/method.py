"""How a method (plug-in) is declared: one `METHOD` in one file under `lvdm/plugins/methods/`.

From the declarations, and from nothing else, come the parameters of a generation, what excludes what
(`lvdm.plugins.conflicts`), and the order in which methods wrap one another. They import no torch: what computes is
imported by `make`, and lies in the same file if it is short, else beside the other plug-ins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from lvdm.plugins.context import Finishing, MethodContext
    from lvdm.plugins.hooks import Plugin
    from lvdm.plugins.settings import MethodSettings

GROUP = "Plug-ins"
"""Of their parameters in `--help`."""

Test = Callable[["MethodSettings"], bool]


class Need(Enum):
    """What a method cannot do without. A mode provides some of them, and another method may deny one."""

    IMAGE = "an image that the video begins with"
    ONE_IMAGE = "no other image than that one"
    LATER_IMAGE = "images at later frames"
    OPEN_END = "an end that no image decides on"
    RETURN = "an end that may be the beginning"
    WHOLE_CLIP = "all frames there at once, at the same time step"
    WHOLE_LAYERS = "layers that see all frames, rows and columns together"


class Hold(Enum):
    """What a method takes hold of. Of the exclusive ones there can be one at a time; others wrap one another."""

    INITIAL_NOISE = "the noise that sampling begins with"
    START = "the time step at which sampling begins"
    IMAGE_LATENTS = "the image latents that the network is shown"
    IMAGE_TOKENS = "the image tokens that frames read"
    PROMPT = "the prompt that frames read"
    FRAME_NOISE = "which frames have the same noise"
    TEMPORAL_ATTENTION = "attention between frames"
    SPATIAL_ATTENTION = "attention between the pixels of a frame"
    CONVOLUTIONS = "convolutions over pixels"
    FEATURES = "features and skips of the decoder"
    BRANCHES = "outputs of the network that guidance reads"
    GUIDANCE = "how guidance blends them"
    WEIGHTS = "the weights of the network"
    FORWARD = "how the network is evaluated"
    SAMPLER = "how steps are taken"
    FRAMES = "decoded frames"

    @property
    def exclusive(self) -> bool:
        """Whether two methods cannot both have it."""
        return self in (Hold.INITIAL_NOISE, Hold.START, Hold.IMAGE_LATENTS, Hold.IMAGE_TOKENS, Hold.PROMPT)


class Place(IntEnum):
    """Where a method stands: those that come later wrap what those before them made. Equal ones go by name."""

    FRAMES = 0
    PIECES = 1
    TEXT = 2
    WEIGHTS = 3
    IMAGES = 4
    START = 5
    NOISE = 6
    LATENTS = 7
    FEATURES = 8
    GUIDANCE = 9
    SIZE = 10
    COLORS = 11
    REGION = 12
    FIRST_FRAME = 13


@dataclass(frozen=True)
class When:
    """A need or a hold that only some values bring, and what messages call those."""

    what: Need | Hold
    test: Test
    label: str


@dataclass(frozen=True)
class Circumstances:
    """What decides on an effect besides the settings.

    trained_frames, trained_size  of the clips that the model was trained with; sizes are (height, width)
    size            that the network runs at
    prompt          of the video; None: those of a batch have several
    negative_prompt  the same; of a batch, any that is not empty
    same_shape      whether every image has the shape of the video already
    reads_images    whether the model reads image tokens of its own for each frame
    timesteps       of the training
    """

    trained_frames: int
    trained_size: tuple[int, int]
    size: tuple[int, int]
    prompt: str | None
    negative_prompt: str
    same_shape: bool
    reads_images: bool
    timesteps: int


@dataclass(frozen=True)
class Idle:
    """A parameter that is as good as `neutral` while `when` holds, and why.

    along: further parameters, which decide on this one alone, and their neutral values
    """

    name: str
    neutral: Any
    when: Callable[[MethodSettings, Circumstances], bool]
    because: str
    along: tuple[tuple[str, Any], ...] = ()


def nothing_made(context: MethodContext) -> Sequence[Plugin]:
    """The `make` of a method that is at work outside the sampling."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method on top of the sampler.

    name        that of its file
    label       what messages call it: its parameter, and the value where that matters
    place       see `Place`
    parameters  a `declared` class with the parameters that are its own; neutral values change no bit
    active      whether the settings ask for it
    inputs      a parameter of `InputParameters` that asks for it, in the place of settings
    needs, holds  see `Need` and `Hold`
    denies      needs of others that cannot be met beside it
    make        the plug-ins for one sampling
    repeat      further samplings after the first: from the latents of the one before to the plug-in of the next
    finish      from decoded parts (b, 3, k, H, W) of videos to finished ones
    check       raises `ValueError` for its own values that are not possible together or in a mode
    check_files raises `ValueError` for a file that is not what it should be
    idle        its parameters that have no effect in some combinations
    files       its parameters that name a file: its content counts, not its name
    """

    name: str
    label: str
    place: Place
    parameters: type | None = None
    active: Test = lambda settings: False
    inputs: str = ""
    needs: tuple[Need | When, ...] = ()
    holds: tuple[Hold | When, ...] = ()
    denies: tuple[Need, ...] = ()
    make: Callable[[MethodContext], Sequence[Plugin]] = nothing_made
    repeat: Callable[[MethodSettings], Sequence[Callable[[Tensor], Plugin]]] | None = None
    finish: Callable[[Finishing, Iterator[Tensor]], Iterator[Tensor]] | None = None
    check: Callable[[MethodSettings], None] | None = None
    check_files: Callable[[MethodSettings], None] | None = None
    idle: tuple[Idle, ...] = ()
    files: tuple[str, ...] = ()

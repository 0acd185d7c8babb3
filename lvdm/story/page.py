"""The storyboard: what the plan of a story comes to, on one page, before anything is generated."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from lvdm.errors import counted
from lvdm.media.atomic import atomic_path
from lvdm.media.html_page import data_uri, document, escape
from lvdm.story.composition import as_frame
from lvdm.story.planning import StoryPlan, VideoPlan
from lvdm.story.script import FrameSource

_WIDTH = 320
"""Of a frame on the page (pixels)."""


def write_storyboard(plan: StoryPlan) -> Path:
    """Write the page of a plan into its folder; returns where. Raises `OutputError`."""
    page = plan.folder.storyboard
    with atomic_path(page) as temporary:
        temporary.write_text(storyboard(plan), encoding="utf-8", newline="\n")
    return page


def summary(plan: StoryPlan) -> Iterator[str]:
    """The plan in lines."""
    width, height = plan.planner.size
    overlap = sum(plan.layout.overlaps) / plan.fps
    without = f", {overlap:g} s less than the shots together" if overlap else ""
    yield (
        f"{plan.story.title}: {counted(len(plan.shots), 'shot')}, {plan.seconds:.2f} s{without}, {width}x{height} at "
        f"{plan.fps:g} frames per second"
    )
    for number, video in enumerate(plan.shots):
        yield f"{video.name}: {', '.join(_facts(plan, number))}"
    todo = [video for video in plan.videos if not video.is_finished]
    yield f"{len(todo)} of {len(plan.videos)} videos to make, {len(plan.transitions)} of them transitions"
    yield plan.memory()
    if todo:
        cost = plan.cost(todo)
        known = (
            "not known yet: no video of this story was made on this device" if cost is None else f"about {cost:.0f} s"
        )
        yield f"expected time: {known}"


def storyboard(plan: StoryPlan) -> str:
    """The page: a card for each shot with its first frame and boxes, prompt, length and cost."""
    head, *_ = lines = list(summary(plan))
    notes = "".join(f"<p class=facts>{escape(line)}" for line in lines[1 + len(plan.shots) :])
    title = plan.story.title
    about = escape(head.removeprefix(f"{title}: "))
    body = f"<h1>{escape(title)}</h1><p>{about}</p>{notes}{cards(plan)}"
    return document(f"{title}: storyboard", body, STYLE)


def cards(plan: StoryPlan) -> str:
    """The cards of all shots, as HTML; boxes say of which shot and character they are (`data-shot`, `data-index`)."""
    return f"<div class=cards>{''.join(_card(plan, number) for number in range(len(plan.shots)))}</div>"


def _card(plan: StoryPlan, number: int) -> str:
    shot, video = plan.story.shots[number], plan.shots[number]
    begin, end = plan.layout.start(number) / plan.fps, (plan.layout.start(number) + video.frames) / plan.fps
    frame = _frame(plan, video, shot)
    caption = f"<p class=caption dir=auto>{escape(shot.caption)}" if shot.caption else ""
    prompt = plan.story.expanded(shot.prompt)
    named = f"<p class=facts>{escape(shot.prompt)}" if prompt != shot.prompt else ""
    return (
        f"<figure>{frame}<figcaption><b>{number + 1}. {escape(shot.name)}</b> <span>{begin:.2f} to {end:.2f} s</span>"
        f"<p dir=auto>{escape(prompt)}{named}{caption}<p class=facts>{escape(', '.join(_facts(plan, number)))}"
        "</figcaption></figure>"
    )


def _frame(plan: StoryPlan, video: VideoPlan, source: FrameSource) -> str:
    width, height = plan.planner.size
    if video.first is None:
        return "<div class=unknown>no first frame: made from text or depth</div>"
    size = (_WIDTH, max(round(_WIDTH * height / width), 1))
    content = io.BytesIO()
    as_frame(as_frame(video.first, (width, height)).resize(size), size).save(content, format="PNG")
    boxes = _boxes(video.name, source)
    known = video.is_known or source.image is not None
    remark = "" if known else "<div class=remark>in the place of a frame that is not made yet</div>"
    image = f'<img src="{data_uri(content.getvalue(), "png")}" alt="first frame">'
    return f"<div class=frame>{image}{boxes}{remark}</div>"


def _boxes(shot: str, source: FrameSource) -> str:
    """The boxes of a composition over its frame, in shares of it."""
    if source.compose is None:
        return ""
    drawn = ""
    for index, placement in enumerate(source.compose.characters):
        left, top, right, bottom = (100 * side for side in placement.box)
        drawn += (
            f'<rect data-shot="{escape(shot)}" data-index="{index}" x="{left:.2f}" y="{top:.2f}" '
            f'width="{right - left:.2f}" height="{bottom - top:.2f}"/>'
            f'<text x="{max(left, 0) + 1:.2f}" y="{max(top, 0) + 6:.2f}">{escape(placement.character)}</text>'
        )
    return f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{drawn}</svg>'


def _facts(plan: StoryPlan, number: int) -> Iterator[str]:
    shot, video = plan.story.shots[number], plan.shots[number]
    settings = video.video.request.settings
    yield shot.mode
    yield f"{plan.seconds_of(number):g} s ({counted(video.frames, 'frame')})"
    yield f"{counted(settings.num_inference_steps, 'step')}, seed {video.video.request.seed}"
    yield from (f"from {kind}" if kind != "from" else f"from {shot.from_shot}" for kind in shot.kinds)
    if shot.transition != "cut":
        yield f"{shot.transition} of {plan.layout.overlaps[number] / plan.fps:g} s to the next"
    if shot.audio is not None:
        yield f"sound {shot.audio.name}"
    if video.is_finished:
        yield "finished"
    else:
        cost = plan.cost([video])
        yield "to make" if cost is None else f"to make, about {cost:.0f} s"


STYLE = """
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); gap: 1em }
figure { border: 1px solid var(--line); border-radius: 8px; background: var(--card); overflow: hidden; min-width: 0 }
.frame { position: relative } .frame img { display: block; width: 100%; image-rendering: auto }
.frame svg { position: absolute; inset: 0; width: 100%; height: 100% }
.frame rect { fill: none; stroke: #ff3; stroke-width: 2px; vector-effect: non-scaling-stroke }
.frame text { fill: #ff3; font-size: 6px; paint-order: stroke; stroke: #000; stroke-width: 1px }
.remark { position: absolute; inset: auto 0 0 0; background: #000a; color: #fff; font-size: .8em; padding: .2em .6em }
.unknown { padding: 3em 1em; text-align: center; color: var(--muted); background: var(--soft) }
figcaption { padding: .6em .8em; overflow-wrap: anywhere } figcaption p { margin: .3em 0 }
figcaption span, .facts { color: var(--muted); font-size: .87em } .caption { font-style: italic }
"""

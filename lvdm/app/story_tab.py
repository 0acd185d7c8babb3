"""The tab of stories: a script, its images, a storyboard with boxes to drag, and the film."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from lvdm.app import showing
from lvdm.app.components import FileUploads
from lvdm.app.endpoints import BROKEN, Desk, refusal
from lvdm.app.storytelling import Storyteller, StoryVideo, moved, with_new_seed
from lvdm.app.work import View, Work
from lvdm.diffusion.samplers import SamplingCancelled
from lvdm.story.page import STYLE, cards, summary
from lvdm.story.planning import StoryPlan
from lvdm.story.script import StoryError

EXAMPLE = """title: A story
size: 128x128
characters:
  Amber: {image: heart.png, description: an orange heart}
places:
  morning: {image: morning.png}
shots:
  - name: a walk
    compose:
      place: morning
      characters:
        - {character: Amber, box: [0.05, 0.3, 0.45, 0.7]}
    prompt: Amber moves to the right
    transition: crossfade
  - name: a rest
    from: previous
    prompt: Amber stays still
"""
COLORS = """
.cards {--card: transparent; --line: #8884; --muted: #888; --soft: #8882}
.cards rect {cursor: move; pointer-events: all; touch-action: none} .cards text {pointer-events: none}
"""
DRAG = """
element.addEventListener('pointerdown', begin => {
  const rect = begin.target.closest('rect[data-shot]');
  if (!rect) return;
  begin.preventDefault();
  const area = rect.ownerSVGElement.getBoundingClientRect();
  const at = name => parseFloat(rect.getAttribute(name));
  const box = {x: at('x'), y: at('y'), width: at('width'), height: at('height')};
  const inside = {x: 100 * (begin.clientX - area.left) / area.width, y: 100 * (begin.clientY - area.top) / area.height};
  const grows = inside.x > box.x + 0.8 * box.width && inside.y > box.y + 0.8 * box.height;
  const move = now => {
    const x = 100 * (now.clientX - begin.clientX) / area.width, y = 100 * (now.clientY - begin.clientY) / area.height;
    rect.setAttribute(grows ? 'width' : 'x', grows ? Math.max(box.width + x, 2) : box.x + x);
    rect.setAttribute(grows ? 'height' : 'y', grows ? Math.max(box.height + y, 2) : box.y + y);
  };
  const end = () => {
    window.removeEventListener('pointermove', move);
    const corner = [at('x'), at('y'), at('x') + at('width'), at('y') + at('height')].map(side => side / 100);
    trigger('edit', {shot: rect.dataset.shot, index: Number(rect.dataset.index), box: corner});
  };
  window.addEventListener('pointermove', move);
  window.addEventListener('pointerup', end, {once: true});
});
"""
"""Moves a box; pulled at its lower right corner it grows."""
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def add_story_tab(desk: Desk, model: Any) -> None:
    """Build the tab inside of the tabs, and what its buttons do. `model`: the list of models."""
    teller = Storyteller(desk)
    with gr.Tab("Story", id="story"):
        gr.Markdown(
            "A film of several shots. Load its images, fonts and sounds, show the storyboard, drag the boxes, make "
            "the film. Lengths, seeds and settings of a story stand in its script; those below are of the other tabs."
        )
        files = FileUploads(
            label="Files, which the script names", file_count="multiple", height=140, elem_id="story-files"
        )
        script = gr.Textbox(EXAMPLE, label="Script", lines=14, max_lines=30, elem_id="story-script")
        with gr.Row():
            show = gr.Button("Storyboard", elem_id="story-plan")
            film = gr.Button("Make the film", variant="primary", elem_id="story-make")
        with gr.Row():
            shot = gr.Dropdown([], label="Shot", elem_id="story-shot", allow_custom_value=True)
            again = gr.Button("Make this shot again", elem_id="story-again")
        status = gr.HTML(showing.IDLE, elem_id="story-status")
        board = gr.HTML(elem_id="storyboard", js_on_load=DRAG, css_template=STYLE + COLORS)
        video = gr.Video(label="Film", autoplay=True, interactive=False, elem_id="story-film")
    story = gr.State("")
    seen = [status, board, shot]
    common: dict[str, Any] = {"concurrency_id": "light", **QUIET}
    actions = _StoryActions(teller)
    files.upload(actions.load, [files, script, model, story], [*seen, story, files], **common)
    show.click(actions.show, [script, model, story], [*seen, story], **common)
    board.edit(actions.drag, [script, model, story], [*seen, story, script], **common)
    device: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1, **QUIET}
    film.click(actions.film, [script, model, story], [*seen, story, video], **device)
    again.click(actions.shot_again, [script, model, story, shot], [*seen, story, video, script], **device)


class _StoryActions:
    """What the buttons do. Each gives the status, the cards, the names of shots and the id of the story first."""

    def __init__(self, teller: Storyteller) -> None:
        self.teller = teller

    def load(self, files: list[Path], script: str, model: str, story: str, request: gr.Request) -> tuple[Any, ...]:
        """Take files into the story, and show the storyboard."""
        story = story or self.teller.begin(request.session_hash or "")
        try:
            self.teller.receive(story, files)
        except (ValueError, OSError) as error:
            return (showing.failed(self._line(story, error)), gr.skip(), gr.skip(), story, None)
        finally:
            for file in files:
                file.unlink(missing_ok=True)
        return (*self.show(script, model, story, request), None)

    def show(self, script: str, model: str, story: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the storyboard."""
        story = story or self.teller.begin(request.session_hash or "")
        try:
            return (*self._board_of(self.teller.plan(story, script, model)), story)
        except (ValueError, OSError) as error:
            return (showing.failed(self._line(story, error)), gr.skip(), gr.skip(), story)

    def drag(self, script: str, model: str, story: str, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Take a box that was dragged into the script."""
        data: dict[str, Any] = event._data or {}
        try:
            script = moved(script, str(data.get("shot")), int(data.get("index", -1)), list(data.get("box", ())))
        except (ValueError, TypeError) as error:
            return (showing.failed(self._line(story, error)), *[gr.skip()] * 4)
        return (*self.show(script, model, story, request), script)

    def film(self, script: str, model: str, story: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Make the film."""
        yield from self._progress(script, model, story, None, request)

    def shot_again(
        self, script: str, model: str, story: str, shot: str | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Make one shot with another seed, which the script has then."""
        try:
            if not shot:
                raise StoryError("choose a shot; the storyboard fills the list")
            script = with_new_seed(script, shot)
        except ValueError as error:
            yield (showing.failed(self._line(story, error)), *[gr.skip()] * 5)
            return
        for shown in self._progress(script, model, story, shot, request):
            yield (*shown, script)

    def _progress(
        self, script: str, model: str, story: str, only: str | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        session, skip, desk = request.session_hash or "", gr.skip(), self.teller.desk
        story = story or self.teller.begin(session)
        work = Work(lambda job: self.teller.make(job, story, script, model, only), desk.turn)
        entry = desk.sessions.begin(session, "story", only or "film", work, desk.sessions.new_id())
        state = "failed"
        yield (showing.running(View()), skip, skip, story, None)
        work.start()
        try:
            for view in work.views():
                yield (showing.running(view), skip, skip, story, skip)
            finished: StoryVideo = work.result()
            state = "completed"
        except SamplingCancelled:
            state = "cancelled"
            yield (showing.CANCELLED, skip, skip, story, skip)
            return
        except (ValueError, OSError) as error:
            yield (showing.failed(self._line(story, error)), skip, skip, story, skip)
            raise refusal(self._line(story, error)) from error
        except Exception:
            yield (showing.failed(BROKEN), skip, skip, story, skip)
            raise
        finally:
            work.cancel()
            desk.sessions.end(session, entry, state)
        status = showing.finished(next(summary(finished.plan)), finished.seconds, ())
        _, board, shots = self._board_of(self.teller.plan(story, script, model))
        yield (status, board, shots, story, str(finished.video))

    def _board_of(self, plan: StoryPlan) -> tuple[Any, ...]:
        names = [shot.name for shot in plan.shots]
        lines = list(summary(plan))
        said = f'<div class="job" role="status"><span>{escape(lines[0])}</span>{showing.notes(tuple(lines[-3:]))}</div>'
        return said, cards(plan), gr.update(choices=names)

    def _line(self, story: str, error: Exception) -> str:
        return self.teller.in_own_words(story, str(error))

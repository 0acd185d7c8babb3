"""A brush for the mask: strokes over the image that was given, which come to the server as a PNG in a data URL.

gradio's own editor stores layers by a way of its own, past the limits of uploads. This one stores nothing: its value is
text that comes with the request, is decoded by `lvdm.hosting.data_urls`, and is opened as an uploaded mask is.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import gradio as gr
from PIL import Image

from lvdm.app.components import Quiet

MAX_SIDE = 768
"""Pixels of the longer side of what is painted on; the mask is scaled as its image is."""
NOTHING: dict[str, Any] = {"image": "", "width": 0, "height": 0}

TEMPLATE = """
{{#if image}}
<div class="tools">
  <label>Brush <input class="size" type="range" min="1" max="40" value="12" aria-label="size of the brush"></label>
  <button type="button" class="erase" aria-pressed="false">Erase</button>
  <button type="button" class="clear">Clear</button>
</div>
<div class="stage">
  <img src="{{image}}" alt="">
  <canvas width="{{width}}" height="{{height}}" aria-label="paint what stays as it is"></canvas>
</div>
{{else}}
<p>Give an image first.</p>
{{/if}}
"""
STYLE = """
.tools {display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin-bottom: .5rem;}
.tools button {padding: .2rem .7rem; font-size: .85rem; font-weight: 400; border: 1px solid var(--border-color-primary);
               border-radius: var(--radius-sm); background: var(--button-secondary-background-fill);
               color: var(--button-secondary-text-color);}
.tools button[aria-pressed=true] {background: var(--color-accent); color: white;}
.stage {position: relative; width: min(100%, 420px);}
.stage img, .stage canvas {display: block; width: 100%; margin: 0;}
.stage canvas {position: absolute; inset: 0; height: 100%; opacity: .55; cursor: crosshair; touch-action: none;}
"""
SCRIPT = """
const canvas = () => element.querySelector('canvas');
const erases = () => element.querySelector('.erase').getAttribute('aria-pressed') === 'true';
let last = null, shown = '';
const at = (event) => {
  const box = canvas().getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * canvas().width,
          (event.clientY - box.top) / box.height * canvas().height];
};
const stroke = (from, to) => {
  const pen = canvas().getContext('2d', {willReadFrequently: true});
  pen.globalCompositeOperation = erases() ? 'destination-out' : 'source-over';
  pen.strokeStyle = 'white';
  pen.lineCap = pen.lineJoin = 'round';
  pen.lineWidth = Math.max(1, element.querySelector('.size').value / 100 * Math.max(canvas().width, canvas().height));
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
};
const wipe = () => {
  if (canvas()) canvas().getContext('2d').clearRect(0, 0, canvas().width, canvas().height);
};
const tell = () => {
  const {data} = canvas().getContext('2d').getImageData(0, 0, canvas().width, canvas().height);
  const painted = data.some((level, place) => place % 4 === 3 && level > 0);
  props.value = painted ? canvas().toDataURL('image/png') : '';
};
element.addEventListener('pointerdown', (event) => {
  if (event.target !== canvas()) return;
  canvas().setPointerCapture(event.pointerId);
  last = at(event);
  stroke(last, last);
});
element.addEventListener('pointermove', (event) => {
  if (last === null) return;
  const now = at(event);
  stroke(last, now);
  last = now;
});
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, () => {
    if (last === null) return;
    last = null;
    tell();
  });
}
element.addEventListener('click', (event) => {
  if (event.target.matches('.erase')) event.target.setAttribute('aria-pressed', !erases());
  if (event.target.matches('.clear')) {
    wipe();
    props.value = '';
  }
});
watch('value', () => {
  if (!props.value) wipe();
});
element.addEventListener('load', (event) => {  // another image: what was painted belongs to the one before
  if (shown && shown !== event.target.src) {
    wipe();
    props.value = '';
  }
  shown = event.target.src;
}, true);
"""


class MaskBrush(gr.HTML, metaclass=Quiet):  # type: ignore[misc]
    """What is painted, as a data URL of a PNG whose opaque pixels are the mask; empty for nothing."""

    is_template = True

    def api_info(self) -> dict[str, Any]:
        """For clients that paint otherwise."""
        return {"type": "string", "description": "a mask as a data URL; its opaque pixels stay as in the image"}


def make_brush(**options: Any) -> MaskBrush:
    """A brush without an image. options: of gradio's components."""
    return MaskBrush(
        value="",
        html_template=TEMPLATE,
        css_template=STYLE,
        js_on_load=SCRIPT,
        apply_default_css=False,
        **NOTHING,
        **options,
    )


def over(image: Image.Image | None) -> Any:
    """The update that lets people paint over `image`; what was painted stays where that is the same one."""
    if image is None:
        return gr.update(**NOTHING)
    small = image.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    stored = io.BytesIO()
    small.save(stored, "WEBP", quality=85, method=0)
    shown = f"data:image/webp;base64,{base64.b64encode(stored.getvalue()).decode()}"
    return gr.update(image=shown, width=small.width, height=small.height)

"""The page in a real browser: what a visitor does, and what is then there to see."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image
from served import LIMITS, PageClient, left_behind, refused
from small_model import FRAMES, picture
from story_scripts import lay_out_images, script

from lvdm.app.making import Maker
from lvdm.hosting.library import Library
from lvdm.hosting.queueing import LONGEST_WAIT, queue_full
from lvdm.jobs.run import make_videos
from lvdm.media.video_reader import VideoReader

PROMPT = "a red ball moves to the right"
WAIT = 60_000
"""Milliseconds until something is taken for missing; on an idle machine it takes two seconds."""


@pytest.fixture
def opened(browser: Any, usual_context: Any, address: str) -> Iterator[Any]:
    """Opens pages: `opened(width=390)`; at the end they are closed, and have asked nobody but the server."""
    pages, outside = list[Any](), list[str]()

    def open_page(width: int = 1280, scheme: str = "light") -> Any:
        if (width, scheme) == (1280, "light"):
            page = usual_context.new_page()
        else:  # which closes with its context
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        page.set_default_timeout(WAIT)
        own = (address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else outside.append(request.url))
        page.goto(address)
        page.wait_for_selector("#animate-generate")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert outside == [], "the page asked others than its server"


def give(page: Any, image: str, prompt: str = PROMPT) -> None:
    page.locator("input[type=file]").first.set_input_files(image)
    page.fill("#animate-prompt textarea", prompt)
    page.wait_for_selector("#seen:has-text('becomes')")


def set_text(page: Any, group: str, name: str, value: str) -> None:
    """Fill in the control of a parameter, which lies in a fold."""
    field = page.locator(f"#{name} textarea, #{name} input").first
    if not field.is_visible():
        page.locator(f"#group-{group} button").first.click()
    field.fill(value)
    field.blur()


def status(page: Any, text: str) -> str:
    page.wait_for_selector(f"#status:has-text('{text}')")
    return str(page.inner_text("#status"))


def downloaded(page: Any, tmp_path: Path) -> Any:
    """The frames of the video that is shown."""
    page.wait_for_selector("#video video")
    source = page.evaluate("document.querySelector('#video video').currentSrc")
    (tmp_path / "seen.mp4").write_bytes(httpx.get(source).content)
    with VideoReader(tmp_path / "seen.mp4") as reader:
        return reader.read(range(reader.num_frames))


def newest(folder: Path) -> Path:
    """The folder of the last job."""
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def waits_at(client: PageClient, count: int) -> None:
    """Return once so many wait, besides one at work."""
    end = time.monotonic() + WAIT / 1000
    while (seen := client.http.get(f"{client.address}gradio_api/queue/status").json()["queue_size"]) != count:
        assert time.monotonic() < end, f"{seen} wait, not {count}"
        time.sleep(0.02)


LISTEN = """() => {
    window.told = [];
    const place = document.querySelector('#status');
    const note = () => window.told.push([place.innerText, !!place.querySelector('img.preview')]);
    new MutationObserver(note).observe(place, {subtree: true, childList: true, characterData: true});
}"""
"""Notes what the page says while a job runs, and whether it shows a preview."""
SHOWN_FRAMES = """async () => {
    const video = document.querySelector('#video video');
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 16;
    const pen = canvas.getContext('2d', {willReadFrequently: true});
    const look = async (time) => {
        video.pause();
        const there = new Promise((done) => video.addEventListener('seeked', done, {once: true}));
        video.currentTime = time;
        await there;
        pen.drawImage(video, 0, 0, 16, 16);
        return Array.from(pen.getImageData(0, 0, 16, 16).data);
    };
    return [await look(0.01), await look(video.duration - 0.05)];
}"""


def test_from_an_image_to_a_video_that_plays(opened: Any, image: str, tmp_path: Path) -> None:
    page = opened()
    give(page, image)
    assert "32 x 32 becomes 32 x 32 by crop" in page.inner_text("#seen")
    set_text(page, "sampling", "num_inference_steps", "30")
    page.evaluate(LISTEN)
    page.click("#animate-generate")
    assert re.search("Done in .*frame 0 .* dB, motion", status(page, "Done"))
    told = page.evaluate("window.told")
    assert any(re.search(r"sampling \d+ of 30", text) for text, _ in told), told
    assert any(preview for _, preview in told), "there was no preview"
    frames = downloaded(page, tmp_path)
    assert len(frames) == FRAMES
    first, last = page.evaluate(SHOWN_FRAMES)
    assert first != last, "the browser shows the same frame at the beginning and at the end"
    names = "".join(page.inner_text("#files").split())
    assert all(name in names for name in ("video.mp4", "video.gif", "video.webp", "settings.json"))
    assert "dB" in page.input_value("#report textarea, #report input")
    page.locator("#seed textarea, #seed input").fill("77")
    page.click("#again")
    page.wait_for_function("[...document.querySelectorAll('#seed textarea, #seed input')].some(e => e.value === '123')")


def test_a_mask_is_painted_and_wiped_away(opened: Any, image: str, server_folder: Path) -> None:
    page = opened()
    give(page, image)
    page.locator("#animate-mask button").first.click()
    canvas = page.locator("#animate-mask canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    def paint(*places: float) -> None:
        """A stroke downwards at each of these parts of the width."""
        for place in places:
            page.mouse.move(box["x"] + place * box["width"], box["y"] + 1)
            page.mouse.down()
            page.mouse.move(box["x"] + place * box["width"], box["y"] + box["height"] - 1, steps=3)
            page.mouse.up()

    paint(0.1, 0.9)
    page.locator("#animate-mask .erase").click()
    paint(0.9)
    page.click("#animate-generate")
    status(page, "Done")
    made = newest(server_folder / "jobs")
    assert json.loads((made / "settings.json").read_text())["input"]["keep_mask"] == "keep_mask.png"
    alpha = Image.open(made / "keep_mask.png").getchannel("A")
    painted = [alpha.getpixel((x, 16)) for x in (3, 16, 28)]
    assert painted == [255, 0, 0], "what was painted, what was not, and what was erased"
    page.get_by_role("button", name="Jobs").click()
    page.locator("#animate-mask .clear").click()
    page.click("#animate-generate")
    page.wait_for_function("document.querySelectorAll('#jobs tbody tr').length === 2")
    assert not (newest(server_folder / "jobs") / "keep_mask.png").exists()


def test_a_record_sets_the_controls_and_opens_its_tab(
    opened: Any, image: str, library: Library, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"image": image, "prompt": "waves roll in", "num_inference_steps": 3, "seed": 2**60 + 1}
    make_videos("loop", **given, **library.models["small"].values, output=tmp_path / "sea.mp4", device="cpu")
    page = opened()
    page.locator("#earlier button").first.click()
    page.locator("#earlier input[type=file]").set_input_files(str(tmp_path / "sea.json"))
    page.wait_for_selector("#earlier-words:has-text('set as in sea.json. To be given again: image: cat.png.')")
    page.wait_for_selector("#loop-generate")
    assert page.input_value("#loop-prompt textarea") == "waves roll in"
    assert page.input_value("#seed textarea, #seed input") == str(2**60 + 1)
    page.locator("#group-sampling button").first.click()
    assert page.input_value("#num_inference_steps textarea, #num_inference_steps input") == "3"


def test_cancel_ends_a_job_and_leaves_nothing(opened: Any, image: str, server_folder: Path) -> None:
    page = opened()
    give(page, image)
    set_text(page, "sampling", "num_inference_steps", "60")
    set_text(page, "plug-ins", "free_init", "iterations=8,level=0.9")
    jobs = set(left_behind(server_folder / "jobs"))
    page.click("#animate-generate")
    status(page, "sampling")
    page.click("#cancel")
    status(page, "Cancelled")
    set_text(page, "sampling", "num_inference_steps", "2")
    set_text(page, "plug-ins", "free_init", "")
    page.click("#animate-generate")
    status(page, "Done")
    new = [name for name in left_behind(server_folder / "jobs") if name not in jobs]
    assert not [name for name in new if name.endswith(".part")]
    for _ in range(40):
        folders = [folder for folder in (server_folder / "jobs").iterdir() if not (folder / "settings.json").is_file()]
        if not folders:
            break
        page.wait_for_timeout(250)
    assert folders == [], "the cancelled job has left files"


def test_wrong_files_are_refused_at_once(opened: Any, tmp_path: Path) -> None:
    page = opened()
    (tmp_path / "letter.png").write_text("dear reader", encoding="utf-8")
    page.locator("input[type=file]").first.set_input_files(str(tmp_path / "letter.png"))
    page.wait_for_selector("text=letter.png: not an image that can be read")
    (tmp_path / "large.png").write_bytes(bytes(LIMITS.upload_bytes + 1))
    page.locator("input[type=file]").first.set_input_files(str(tmp_path / "large.png"))
    page.wait_for_selector("text=/exceeds|too large|maximum/i")
    page.fill("#animate-prompt textarea", PROMPT)
    page.click("#animate-generate")
    assert "an image" in status(page, "give one of")


def test_a_full_queue_is_told_and_what_waits_is_made(
    opened: Any, client: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, free = opened(), threading.Event()

    def make(*_: Any) -> None:
        assert free.wait(WAIT / 1000)
        raise ValueError("it was its turn")

    monkeypatch.setattr(Maker, "make", make)
    with ThreadPoolExecutor(LIMITS.max_queue + 1) as visitors:
        waiting = list[Future[str]]()
        try:
            for number in range(LIMITS.max_queue + 1):
                waiting.append(visitors.submit(refused, client, "text-to-video", prompt=PROMPT))
                waits_at(client, number)
            page.fill("#animate-prompt textarea", PROMPT)
            page.click("#animate-generate")
            page.wait_for_selector(f"text={queue_full(LIMITS.max_queue)}")
            assert "Nothing is being made" in page.inner_text("#status")
            answer = client.post("text-to-video", prompt=PROMPT)
            assert (answer.status_code, answer.json()) == (429, {"detail": queue_full(LIMITS.max_queue)})
            assert 1 <= int(answer.headers["retry-after"]) <= LONGEST_WAIT
        finally:
            free.set()
        assert ["it was its turn" in said.result() for said in waiting] == [True] * len(waiting)


def test_two_visitors_at_once_each_get_their_own(opened: Any, image: str, tmp_path: Path) -> None:
    picture(seed=5).save(tmp_path / "other.png")
    first, second = opened(), opened(scheme="dark")
    give(first, image, "the first one")
    give(second, str(tmp_path / "other.png"), "the second one")
    set_text(first, "sampling", "num_inference_steps", "30")
    first.click("#animate-generate")
    second.click("#animate-generate")
    videos = []
    for page in (second, first):
        status(page, "Done")
        videos.append(downloaded(page, tmp_path).float())
        page.get_by_role("button", name="Jobs").click()
        page.wait_for_selector("#jobs:has-text('one')")
    assert (videos[0] - videos[1]).abs().mean() > 1
    assert "the second one" not in first.inner_text("#jobs")


def test_a_tab_shows_what_it_reads_alone(opened: Any) -> None:
    page = opened()
    for tab, shown in (("Animate", True), ("Compare", False), ("Interpolate", True)):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector("#motion", state="visible" if shown else "hidden")
    page.locator("#group-plug-ins button").first.click()
    page.wait_for_selector("#between", state="visible")
    page.get_by_role("tab", name="Animate").click()
    page.wait_for_selector("#between", state="hidden")
    assert page.locator("#camera").is_visible()


def test_a_phone_shows_all_of_it_and_a_tab_says_why_not(opened: Any) -> None:
    page = opened(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page is wider than the phone"
    button, cancel = (page.locator(name).bounding_box() for name in ("#animate-generate", "#cancel"))
    assert button["y"] < cancel["y"] < button["y"] + 250, "status and Cancel are far from the button"
    assert button["x"] >= 0
    assert button["x"] + button["width"] <= 390
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile("words")).click()
    page.wait_for_selector(".why:has-text('makes videos from text alone')")
    assert page.locator("#animate-generate").is_disabled()
    page.locator(".overflow-menu > button").click()  # where tabs are that find no place
    page.locator(".overflow-dropdown button", has_text="From text").click()
    assert page.locator("#text-to-video-generate").is_enabled()


def test_a_story_is_laid_out_by_hand_and_a_shot_of_it_made(opened: Any, tmp_path: Path) -> None:
    page = opened()
    page.get_by_role("tab", name="Story").click()
    lay_out_images(tmp_path)
    (tmp_path / "no.png").write_text("dear reader", encoding="utf-8")
    tree = script(shots=script()["shots"][:1], settings={"num_inference_steps": 2})
    page.fill("#story-script textarea", yaml.safe_dump(tree))
    files = page.locator("#story-files input[type=file]")
    files.set_input_files(str(tmp_path / "no.png"))
    page.wait_for_selector("#story-status:has-text('no.png: not an image that can be read')")
    files.set_input_files([str(tmp_path / name) for name in ("sea.png", "red.png")])
    character = page.wait_for_selector("#storyboard rect[data-shot=one]")
    character.scroll_into_view_if_needed()
    box = character.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 - box["width"], box["y"] + 2)  # which is a quarter of the frame
    page.mouse.up()
    page.wait_for_function("() => document.querySelector('#story-script textarea').value.includes('box: [')")
    moved = yaml.safe_load(page.input_value("#story-script textarea"))["shots"][0]["compose"]["characters"][0]["box"]
    assert moved == pytest.approx([0, 0.5, 0.25, 1], abs=0.02)
    page.click("#story-again")
    page.wait_for_selector("#story-status:has-text('choose a shot')")
    page.locator("#story-shot input").click()
    page.get_by_role("option", name="one").click()
    page.click("#story-again")
    page.wait_for_selector("#story-film video")
    assert "seed:" in page.input_value("#story-script textarea"), "the script does not make this shot"
    page.wait_for_selector("#story-status:has-text('Done in')")

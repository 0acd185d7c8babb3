"""What a film is put together of: its layout, captions, subtitles and sound, by closed forms and read back."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageFont
from story_scripts import script

from lvdm.media.sound import RATE, SoundError, mix, probe_sound, read_sound
from lvdm.media.tracks import add_tracks
from lvdm.media.video_reader import VideoReader
from lvdm.media.video_writer import write_video
from lvdm.story.captions import Subtitle, Typesetter, check_captions, over, srt_of, subtitles
from lvdm.story.film import crossfaded
from lvdm.story.layout import FilmLayout, lay_out
from lvdm.story.reading import parse_story
from lvdm.story.script import Story, StoryError


def story(**changes: object) -> Story:
    return parse_story(script(**changes), "story.yaml", Path())


def write_wave(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """float (n, channels) as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())


LAYOUT = lay_out((10, 8, 6), (4, 2, 0), ("crossfade", "interpolated", "cut"))


def test_every_frame_of_the_film_has_its_place() -> None:
    assert LAYOUT.num_frames == 10 + 8 + 6 - 4 - 2
    segments = LAYOUT.segments()
    assert [(s.kind, s.shot, s.begin, s.count) for s in segments] == [
        *(("cut", 0, 0, 6), ("crossfade", 0, 6, 4), ("cut", 1, 4, 2), ("interpolated", 1, 6, 2), ("cut", 2, 2, 4))
    ]
    assert [s.start for s in segments] == [0, 6, 10, 12, 14], "segments leave no gap and overlap nowhere"
    assert [LAYOUT.caption(number) for number in range(3)] == [(0, 8), (8, 13), (13, 18)], "captions leave a gap"
    with pytest.raises(ValueError, match="shot 1 has 4 frames and its transitions take 4"):
        lay_out((9, 4, 9), (2, 2, 0), ("crossfade", "crossfade", "cut"))
    assert FilmLayout((3,), (0,), ("cut",)).segments()[0].count == 3


def test_a_crossfade_goes_from_one_to_the_other() -> None:
    black, white = np.zeros((2, 1, 1, 3), np.uint8), np.full((2, 1, 1, 3), 240, np.uint8)
    parts = [crossfaded(black, white, begin, 3)[:, 0, 0, 0].tolist() for begin in (0, 1)]
    assert parts == [[60, 120], [120, 180]], "thirds, whatever the part begins with"


def test_subtitles_are_those_of_the_shots_with_their_times() -> None:
    texts = ["one\n\nline --> two", "", "你好 🦊"]
    shots = [{"image": "a.png", "prompt": "a", "caption": text} for text in texts]
    lines = subtitles(story(shots=shots, captions="subtitles"), LAYOUT, 4.0)
    assert lines == (Subtitle(0, 2, "one\nline → two"), Subtitle(3.25, 4.5, "你好 🦊"))
    assert srt_of(lines) == (
        "1\n00:00:00,000 --> 00:00:02,000\none\nline → two\n\n2\n00:00:03,250 --> 00:00:04,500\n你好 🦊\n"
    )
    assert srt_of((Subtitle(3725.5, 3725.9996, "x"),)).splitlines()[1] == "01:02:05,500 --> 01:02:06,000"


def test_a_caption_lies_at_the_bottom_and_inside() -> None:
    setter = Typesetter(story(), (160, 90))
    overlay = setter.overlay("many words that need more lines than one of this film")
    drawn = overlay[..., 3] > 0
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    assert len(setter.wrapped("many words that need more lines than one of this film")) > 1
    assert rows[0] > 45, "the caption is not in the lower half"
    assert columns[0] > 0, "letters are cut off at the left"
    assert columns[-1] < 159, "letters are cut off at the right"
    frames = over(np.full((1, 90, 160, 3), 100, np.uint8), overlay)
    assert (frames[0][~drawn] == 100).all(), "the frame changed where no letter is"
    assert frames.min() < 20, "letters have no black outline"
    assert frames.max() > 230, "letters are not white"


def test_letters_that_a_font_lacks_name_the_shot(tmp_path: Path) -> None:
    fine = [{"name": "one", "image": "a.png", "prompt": "a", "caption": "A fox & 2 cats: 100 %!"}]
    check_captions(story(shots=fine), (320, 180))
    bad = [*fine, {"name": "two", "image": "a.png", "prompt": "a", "caption": "你好"}]
    with pytest.raises(StoryError, match=r"shot 'two': caption: the built-in font has no glyph for 你 \(U\+4F60\)"):
        check_captions(story(shots=bad), (320, 180))
    check_captions(story(shots=bad, captions="subtitles"), (320, 180))
    built_in = ImageFont.load_default(10)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    (tmp_path / "own.ttf").write_bytes(built_in.path.getvalue())  # type: ignore[union-attr]
    check_captions(story(shots=fine, font=str(tmp_path / "own.ttf"), font_size=20), (320, 180))
    with pytest.raises(StoryError, match=r"shot 'two': caption: .*own\.ttf has no glyph for"):
        check_captions(story(shots=bad, font=str(tmp_path / "own.ttf")), (320, 180))


def test_sounds_are_added_cut_and_never_clipped(tmp_path: Path) -> None:
    ones = np.ones((RATE, 2), np.float32)
    mixed = mix([(ones, 0.0, 0.25), (ones, 0.5, 0.5), (ones, 1.75, 0.1), (ones, 9.0, 1.0)], 2.0)
    levels = [round(float(mixed[round(at * RATE), 0]), 3) for at in (0.25, 0.75, 1.25, 1.6, 1.9)]
    assert levels == [0.25, 0.75, 0.5, 0.0, 0.1]
    assert len(mixed) == 2 * RATE
    loud = mix([(ones, 0.0, 1.0), (ones, 0.5, 1.0)], 1.0)
    assert (float(loud[0, 0]), float(loud[-1, 0])) == (0.5, 1.0), "the loudest place is at full scale"
    time = np.arange(8000) / 8000
    write_wave(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time)[:, None], 8000)
    assert probe_sound(tmp_path / "tone.wav") == 1.0
    samples = read_sound(tmp_path / "tone.wav", 60)
    assert samples.shape == (RATE, 2), "one second of one channel at 8 kHz, as stereo at 48 kHz"
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert np.abs(samples[1000:-1000] - expected[1000:-1000, None]).max() < 0.01
    assert len(read_sound(tmp_path / "tone.wav", 0.25)) == RATE // 4
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name in ("a.png", "list.m3u8", "empty.wav", "gone.wav", "."):
        with pytest.raises(SoundError, match=name if name != "." else "is a folder"):
            probe_sound(tmp_path / name)


def test_tracks_are_added_to_the_same_frames(tmp_path: Path) -> None:
    import torch

    frames = torch.randint(0, 255, (1, 16, 16, 3), dtype=torch.uint8).expand(8, 16, 16, 3)
    write_video(frames, tmp_path / "silent.mp4", 4)
    sound = np.full((2 * RATE, 2), 0.1, np.float32)
    lines = [(0.25, 1.0, "你好 🦊"), (1.5, 2.0, "two\nlines")]
    add_tracks(tmp_path / "silent.mp4", tmp_path / "film.mp4", sound, lines)
    with VideoReader(tmp_path / "silent.mp4") as before, VideoReader(tmp_path / "film.mp4") as after:
        assert after.fps == before.fps == 4
        assert torch.equal(after.read(range(8)), before.read(range(8)))
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert [stream.type for stream in film.streams] == ["video", "audio", "subtitle"]
        assert film.streams.audio[0].codec_context.name == "aac"
        assert abs(float(film.streams.audio[0].duration * film.streams.audio[0].time_base) - 2) < 0.05
        text = film.streams.subtitles[0]
        shown = []
        for packet in film.demux(text):
            coded = bytes(packet)
            if len(coded) > 2 and packet.pts is not None:
                shown.append((float(packet.pts * text.time_base), coded[2 : 2 + int.from_bytes(coded[:2], "big")]))
    assert shown == [(start, words.encode()) for start, _, words in lines]
    add_tracks(tmp_path / "silent.mp4", tmp_path / "film.mp4", sound, lines)
    first = (tmp_path / "film.mp4").read_bytes()
    add_tracks(tmp_path / "silent.mp4", tmp_path / "film.mp4", sound, lines)
    assert (tmp_path / "film.mp4").read_bytes() == first, "the same film has other bytes"

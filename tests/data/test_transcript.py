"""Subtitles, by the examples of the formats' own specifications."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract


def read(path: Path, source: str) -> Extracted:
    path.write_text(source, encoding="utf-8")
    context = Context.of_file(DataConfig(), path.name, path.parent)
    (found,) = extract(path, kind="transcript", context=context)
    assert isinstance(found, Extracted)
    return found


def test_voices_of_the_webvtt_specification(tmp_path: Path) -> None:
    """The example of section 1.1 (https://www.w3.org/TR/webvtt1/), with a style and a comment."""
    source = (
        "WEBVTT\n\nSTYLE\n::cue { color: red }\n\nNOTE a comment\nover two lines\n\n"
        "00:11.000 --> 00:13.000\n<v Roger Bingham>We are in New York City\n\n"
        "00:13.000 --> 00:16.000\n<v Roger Bingham>We\u2019re actually at the Lucern Hotel, "
        "just down the street\n\n"
        "00:16.000 --> 00:18.000\n<v Roger Bingham>from the American Museum of Natural History\n\n"
        "00:30.000 --> 00:31.500 align:right\n<v.loud Neil deGrasse Tyson><i>Didn\u2019t we "
        "talk about</i> enough in that conversation? &amp; more\n"
    )
    assert read(tmp_path / "a.vtt", source).text == (
        "Roger Bingham: We are in New York City We\u2019re actually at the Lucern Hotel, just down "
        "the street from the American Museum of Natural History\n\nNeil deGrasse Tyson: "
        "Didn\u2019t we talk about enough in that conversation? & more"
    )


def test_numbers_and_pauses_of_srt(tmp_path: Path) -> None:
    source = (
        "1\r\n00:00:01,600 --> 00:00:04,200\r\n{\\an8}English (<b>US</b>)\r\nin two lines\r\n\r\n"
        "2\r\n00:00:05,900 --> 00:00:07,999\r\n1984 is < a number\r\n3\r\n"
        "00:01:00,000 --> 00:01:01,000\r\n- A dialogue?\r\n- Yes.\r\n"
    )
    assert read(tmp_path / "a.srt", source).text == (
        "English (US) in two lines 1984 is < a number\n\nA dialogue?\n\nYes."
    )


def test_rolling_captions_are_read_once(tmp_path: Path) -> None:
    words = [f"line number {n} of the talk" for n in range(50)]
    blocks = []
    for n, line in enumerate(words):  # as YouTube writes them: each line three times
        before = words[n - 1] if n else " "
        start = n * 2
        spoken = line.replace(" ", f"<00:00:{start % 60:02}.500><c> ", 1) + "</c>"
        blocks.append(f"{stamp(start)} --> {stamp(start + 1.99)} align:start\n{before}\n{spoken}\n")
        blocks.append(f"{stamp(start + 1.99)} --> {stamp(start + 2)} align:start\n{line}\n \n")
    found = read(tmp_path / "a.vtt", "WEBVTT\nKind: captions\n\n" + "\n".join(blocks))
    assert found.text.split() == " ".join(words).split()
    assert found.changes["repeated captions"] == 99


def test_long_talk_has_paragraphs(tmp_path: Path) -> None:
    blocks = [f"{stamp(n)} --> {stamp(n + 1)}\nThis is sentence {n}.\n" for n in range(200)]
    paragraphs = read(tmp_path / "a.vtt", "WEBVTT\n\n" + "\n".join(blocks)).text.split("\n\n")
    assert all(500 < len(one) < 700 for one in paragraphs[:-1])
    assert " ".join(paragraphs) == " ".join(f"This is sentence {n}." for n in range(200))


@pytest.mark.parametrize("source", ["WEBVTT\n\nNOTE nothing is said", "1\n2\n3\n"])
def test_no_captions(tmp_path: Path, source: str) -> None:
    with pytest.raises(UnreadableError, match="no text in it"):
        read(tmp_path / "a.vtt", source)


def test_hostile_lines_take_no_time(tmp_path: Path) -> None:
    start = time.monotonic()
    read(tmp_path / "a.vtt", "00:00.000 --> 00:01.000\nx" + "<v " * 300_000 + "<" * 300_000)
    read(tmp_path / "a.vtt", "00:00.000 --> 00:01.000\n" + "same line\n" * 200_000)
    assert time.monotonic() - start < 5


def stamp(seconds: float) -> str:
    return f"00:{int(seconds) // 60:02}:{seconds % 60:06.3f}"

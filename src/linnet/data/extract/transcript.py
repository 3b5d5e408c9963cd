"""Subtitles as flowing text: WebVTT (W3C) and SubRip (.srt).

Numbers, times and styles go, names of speakers stay. Captions that roll (each
repeats what still stands on the screen) are read once.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.data.blocks import Builder
from linnet.data.decoding import read_text
from linnet.data.document import Dropped, Extracted, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,99})?\s+([^<>]{0,200})>")
_TAG = re.compile(r"</?\w[^<>]*>|\{\\[^{}]*\}")
_DASH = re.compile(r"^\s*[-\u2013\u2014]\s*")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"')\]\u201d\u00bb]*$")
_PAUSE = 2.0  # seconds; a longer one ends a paragraph
_STILL_SHOWN = 0.5  # seconds between captions of which one continues the other
_ROWS = 4  # of a screen
_LONG = 600  # characters; a longer paragraph ends with the next sentence


@dataclass
class _Cue:
    """What is shown at one time: lines, each with its speaker (empty: not said)."""

    start: float
    end: float
    lines: list[tuple[str, str]]


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    source = read_text(path, limit=context.config.max_document_bytes, changes=context.changes)
    repeated = Counter[str]()
    written = Builder("second")
    for start, paragraph in _paragraphs(_without_repeats(_cues(source), repeated)):
        written.add(paragraph, marks=[(0, int(start))])
    text = written.text()
    if not text:
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, "transcript", changes=dict(+repeated))


def _cues(source: str) -> Iterator[_Cue]:
    """The captions. A block without times is a note, a style or the title: passed over."""
    cue: _Cue | None = None
    speaker = ""
    for line in re.split(r"\r\n|\r|\n", source):
        if times := _TIMES.match(line):
            if cue:
                if cue.lines and cue.lines[-1][1].isdigit():  # the number of this one
                    cue.lines.pop()
                yield cue
            cue, speaker = _Cue(_seconds(times, 1), _seconds(times, 5), []), ""
        elif not line:  # one of blanks only is part of a caption
            if cue:
                yield cue
            cue = None
        elif cue:
            for spoken in _spoken(line, speaker):
                speaker = spoken[0]
                cue.lines.append(spoken)
    if cue:
        yield cue


def _seconds(times: re.Match[str], first: int) -> float:
    hours, minutes, seconds, fraction = (times[first + n] for n in range(4))
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _spoken(line: str, speaker: str) -> Iterator[tuple[str, str]]:
    """The words of a line by speaker; a name holds until the next one."""
    pieces = _VOICE.split(line)
    for name, words in zip([speaker, *pieces[1::2]], pieces[::2], strict=True):
        text = " ".join(html.unescape(_TAG.sub("", words)).split())
        if text:
            yield html.unescape(name).strip(), text


def _without_repeats(cues: Iterator[_Cue], repeated: Counter[str]) -> Iterator[_Cue]:
    """Captions without the lines that the one before has already shown.

    A line counts as repeated if it stood at the end of the caption before, which
    has not been gone for long, or if it continues that line.
    """
    shown: list[str] = []
    until = 0.0
    for cue in cues:
        texts = [text for _, text in cue.lines]
        if cue.start - until <= _STILL_SHOWN and texts:
            most = min(len(shown), len(texts), _ROWS)
            count = next((n for n in range(most, 0, -1) if shown[-n:] == texts[:n]), 0)
            lines = cue.lines[count:]
            if not count and shown and texts[0].startswith(shown[-1] + " "):
                count = 1
                lines = [(cue.lines[0][0], texts[0][len(shown[-1]) + 1 :]), *cue.lines[1:]]
            repeated["repeated captions"] += count
            cue = _Cue(cue.start, cue.end, lines)
        shown, until = texts or shown, max(until, cue.end)
        yield cue


def _paragraphs(cues: Iterator[_Cue]) -> Iterator[tuple[float, str]]:
    """When each begins, and its text. One ends where the speaker changes, where it is silent,
    and in time."""
    parts: list[str] = []
    speaker, length, until, start = "", 0, 0.0, 0.0
    for cue in cues:
        for name, text in cue.lines:
            turn = name != speaker or _DASH.match(text)
            ended = length > _LONG and _SENTENCE_END.search(parts[-1])
            if parts and (turn or ended or cue.start - until > _PAUSE):
                yield start, " ".join(parts)
                parts, length = [], 0
            start = start if parts else cue.start
            text = _DASH.sub("", text)
            parts.append(f"{name}: {text}" if name and name != speaker else text)
            speaker, length, until = name, length + len(text), cue.end
        until = max(until, cue.end)
    if parts:
        yield start, " ".join(parts)

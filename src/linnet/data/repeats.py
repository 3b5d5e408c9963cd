"""Lines that many documents of one source begin or end with: menus, notices, running headers.

Only the first and last lines of a document are looked at, and only what stands
in many *documents* counts: a refrain within one does not. What is taken out stands
at the very beginning or end, or beside another repeated line, so a heading that
many documents have ("Summary") stays; and a document that would lose more than
half of its text is left as it is, because what repeats is then what it says.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from linnet.data.positions import Edited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ZONE = 15  # lines looked at, from either end
_LONGEST = 2_000  # characters of a line that can be a notice; what is longer is content
_LEAST_LETTERS = 2
_SAMPLED = 2_000  # documents of a source
_LARGEST_LOSS = 0.5

_NUMBER = re.compile(r"\d+")
# The head of a mail belongs to it, even where everyone writes to one address.
_MAIL_FIELD = re.compile(r"(?:From|To|Cc|Bcc|Date|Sent|Subject|Reply-To): ")
_LETTER = re.compile(r"[^\W\d_]")
_BLANK_LINES = re.compile(r"\n{3,}")


class Sample:
    """The edges of up to 2,000 documents of a source: those with the smallest ids.

    Which ones these are does not depend on the order in which they come. Texts that
    are equal have one id and count once.
    """

    def __init__(self) -> None:
        self._edges: dict[str, bytes] = {}
        self._largest: list[tuple[int, str]] = []  # a heap: the largest id first

    def add(self, identity: str, edges: bytes) -> None:
        """``identity``: hexadecimal, as for Document; ``edges``: packed."""
        if identity in self._edges:
            return
        place = (-int(identity, 16), identity)
        if len(self._largest) < _SAMPLED:
            heapq.heappush(self._largest, place)
        elif place > self._largest[0]:
            del self._edges[heapq.heapreplace(self._largest, place)[1]]
        else:
            return
        self._edges[identity] = edges

    def edges(self) -> Iterator[bytes]:
        """The packed edges, by id."""
        return (self._edges[identity] for identity in sorted(self._edges))


def edges(text: str) -> list[int]:
    """The 64-bit hashes of the first 15 and the last 15 lines that are not blank, in order.

    Numbers are all equal, so that "Page 3 of 9" repeats. Left out are lines of fewer
    than two letters, lines too long to be a notice and the fields of a mail's head.
    """
    hashes = (_hash(text[start:end]) for start, end in _spans(text))
    return [value for value in hashes if value is not None]


def repeated(samples: Iterable[list[int]], share: float, least: int = 10) -> frozenset[int]:
    """The lines in at least ``share`` of the samples, and in at least ``least`` of them."""
    counts: Counter[int] = Counter()
    number = 0
    for number, lines in enumerate(samples, 1):  # noqa: B007
        counts.update(set(lines))
    wanted = max(least, math.ceil(share * number - 1e-9))
    return frozenset(line for line, count in counts.items() if count >= wanted)


def strip(text: str, repeated: frozenset[int]) -> tuple[Edited, int]:
    """The text without the repeated lines of its edges (see the module), and how many these are."""
    edited = Edited(text)
    spans = _spans(text)
    found = [_hash(text[start:end]) in repeated for start, end in spans]
    gone = [spans[place] for place in sorted(_removable(spans, found, text))]
    lost = sum(end - start for start, end in gone)
    if not gone or lost > _LARGEST_LOSS * len(text.strip()):
        return edited, 0
    edited.apply((start, min(end + 1, len(text)), "") for start, end in gone)  # with its line end
    edited.sub(_BLANK_LINES, "\n\n")
    edited.strip("\n")
    return edited, len(gone)


def pack(lines: list[int]) -> bytes:
    """Hashes of lines as 8 bytes each."""
    return np.array(lines, "<u8").tobytes()


def unpack(data: bytes) -> list[int]:
    """What ``pack`` was given."""
    values: list[int] = np.frombuffer(data, "<u8").tolist()
    return values


def _spans(text: str) -> list[tuple[int, int]]:
    """Start and end of the first and the last lines that are not blank, in order, each once."""
    first: list[tuple[int, int]] = []
    start = 0
    while len(first) < ZONE and start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if not _blank(text, start, end):
            first.append((start, end))
        start = end + 1
    last: list[tuple[int, int]] = []
    end = len(text)
    while len(last) < ZONE and end >= start:
        begin = text.rfind("\n", start, end) + 1 or start
        if not _blank(text, begin, end):
            last.append((begin, end))
        end = begin - 1
    return [*first, *reversed(last)]


def _blank(text: str, start: int, end: int) -> bool:
    return start == end or text[start:end].isspace()


def _hash(line: str) -> int | None:
    if len(line) > _LONGEST or len(_LETTER.findall(line)) < _LEAST_LETTERS:
        return None
    folded = _NUMBER.sub("0", " ".join(line.split()))
    if _MAIL_FIELD.match(folded):
        return None
    digest = hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _removable(spans: list[tuple[int, int]], found: list[bool], text: str) -> set[int]:
    """The places of repeated lines that touch an end of the document or one another."""
    inwards = range(len(found))
    places = {
        *itertools.takewhile(found.__getitem__, inwards),
        *itertools.takewhile(found.__getitem__, reversed(inwards)),
    }
    for place in inwards[1:]:
        between = spans[place - 1][1], spans[place][0]  # long where the two zones meet
        if found[place - 1] and found[place] and text[slice(*between)].isspace():
            places |= {place - 1, place}
    return places

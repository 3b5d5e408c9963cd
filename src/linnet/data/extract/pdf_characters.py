"""The characters of a piece of PDF text as they are meant: right to left, raised, of symbol fonts.

PDFium gives them in the order of drawing, turned round where it takes a run for one from right
to left. Programs that draw such words from left to right escape it; and of a ligature, whose
characters lie in one place, it gives the last one first.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from linnet.data.extract.typeface import lowered, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_WORD = re.compile("[\u0590-\u065f\u066e-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+")
_SHAPES = re.compile("[\ufb50-\ufdcf\ufe70-\ufefc]")  # of letters by their place in a word
_LAM, _ALEFS = "\u0644", "\u0622\u0623\u0625\u0627\u0671"
_WORDS_IN_ONE = {"\u0627\u0644\u0644\u0647", "\u0644\u0644\u0647", "\u0631\u064a\u0627\u0644"}
_SMALL = 0.85  # of the size of the text: what is raised is no larger
_RISE, _FALL, _FARTHEST = 0.12, 0.06, 0.75  # of that size


def logical(text: str, lefts: Sequence[float], origins: Sequence[float]) -> str:
    """Text with its words from right to left in the order in which they are read.

    ``lefts`` are the left edges of its characters, ``origins`` where their glyphs are drawn.
    """
    parts, end = [], 0
    for word in _WORD.finditer(text):
        parts.append(text[end : word.start()])
        places = list(range(*word.span()))
        letters = [n for n in places if not unicodedata.combining(text[n])]
        steps = [lefts[b] - lefts[a] for a, b in pairwise(letters)]
        if sum(step > 0 for step in steps) > sum(step < 0 for step in steps):
            places = _reversed(places, set(letters))
        parts.append(_ligatures([text[n] for n in places], [origins[n] for n in places]))
        end = word.end()
    whole = "".join([*parts, text[end:]])
    return _SHAPES.sub(lambda shape: unicodedata.normalize("NFKC", shape[0]), whole)


def _reversed(places: list[int], letters: set[int]) -> list[int]:
    """Turned round, marks staying behind their letters."""
    groups: list[list[int]] = []
    for place in places:
        if place in letters or not groups:
            groups.append([])
        groups[-1].append(place)
    return [place for group in reversed(groups) for place in group]


def _ligatures(characters: list[str], origins: list[float]) -> str:
    """A word with the characters of each ligature in order."""
    start = 0
    for end in range(1, len(characters) + 1):
        if end < len(characters) and origins[end] == origins[start]:
            continue
        glyph = characters[start:end]
        turned = "".join(reversed(glyph))
        if turned in _WORDS_IN_ONE:
            characters[start:end] = turned
        else:
            for n in range(start, end - 1):
                if characters[n] in _ALEFS and characters[n + 1] == _LAM:
                    characters[n], characters[n + 1] = characters[n + 1], characters[n]
        start = end
    return "".join(characters)


def at_their_heights(
    characters: list[str], sizes: NDArray[Any], heights: NDArray[Any], places: list[int]
) -> None:
    """Write raised and lowered characters as such.

    ``sizes`` and ``heights`` (of the baseline) are those of the characters at ``places``.
    """
    usual = float(sizes.max())
    line = float(heights[sizes >= _SMALL * usual].mean())
    rise = (heights - line) / usual
    kinds = (sizes < _SMALL * usual) * (
        ((rise > _RISE) & (rise < _FARTHEST)) * 1 - ((rise < -_FALL) & (rise > -_FARTHEST)) * 1
    )
    start = 0
    for end in range(1, len(places) + 1):
        if end < len(places) and kinds[end] == kinds[start]:
            continue
        if kinds[start]:
            first, last = places[start], places[end - 1]
            text = "".join(characters[first : last + 1])
            if any(map(str.isdecimal, text)):  # letters may as well be badly recognised ones
                characters[first : last + 1] = [""] * (last + 1 - first)
                characters[first] = raised(text) if kinds[start] > 0 else lowered(text)
        start = end

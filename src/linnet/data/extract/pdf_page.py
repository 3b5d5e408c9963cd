"""A page of a PDF as pieces of text with their places.

PDF says where each glyph is drawn and nothing of words, lines or columns (ISO
32000-1, 9.4). PDFium orders the glyphs as they are drawn and adds the blanks; a
*span* is a run of them on one line without a wide gap. Places are in points, y
upwards, turned so that the text is upright.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.data.extract.typeface import decoded, is_symbolic, lowered, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


WIDE_GAP = 1.0  # of the height of the text: what is further apart is not one span


@dataclass(slots=True)
class Span:
    """Text on one line, in points, y upwards. ``y`` is its baseline, ``size`` its height."""

    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool = False
    mono: bool = False


_LINE_SHIFT = 0.45  # baselines further apart than this share of the height are other lines
_SLANT = 0.35  # radians off a right angle: watermarks (skewed italics are less)
_MOST_OBJECTS = 4000  # a page with more is a drawing; its lines are no rules of tables
_BLANKS = [0, 9, 10, 11, 12, 13, 32, 0xA0, 0x2002, 0x2003, 0x2009, 0x200B, 0x3000, 0xFEFF]
_HYPHEN_AT_LINE_END = "\x02"  # what PDFium makes of it
_FIXED_PITCH, _FORCED_BOLD = 1, 1 << 18  # flags of a font descriptor, ISO 32000-1, 9.8.2
_MONO = re.compile(r"mono|courier|consol|typewriter|menlo|cmtt|sftt|lmtt|ectt|code", re.I)
_BOLD = re.compile(r"bold|black|heavy|semib|demi|cmbx|cmb10|sfbx|ecbx", re.I)
_EAST_ASIAN = re.compile("[\u1100-\u11ff\u2e80-\ud7ff\uf900-\ufaff\uff00-\uffef]")
_SPACES = re.compile(r"\s+")


@dataclass(slots=True)
class Page:
    """``layers``: the spans for each direction of text, that of most text first, in drawing
    order. ``rules``: horizontal lines as (x0, x1, y). ``top``, ``bottom``: the edges of the
    page. ``notes``: comments attached to it. ``slanted`` counts glyphs left out as they are
    neither upright nor on their side."""

    layers: list[list[Span]]
    rules: list[tuple[float, float, float]]
    top: float
    bottom: float
    notes: list[str]
    slanted: int = 0
    number: int = 0  # from 1
    scanned: list[str] = field(default_factory=list)  # paragraphs of its image, by OCR


def read_page(page: Any) -> Page:
    """The spans of a ``pypdfium2.PdfPage``."""
    left, bottom, right, top = page.get_bbox()
    textpage = page.get_textpage()
    try:
        glyphs = _Glyphs(textpage, (left, bottom, right, top))
        layers = [list(glyphs.spans(textpage, turn)) for turn in glyphs.turns()]
    finally:
        textpage.close()
    typed, notes = written_on(page)
    upright = not layers or glyphs.turns()[0] == 0
    if typed and upright and layers:
        layers[0] += typed
    elif typed:
        layers.append(typed)
    # Rules help with the page's main text only, where that is upright.
    return Page(layers, list(_rules(page)) if upright else [], top, bottom, notes, glyphs.slanted)


class _Glyphs:
    """The visible glyphs of a page as arrays: ``index`` (of PDFium), ``box`` (left, top, right,
    bottom), ``origin`` (x, y), ``turn`` (quarters of a circle)."""

    def __init__(self, textpage: Any, edges: tuple[float, float, float, float]) -> None:
        import pypdfium2.raw as pdfium

        count = max(textpage.count_chars(), 0)
        handle = ctypes.cast(textpage.raw, ctypes.c_void_p).value
        each = (repeat(handle), range(count))
        unicode = list(map(_fast(pdfium.FPDFText_GetUnicode, ctypes.c_uint), *each))
        self.text = "".join(map(chr, map(_valid, unicode)))
        box = self.boxes = np.zeros((count, 4), np.float32)
        _for_each(_fast(pdfium.FPDFText_GetLooseCharBox, ctypes.c_int, 1), each, box, 1)
        origin = self.origins = np.zeros((count, 2), np.float64)
        _for_each(_fast(pdfium.FPDFText_GetCharOrigin, ctypes.c_int, 2), each, origin, 2)
        angle = np.array(list(map(_fast(pdfium.FPDFText_GetCharAngle, ctypes.c_float), *each)))
        quarters = angle / (np.pi / 2) if count else np.zeros(0)
        turn = np.rint(quarters)
        straight = np.abs(quarters - turn) * (np.pi / 2) < _SLANT
        x, y = origin[:, 0], origin[:, 1]
        left, bottom, right, top = edges
        seen = ~np.isin(np.array(unicode, np.uint32), _BLANKS)
        seen &= (x > left - 2) & (x < right + 2) & (y > bottom - 2) & (y < top + 2)
        self.slanted = int((seen & ~straight).sum())
        self.index = np.flatnonzero(seen & straight)
        self.box, self.origin = box[self.index].astype(np.float64), origin[self.index]
        self.turn = turn[self.index].astype(int) % 4

    def turns(self) -> list[int]:
        """The directions in which text runs, the most frequent first."""
        counts = np.bincount(self.turn, minlength=4)
        return [int(turn) for turn in np.argsort(-counts, kind="stable") if counts[turn]]

    def spans(self, textpage: Any, turn: int) -> Iterator[Span]:
        """The spans of the text of one direction, in drawing order."""
        chosen = self.turn == turn
        index = self.index[chosen]
        left, top, right, bottom = _upright(self.box[chosen], turn)
        origin = self.origin[chosen]
        y = _rotated(origin[:, 0], origin[:, 1], turn)[1]
        size = np.maximum(top - bottom, 1.0)
        height = np.maximum(size[1:], size[:-1])
        # Text that runs to the left has the next glyph on the other side.
        gap = np.maximum(left[1:] - right[:-1], left[:-1] - right[1:])
        parted = (np.abs(np.diff(y)) > _LINE_SHIFT * height) | (gap > WIDE_GAP * height)
        starts = np.flatnonzero(np.concatenate(([True], parted)))
        ends = np.append(starts[1:], len(index))
        x0, x1 = np.minimum.reduceat(left, starts), np.maximum.reduceat(right, starts)
        fonts = _fonts(textpage)
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            first, last = int(index[start]), int(index[end - 1])
            middle = (start + end) // 2
            looks = [fonts(place) for place in (first, int(index[middle]), last)]
            bold, mono = all(look.bold for look in looks), all(look.mono for look in looks)
            part = slice(start, end)
            text = self._meant(index[part], size[part], y[part], fonts)
            text = text.replace(_HYPHEN_AT_LINE_END, "-")
            mono = mono and not _EAST_ASIAN.search(text)
            text = text.replace("\r", "").replace("\n", "") if mono else _SPACES.sub(" ", text)
            yield Span(
                float(x0[number]), float(x1[number]), float(y[middle]), float(size[middle]),
                text, bold, mono,
            )  # fmt: skip

    def _meant(
        self,
        index: NDArray[Any],
        size: NDArray[Any],
        y: NDArray[Any],
        fonts: Callable[[int], _Look],
    ) -> str:
        """The text from the first of these glyphs to the last, as its look says."""
        first, end = int(index[0]), int(index[-1]) + 1
        text = self.text[first:end]
        if RIGHT_TO_LEFT.search(text):
            lefts, origins = self.boxes[first:end, 0], self.origins[first:end, 0]
            return logical(text, lefts.tolist(), origins.tolist())
        places = (index - first).tolist()
        characters = list(text)
        for place in places:
            private = "\uf020" <= text[place] <= "\uf0ff"
            if private or place == 0:
                font = fonts(first + place).symbols
                # Letters of such a font are its own where they are pictures.
                if font and (private or "ding" in font.lower()):
                    characters[place] = decoded(text[place], font)
        if float(size.min()) < 0.85 * float(size.max()):
            at_their_heights(characters, size, y, places)
        return "".join(characters)


@dataclass(frozen=True, slots=True)
class _Look:
    """``symbols``: the name of the font if it shows signs in the places of letters."""

    bold: bool
    mono: bool
    symbols: str


def _valid(code: int) -> int:
    """Half of a surrogate pair or no character at all: U+FFFD."""
    return code if code < 0xD800 or 0xE000 <= code < 0x110000 else 0xFFFD


def _fast(function: Any, result: Any, pointers: int = 0) -> Callable[..., Any]:
    """A function of PDFium that takes (text page, index, addresses) without conversions."""
    prototype = ctypes.PYFUNCTYPE(
        result, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * pointers
    )
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return prototype(address)


def _for_each(
    function: Callable[..., Any], each: tuple[Any, Any], out: NDArray[Any], pointers: int
) -> None:
    """Call ``function`` for every glyph; it writes into its row of ``out``."""
    row = out.itemsize * out.shape[1]
    addresses = [
        range(start, start + row * len(out), row)
        for start in range(out.ctypes.data, out.ctypes.data + row, row // pointers)
    ]
    for _ in map(function, *each, *addresses):
        pass


def _rotated(x: NDArray[Any], y: NDArray[Any], turn: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Places turned so that text drawn at ``turn`` quarters is upright."""
    return ((x, y), (-y, x), (-x, -y), (y, -x))[turn]


def _upright(box: NDArray[Any], turn: int) -> tuple[NDArray[Any], ...]:
    x0, y0 = _rotated(box[:, 0], box[:, 1], turn)
    x1, y1 = _rotated(box[:, 2], box[:, 3], turn)
    return np.minimum(x0, x1), np.maximum(y0, y1), np.maximum(x0, x1), np.minimum(y0, y1)


def _fonts(textpage: Any) -> Callable[[int], _Look]:
    """How the font of a glyph looks."""
    import pypdfium2.raw as pdfium

    name, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    known: dict[tuple[bytes, int], _Look] = {}

    def font(index: int) -> _Look:
        pdfium.FPDFText_GetFontInfo(textpage, index, name, len(name), ctypes.byref(flags))
        key = (name.value, flags.value)
        if key not in known:
            text = name.value.decode("utf-8", "replace")
            bold = bool(_BOLD.search(text) or flags.value & _FORCED_BOLD)
            mono = bool(_MONO.search(text) or flags.value & _FIXED_PITCH)
            known[key] = _Look(bold, mono, text if is_symbolic(text) else "")
        return known[key]

    return font


def _rules(page: Any) -> Iterator[tuple[float, float, float]]:
    """Horizontal lines and edges of boxes as (x0, x1, y)."""
    import pypdfium2.raw as pdfium

    count = pdfium.FPDFPage_CountObjects(page)
    edges = [ctypes.c_float() for _ in range(4)]
    pointers = [ctypes.byref(edge) for edge in edges]
    for number in range(count if count <= _MOST_OBJECTS else 0):
        item = pdfium.FPDFPage_GetObject(page, number)
        if pdfium.FPDFPageObj_GetType(item) != pdfium.FPDF_PAGEOBJ_PATH:
            continue
        if pdfium.FPDFPageObj_GetBounds(item, *pointers):
            x0, y0, x1, y1 = (edge.value for edge in edges)
            if x1 - x0 > 20:
                yield from ((x0, x1, y) for y in ({y0, y1} if y1 - y0 > 3 else {y0}))


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


_MOST = 5000  # of a page
_LARGEST = 12.0  # points: the text of a field is no taller
_LONGEST = 1 << 20  # bytes of a text


def written_on(page: Any) -> tuple[list[Span], list[str]]:
    """Text to be read where it stands (fields, typed text), and comments on what stands there."""
    import pypdfium2.raw as pdfium

    typed: list[Span] = []
    notes: list[str] = []
    for number in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST)):
        annotation = pdfium.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind == pdfium.FPDF_ANNOT_WIDGET:
            typed += _placed(annotation, _string(annotation, b"V"))
        elif kind == pdfium.FPDF_ANNOT_FREETEXT:
            typed += _placed(annotation, _string(annotation, b"Contents"))
        elif kind not in (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP):
            notes.append(_string(annotation, b"Contents"))
        pdfium.FPDFPage_CloseAnnot(annotation)
    return typed, list(filter(None, notes))


def _string(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as pdfium

    size = pdfium.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    if not 2 < size <= _LONGEST:
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    pdfium.FPDFAnnot_GetStringValue(annotation, key, buffer, size)
    text = bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")
    return "\n".join(text.splitlines()).strip()


def _placed(annotation: Any, text: str) -> Iterator[Span]:
    """The lines of a text in the box of its annotation."""
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    if not text or not pdfium.FPDFAnnot_GetRect(annotation, box):
        return
    lines = text.split("\n")
    step = abs(box.top - box.bottom) / len(lines)
    size = max(min(step * 0.8, _LARGEST), 1.0)
    for number, line in enumerate(lines):
        y = max(box.top, box.bottom) - step * (number + 0.5) - size * 0.3
        yield Span(box.left, max(box.right, box.left + 1), y, size, line)

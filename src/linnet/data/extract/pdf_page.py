"""A page of a PDF as pieces of text with their places.

PDF says where each glyph is drawn and nothing of words, lines or columns (ISO
32000-1, 9.4). PDFium orders the glyphs as they are drawn and adds the blanks; a
*span* is a run of them on one line without a wide gap. Places are in points, y
upwards, turned so that the text is upright.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.data.extract.pdf_annotations import written_on
from linnet.data.extract.pdf_characters import RIGHT_TO_LEFT, at_their_heights, logical
from linnet.data.extract.pdf_span import WIDE_GAP, Span
from linnet.data.extract.typeface import decoded, is_symbolic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

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

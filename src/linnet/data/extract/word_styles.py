"""The styles of Word documents: which are headings, belong to lists, or raise their text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linnet.data.extract.ooxml import property_value, switched_on
from linnet.data.extract.package import attribute

if TYPE_CHECKING:
    from linnet.data.extract.ooxml import Part


@dataclass(frozen=True)
class Style:
    """``number``: of the list that paragraphs of this style are items of; empty for none.

    ``level`` is the level in it where the style says, ``lister`` the style that names the list,
    ``raised`` what runs of a character style are: superscript, subscript or nothing; ``font``
    theirs.
    """

    number: str = ""
    level: int | None = None
    lister: str = ""
    heading: int = 0  # its level, from 1
    contents: bool = False
    raised: str = ""
    font: str = ""


PLAIN = Style()
_LONGEST_CHAIN = 16  # of styles based on one another; a circle has no end


def styles(main: Part) -> dict[str, Style]:
    """The styles by their identifiers; "" is the one of paragraphs that name none."""
    found: dict[str, Any] = {}
    for name in main.related("styles")[:1]:
        found = {attribute(s, "styleId"): s for s in main.package.xml(name).findall("style")}
    known = {identifier: _style(identifier, found) for identifier in found}
    for identifier, element in found.items():
        default = attribute(element, "default") in ("1", "true")
        if default and attribute(element, "type") == "paragraph":
            known[""] = known[identifier]
    return known


def _style(identifier: str, elements: dict[str, Any]) -> Style:
    """A style with what it takes over from those it is based on."""
    level: int | None = None
    number = lister = raised = font = ""
    heading, contents = 0, False
    for _ in range(_LONGEST_CHAIN):
        if identifier not in elements:
            break
        element = elements[identifier]
        name = property_value(element, "name").lower()
        heading = heading or _heading(name, property_value(element, "pPr/outlineLvl"))
        contents |= name.startswith("toc ")
        if not number and (number := property_value(element, "pPr/numPr/numId")):
            lister = identifier
        if level is None:
            level = _level(element.find("pPr/numPr"))
        if attribute(element, "type") == "character":
            raised = raised or property_value(element, "rPr/vertAlign")
            font = font or run_font(element.find("rPr"))
        identifier = property_value(element, "basedOn")
    return Style(number, level, lister, heading, contents, raised, font)


def _heading(name: str, outline: str) -> int:
    """The level of headings of this style: titles are above the first of them."""
    if name.startswith("title"):
        return 1
    if outline in set("012345678"):
        return int(outline) + 2
    last = name.rpartition(" ")[2]
    level = int(last) if last.isdecimal() and len(last) == 1 else 1
    return level + 1 if name.startswith("heading") else 0


def list_place(numbering: Any | None, style: Style) -> tuple[str, int | None]:
    """The list that ``w:numPr`` or the style gives, and the level; "" and 0 are no list."""
    number = property_value(numbering, "numId") if numbering is not None else ""
    level = _level(numbering)
    number = number or style.number
    return ("" if number == "0" else number), style.level if level is None else level


def run_font(properties: Any | None) -> str:
    """The font that a run names; empty where it names none."""
    fonts = properties.find("rFonts") if properties is not None else None
    if fonts is None:
        return ""
    return attribute(fonts, "ascii") or attribute(fonts, "hAnsi")


def _level(numbering: Any | None) -> int | None:
    level = property_value(numbering, "ilvl") if numbering is not None else ""
    return int(level) if level.isdecimal() else None


_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")
_MOST_LINKS = 8  # of lists that take their levels from a style; a circle has no end
_LARGEST_ROMAN = 3999
_MOST_LETTERS = 10  # z is followed by aa, bb, cc; Word repeats them without end
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_ALPHABETS = {
    "lowerLetter": "abcdefghijklmnopqrstuvwxyz",
    "russianLower": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "hebrew2": "אבגדהוזחטיכלמנסעפצקרשת",
    "arabicAlpha": "أبتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "arabicAbjad": "أبجدهوزحطيكلمنسعفصقرشتثخذضظغ",
    "thaiLetters": "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ",
    "aiueoFullWidth": "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホ"
    "マミムメモヤユヨラリルレロワヲン",
    "irohaFullWidth": "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケ"
    "フコエテアサキユメミシヱヒモセスン",
    "ganada": "가나다라마바사아자차카타파하",
    "chosung": "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ",
    "chicago": "*†‡§",
}
_DIGITS = {
    "decimalFullWidth": "０１２３４５６７８９", "ideographDigital": "〇一二三四五六七八九",
    "hindiNumbers": "०१२३४५६७८९", "thaiNumbers": "๐๑๒๓๔๕๖๗๘๙",
    "taiwaneseDigital": "○一二三四五六七八九", "japaneseDigitalTenThousand": "〇一二三四五六七八九",
}  # fmt: skip
_COUNTED = {  # numbers as they are spoken in Chinese, Japanese and Korean
    "chineseCounting", "chineseCountingThousand", "taiwaneseCounting", "japaneseCounting",
    "taiwaneseCountingThousand", "koreanCounting",
}  # fmt: skip
_UNNUMBERED = {"bullet", "none"}


@dataclass
class _Level:
    start: int = 1
    form: str = "decimal"
    text: str = ""
    restart: int | None = None  # the level whose use begins this one anew; 0 for none
    legal: bool = False  # other levels are shown in decimal


@dataclass
class _List:
    """A list that paragraphs name: its levels, and where its own counting begins."""

    abstract: str = ""
    levels: dict[int, _Level] = field(default_factory=dict)
    begins: dict[int, int] = field(default_factory=dict)


class Numbering:
    """Counts as the paragraphs of a document come."""

    def __init__(self, main: Part) -> None:
        self.lists: dict[str, _List] = {}
        self.style_levels: dict[tuple[str, str], int] = {}  # by list and paragraph style
        self._counts: dict[str, list[int | None]] = {}
        for name in main.related("numbering")[:1]:
            self._read(main.package.xml(name))

    def level_of(self, number: str, style: str) -> int | None:
        """The level of a list that belongs to a paragraph style."""
        return self.style_levels.get((number, style))

    def mark(self, number: str, level: int) -> str | None:
        """The number of the next paragraph at this level; "" for a bullet.

        None where the list has no such level, and so nothing is shown.
        """
        one = self.lists.get(number)
        if one is None or not 0 <= level < _LEVELS:
            return "" if not self.lists else None
        form = one.levels.get(level)
        if form is None:
            return None
        counts = self._counts.setdefault(one.abstract, [None] * _LEVELS)
        if level in one.begins:  # the first paragraph of a list that begins anew
            counts[level] = one.begins.pop(level) - 1
        count = counts[level]
        counts[level] = form.start if count is None else count + 1
        for deeper in range(level + 1, _LEVELS):
            below = one.levels.get(deeper, _Level())
            if below.restart is None or (below.restart and level < below.restart):
                counts[deeper] = None
        if form.form == "bullet":
            return ""
        return self._shown(one, level, counts).strip() or None

    def _shown(self, one: _List, level: int, counts: list[int | None]) -> str:
        legal = one.levels[level].legal

        def value(match: re.Match[str]) -> str:
            place = int(match[1]) - 1
            form = one.levels.get(place, _Level())
            count = counts[place]
            if count is None:  # a level that was passed over shows where it would begin
                count = counts[place] = form.start
            return numeral(count, "decimal" if legal else form.form)

        return _PLACE.sub(value, one.levels[level].text)

    def _read(self, root: Any) -> None:
        abstracts = {attribute(e, "abstractNumId"): e for e in root.findall("abstractNum")}
        styles = {property_value(e, "styleLink"): e for e in abstracts.values()}
        for element in root.findall("num"):
            identifier = property_value(element, "abstractNumId")
            abstract = abstracts.get(identifier)
            for _ in range(_MOST_LINKS):
                link = property_value(abstract, "numStyleLink") if abstract is not None else ""
                if not link or link not in styles:
                    break
                abstract = styles[link]
            if abstract is None:
                continue
            one = _List(attribute(abstract, "abstractNumId"))
            number = attribute(element, "numId")
            self._levels(abstract, one, number)
            for override in element.findall("lvlOverride"):
                self._levels(override, one, number)
                start = property_value(override, "startOverride")
                if start.isdecimal() and (level := _level_number(override)) is not None:
                    one.begins[level] = int(start)
            self.lists[number] = one

    def _levels(self, parent: Any, one: _List, number: str) -> None:
        for element in parent.findall("lvl"):
            level = _level_number(element)
            if level is None:
                continue
            start, restart = (property_value(element, n) for n in ("start", "lvlRestart"))
            one.levels[level] = _Level(
                int(start) if start.isdecimal() else 0,
                property_value(element, "numFmt") or "decimal",
                property_value(element, "lvlText"),
                int(restart) if restart.isdecimal() else None,
                switched_on(element.find("isLgl")),
            )
            if style := property_value(element, "pStyle"):
                self.style_levels[number, style] = level


def _level_number(element: Any) -> int | None:
    value = attribute(element, "ilvl")
    return int(value) if value.isdecimal() and int(value) < _LEVELS else None


def numeral(count: int, form: str) -> str:
    """A number as a list of this format (section 17.18.59) shows it; decimal for rare ones."""
    if form in _UNNUMBERED:
        return ""
    if form == "decimalZero":
        return f"{count:02d}"
    if form == "ordinal":
        return f"{count}{_ordinal(count)}"
    if form == "upperRoman" or form == "lowerRoman":
        text = _roman(count)
        return text.upper() if form == "upperRoman" else text
    if form in ("upperLetter", "russianUpper"):
        return numeral(
            count, f"lower{form[5:]}" if form == "upperLetter" else "russianLower"
        ).upper()
    if (alphabet := _ALPHABETS.get(form)) and count > 0:
        times, place = divmod(count - 1, len(alphabet))
        return alphabet[place] * min(times + 1, _MOST_LETTERS)
    if digits := _DIGITS.get(form):
        return "".join(digits[int(d)] for d in str(count))
    if form in _COUNTED and 0 < count < 100:
        tens, ones = divmod(count, 10)
        digits = "零一二三四五六七八九"
        spoken = f"{digits[tens] if tens > 1 else ''}{'十' if tens else ''}"
        return spoken + (digits[ones] if ones else "")
    if form.startswith("decimalEnclosedCircle") and 0 < count <= 20:
        return chr(0x245F + count)
    return str(count)


def _roman(count: int) -> str:
    if not 0 < count <= _LARGEST_ROMAN:
        return str(count)
    found = ""
    for value, letters in _ROMAN:
        times, count = divmod(count, value)
        found += letters * times
    return found


def _ordinal(count: int) -> str:
    return "th" if 10 < count % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")

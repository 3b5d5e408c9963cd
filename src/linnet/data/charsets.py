"""Which legacy encoding are these bytes in? By likelihood under simple models of languages.

Every candidate encoding is tried with every language that was written in it. What a
decoded text costs (in bits: the fewer, the likelier) comes from how frequent its letters
are in the language, from capitals within words, scripts mixed in a word, symbols between
letters and bytes that the encoding leaves undefined. ASCII costs the same in all of them
and is not counted, but it tells the language.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from linnet.data.language import identify

# Letters beyond ASCII, the most frequent first.
_WESTERN = {
    "de": "üäöß", "fr": "éèàêçôâîûùïœëÿ", "es": "óíáéñúü¿¡", "pt": "ãçáéíõóêâúàô", "it": "èàùòìé",
    "nl": "ëéïöü", "sv": "äåöé", "da": "åøæé", "nb": "åøæé", "no": "åøæé", "nn": "åøæé",
    "fi": "äöå", "is": "ðíáþúóéýæö",
    "ca": "àéèíóòçúïü·",
}  # fmt: skip
_CENTRAL = {
    "pl": "łąęóżśćńź", "cs": "íáěéřčšžýůúťňďó", "sk": "áíéčýúžšľťôňďóäŕĺ", "hu": "áéöóőüíúű",
    "ro": "ăîâţşșț", "hr": "šžčćđ", "bs": "šžčćđ", "sl": "čšž", "de": "üäöß",
}  # fmt: skip
_TURKISH = {"tr": "ıüşğçöâî"}
_BALTIC = {"et": "äõüöšž", "lv": "āīēšņūļžķģč", "lt": "ėšųįžčūąę"}
_CYRILLIC = {
    "ru": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", "uk": "оаинівтерслкдумпяьзбгчйхжшїєюцщфґ",
    "bg": "аоиентрсвлдпкмзгуъчбщжяцхшйюфь", "sr": "аиоенрстујвдкмлпзбгчшцжљњћфхђџ",
}  # fmt: skip
_GREEK = {"el": "αοιετσνηυρπκμίόάλςωέήύδώγχθφβξζψϊΐϋΰ"}
_HEBREW = {"he": "יוהלאמרתבשםנעדחקפטצזסגכןךףץ"}
_ARABIC = {"ar": "اليمنورتبةعدسفهكقحجشأصطزضخذإءثظغئىآؤکپچگژ"}
_THAI = {"th": "านรอก่เง้ยลวมีัทสิตะดบปคื็หุแจพำชขใไูโผ์ซถศธณฉภษฐญฝฟๆฏฮฬฎฆฌฑฤ"}

# Encodings with the languages written in them and how rare they are (bits).
_SINGLE: tuple[tuple[str, dict[str, str], float], ...] = (
    ("cp1252", _WESTERN, 0), ("cp1250", _CENTRAL, 3), ("cp1251", _CYRILLIC, 2),
    ("koi8-u", _CYRILLIC, 3), ("cp1253", _GREEK, 3), ("cp1254", _TURKISH, 4),
    ("cp1255", _HEBREW, 3), ("cp1256", _ARABIC, 3), ("cp1257", _BALTIC, 4),
    ("cp874", _THAI, 3), ("iso8859-2", _CENTRAL, 4), ("iso8859-15", _WESTERN, 6),
    ("iso8859-7", _GREEK, 4), ("iso8859-6", _ARABIC, 5), ("iso8859-5", _CYRILLIC, 5),
    ("iso8859-4", _BALTIC, 6), ("cp866", _CYRILLIC, 5), ("mac-cyrillic", _CYRILLIC, 7),
    ("mac-roman", _WESTERN, 7), ("cp850", _WESTERN, 7), ("cp852", _CENTRAL, 7),
    ("cp437", _WESTERN, 9), ("cp737", _GREEK, 9), ("cp862", _HEBREW, 9),
    ("mac-latin2", _CENTRAL, 9), ("mac-greek", _GREEK, 9),
)  # fmt: skip

_SIMPLIFIED = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道"
    "行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意"
    "无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什"
    "二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义"
    "各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金"
)
_TRADITIONAL = (
    "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道"
    "行所然家種事成方多經麼去法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日軍者意"
    "無力它與長把機十民第公此已工使情明性知全三又關點正業外將兩高間由問很最重並物手應戰向頭文體政美相見被利什"
    "二等產或新己制身果加西斯月話合回特代內信表化老給世位次度門任常先海通教兒原東聲提立及比員解水名真論處走義"
    "各入幾口認條平系氣題活爾更別打女變四神總何電數安少報才結反受目太量再感建務做接必場件計管期市直德資命山金"
)
_KANA = (
    "のいにるをとはたしがでてなすれこっらかもりんあさよまだうおくきせみじえけわつどち"
    "ばめそやげねべゃょろほずびへむごぐぶ"
)
_KANJI = (
    "日一人年大国会中本出上月時行分者見前東京社的事後部自合間発地業方内学場立高市長新同手力対理定作用通生"
    "員金体主性法気入全目表動化経今問度文平機関数明外当成意実現下電話様所名小三二十四五九八七六"
)
_HANGUL = (
    "이다는을의가에고를지하은인한사도기로어나서자대시리아해그정있들부일과수것등제전보게면라만스장주여안관세성적무비"
    "상회구동국원공년조우했생중되모오음당위연교소내신선경문유던까며니요없습"
)


class _Ideographs(NamedTuple):
    """How a language of East Asia is written: its frequent characters, and the rows of its
    national standard that hold the characters in common use."""

    frequent: str
    standard: str
    first_row: int
    last_row: int
    rarity: float


_CHINESE = _Ideographs(_SIMPLIFIED, "gb2312", 0xB0, 0xD7, 3)
_JAPANESE = _Ideographs(_KANJI, "euc_jp", 0xB0, 0xCF, 3)
_MULTI = {
    "gb18030": _CHINESE,
    "cp932": _JAPANESE,
    "euc_jp": _JAPANESE._replace(rarity=4),
    "cp950": _Ideographs(_TRADITIONAL, "big5", 0xA4, 0xC6, 3),
    "cp949": _Ideographs(_HANGUL, "euc_kr", 0xB0, 0xC8, 3),
}
DOUBLE_BYTE = frozenset(_MULTI)

_CASE_BREAK, _MIXED, _BETWEEN, _OTHER_LANGUAGE = 8.0, 5.0, 4.0, 12.0  # bits
_CUT = 9.0
_NOT_OF_LANGUAGE, _MARK, _SYMBOL, _PUNCTUATION, _UNDEFINED = 11.0, 9.0, 10.0, 5.0, 20.0
_QUOTES = "“”‘’„‚«»–—…\xa0•·′″‹›、。「」『』（），．：；！？・ー　％～"
_CLOSING, _OPENING = "”’»–—…\xa0·›", "“‘„‚«–—…\xa0·‹’"
_OPENING_BEYOND_LATIN = _OPENING.rstrip("’")  # no elision
_ASCII = bytes(range(128))
_BELOW_DIGITS = re.compile(rb"[\x00-\x2f]")  # never the second half of a character


class Guess(NamedTuple):
    """``cost``: bits for each byte that is not ASCII. ``errors``: bytes that do not fit."""

    cost: float
    encoding: str
    errors: int


def ranked(sample: bytes) -> list[Guess]:
    """The encodings that ``sample`` may be in, the likeliest first.

    The sample ends between characters; its first one may be cut.
    """
    high = max(beyond_ascii(sample), 1)
    guesses = [
        Guess((cost + models.rarity) / high, name, errors)
        for name, models in _MULTI.items()
        for cost, errors in [_uncut(sample, name)]
    ]
    pairs = Counter(zip(b" " + sample, sample + b" ", strict=True))
    counted = [(a, b, n) for (a, b), n in pairs.items() if a > 127 or b > 127]
    language, probability = identify(sample.decode("cp1252", "replace"))
    for name, languages, rarity in _SINGLE:
        undefined = sum(n for _, b, n in counted if b > 127 and not _table(name)[b])
        cost = min(
            _alphabetic_cost(counted, name, letters)
            + _OTHER_LANGUAGE * probability * (code != language)
            for code, letters in languages.items()
        )
        guesses.append(Guess((cost + rarity) / high, name, undefined))
    return sorted(guesses, key=lambda guess: guess.cost)


def beyond_ascii(data: bytes) -> int:
    """How many bytes are none of ASCII."""
    return len(data.translate(None, _ASCII))


def begins_cut(data: bytes, encoding: str) -> bool:
    """Whether text in a double-byte encoding is likelier without its first byte, which then
    was the second half of a character."""
    whole, rest = (_ideographic_cost(part, encoding)[0] for part in (data, data[1:]))
    return rest + _CUT < whole


def _uncut(sample: bytes, name: str) -> tuple[float, int]:
    """The cost of a sample, with or without its first byte."""
    cost, errors = _ideographic_cost(sample, name)
    border = _BELOW_DIGITS.search(sample)
    first = sample[: border.start() if border else len(sample)]
    gain = _ideographic_cost(first, name)[0] - _ideographic_cost(first[1:], name)[0] - _CUT
    return cost - max(gain, 0.0), errors


def _alphabetic_cost(pairs: list[tuple[int, int, int]], name: str, letters: str) -> float:
    table, single, total = _table(name), _costs(name, letters), 0.0
    latin = ord(letters[0]) < 0x370
    for before, byte, count in pairs:
        cost = single[byte] if byte > 127 else 0.0
        last, this = table[before], table[byte]
        if last.isalpha() and this.isalpha():
            if last.islower() and this.isupper():
                cost += _CASE_BREAK
            if not latin and last.isascii() != this.isascii():
                cost += _MIXED
        elif (
            (byte > 127 and last.isalpha() and this not in _CLOSING and not _is_mark(this))
            or (before > 127 and this.isalpha() and not _is_mark(last)
                and last not in (_OPENING if latin else _OPENING_BEYOND_LATIN))
        ):  # fmt: skip
            cost += _BETWEEN
        total += cost * count
    return total


@functools.cache
def _table(name: str) -> tuple[str, ...]:
    """The character of each byte; empty for those that the encoding leaves undefined."""
    decoded = (bytes([byte]).decode(name, "ignore") for byte in range(256))
    return tuple("" if "\x80" <= c <= "\x9f" else c for c in decoded)


@functools.cache
def _costs(name: str, letters: str) -> tuple[float, ...]:
    scale = sum(1 / (rank + 3) for rank in range(len(letters)))
    by_letter = {letter: math.log2((rank + 3) * scale) + 0.3 for rank, letter in enumerate(letters)}
    return tuple(_cost_of(character, by_letter) for character in _table(name))


def _cost_of(character: str, by_letter: dict[str, float]) -> float:
    if not character:
        return _UNDEFINED
    if character in by_letter:
        return by_letter[character]
    if (lower := character.lower()) in by_letter:
        return by_letter[lower] + 3
    if _is_mark(character):
        return _MARK
    if character.isalpha():
        return _NOT_OF_LANGUAGE
    return _PUNCTUATION if character in _QUOTES else _SYMBOL


def _is_mark(character: str) -> bool:
    return unicodedata.category(character or " ") in ("Mn", "Mc")


def _ideographic_cost(sample: bytes, name: str) -> tuple[float, int]:
    """Bits, and bytes that do not fit."""
    text = sample.decode(name, "surrogateescape")
    counts = Counter(text)
    total, errors = 0.0, 0
    for character, count in counts.items():
        if "\udc80" <= character <= "\udcff":
            errors += count
            total += _UNDEFINED * count
        elif not character.isascii():
            total += _cost_of_ideograph(character, name) * count
    touching = len(re.findall(r"[A-Za-z](?=[^\x00-\x7f])|[^\x00-\x7f](?=[A-Za-z])", text))
    return total + _BETWEEN * touching, errors


@functools.lru_cache(maxsize=1 << 15)
def _cost_of_ideograph(character: str, name: str) -> float:
    models = _MULTI[name]
    if character in _QUOTES:
        return _PUNCTUATION
    japanese = models.standard == "euc_jp"
    if "\u3041" <= character <= "\u3096" or character == "ー":
        rank = _KANA.find(character)
        return (4.0 + rank / 20 if rank >= 0 else 8.0) if japanese else 16.0
    if "\u30a1" <= character <= "\u30fa":
        return 8.0 if japanese else 16.0
    rank = models.frequent.find(character)
    if rank >= 0:
        return 5.5 + rank / 100
    if "\uff61" <= character <= "\uff9f":  # half-width katakana, of a byte each
        return 14.0
    try:
        row = character.encode(models.standard)[0]
    except UnicodeEncodeError:
        return 22.0
    hangul = "\uac00" <= character <= "\ud7a3"
    if hangul != (models.standard == "euc_kr"):
        return 17.0
    return 12.5 if models.first_row <= row <= models.last_row else 17.0

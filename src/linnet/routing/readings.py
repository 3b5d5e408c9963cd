"""A text as it may be read: without disguise, decoded, turned around.

What must not leave may be hidden in what does: letters that look alike or are set apart, characters
that nobody sees, escapes, base64 in base64, a cipher of a child. A text is compared in every
reading that is found here, each made in time that grows with its length alone; what comes of
decoding is decoded again, so many times and up to so many characters. What is beyond that is not
passed over: :class:`Readings` says that it is incomplete.

Paraphrases, translations and real encryption are no readings: nothing here finds them.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import html
import itertools
import lzma
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt

from linnet.answers.instructions import UNSEEN

DEEPEST = 4
"""How often what was decoded is decoded again."""
LARGEST = 1 << 20
"""Characters of all that is decoded from a text, beside eight times its own."""
_SHORTEST = 12  # characters of an encoding that are worth decoding
_SHORTEST_TEXT = 5  # characters of what is decoded

# Letters of other scripts, and signs, that are taken for Latin ones; with those that NFKD maps.
_ALIKE = {
    "a": "аɑαᴀ🅐🅰🇦ꓮΑАᎪ", "b": "Ььʙвᏼ🅑🅱🇧ꓐΒВᏴ", "c": "сϲᴄ🅒🅲🇨ꓚСϹᏟ", "d": "ԁɗᴅ🅓🅳🇩ꓓᎠ",
    "e": "еҽᴇɛ🅔🅴🇪ꓰΕЕᎬє", "f": "ꜰғ🅕🅵🇫ꓝϜ", "g": "ɡɢց🅖🅶🇬ꓖᏀ", "h": "һʜհ🅗🅷🇭ꓧΗНᎻн",
    "i": "іıɩɪι🅘🅸🇮ꓲΙІᎥӀ", "j": "јϳᴊ🅙🅹🇯ꓙЈᎫ", "k": "кκᴋ🅚🅺🇰ꓗΚКᏦ", "l": "ʟⅼ🅛🅻🇱ꓡᏞ",
    "m": "мᴍ🅜🅼🇲ꓟΜМᎷ", "n": "ոɴη🅝🅽🇳ꓠΝп", "o": "оοօᴏ🅞🅾🇴ꓳΟОՕσ", "p": "рρᴘ🅟🅿🇵ꓑΡРᏢ",
    "q": "ԛզ🅠🆀🇶Ԛ", "r": "гᴦʀ🅡🆁🇷ꓣᎡ", "s": "ѕꜱ🅢🆂🇸ꓢЅՏᏚ", "t": "тτᴛ🅣🆃🇹ꓔΤТᎢ",
    "u": "υսᴜц🅤🆄🇺ꓴՍ", "v": "νѵᴠ🅥🆅🇻ꓦѴᏙ", "w": "ԝᴡωш🅦🆆🇼ꓪԜᎳ", "x": "хχ🅧🆇🇽ꓫΧХ",
    "y": "уүʏγ🅨🆈🇾ꓬΥУҮ", "z": "ᴢ🅩🆉🇿ꓜΖᏃ",
}  # fmt: skip
_LOOKALIKES = {ord(other): plain for plain, others in _ALIKE.items() for other in others}
_LOOKALIKES |= {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}  # tags
_LOOKALIKES |= dict(
    zip(map(ord, "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵"), "abcdefghijklmnopqrstuvwxyz", strict=True)
)
_LOOKALIKES |= {ord(a): b for a, b in zip("ıłøđħŧæœßþð", (
    "i", "l", "o", "d", "h", "t", "ae", "oe", "ss", "th", "d"), strict=True)}  # fmt: skip
# In the skeleton a cipher is taken for the letter that it looks like.
_LEVEL = {ord("0"): "o", ord("1"): "l", ord("i"): "l"}
_ASCII = bytes(ord({"0": "o", "1": "l", "i": "l"}.get(chr(c).lower(), chr(c).lower()))
               if c < 128 else c for c in range(256))  # fmt: skip
_DROPPED = bytes(code for code in range(128) if not chr(code).isalnum())

_UNWRITTEN = re.compile(r"[\W_]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
# Of Latin letters and of others, that look like them or not.
_MIXED = re.compile(
    r"(?<![^\W\d_])(?=[^\W\d_]{0,40}?[A-Za-z])(?=[^\W\d_]{0,40}?[\u0370-\uffff])[^\W\d_]++"
)
_TAG = re.compile("[\U000e0020-\U000e007e]")
LABEL = re.compile(r"\A\s*(?:[^\n:]{0,40}:|\W{0,3}\w{0,12}\W{0,3}\d{1,4}[.):\]-]{1,2})[ \t]?")
"""What pieces of something begin with that is divided: "Part 2:", "b)"."""
_APART = re.compile(r"(?<!\w)(?:\w[^\w\n]{1,2}){4,}\w(?!\w)")
_BETWEEN = re.compile(r"[^\w\n]{1,2}")
_ENTITY = re.compile(r"&(?:#\d{1,32}|#[xX][0-9a-fA-F]{1,32}|[A-Za-z][A-Za-z0-9]{1,31});?")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_QUOTED = re.compile(r"=([0-9A-Fa-f]{2})")
_QUOTED_BYTE = re.compile(rb"=([0-9A-Fa-f]{2})")
_SOFT_BREAK = re.compile(r"=[ \t]*\r?\n")
_ESCAPE = re.compile(
    r"(?<!\\)\\++(?:[ux]\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})"
    r"|([0-3][0-7]{2}))|\bU\+([0-9A-Fa-f]{4,6})\b"
)
_CONTROL_ESCAPE = re.compile(r"(?<!\\)\\++[nrtbf/\"']")
_HEX_PREFIX = re.compile(r"(?:0[xX]|\\x|&#[xX]|%|#)(?=[0-9A-Fa-f]{2})")
_HEX = re.compile(r"[0-9A-Fa-f](?:[\s,:;_.\-|/]{0,3}[0-9A-Fa-f]){15,}")
_BINARY = re.compile(r"[01](?:[\s,:;_.\-|/]{0,3}[01]){31,}")
_HEX_DUMP = re.compile(
    r"^[0-9A-Fa-f]{4,16}:?[ \t]{1,3}((?:[0-9A-Fa-f]{2,8}[ \t]{1,2}){1,32})(?=[ \t]|\||$).*$",
    re.MULTILINE,
)
_DECIMAL = re.compile(r"(?<!\d)\d{2,6}(?:[\s,:;_.\-|/]{1,3}\d{2,6}){5,}(?!\d)")
_OCTAL = re.compile(r"(?<!\d)[01]?[0-7]{2}(?:[\s,:;_.\-|/]{1,3}[01]?[0-7]{2}){5,}(?!\d)")
_BASE64 = re.compile(rf"[A-Za-z0-9+/_\-]{{{_SHORTEST},}}")
_TOKEN = re.compile(r"[A-Za-z0-9+/_\-]+=*")
_STRANGE = re.compile(
    r"(?=[^a-z]*[a-z]).[^A-Z]*[A-Z]|(?=[^0-9]*[0-9])[^A-Za-z]*[A-Za-z]|.[^+]*\+|[^=]*=", re.DOTALL
)
_BASE32 = re.compile(r"[A-Z2-7]{16,}|(?=[a-z]{0,30}[2-7])[a-z2-7]{16,}")
_BASE32_APART = re.compile(r"[A-Z2-7]{2,8}(?:[ \n\r\t]{1,2}[A-Z2-7]{2,8}){3,}")
_MARKUP = re.compile(
    r"<!--.{0,2000}?-->|</?[A-Za-z][^<>]{0,500}>|\\[A-Za-z]{1,30}\*?(?=[{\s])", re.DOTALL
)
_SELECTORS = re.compile(r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{5,}")
_MORSE = re.compile(r"[.\-·–—•_]{1,6}(?:[ /|\n]{1,3}[.\-·–—•_]{1,6}){5,}")
_ROT13 = bytes.maketrans(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM",
)
_ATBASH = bytes.maketrans(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA",
)
_ROT47 = bytes(33 + (code - 33 + 47) % 94 if 33 <= code < 127 else code for code in range(256))
_SIGNS = bytes(code for code in range(33, 127) if not chr(code).isalnum())
_MORSE_CODE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g",
    "....": "h", "..": "i", ".---": "j", "-.-": "k", ".-..": "l", "--": "m", "-.": "n",
    "---": "o", ".--.": "p", "--.-": "q", ".-.": "r", "...": "s", "-": "t", "..-": "u",
    "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z", "-----": "0", ".----": "1",
    "..---": "2", "...--": "3", "....-": "4", ".....": "5", "-....": "6", "--...": "7",
    "---..": "8", "----.": "9",
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """A text as it may be read; ``how``: what was done to it, in a few words."""

    text: str
    how: str = ""


@dataclass(frozen=True)
class Readings:
    """All readings of a text, itself first."""

    found: tuple[Reading, ...]
    complete: bool = True
    """Whether everything that looks encoded was decoded."""


def skeleton(text: str) -> str:
    """The letters and digits of a text in one form: no case, accents, look-alikes, punctuation or
    blanks, and nothing that nobody sees."""
    if text.isascii():
        return text.encode().translate(_ASCII, _DROPPED).decode()
    # Each character by itself, so most, which are of ASCII, need not go the long way.
    level = _NOT_ASCII.sub(lambda match: _leveled(match[0]), text).encode("utf-8", "surrogatepass")
    return level.translate(_ASCII, _DROPPED).decode("utf-8", "surrogatepass")


def _leveled(text: str) -> str:
    """The skeleton of what is not of ASCII."""
    return _leveled_word(text) if len(text) <= _WORD else _level(text)


def _level(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_LOOKALIKES)).casefold()
    plain = UNSEEN.sub("", plain.translate(_LOOKALIKES))
    return _UNWRITTEN.sub("", plain).translate(_LEVEL)


_WORD = 32  # characters of what is kept, since words come again
_leveled_word = lru_cache(maxsize=1 << 12)(_level)


def undisguised(text: str) -> str:
    """A text without characters that nobody sees, of usual width, in usual letters where only
    some of a word are of another script; case and accents stay."""
    if text.isascii():
        return text
    hidden = _TAG.sub(lambda match: chr(ord(match[0]) - 0xE0000), text)
    plain = unicodedata.normalize("NFKC", UNSEEN.sub("", hidden))
    return _MIXED.sub(_in_usual_letters, plain)


def _in_usual_letters(word: re.Match[str]) -> str:
    return "".join(
        usual.upper() if letter.isupper() else usual
        for letter in word[0]
        for usual in [_LOOKALIKES.get(ord(letter), letter) if letter > "\u036f" else letter]
    )


def readings(text: str) -> Readings:
    """A text in all its readings. Those of short texts are kept for the next time."""
    return _kept_readings(text) if len(text) <= _SHORT else _readings(text)


def _readings(text: str) -> Readings:
    found: dict[str, str] = {text: ""}
    budget = LARGEST + 8 * len(text)
    layer = [(text, "")]
    complete = True
    for depth in range(DEEPEST + 1):
        deeper: list[tuple[str, str]] = []
        for own, how in layer:
            try:
                turned = () if depth else _turned_codes(own)
                for other, name in chain(_decoded(own), turned):
                    if len(other) < _SHORTEST_TEXT or other in found:
                        continue
                    budget -= len(other)
                    if budget < 0 or depth == DEEPEST:
                        raise _TooLargeError
                    found[other] = said = f"{how}, {name}" if how else name
                    deeper.append((other, said))
            except _TooLargeError:
                complete = False
                break
        if not deeper or not complete:
            break
        layer = deeper
    for own, how in list(found.items()):
        for other, name in _turned(own):
            found.setdefault(other, f"{how}, {name}" if how else name)
    return Readings(tuple(Reading(own, how) for own, how in found.items()), complete)


# What looks like a code is searched for stretch by stretch, and what was found in one is kept: of a
# conversation that grows, most stretches were read the last time.


class _Stretch:
    """A part of a text, with what patterns match in it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[re.Pattern[str], tuple[str, ...]] = {}
        self._strange: tuple[int, ...] | None = None

    def matches(self, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """All that one matches."""
        found = self._found.get(pattern)
        if found is None:
            found = self._found[pattern] = tuple(pattern.findall(self._text))
        return found

    @property
    def strange(self) -> tuple[int, ...]:
        """Which of its tokens are no words."""
        if self._strange is None:
            tokens = self.matches(_TOKEN)
            self._strange = tuple(n for n, token in enumerate(tokens) if _is_strange(token))
        return self._strange


_BOUNDARY = re.compile(r"(?<= )(?:l[a-z]|н[а-я])")
"""A word that begins with a letter, and goes on with one, that no code has in which words may be:
no match of a pattern that is given to :func:`_matches` begins before one and ends in it or behind
it, and none looks farther."""
_LONGEST_STRETCH = 1_000  # that is kept
_kept_stretch = lru_cache(maxsize=1 << 13)(_Stretch)


@lru_cache(maxsize=4)
def _stretches(text: str) -> tuple[_Stretch, ...]:
    cuts = [0, *(match.start() for match in _BOUNDARY.finditer(text)), len(text)]
    parts = (text[begin:end] for begin, end in itertools.pairwise(cuts))
    return tuple(
        _kept_stretch(part) if len(part) <= _LONGEST_STRETCH else _Stretch(part) for part in parts
    )


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    """All that a pattern matches, which has no groups."""
    for stretch in _stretches(text):
        yield from stretch.matches(pattern)


_SHORT = 2_000  # characters; some tens of readings of these are a hundred kilobytes
_kept_readings = lru_cache(maxsize=256)(_readings)


def _turned(text: str) -> Iterator[tuple[str, str]]:
    """Ciphers of the alphabet and orders of letters, which need no decoding again."""
    yield _translated(text, _ROT13), "ROT13"
    yield _translated(text, _ATBASH), "Atbash"
    yield text[::-1], "backwards"
    words = text.split()
    if len(words) > 1:
        yield " ".join(word[::-1] for word in words), "words backwards"
        yield " ".join(reversed(words)), "words in the other order"
    yield _translated(text[::-1], _ROT13), "ROT13 backwards"


def _translated(text: str, table: bytes) -> str:
    """A text with its signs of ASCII exchanged; by bytes, as ``str.translate`` is slow where there
    are others."""
    return text.encode("utf-8", "surrogatepass").translate(table).decode("utf-8", "surrogatepass")


def _turned_codes(text: str) -> Iterator[tuple[str, str]]:
    """What a code says that was turned around."""
    if not any(map(_is_strange, _matches(_BASE64, text))):
        return
    for turned, name in ((text[::-1], "backwards"), (_translated(text, _ROT13), "ROT13")):
        for found in (*_hex(turned), *_base64(turned)):
            yield found, name


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    """What a text may be an encoding of, in part or whole."""
    for found in _selected(text):
        yield found, "characters that nobody sees"
    plain = undisguised(text)
    if plain != text:
        yield plain, "without disguise"
        look = _NOT_ASCII.sub(lambda match: match[0].translate(_LOOKALIKES), plain)
        if look != plain:
            yield look, "letters that look alike"
    if any(_matches(_APART, plain)):
        yield _APART.sub(lambda match: _BETWEEN.sub("", match[0]), plain), "letters set apart"
    if "\n" in plain:
        yield from _in_lines(plain)
    for decode, name in _DECODERS:
        for found in decode(plain):
            yield found, name


def _in_lines(text: str) -> Iterator[tuple[str, str]]:
    """Lines in a row, where a code may be divided among them, or they have labels."""
    lines = text.splitlines()
    if any(sign in text for sign in "&%\\="):
        yield "".join(lines), "lines together"
    bare = [LABEL.sub("", line) for line in lines]
    if bare != lines:
        yield "".join(bare), "lines without what they begin with"


def _entities(text: str) -> Iterator[str]:
    if "&" in text and _ENTITY.search(text):
        yield _ENTITY.sub(lambda match: html.unescape(match[0]), text)


def _percent(text: str) -> Iterator[str]:
    if "%" in text and _PERCENT.search(text):
        yield from _decodings(unquote_to_bytes(text.replace("+", " ").encode("utf-8", "ignore")))


def _quoted_printable(text: str) -> Iterator[str]:
    if "=" in text and len(_QUOTED.findall(text)) > 2:
        raw = _SOFT_BREAK.sub("", text).encode("utf-8", "ignore")
        yield from _decodings(_QUOTED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), raw))


def _escapes(text: str) -> Iterator[str]:
    if "\\" not in text and "U+" not in text:
        return

    def character(match: re.Match[str]) -> str:
        octal = match[5]
        digits = next(filter(None, match.groups()))
        code = int(digits, 8 if octal else 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else ""

    def surrogates(match: re.Match[str]) -> str:
        high, low = int(match[1], 16), int(match[2], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)

    joined = re.sub(r"(?<!\\)\\++u([dD][89abAB][0-9a-fA-F]{2})\\++u([dD][c-fC-F][0-9a-fA-F]{2})",
                    surrogates, text)  # fmt: skip
    found = _ESCAPE.sub(character, joined)
    if found != text:
        raw = found.encode("latin-1", "ignore")
        yield found
        if len(raw) == len(found) and not found.isascii():  # bytes of UTF-8, one by one
            yield raw.decode("utf-8", "ignore")
    unescaped = _CONTROL_ESCAPE.sub(" ", found)
    if unescaped != found:
        yield unescaped


def _unmarked(text: str) -> Iterator[str]:
    if "</" in text or text.count("\\") > 2:
        yield _MARKUP.sub("", text)


def _selected(text: str) -> Iterator[str]:
    """Bytes as variation selectors, which nobody sees."""
    for signs in _matches(_SELECTORS, text):
        codes = (ord(sign) - 0xFE00 for sign in signs)
        yield from _texts(bytes(code if code < 16 else code - 0xE0100 + 0xFE10 for code in codes))


def _hex(text: str) -> Iterator[str]:
    dump = _HEX_DUMP.findall(text)
    if len(dump) > 1:
        yield from _texts(bytes.fromhex(_even("".join(re.sub(r"\s", "", row) for row in dump))))
    for run in _matches(_HEX, _HEX_PREFIX.sub("", text)):
        digits = re.sub(r"[^0-9A-Fa-f]", "", run)
        if digits.isdigit() and len(set(digits)) < 4:
            continue
        for part in (digits, digits[1:]):
            yield from _texts(bytes.fromhex(_even(part)))


def _even(digits: str) -> str:
    return digits[: len(digits) // 2 * 2]


def _binary(text: str) -> Iterator[str]:
    for run in _matches(_BINARY, text):
        digits = re.sub(r"[^01]", "", run)
        for start in range(8):
            part = digits[start:]
            whole = len(part) // 8
            if whole > 3:
                yield from _texts(int(part[: whole * 8], 2).to_bytes(whole, "big"))


def _codes(text: str) -> Iterator[str]:
    for pattern, base in ((_DECIMAL, 10), (_OCTAL, 8)):
        for run in _matches(pattern, text):
            codes = [int(code, base) for code in re.findall(r"\d+", run)]
            if all(code < 256 for code in codes):
                yield from _texts(bytes(codes))
            else:
                yield "".join(
                    chr(code) for code in codes if code < 0x110000 and not 0xD800 <= code < 0xE000
                )


def _base64(text: str) -> Iterator[str]:
    for run in dict.fromkeys(_runs(text)):
        yield from _remembered(_of_base64, run)


def _of_base64(run: str) -> Iterator[str]:
    plain = run.replace("-", "+").replace("_", "/")
    for start in range(4):
        part = plain[start:]
        part = part[: len(part) // 4 * 4] if len(part) % 4 == 1 else part
        with_end = part + "=" * (-len(part) % 4)
        try:
            yield from _texts(base64.b64decode(with_end))
        except _TooLargeError:
            raise
        except (binascii.Error, ValueError):
            continue


def _remembered(decode: Callable[[str], Iterator[str]], run: str) -> Iterable[str]:
    """What a run of signs decodes to. Short ones are words for the most part, which come again."""
    return _decoded_word(decode, run) if len(run) <= _WORD else decode(run)


@lru_cache(maxsize=1 << 14)
def _decoded_word(decode: Callable[[str], Iterator[str]], run: str) -> tuple[str, ...]:
    return tuple(decode(run))


def _runs(text: str) -> Iterator[str]:
    """What may be base64: runs without a blank, and groups between blanks of which most are no
    words of a language."""
    yield from _matches(_BASE64, text)
    tokens: list[str] = []
    strange: list[int] = []
    for stretch in _stretches(text):
        strange += [len(tokens) + number for number in stretch.strange]
        tokens += stretch.matches(_TOKEN)
    # A group ends with the fifth word in a row that is one, as does every five after it; the next
    # begins with the last two of them.
    begin, last, odd = 0, -1, 0
    for number in (*strange, len(tokens)):
        if passed := (number - last - 1) // _APART_FROM:
            if odd > 1:
                yield "".join(token.rstrip("=") for token in tokens[begin : last + _APART_FROM + 1])
            begin, odd = last + _APART_FROM * passed - 1, 0
        last, odd = number, odd + 1
    if odd > 2:  # (the end counts as one)
        yield "".join(token.rstrip("=") for token in tokens[begin:])


_APART_FROM = 5


def _is_strange(token: str) -> bool:
    """Whether a token is no word: capitals or digits amid small letters, or signs of base64."""
    return _STRANGE.match(token) is not None


def _base32(text: str) -> Iterator[str]:
    runs = [*_matches(_BASE32, text)]
    runs += [re.sub(r"\s", "", run) for run in _matches(_BASE32_APART, text)]
    for run in dict.fromkeys(runs):
        yield from _remembered(_of_base32, run)


def _of_base32(run: str) -> Iterator[str]:
    for start in range(8):
        part = run[start:].upper()
        part = part[: len(part) // 8 * 8] if len(part) % 8 in (1, 3, 6) else part
        try:
            yield from _texts(base64.b32decode(part + "=" * (-len(part) % 8)))
        except _TooLargeError:
            raise
        except (binascii.Error, ValueError):
            continue


def _base85(text: str) -> Iterator[str]:
    for runs, decode in ((_ASCII85, _of_ascii85), (_BASE85, _of_base85)):
        for run in _matches(runs, text):
            if not run.isalpha():
                yield from _remembered(decode, run)


def _of_ascii85(run: str) -> Iterator[str]:
    yield from _of_signs(run, _ASCII85_SIGNS)


def _of_base85(run: str) -> Iterator[str]:
    yield from _of_signs(run, _BASE85_SIGNS)


def _of_signs(run: str, signs: npt.NDArray[np.uint64]) -> Iterator[str]:
    digits = signs[np.frombuffer(run.encode(), np.uint8)]
    for start in range(5):
        yield from _texts(_bytes_of_base85(digits[start:]))


def _bytes_of_base85(digits: npt.NDArray[np.uint64]) -> bytes:
    """Bytes from digits; of five that no encoder writes four are of no text."""
    missing = -len(digits) % 5
    padded = np.concatenate([digits, np.full(missing, 84, np.uint64)]).reshape(-1, 5)
    values = padded @ np.array([85**4, 85**3, 85**2, 85, 1], np.uint64)
    values[values >= 1 << 32] = 0
    found = values.astype(">u4").tobytes()
    return found[: len(found) - missing]


def _signs(alphabet: str) -> npt.NDArray[np.uint64]:
    """What each sign of an alphabet counts, by its code."""
    found = np.zeros(128, np.uint64)
    found[[ord(sign) for sign in alphabet]] = np.arange(len(alphabet))
    return found


_RFC1924 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_BASE85, _BASE85_SIGNS = re.compile(rf"[{re.escape(_RFC1924)}]{{15,}}"), _signs(_RFC1924)
_ASCII85 = re.compile(r"[!-u]{15,}")  # of Adobe
_ASCII85_SIGNS = _signs("".join(map(chr, range(33, 118))))


def _morse(text: str) -> Iterator[str]:
    for run in _matches(_MORSE, text):
        plain = re.sub("[·•]", ".", re.sub("[–—_]", "-", run))
        yield "".join(_MORSE_CODE.get(code, " ") for code in re.split(r"[ /|\n]+", plain))


def _rot47(text: str) -> Iterator[str]:
    plain = text.encode("ascii", "ignore")
    odd = len(plain) - len(plain.translate(None, _SIGNS))
    if odd * 8 > len(text):  # prose in ROT47 is full of signs
        yield _translated(text, _ROT47)


_DECODERS: Sequence[tuple[Callable[[str], Iterable[str]], str]] = (
    (_unmarked, "without markup"),
    (_entities, "entities of HTML"), (_percent, "percent encoding"),
    (_quoted_printable, "quoted-printable"), (_escapes, "escapes"), (_hex, "hexadecimal"),
    (_binary, "binary"), (_codes, "numbers of characters"), (_base64, "base64"),
    (_base32, "base32"), (_base85, "base85"), (_morse, "Morse code"), (_rot47, "ROT47"),
)  # fmt: skip


class _TooLargeError(ValueError):
    """What is packed is larger than is read."""


def _inflated(data: bytes, window: int) -> bytes:
    packed = zlib.decompressobj(window)
    found = packed.decompress(data, LARGEST)
    if packed.unconsumed_tail:
        raise _TooLargeError
    return found


def _unzipped(data: bytes) -> bytes:
    packed = bz2.BZ2Decompressor()
    found = packed.decompress(data, LARGEST)
    if len(found) == LARGEST and not packed.eof:
        raise _TooLargeError
    return found


def _expanded(data: bytes) -> bytes:
    packed = lzma.LZMADecompressor(memlimit=_LZMA_BYTES)
    try:
        found = packed.decompress(data, LARGEST)
    except lzma.LZMAError as error:
        if "memory" in str(error).casefold():
            raise _TooLargeError from None
        raise
    if len(found) == LARGEST and not packed.eof:
        raise _TooLargeError
    return found


_LZMA_BYTES = 64 << 20
_MAGIC: Sequence[tuple[bytes, Callable[[bytes], bytes]]] = (
    (b"\x1f\x8b\x08", lambda data: _inflated(data, 31)),
    (b"\x78\x01", lambda data: _inflated(data, 15)),
    (b"\x78\x5e", lambda data: _inflated(data, 15)),
    (b"\x78\x9c", lambda data: _inflated(data, 15)),
    (b"\x78\xda", lambda data: _inflated(data, 15)),
    (b"BZh", _unzipped),
    (b"\xfd7zXZ", _expanded),
)


def _texts(data: bytes) -> Iterator[str]:
    """The text that bytes hold, of one kind or another; what is none gives nothing.

    Raises _TooLargeError.
    """
    for magic, unpack in _MAGIC:
        at = data.find(magic)
        if 0 <= at <= 64:
            try:
                unpacked = unpack(data[at:])
            except _TooLargeError:
                raise
            except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
                continue
            yield from _plain_texts(unpacked)
    yield from _plain_texts(data)


_READABLE = re.compile(rf"[^\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]{{{_SHORTEST_TEXT},}}")


def _plain_texts(data: bytes) -> Iterator[str]:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        yield data.decode("utf-16", "ignore")
    yield from _wide_texts(data)
    if data.count(0) * 3 > len(data):  # UTF-16 of Latin text, whichever half comes first
        data = data.replace(b"\0", b"")
    for text in _decodings(data):
        runs = _READABLE.findall(text)
        kept = " ".join(runs)
        # Bytes at random are readable here and there; text is so for the most part.
        if len(kept) * 2 < len(text):
            kept = " ".join(run for run in runs if len(run) >= 2 * _SHORTEST)
        if kept:
            yield kept


def _wide_texts(data: bytes) -> Iterator[str]:
    """Of UTF-16 and UTF-32 without a mark at the beginning: most characters are of one script, and
    so have the same upper half."""
    if len(data) < 2 * _SHORTEST_TEXT:
        return
    if data.count(0) * 2 > len(data) and len(data) % 4 == 0:
        for upper, name in ((data[3::4], "utf-32-le"), (data[::4], "utf-32-be")):
            if not any(upper):
                yield data.decode(name, "ignore")
    for half, name in ((data[1::2], "utf-16-le"), (data[::2], "utf-16-be")):
        most = sorted(half)[len(half) // 2]  # where one is more than half of them, it
        if 0 < most < 0xD8 and most not in _PRINTED and half.count(most) * 3 > len(half) * 2:
            yield data.decode(name, "ignore")


_PRINTED = range(0x20, 0x7F)


_CYRILLIC = re.compile(rb"[\t\n\r -~\xa3\xa8\xb3\xb8\xc0-\xff]{12,}")
"""Words in a code page of Russian, and no bytes that such texts hardly have."""


def _decodings(data: bytes) -> Iterator[str]:
    """Bytes as text: of UTF-8, and of Windows where some are not of UTF-8 and most of ASCII."""
    text = data.decode("utf-8", "replace")
    yield text
    odd = text.count("\ufffd")
    if odd and odd * 5 < len(text):
        yield data.decode("cp1252", "replace")
    elif odd and _CYRILLIC.fullmatch(data) and odd * 2 > len(text):
        yield data.decode("cp1251", "replace")
        yield data.decode("koi8-r", "replace")

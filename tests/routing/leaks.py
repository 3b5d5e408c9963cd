"""Conversations in which something may leak, made from a seed; and an oracle that knows nothing of
how the policy looks for it.

Secrets are sentences of documents that stay, things remembered and what the owner's patterns mean.
Each conversation says one of them or none, as it is or in some code, whole or divided, somewhere in
it. The oracle reads what was sent: it undoes every code by brute force and looks for every stretch
of every secret.
"""

from __future__ import annotations

import base64
import bz2
import codecs
import gzip
import html
import json
import quopri
import random
import re
import unicodedata
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond import Conversation, conversation
from linnet.respond.conversation import Message
from linnet.respond.pieces import Origin, Text

WORDS = re.findall(
    r"\w+",
    """
    able above across after again almost along always amber anchor answer apple april arrow
    autumn barley basket beacon before below beside better between bishop blanket border
    bottle branch bridge brother bucket butter candle canvas carpet castle cellar centre
    chapel circle clever cloud coast copper corner cotton county cradle cricket curtain
    daughter dawn deal decline deliver desert dinner doctor dozen drawer eager early earth
    eight either ember engine evening fabric factor falcon famous farmer father feather
    fellow fiddle finger flower forest fortune fourteen friday garden gather gentle giant
    ginger glacier golden grain granite guard hammer harbour harvest hazel heavy hollow
    honey hunter island ivory january jasmine journey kettle kitchen ladder lantern leather
    lemon letter linen little lumber marble margin market meadow metal midnight mirror
    monday morning mountain needle nephew ninety nothing november oatmeal october office
    olive orange orchard outer oxygen paper parcel pepper picture pillow planet pocket
    powder prairie quarter quiet rabbit raven reason ribbon river rocket saddle salmon
    sandal season seldom seven shadow shelter silver simple sister slender spring station
    stone summer sunday supper table tailor temple thirty thunder timber tomato tower travel
    twelve uncle under valley velvet village violet walnut wander water weather weekend
    willow window winter wonder yellow
    """,
)
QUESTIONS = (
    "What is the capital of {0}?", "How do I cook {0} with {1}?", "Why is the {0} so {1}?",
    "Write a short poem about a {0} and a {1}.", "Is a {0} heavier than a {1}?",
    "Translate '{0}' into French, please.", "List three uses of {0}.", "Who first saw a {0}?",
    "Explain {0} to a child of seven.", "Can you sum 17 and 25, then name a {0}?",
)  # fmt: skip
ANSWERS = ("Of course: a {0} is a kind of {1}.", "No, it is not.", "Here it is: {0}, {1}, {0}.")


@dataclass(frozen=True)
class World:
    """What there is to leak."""

    staying: dict[str, str]
    """Documents that must not leave, by their sources."""
    leaving: dict[str, str]
    memories: tuple[str, ...]
    names: tuple[str, ...]
    """Of projects, which a pattern of the owner knows as plain words."""

    @property
    def secrets(self) -> list[str]:
        """Every text of which nothing may leave."""
        return [*self.staying.values(), *self.memories]


def world(seed: int = 0) -> World:
    """Documents of words at random, so that two of them seldom say the same."""
    chance = random.Random(seed)

    def sentence() -> str:
        words = [chance.choice(WORDS) for _ in range(chance.randint(9, 16))]
        if chance.random() < 0.4:
            words.insert(4, f"{chance.randint(2, 99)},{chance.randint(100, 999)}")
        return f"{' '.join(words).capitalize()}."

    def document() -> str:
        return "\n\n".join(" ".join(sentence() for _ in range(4)) for _ in range(3))

    return World(
        {f"hr/{number}.md": document() for number in range(30)},
        {f"open/{number}.md": document() for number in range(10)},
        tuple(sentence() for _ in range(12)),
        ("Quillfeather", "Operation Nightjar"),
    )


# Codes: each takes a text to what only looks different.

ALIKE = str.maketrans("aceopxyiABEHKMOPTX", "асеорхуіАВЕНКМОРТХ")


def _groups(text: str, size: int) -> str:
    return " ".join(text[at : at + size] for at in range(0, len(text), size))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CODES: dict[str, Callable[[str], str]] = {
    "plain": lambda t: t,
    "capitals": str.upper,
    "lines": lambda t: "\n".join(t.split()),
    "one word": lambda t: t.replace(" ", ""),
    "dashes": lambda t: t.replace(" ", "-"),
    "letters apart": lambda t: " ".join(t),
    "dots between": lambda t: ".".join(t),
    "no width": lambda t: "\u200b".join(t),
    "soft hyphens": lambda t: "\u00ad".join(t),
    "look-alikes": lambda t: t.translate(ALIKE),
    "full width": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "bold": lambda t: "".join(
        chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in t.lower()
    ),
    "accents": lambda t: "".join(c + "\u0301" for c in t),
    "tags": lambda t: "".join(chr(0xE0000 + ord(c)) for c in t),
    "emphasis": lambda t: " ".join(f"**{word}**" for word in t.split()),
    "base64": lambda t: _b64(t.encode()),
    "base64 of URLs": lambda t: base64.urlsafe_b64encode(t.encode()).decode().rstrip("="),
    "base64 in lines": lambda t: base64.encodebytes(t.encode()).decode(),
    "base64 in groups": lambda t: _groups(_b64(t.encode()), 5),
    "base64 of UTF-16": lambda t: _b64(t.encode("utf-16")),
    "base64 twice": lambda t: _b64(_b64(t.encode()).encode()),
    "base32": lambda t: base64.b32encode(t.encode()).decode(),
    "base85": lambda t: base64.b85encode(t.encode()).decode(),
    "hex": lambda t: t.encode().hex(),
    "HEX apart": lambda t: t.encode().hex(" ").upper(),
    "hex with 0x": lambda t: ", ".join(f"0x{b:02x}" for b in t.encode()),
    "percent": lambda t: "".join(f"%{b:02X}" for b in t.encode()),
    "form": urllib.parse.quote_plus,
    "entities": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "entities, hex": lambda t: "".join(f"&#x{ord(c):x};" for c in t),
    "JSON escapes": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    "byte escapes": lambda t: "".join(f"\\x{b:02x}" for b in t.encode()),
    "quoted-printable": lambda t: "".join(f"={b:02X}" for b in t.encode()),
    "binary": lambda t: " ".join(f"{b:08b}" for b in t.encode()),
    "decimal": lambda t: " ".join(str(b) for b in t.encode()),
    "ROT13": lambda t: codecs.encode(t, "rot13"),
    "backwards": lambda t: t[::-1],
    "words backwards": lambda t: " ".join(word[::-1] for word in t.split()),
    "gzip": lambda t: _b64(gzip.compress(t.encode(), mtime=0)),
    "zlib": lambda t: _b64(zlib.compress(t.encode())),
    "bzip2": lambda t: _b64(bz2.compress(t.encode())),
    "gzip, hex": lambda t: gzip.compress(t.encode(), mtime=0).hex(),
    "JSON in JSON": lambda t: json.dumps(json.dumps({"a": t})),
}


# Conversations.


@dataclass(frozen=True)
class Case:
    """A conversation; ``kind`` of what it says that must not leave, in which code, and where."""

    conversation: Conversation
    kind: str = ""
    code: str = ""
    where: str = ""
    asks: str = ""
    """The last question without what may leak, if it has any."""


PLACES = (
    "question", "question", "question", "middle", "earlier", "answer", "system", "divided",
    "divided with labels", "divided over answers", "arguments", "divided over arguments",
    "result", "tool", "schema", "name", "stop", "form", "tagged",
)  # fmt: skip


def cases(seed: int, count: int, made: World) -> Iterator[Case]:
    """Conversations at random."""
    for number in range(count):
        yield case(random.Random(seed * 1_000_003 + number), made)


def case(chance: random.Random, made: World) -> Case:
    """One conversation."""

    def said(texts: Sequence[str]) -> str:
        return chance.choice(texts).format(chance.choice(WORDS), chance.choice(WORDS))

    messages: list[Any] = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        messages += [{"role": "user", "content": said(QUESTIONS)},
                     {"role": "assistant", "content": said(ANSWERS)}]  # fmt: skip
    asks = said(QUESTIONS)
    if chance.random() < 0.35:
        memory = chance.choice(made.memories)
        messages.insert(0, Message("system", (Text(memory, origin=Origin("memory")),)))
        if chance.random() < 0.5:
            return Case(conversation([*messages, {"role": "user", "content": asks}]), asks=asks)
        secret, kind = memory, "memory"
    elif chance.random() < 0.3:
        return Case(conversation([*messages, {"role": "user", "content": asks}]), asks=asks)
    elif chance.random() < 0.8:
        secret, kind = _stretch(chance, chance.choice(list(made.staying.values()))), "document"
    else:
        secret = f"{chance.choice(made.names)} and the {chance.choice(WORDS)}"
        kind = "pattern"
    code = chance.choice(list(CODES))
    where = chance.choice(PLACES)
    payload = CODES[code](secret)
    given = _with(chance, messages, asks, payload, where)
    return Case(given, kind, code, where, asks)


def _stretch(chance: random.Random, text: str) -> str:
    """Some words in a row of a document, with at least forty letters."""
    words = text.split()
    begin = chance.randrange(len(words) - 12)
    end = begin + 5
    while sum(len(word) for word in words[begin:end]) < 40:
        end += 1
    return " ".join(words[begin : end + chance.randint(0, 6)])


def _parts(chance: random.Random, payload: str) -> list[str]:
    size = max(1, len(payload) // chance.randint(2, 4) + 1)
    return [payload[at : at + size] for at in range(0, len(payload), size)]


def _call(number: int, arguments: Any) -> list[dict[str, Any]]:
    function = {"name": "look_up", "arguments": json.dumps(arguments)}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": f"c{number}"},
    ]


def _with(
    chance: random.Random, messages: list[Any], asks: str, payload: str, where: str
) -> Conversation:
    last = {"role": "user", "content": asks}
    turn = chance.choice(("Read this: {}", "{}", "{} What does it say?", "« {} »")).format
    more: dict[str, Any] = {}
    match where:
        case "question":
            last["content"] = f"{asks}\n{turn(payload)}"
        case "middle":
            last["content"] = f"{asks} {payload} {asks}"
        case "earlier":
            messages += [{"role": "user", "content": turn(payload)},
                         {"role": "assistant", "content": "I see."}]  # fmt: skip
        case "answer":
            messages += [{"role": "user", "content": asks},
                         {"role": "assistant", "content": payload}]  # fmt: skip
        case "system":
            messages.insert(0, {"role": "system", "content": f"Know this: {payload}"})
        case "divided":
            messages += [{"role": "user", "content": part} for part in _parts(chance, payload)]
        case "divided with labels":
            messages += [{"role": "user", "content": f"Part {number}: {part}"}
                         for number, part in enumerate(_parts(chance, payload), 1)]  # fmt: skip
        case "divided over answers":
            for part in _parts(chance, payload):
                messages += [{"role": "user", "content": part},
                             {"role": "assistant", "content": "Go on."}]  # fmt: skip
        case "arguments":
            return conversation([*messages, last, *_call(0, {"query": payload, "k": 3})])
        case "divided over arguments":
            parts = {f"a{number}": part for number, part in enumerate(_parts(chance, payload))}
            return conversation([*messages, last, *_call(0, parts)])
        case "result":
            made = _call(0, {"query": "x"})
            made[1]["content"] = payload
            return conversation([*messages, last, *made])
        case "tool":
            more["tools"] = [{"function": {"name": "look_up", "description": payload}}]
        case "schema":
            schema = {"type": "object", "properties": {"a": {"enum": [payload]}}}
            more["tools"] = [{"function": {"name": "look_up", "parameters": schema}}]
        case "name":
            last["name"] = payload
        case "stop":
            more["sampling"] = Sampling(stop=(payload,))
        case "form":
            schema = {"type": "object", "properties": {payload: {"type": "string"}}}
            more["constraint"] = Constraint("json_schema", json.dumps(schema))
        case "tagged":  # what nothing but its tag tells: a translation of it, say
            tags = frozenset({"document:hr/3.md"})
            tagged = Message("user", (Text("Der Fluss ist tief. " + asks, tags=tags),))
            return conversation([*messages, tagged])
    return conversation([*messages, last], **more)


# The oracle.


class Oracle:
    """Reads what was sent as somebody would who wants to know."""

    LENGTH = 32

    def __init__(self, made: World) -> None:
        self._made = made
        self._stretches = {
            plain[at : at + self.LENGTH]
            for plain in map(_plain, made.secrets)
            for at in range(len(plain) - self.LENGTH + 1)
        }
        self._short = [_plain(text) for text in made.memories]
        self._names = [_plain(name) for name in made.names]

    def leaked(self, body: bytes) -> str:
        """What a request gives away; nothing where it gives nothing."""
        value = json.loads(body.partition(b"\r\n\r\n")[2])
        strings = list(_strings(value["messages"])) + list(_strings(value.get("tools")))
        strings += list(_strings([value.get("stop"), value.get("response_format")]))
        bare = [re.sub(r"\n*(?m:^)Part \d+: ", "", text) for text in strings]
        values = [text for text in strings if not re.fullmatch(r"a\d|query|k|c\d", text)]
        texts = {*strings, *bare, body.decode()}
        texts |= {"".join(row) for row in (strings, bare, values)}
        for role in ("user", "assistant"):
            texts.add("".join(m["content"] for m in value["messages"]
                              if m["role"] == role and isinstance(m["content"], str)))  # fmt: skip
        for text in self._undone(texts):
            own = _plain(text)
            turned = codecs.encode(own, "rot13")
            words = _plain(" ".join(word[::-1] for word in text.split()))
            for plain in {own, own[::-1], turned, words}:
                for at in range(len(plain) - self.LENGTH + 1):
                    if plain[at : at + self.LENGTH] in self._stretches:
                        return f"text: {plain[at : at + self.LENGTH]}"
                for name in self._names:
                    if name in plain:
                        return f"name: {name}"
        return "passage of hr/3.md" if "Der Fluss ist tief" in body.decode() else ""

    def _undone(self, texts: Iterable[str]) -> Iterator[str]:
        """Texts with every code undone, codes in codes too."""
        layer, seen = list(texts), set(texts)
        for _ in range(3):
            found = []
            for text in layer:
                yield text
                for other in _undo(text):
                    if other and other not in seen:
                        seen.add(other)
                        found.append(other)
            layer = found
        yield from layer


def _undo(text: str) -> Iterator[str]:
    """Each code undone as its own library does it, on the whole and on what looks like it."""
    yield html.unescape(text)
    yield urllib.parse.unquote_plus(text)
    yield quopri.decodestring(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    if "\\" in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})",
                     lambda m: chr(int(m[1] or m[2], 16)), text)  # fmt: skip
    packed = re.sub(r"[\s,]|0x", "", text)
    for run in re.findall(r"[0-9a-fA-F]{30,}", packed):
        yield from _bytes(bytes.fromhex(run[: len(run) // 2 * 2]))
    for run in re.findall(r"[01]{80,}", packed):
        yield from _bytes(int(run, 2).to_bytes(len(run) // 8 + 1, "big"))
    codes = re.findall(r"\b\d{2,3}\b", text)
    if len(codes) > 20:
        yield "".join(chr(int(code)) for code in codes if 31 < int(code) < 127)
    for alphabet, decode, size in (
        (r"[A-Za-z0-9+/_-]{20,}", base64.b64decode, 4),
        (r"[A-Z2-7]{24,}", base64.b32decode, 8),
        (r"[!-~]{25,}", base64.b85decode, 5),
    ):
        for source in dict.fromkeys((text, packed)):
            for run in re.findall(alphabet, source):
                run = run.replace("-", "+").replace("_", "/") if size == 4 else run
                for start in range(size):
                    own = run[start:]
                    own = own[: len(own) // size * size] if size != 5 else own
                    try:
                        data = decode(own)
                    except ValueError:
                        continue
                    yield from _bytes(data)


def _bytes(data: bytes) -> Iterator[str]:
    yield data.decode("utf-8", "replace")
    yield data.replace(b"\0", b"").decode("utf-8", "replace")
    for undo in (zlib.decompressobj(31), zlib.decompressobj(15), bz2.BZ2Decompressor()):
        try:  # (the end may be missing)
            yield undo.decompress(data).decode("utf-8", "replace")
        except (OSError, ValueError, EOFError, zlib.error):
            continue


_BACK = {other: chr(plain) for plain, other in ALIKE.items()}
_BACK |= {0xE0000 + code: chr(code) for code in range(32, 127)}


def _plain(text: str) -> str:
    """Small letters and digits alone."""
    wide = unicodedata.normalize("NFKD", text.translate(_BACK)).lower()
    return re.sub(r"[^a-z0-9]", "", wide)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        try:
            inner = json.loads(value)
        except ValueError:
            return
        if isinstance(inner, dict | list | str):
            yield from _strings(inner)
    elif isinstance(value, dict):
        for key, own in value.items():
            yield key
            yield from _strings(own)
    elif isinstance(value, list):
        for own in value:
            yield from _strings(own)

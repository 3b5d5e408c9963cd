"""Questions and instructions that a model writes about a passage.

The model chooses one of the passage's sentences and writes what it answers; the sentence is the
quote and the answer. Its answer is JSON whose quote is an enumeration of the sentences, so that it
is verbatim whatever the model would rather write, and its question begins as questions begin.
Sentences that lean on the one before ("It ...") are not offered, as nobody could tell what they
are about. What a model at an address writes in another form is rejected, with its text.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from linnet.examples.generator import MALFORMED, Context, Generator, example
from linnet.examples.texts import find_quote
from linnet.examples.writer import Prompt

if TYPE_CHECKING:
    from linnet.examples.record import Example, Kind
    from linnet.examples.source import Passage, Source

NAME = "model"
_SHORTEST, _LONGEST = 40, 400  # characters of a sentence to choose
_LEAST, _MOST = 12, 200  # characters of a question, behind its first word
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


@dataclass(frozen=True)
class Requests:
    """What a model is asked in one language; see ``model.toml``."""

    text: str
    about: str
    question: str
    instruction: str
    check: str
    questions: list[list[str]]
    instructions: list[list[str]]
    openings: list[str]
    orders: list[str]
    leaning: list[str]


@cache
def requests() -> dict[str, Requests]:
    """What is asked, by language."""
    file = files("linnet.examples.generators") / "model.toml"
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {language: Requests(**table) for language, table in tables.items()}


def generate(source: Source, context: Context) -> Iterator[Example]:
    """A question and an instruction about each passage of a document that is drawn."""
    if context.writer is None:
        return
    asked = list(_asked(source, context))
    texts = context.writer.write([prompt for *_, prompt in asked])
    for (passage, kind, sentences, _), text in zip(asked, texts, strict=True):
        yield _read(source, passage, kind, sentences, text)


def prepare(sources: Sequence[Source], context: Context) -> None:
    """Have the model write about several documents together: that is faster than one by one."""
    if context.writer is not None:
        every = [prompt for source in sources for *_, prompt in _asked(source, context)]
        context.writer.write(every)


def _asked(
    source: Source, context: Context
) -> Iterator[tuple[Passage, Kind, dict[str, tuple[int, int]], Prompt]]:
    """What is asked about a document: passage, kind, the sentences to choose from, prompt."""
    spoken = requests().get(source.language)
    if spoken is None:
        return
    kinds: tuple[Kind, ...] = ("question", "instruction")
    for passage in source.passages:
        key = (NAME, source.id, str(passage.start))
        if not passage.is_prose or context.random(*key).random() >= context.model_share:
            continue
        sentences = _sentences(source, passage, spoken)
        if not sentences:
            continue
        for kind in kinds:
            if context.config.kinds and kind not in context.config.kinds:
                continue
            seed = context.random(*key, kind).randrange(1 << 31)
            yield passage, kind, sentences, _prompt(passage, kind, sentences, spoken, seed)


def _sentences(source: Source, passage: Passage, spoken: Requests) -> dict[str, tuple[int, int]]:
    """The sentences that say something on their own, with where they stand."""
    found: dict[str, tuple[int, int]] = {}
    for start, end in source.sentences(passage.start, passage.end):
        text = source.text[start:end]
        first = _WORD.match(text)
        if (
            _SHORTEST <= len(text) <= _LONGEST
            and first is not None
            and first[0].lower() not in spoken.leaning
            and text[-1] in ".!…"
            and "\n\n" not in text
        ):
            found.setdefault(text, (start, end))
    return found


def _prompt(
    passage: Passage,
    kind: Kind,
    sentences: dict[str, tuple[int, int]],
    spoken: Requests,
    seed: int,
) -> Prompt:
    request = spoken.question if kind == "question" else spoken.instruction
    shown = spoken.questions if kind == "question" else spoken.instructions
    firsts = spoken.openings if kind == "question" else spoken.orders
    mark = r"\?" if kind == "question" else r"\."
    inner = r"[^?\n\"\\]" if kind == "question" else r"[^.!?\n\"\\]"

    def user(text: str, about: str) -> dict[str, str]:
        return {"role": "user", "content": f"# {about}\n{text}\n\n{request}"}

    messages = []
    for quote, written in shown:
        answer = json.dumps({"quote": quote, kind: written}, ensure_ascii=False)
        messages += [user(spoken.text, spoken.about), {"role": "assistant", "content": answer}]
    messages.append(user(passage.text.strip(), " › ".join(passage.headings)))
    begin = "|".join(map(re.escape, firsts))
    schema = {
        "type": "object",
        "properties": {
            "quote": {"type": "string", "enum": list(sentences)},
            kind: {"type": "string", "pattern": f"^({begin}) {inner}{{{_LEAST},{_MOST}}}{mark}$"},
        },
        "required": ["quote", kind],
        "additionalProperties": False,
    }
    return Prompt(messages, schema, seed)


def _read(
    source: Source,
    passage: Passage,
    kind: Kind,
    sentences: dict[str, tuple[int, int]],
    text: str,
) -> Example:
    """The example that the model's text is; of another form, one that no check lets through."""
    found = _object(text)
    quote, written = found.get("quote"), found.get(kind)
    if isinstance(quote, str) and isinstance(written, str) and written.strip():
        place = sentences.get(quote)
        if place is None and (there := find_quote(source.text, quote, near=passage.start)):
            place = there.start, there.end
        if place is not None:
            answer = " ".join(source.text[slice(*place)].split())
            return example(source, passage, kind, " ".join(written.split()), answer, place)
    return example(source, passage, kind, MALFORMED, text[:2000] or MALFORMED)


def _object(text: str) -> dict[str, Any]:
    """The first JSON object in a text, which may stand in prose; empty where there is none."""
    decoder, place = json.JSONDecoder(), text.find("{")
    while place >= 0:
        try:
            found, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place = text.find("{", place + 1)
            continue
        return found if isinstance(found, dict) else {}
    return {}


GENERATOR = Generator(
    NAME,
    ("question", "instruction"),
    generate=generate,
    prepare=prepare,
    languages=("de", "en", "es", "fr"),
    needs_model=True,
)

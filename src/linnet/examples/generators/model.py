"""Questions and instructions that a model writes about a passage.

Sentences are drawn by the seed, and the model writes what each answers; the sentence is the quote
and the answer, so both are verbatim whatever the model writes. (Left to choose its sentence, a
model of 135 M takes the first and asks about another.) What it writes is held to a pattern: a
question begins as questions begin. Sentences that lean on the one before ("It ...") are not drawn,
as nobody could tell what they are about. What a model at an address writes in another form is
rejected, with its text.
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
from linnet.examples.writer import Prompt

if TYPE_CHECKING:
    from linnet.examples.record import Example, Kind
    from linnet.examples.source import Passage, Source

NAME = "model"
_SHORTEST, _LONGEST = 40, 400  # characters of a sentence to choose
_LEAST, _MOST = 12, 200  # characters of a question, behind its first word
_COMPARED = 3  # sentences beside its own, with which a question is compared
_MARGIN = 0.1  # nats per token by which it must be likelier after its own
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


@dataclass(frozen=True)
class Requests:
    """What a model is asked in one language; see ``model.toml``."""

    about: str
    question: str
    instruction: str
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


@dataclass(frozen=True)
class Asked:
    """A sentence about which something is to be written, and the prompt for it."""

    passage: Passage
    kind: Kind
    quote: tuple[int, int]
    prompt: Prompt


def generate(source: Source, context: Context) -> Iterator[Example]:
    """A question and an instruction about each passage of a document that is drawn."""
    if context.writer is None:
        return
    every = list(_asked(source, context))
    texts = context.writer.write([asked.prompt for asked in every])
    for asked, text in zip(every, texts, strict=True):
        written = _object(text).get(asked.kind)
        answer = " ".join(source.text[slice(*asked.quote)].split())
        if isinstance(written, str) and written.strip():
            question = " ".join(written.split())
            yield example(source, asked.passage, asked.kind, question, answer, asked.quote)
        else:
            yield example(source, asked.passage, asked.kind, MALFORMED, text[:2000] or MALFORMED)


def prepare(sources: Sequence[Source], context: Context) -> None:
    """Have the model write about several documents together: that is faster than one by one."""
    if context.writer is not None:
        context.writer.write(
            [asked.prompt for source in sources for asked in _asked(source, context)]
        )


def misfit(made: Example, source: Source, context: Context) -> str | None:
    """Whether what a model of this machine wrote fits another sentence better than its own.

    Its likelihood after each sentence of the passage tells: a question that is as likely after
    another one is not about what the quote says.
    """
    writer, spoken = context.writer, requests().get(made.language)
    if writer is None or spoken is None or made.start is None or made.passage is None:
        return None
    passage = source.passage_at(made.start, made.start + 1)
    if passage is None:
        return None
    others = [place for place in _sentences(source, passage, spoken) if place[0] != made.start]
    near = sorted(others, key=lambda place: abs(place[0] - (made.start or 0)))[:_COMPARED]
    texts = [source.text[made.start : made.end], *(source.text[slice(*place)] for place in near)]
    prompts = [_request(text, passage, made.kind, spoken) for text in texts]
    found = writer.likelihoods(prompts, made.question)
    if found is None or len(found) < 2:
        return None
    return (
        "it is as likely about another sentence of its passage"
        if (found[0] - max(found[1:]) < _MARGIN)
        else None
    )


def _asked(source: Source, context: Context) -> Iterator[Asked]:
    """What is asked about a document: two sentences of each passage, where it has two."""
    spoken = requests().get(source.language)
    if spoken is None:
        return
    kinds: tuple[Kind, ...] = ("question", "instruction")
    for passage in source.passages:
        key = (NAME, source.id, str(passage.start))
        if not passage.is_prose or context.random(*key).random() >= context.model_share:
            continue
        sentences = list(_sentences(source, passage, spoken))
        context.random(*key, "order").shuffle(sentences)
        for place, kind in enumerate(kinds):
            if not sentences or (context.config.kinds and kind not in context.config.kinds):
                continue
            quote = sentences[place % len(sentences)]
            seed = context.random(*key, kind).randrange(1 << 31)
            text = source.text[slice(*quote)]
            yield Asked(passage, kind, quote, _prompt(text, passage, kind, spoken, seed))


def _sentences(source: Source, passage: Passage, spoken: Requests) -> Iterator[tuple[int, int]]:
    """The sentences that say something on their own."""
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
            yield start, end


def _request(text: str, passage: Passage, kind: Kind, spoken: Requests) -> str:
    request = spoken.question if kind == "question" else spoken.instruction
    about = " › ".join(passage.headings)
    return f"{about}\n\n{' '.join(text.split())}\n\n{request}".lstrip()


def _prompt(text: str, passage: Passage, kind: Kind, spoken: Requests, seed: int) -> Prompt:
    shown, firsts, mark, inner = (
        (spoken.questions, spoken.openings, r"\?", r"[^?\n\"\\]")
        if kind == "question"
        else (spoken.instructions, spoken.orders, r"\.", r"([^.!?\n\"\\]|[.][0-9])")
    )
    request = spoken.question if kind == "question" else spoken.instruction
    messages = []
    for quote, written in shown:
        asked = f"{spoken.about}\n\n{quote}\n\n{request}"
        answer = json.dumps({kind: written}, ensure_ascii=False)
        messages += [
            {"role": "user", "content": asked}, {"role": "assistant", "content": answer},
        ]  # fmt: skip
    messages.append({"role": "user", "content": _request(text, passage, kind, spoken)})
    begin = "|".join(map(re.escape, firsts))
    pattern = f"^({begin}) {inner}{{{_LEAST},{_MOST}}}{mark}$"
    schema = {
        "type": "object",
        "properties": {kind: {"type": "string", "pattern": pattern}},
        "required": [kind],
        "additionalProperties": False,
    }
    return Prompt(messages, schema, seed)


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

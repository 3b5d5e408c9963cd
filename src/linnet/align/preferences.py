"""What people or checks preferred: pairs of completions, and completions that were judged.

Rows are read from the files that fine-tuning reads, in the forms of trl and of LLaMA-Factory:

* pairs have ``chosen`` and ``rejected``, each a text, a message, or a list of messages. The prompt
  is ``prompt``, or ``instruction`` with ``input``, or ``conversations`` or ``messages``. Where both
  are whole conversations, what they share at the beginning is the prompt, whatever stands beside
  them. ``margin`` is by how much the one is better;
* judged completions have ``label`` (or ``kto_tag``), true or false, beside ``prompt`` and
  ``completion`` or beside ``messages`` that end with the assistant.

Examples of ``linnet examples`` are preferences as well, each with its passage before the question:
of an answerable one its answer is right, and wrong is a refusal or the answer to another question;
of the others a refusal is right, and wrong is an answer that belongs to another question. Where a
person corrected the answer, wrong is what stood there before.

A row that can teach nothing is an error that names it: completions that are equal, prompts that
differ.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linnet.errors import ArtifactError, DataError
from linnet.examples import prompts
from linnet.examples.record import Example, Split, examples_file, read_examples
from linnet.examples.texts import contexts, corpus_of
from linnet.finetune.row_schema import (
    MEDIA,
    ChatRow,
    Message,
    PromptRow,
    RowError,
    TextRow,
    parse_row,
)
from linnet.finetune.rows import read_values
from linnet.scoring.matching import words_of

_CONVERSATIONS = ("messages", "conversations")
_PROMPTS = ("prompt", "instruction", "question", "query")
_ANSWERS = ("completion", "response", "output", "answer")
_LABELS = ("label", "kto_tag")
_BESIDE = ("system", "system_prompt", "history", "tools", "input", "context", *MEDIA)
_ASSISTANTS = ("assistant", "gpt", "function_call")


@dataclass(frozen=True)
class Pair:
    """Two completions of a prompt, of which one was preferred."""

    source: str
    chosen: ChatRow | PromptRow
    rejected: ChatRow | PromptRow
    margin: float = 0.0
    prompt_tokens: int | None = None
    """That the prompt must have to be the one that was asked; None: it is known to be."""


@dataclass(frozen=True)
class Judged:
    """A completion that was called good, or not."""

    source: str
    row: ChatRow | PromptRow
    desirable: bool
    prompt_tokens: int | None = None
    """As of a :class:`Pair`."""


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file. Raises DataError, naming the row."""
    for source, value in read_values(path):
        try:
            yield _pair(value, source)
        except RowError as error:
            raise DataError(f"{source}: {error}") from None


def read_judged(path: Path) -> Iterator[Judged]:
    """The judged completions of a file. Raises DataError, naming the row."""
    for source, value in read_values(path):
        try:
            yield _judged(value, source)
        except RowError as error:
            raise DataError(f"{source}: {error}") from None


def _pair(value: Any, source: str) -> Pair:
    if isinstance(value, RowError):
        raise value
    if not isinstance(value, Mapping):
        raise RowError(f"expected an object with chosen and rejected. Got {type(value).__name__}")
    if missing := [name for name in ("chosen", "rejected") if value.get(name) is None]:
        judged = any(value.get(name) is not None for name in _LABELS)
        hint = "; judged completions are for --method kto" if judged else ""
        raise RowError(f"a pair has chosen and rejected, but there is no {missing[0]}{hint}")
    margin = _margin(value.get("margin"))
    first, second = (_answer(value[name], name) for name in ("chosen", "rejected"))
    if isinstance(first, list) != isinstance(second, list):
        first, second = _as_messages(first), _as_messages(second)
    prompt = _prompt_of(value)
    if prompt is None or _repeats(prompt, first, second):
        shared, first, second = _shared(first, second)
        prompt = _Prompt("messages", shared)
    chosen, rejected = (_row(value, prompt, each, source) for each in (first, second))
    if _said(chosen) == _said(rejected):
        raise RowError("chosen and rejected are equal: there is nothing to prefer")
    return Pair(source, chosen, rejected, margin)


def _judged(value: Any, source: str) -> Judged:
    if isinstance(value, RowError):
        raise value
    if not isinstance(value, Mapping):
        raise RowError(f"expected an object with a label. Got {type(value).__name__}")
    good = _label(value)
    given = next((name for name in _ANSWERS if value.get(name) is not None), None)
    answer = None if given is None else _answer(value[given], given)
    prompt = _prompt_of(value, (*_CONVERSATIONS, *_PROMPTS) if answer is None else _BY_RANK)
    whole = prompt.text if prompt is not None and answer is None else answer
    if _is_conversation(whole):
        if len(whole) < 2 or _role(whole[-1]) not in _ASSISTANTS:
            raise RowError("expected messages that end with the assistant's")
        prompt, answer = _Prompt("messages", whole[:-1]), whole[-1:]
    if prompt is None or answer is None:
        raise RowError("a judged completion has prompt and completion, or messages")
    return Judged(source, _row(value, prompt, answer, source), good)


def _margin(given: Any) -> float:
    """By how much one completion is better; a cell of CSV is text."""
    try:
        margin = math.nan if isinstance(given, bool) else float(given or 0)
    except (TypeError, ValueError):
        margin = math.nan
    if not math.isfinite(margin):
        raise RowError(f"margin must be a number. Got {given!r:.60}")
    return margin


def _label(value: Mapping[str, Any]) -> bool:
    """Whether a completion is good; a cell of CSV is text."""
    label = next((value[name] for name in _LABELS if value.get(name) is not None), None)
    if label is None:
        pairs = "; pairs are for --method dpo" if value.get("chosen") is not None else ""
        raise RowError(f"a judged completion has a label, true or false, but there is none{pairs}")
    known = {"true": True, "1": True, "false": False, "0": False}
    found = known.get(str(int(label) if label in (0, 1) else label).strip().lower())
    if found is None:
        raise RowError(f"a judged completion has a label, true or false. Got {label!r:.60}")
    return found


@dataclass(frozen=True)
class _Prompt:
    """What a row asks, with the name of the column that it stands in."""

    column: str
    text: Any
    """A text, or a list of messages."""


_BY_RANK = ("prompt", *_CONVERSATIONS, *_PROMPTS)  # some have the chosen conversation as messages


def _prompt_of(value: Mapping[str, Any], columns: Sequence[str] = _BY_RANK) -> _Prompt | None:
    """The prompt of a row, from the first column that has one; None where there is none. Raises
    RowError for what is neither a text nor messages."""
    for name in columns:
        found = value.get(name)
        if found in (None, "", []):
            continue
        if name in _CONVERSATIONS and isinstance(found, str):  # a cell of CSV
            try:
                found = json.loads(found)
            except (ValueError, RecursionError):
                raise RowError(f"'{name}' must be JSON. Got {found!r:.80}") from None
        found = [found] if isinstance(found, Mapping) else found
        if not (_is_messages(found) or (isinstance(found, str) and name in _PROMPTS)):
            raise RowError("a prompt is a text or a list of messages")
        return _Prompt(name, found)
    return None


def _answer(given: Any, name: str) -> Any:
    """A completion: a text, or a list of messages."""
    found = [given] if isinstance(given, Mapping) else given
    if not (isinstance(found, str) or _is_messages(found)):
        raise RowError(f"{name} must be a text, or messages. Got {given!r:.60}")
    if isinstance(found, str) and not found.strip():
        raise RowError(f"{name} is empty")
    return found


def _as_messages(answer: Any) -> list[Any]:
    return [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) for m in value)


def _role(message: Mapping[str, Any]) -> Any:
    return message.get("role", message.get("from"))


def _is_conversation(value: Any) -> bool:
    """Whether messages begin with what is asked, and are no completion alone."""
    return _is_messages(value) and _role(value[0]) in ("system", "user", "human")


def _repeats(prompt: _Prompt, first: Any, second: Any) -> bool:
    """Whether completions are whole conversations, with the prompt in them already."""
    if not (_is_conversation(first) and _is_conversation(second)):
        return False
    return isinstance(prompt.text, str) or prompt.text[0] in (first[0], second[0])


def _shared(first: Any, second: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """What two conversations share at their beginning, and the rest of each."""
    if not (_is_messages(first) and _is_messages(second)):
        raise RowError(
            "expected a prompt beside chosen and rejected; only conversations (lists of messages) "
            "have it in them"
        )
    shared = 0
    while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
        shared += 1
    if not shared:
        raise RowError("chosen and rejected begin with different prompts")
    return first[:shared], first[shared:], second[shared:]


def _row(
    value: Mapping[str, Any], prompt: _Prompt, answer: Any, source: str
) -> ChatRow | PromptRow:
    """A prompt and a completion as fine-tuning reads them; earlier answers are not trained."""
    beside = {name: value[name] for name in _BESIDE if value.get(name) is not None}
    asked = prompt.text
    if isinstance(asked, str):
        said = answer if isinstance(answer, str) else "..."  # not looked at
        row = _checked({**beside, prompt.column: asked, "completion": said}, source)
        if isinstance(row, PromptRow):
            if isinstance(answer, str) and not beside.get("tools"):
                return row
            row = row.as_chat()
        asked = list(row.messages[:-1])
    if asked[-1:] == _as_messages(answer):
        raise RowError("the prompt ends with a completion of it already")
    return _checked({**beside, "prompt": asked, "completion": _as_messages(answer)}, source)


def asked_and_said(value: Mapping[str, Any], source: str) -> tuple[ChatRow, Message | None] | None:
    """What a row asks, as a conversation without an answer, and the answer where ``messages`` end
    with one; None where nothing is asked. Raises RowError."""
    prompt = _prompt_of(value)
    if prompt is None:
        return None
    asked, answer = prompt.text, [{"role": "assistant", "content": "..."}]  # not looked at
    said = prompt.column in _CONVERSATIONS and _role(asked[-1]) in _ASSISTANTS
    if said:
        asked, answer = asked[:-1], asked[-1:]
    if not asked:
        return None
    row = _row(value, _Prompt(prompt.column, asked), answer, source)
    assert isinstance(row, ChatRow)
    before = replace(row, messages=row.messages[:-1], trained_turns=())
    return before, row.messages[-1] if said else None


def _checked(value: Mapping[str, Any], source: str) -> ChatRow | PromptRow:
    row = parse_row(value, source=source, columns={})
    if isinstance(row, TextRow):
        raise RowError("expected a prompt with a completion. Got a text")
    return row


def _said(row: ChatRow | PromptRow) -> Any:
    """What is said behind the prompt."""
    return row.completion if isinstance(row, PromptRow) else row.messages


def pairs_of_examples(
    source: Path | str, *, split: Split = "train", left_out: Callable[[], None] = lambda: None
) -> Iterator[Pair]:
    """The examples of a split, as pairs. ``left_out`` is called for each that no wrong answer is
    found for. Raises DataError, and ArtifactError where the corpus that they were made from is not
    where it was."""
    file = examples_file(source)
    asked = with_passages(file, split=split)
    before = {each.id: each for each in read_examples(file, split=split, decided=False)}
    answers = [
        (example, prompts.answer_text(example)) for example, _ in asked if example.answerable
    ]
    for example, passage in asked:
        right = prompts.answer_text(example)
        wrong = _corrected(before[example.id], example, right)
        wrong = wrong or _wrong_answer(example, right, answers)
        if wrong is None:
            left_out()
            continue
        rows = [
            PromptRow(
                f"{file}:{example.id}", prompts.prompt_text(example, passage), said,
                prompts.BETWEEN,
                history=tuple((turn.question, turn.answer) for turn in example.turns),
            )
            for said in (right, wrong)
        ]  # fmt: skip
        yield Pair(f"{file}:{example.id}", rows[0], rows[1])


def judged_examples(
    source: Path | str, *, split: Split = "train", left_out: Callable[[], None] = lambda: None
) -> Iterator[Judged]:
    """The same, each completion for itself."""
    for pair in pairs_of_examples(source, split=split, left_out=left_out):
        yield Judged(pair.source, pair.chosen, True)
        yield Judged(pair.source, pair.rejected, False)


def with_passages(file: Path, *, split: Split = "train") -> list[tuple[Example, str]]:
    """The examples of a split, each with what stands before its question. Raises ArtifactError."""
    examples = list(read_examples(file, split=split))
    corpus = corpus_of(file)
    if corpus is None:
        raise ArtifactError(
            f"{file}: the corpus that these examples were made from is not where it was; make "
            "them again"
        )
    found = contexts(corpus, examples)
    return [(example, found[example.id].text) for example in examples if example.id in found]


def _corrected(before: Example, example: Example, right: str) -> str | None:
    """The answer that a person replaced; None where it was not, or with the question."""
    was = prompts.answer_text(before)
    return was if was != right and before.question == example.question else None


def _wrong_answer(
    example: Example, right: str, answers: Sequence[tuple[Example, str]]
) -> str | None:
    """A wrong answer that a model might give, always the same; None where there is none.

    Of an answerable example a refusal half of the time. Otherwise an answer to another question
    of the same document, or else of any, of the same language.
    """
    draw = int.from_bytes(hashlib.blake2b(example.id.encode(), digest_size=8).digest(), "big")
    if example.answerable and draw % 2:
        return prompts.REFUSALS.get(example.language, prompts.REFUSALS["en"])
    own = words_of(right, example.language)
    others = [
        (other.source == example.source, said)
        for other, said in answers
        if other.id != example.id and other.language == example.language
        and other.schema == example.schema and words_of(said, example.language) != own
    ]  # fmt: skip
    near = [said for is_near, said in others if is_near] or [said for _, said in others]
    return near[draw // 2 % len(near)] if near else None

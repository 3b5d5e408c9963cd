"""What people or checks preferred: pairs of completions, and completions that were judged.

Rows are read from the files that fine-tuning reads, in the forms of trl and of LLaMA-Factory:

* pairs have ``chosen`` and ``rejected``, each a text, a message, or a list of messages. The prompt
  is ``prompt``, or ``instruction`` with ``input``, or ``conversations`` or ``messages``; without
  any, both are whole conversations, and what they share at the beginning is the prompt. ``margin``
  is by how much the one is better;
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.errors import ArtifactError, DataError
from linnet.examples import prompts
from linnet.examples.record import Example, Split, examples_file, read_examples
from linnet.examples.texts import contexts, corpus_of
from linnet.finetune.row_schema import ChatRow, PromptRow, Row, RowError, TextRow, parse_row
from linnet.finetune.rows import read_values
from linnet.scoring.matching import words_of

_CONVERSATIONS = ("messages", "conversations")
_PROMPTS = ("prompt", "instruction", "question", "query")
_LABELS = ("label", "kto_tag")
_BESIDE = ("system", "system_prompt", "history", "tools", "input", "context")


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
    if not isinstance(value, Mapping):
        raise RowError(f"expected an object with chosen and rejected. Got {type(value).__name__}")
    if missing := [name for name in ("chosen", "rejected") if value.get(name) is None]:
        judged = any(value.get(name) is not None for name in _LABELS)
        hint = "; judged completions are for --method kto" if judged else ""
        raise RowError(f"a pair has chosen and rejected, but there is no {missing[0]}{hint}")
    margin = value.get("margin") or 0.0
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise RowError(f"margin must be a number. Got {margin!r:.60}")
    first, second = value["chosen"], value["rejected"]
    prompt = _prompt(value)
    if prompt is None:
        prompt, first, second = _shared(first, second)
    chosen, rejected = (_row(value, prompt, each, source) for each in (first, second))
    if _said(chosen) == _said(rejected):
        raise RowError("chosen and rejected are equal: there is nothing to prefer")
    return Pair(source, chosen, rejected, float(margin))


def _judged(value: Any, source: str) -> Judged:
    if not isinstance(value, Mapping):
        raise RowError(f"expected an object with a label. Got {type(value).__name__}")
    label = next((value[name] for name in _LABELS if value.get(name) is not None), None)
    if not isinstance(label, bool) and label not in (0, 1):
        raise RowError(
            f"a judged completion has a label, true or false. Got {label!r:.60}"
            if label is not None
            else "a judged completion has a label, true or false, but there is none"
            + ("; pairs are for --method dpo" if value.get("chosen") is not None else "")
        )
    row = {name: each for name, each in value.items() if name not in _LABELS}
    messages = next((row[name] for name in _CONVERSATIONS if row.get(name)), None)
    if messages is not None and row.get("completion") is None:
        if not isinstance(messages, list) or len(messages) < 2:
            raise RowError("expected messages that end with the assistant's")
        return Judged(source, _row(value, messages[:-1], messages[-1], source), bool(label))
    prompt = _prompt(row)
    answer = next((row[name] for name in ("completion", "response", "output", "answer")
                   if row.get(name) is not None), None)  # fmt: skip
    if prompt is None or answer is None:
        raise RowError("a judged completion has prompt and completion, or messages")
    return Judged(source, _row(value, prompt, answer, source), bool(label))


def _prompt(value: Mapping[str, Any]) -> Any:
    """The prompt of a row, as it is there: a text or messages; None where there is none."""
    for name in (*_CONVERSATIONS, *_PROMPTS):
        if value.get(name) not in (None, "", []):
            return value[name]
    return None


def _shared(first: Any, second: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """What two conversations share at their beginning, and the rest of each."""
    if not isinstance(first, list) or not isinstance(second, list):
        raise RowError("expected a prompt; without one, chosen and rejected are conversations")
    shared = 0
    while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
        shared += 1
    if not shared:
        raise RowError("chosen and rejected begin with different prompts")
    return first[:shared], first[shared:], second[shared:]


def _row(value: Mapping[str, Any], prompt: Any, answer: Any, source: str) -> ChatRow | PromptRow:
    """A prompt and a completion as fine-tuning reads them; earlier answers are not trained."""
    beside = {name: value[name] for name in _BESIDE if value.get(name) is not None}
    if isinstance(prompt, str) and isinstance(answer, str):
        return _checked(
            parse_row({**beside, "prompt": prompt, "completion": answer}, source=source, columns={})
        )
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    answered = {"role": "assistant", "content": answer} if isinstance(answer, str) else answer
    answers = answered if isinstance(answered, list) else [answered]
    if not isinstance(asked, list) or not answers:
        raise RowError("a prompt is a text or a list of messages, a completion a text or messages")
    messages = [*(_untrained(message) for message in asked), *map(_named, answers)]
    row = {name: each for name, each in beside.items() if name in ("tools", "system")}
    return _checked(parse_row({**row, "messages": messages}, source=source, columns={}))


def _named(message: Any) -> Any:
    """A message by transformers' names."""
    if isinstance(message, Mapping) and "from" in message:
        roles = {"human": "user", "gpt": "assistant"}
        role = roles.get(message["from"], message["from"])
        return {"role": role, "content": message.get("value")}
    return message


def _untrained(message: Any) -> Any:
    message = _named(message)
    if isinstance(message, Mapping) and message.get("role") == "assistant":
        return {**message, "weight": 0}
    return message


def _checked(row: Row) -> ChatRow | PromptRow:
    if isinstance(row, TextRow):
        raise RowError("expected a prompt and completions. Got a text")
    return row


def _said(row: ChatRow | PromptRow) -> Any:
    """What is said behind the prompt."""
    return row.completion if isinstance(row, PromptRow) else row.messages


def pairs_of_examples(
    source: Path | str, *, left_out: Callable[[], None] = lambda: None
) -> Iterator[Pair]:
    """The examples to train on, as pairs. ``left_out`` is called for each that no wrong answer is
    found for. Raises DataError, and ArtifactError where the corpus that they were made from is not
    where it was."""
    file = examples_file(source)
    asked = with_passages(file)
    before = {each.id: each for each in read_examples(file, split="train", decided=False)}
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
    source: Path | str, *, left_out: Callable[[], None] = lambda: None
) -> Iterator[Judged]:
    """The same, each completion for itself."""
    for pair in pairs_of_examples(source, left_out=left_out):
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

"""What a model is asked while it is rewarded, and what is known of the right answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.align.preferences import asked_and_said, with_passages
from linnet.align.rewards import Sample
from linnet.align.thumbs import is_thumbs
from linnet.errors import DataError
from linnet.examples import prompts
from linnet.examples.record import examples_file, is_examples
from linnet.finetune.examples import hash_prompt
from linnet.finetune.row_schema import Message, RowError
from linnet.finetune.rows import Split, open_source, read_values
from linnet.tokenizer.chat import joined_text

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

_ANSWERS = ("answers", "answer", "completion", "expected", "output", "response")


@dataclass(frozen=True)
class Prompt:
    """One prompt: its messages, and a sample of which only the text is still missing."""

    source: str
    messages: tuple[dict[str, Any], ...]
    known: Sample
    tools: tuple[Any, ...] | None = None

    @property
    def key(self) -> int:
        """The hash of what is asked."""
        return hash_prompt(self.known.asked)


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as tokens."""

    prompt: Prompt
    tokens: tuple[int, ...]

    @property
    def key(self) -> int:
        """See :class:`Prompt`."""
        return self.prompt.key


def read_prompts(source: str | Path, split: Split = "train") -> Iterator[Prompt]:
    """Prompts of a split: of ``linnet examples``, each with its passage before it, or of rows.

    A row has a prompt in the forms that pairs have it in, and what rewards read of it: ``answer``
    or ``answers``, ``passage``, ``answerable``, ``schema``, ``language``. Raises DataError.
    """
    if is_examples(source):
        yield from _of_examples(examples_file(source), split)
        return
    opened = open_source(source)
    if opened.corpus is not None:
        raise DataError(f"{source}: expected examples or rows with prompts. Got a corpus")
    for file in opened.files.get(split, []):
        if is_thumbs(file):
            raise DataError(f"{file}: expected prompts. Got thumbs: --method kto learns from them")
        for name, value in read_values(file):
            try:
                yield _of_row(value, name)
            except RowError as error:
                raise DataError(f"{name}: {error}") from None


def encode_prompts(
    found: Iterator[Prompt], tokenizer: Tokenizer, *, chat: bool, longest: int
) -> tuple[list[EncodedPrompt], int]:
    """Prompts as tokens, and how many were left out for having more than ``longest``."""
    encoded, dropped = [], 0
    for prompt in found:
        if chat:
            from linnet.tokenizer import encode_chat

            try:
                ids = encode_chat(
                    tokenizer, prompt.messages, tools=prompt.tools, add_generation_prompt=True
                ).ids
            except DataError as error:
                raise DataError(f"{prompt.source}: {error}") from None
        else:
            text = prompts.BETWEEN.join(joined_text(m["content"]) for m in prompt.messages)
            whole = tokenizer.encode_arrays([text + prompts.BETWEEN])[0]
            ids = np.concatenate([tokenizer.start, whole]).astype(int).tolist()
        if len(ids) > longest:
            dropped += 1
        else:
            encoded.append(EncodedPrompt(prompt, tuple(ids)))
    return encoded, dropped


def _of_examples(file: Path, split: Split) -> Iterator[Prompt]:
    for example, passage in with_passages(file, split=split):
        known = Sample(
            asked=example.question,
            text="",
            passage=passage,
            expected=(prompts.answer_text(example),),
            answerable=example.answerable,
            schema=example.schema,
            language=example.language or "en",
            row=example.to_json(),
        )
        yield Prompt(
            f"{file}:{example.id}", tuple(prompts.prompt_messages(example, passage)), known
        )


def _of_row(value: Any, source: str) -> Prompt:
    if isinstance(value, RowError):
        raise value
    found = asked_and_said(value, source) if isinstance(value, dict) else None
    if found is None:
        raise RowError("expected an object with a prompt")
    asked, said = found
    _require_known(value)
    known = Sample(
        asked=joined_text(asked.messages[-1]["content"]),
        text="",
        passage=value.get("passage"),
        expected=_expected(value, said),
        answerable=value.get("answerable") is not False,
        schema=value.get("schema"),
        language=str(value.get("language") or "en"),
        row=value,
    )
    return Prompt(source, asked.messages, known, asked.tools)


def _expected(value: Mapping[str, Any], said: Message | None) -> tuple[str, ...]:
    """Right answers: of a message its text, of values that are no text their JSON."""
    given: Any = next((value[name] for name in _ANSWERS if value.get(name) is not None), said or [])
    found = []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, dict) and "role" in each:
            each = joined_text(each.get("content") or "")
        if each is not None:
            is_nested = isinstance(each, dict | list)
            found.append(json.dumps(each, ensure_ascii=False) if is_nested else str(each))
    return tuple(found)


def _require_known(value: dict[str, Any]) -> None:
    """Raise RowError for what rewards could not read, or would read wrongly."""
    for name, expected, kinds in (
        ("passage", "a text", str), ("language", "a text", str), ("schema", "an object", dict),
        ("answerable", "true or false", bool), ("cites", "numbers of passages", list | int),
    ):  # fmt: skip
        if value.get(name) is not None and not isinstance(value[name], kinds):
            raise RowError(f"{name} must be {expected}. Got {value[name]!r:.60}")
    cited = value.get("cites")
    if not all(type(each) is int for each in (cited if isinstance(cited, list) else [])):
        raise RowError(f"cites must be numbers of passages. Got {cited!r:.60}")


def require_prompts(found: Sequence[EncodedPrompt], dropped: int) -> None:
    """Raise DataError where there is none."""
    if not found:
        raise DataError(
            f"expected prompts that fit into --context beside --max-tokens. All {dropped:,} are "
            "longer"
            if dropped
            else "expected prompts. Got none"
        )

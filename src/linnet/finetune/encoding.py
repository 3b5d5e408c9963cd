"""From rows to examples: token ids, and which of them the loss is taken over.

* A conversation (``messages``) is written by the tokenizer's chat template; what
  the assistant says is trained, with the token that ends its turn.
* ``prompt`` and ``completion`` are one turn of a conversation where the
  tokenizer has a chat template. Without one, or with ``template="none"``, they
  are plain text one after the other, and the completion is trained with the
  end-of-text token that closes it.
* What is longer than the context is left out or becomes several examples that together
  train every answer to its end: a conversation is divided between turns of the user, a
  prompt loses its middle, and an answer that is too long by itself goes on in the next
  example, after the same prompt.
* ``text`` is trained throughout, its closing end-of-text token included. What is
  longer than the context is cut into examples that train every token once.

An example ends with its last trained token: what a template writes after that
(a line break, say) no token is ever predicted from.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.errors import DataError, LinnetError, ModelError
from linnet.finetune.row_schema import ChatRow, PromptRow, Row, TextRow, form_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from linnet.finetune.config import ExamplesConfig
    from linnet.tokenizer import Tokenizer

Ids: TypeAlias = npt.NDArray[np.uint32]
Flags: TypeAlias = npt.NDArray[np.bool_]

_ROWS_AT_ONCE = 64  # so that the tokenizer's threads have something to share
_PROMPT_SHARE = 4  # of a piece at most this part is kept for the prompt of a long answer
EMPTY, LONG = "the text is empty", "longer than the context"


@dataclass(frozen=True)
class Example:
    """One example. It fills no more places than the context has."""

    tokens: Ids
    trained: Flags
    """Which tokens are to be predicted; never the first, which nothing comes before."""
    source: str
    """Where it came from, such as ``train.jsonl:17``."""
    trained_bytes: int = 0
    """Bytes of UTF-8 that the trained tokens stand for (special tokens: none)."""

    @property
    def places(self) -> int:
        """Places in a row that it fills: its last token is only ever a target."""
        return len(self.tokens) - 1


@dataclass
class ExamplesReport:
    """What became of the rows."""

    rows: int = 0
    forms: dict[str, int] = field(default_factory=dict)
    """Rows by form: ``messages``, ``prompt``, ``text``."""
    train: int = 0
    held_out: int = 0
    tokens: int = 0
    """Of the examples to train on; of them are trained:"""
    trained_tokens: int = 0
    longest: int = 0
    """Tokens of the longest row, before it was cut."""
    held_out_tokens: int = 0
    cut: int = 0
    """Rows that were cut, because they were longer than the context."""
    pieces: int = 0
    """Examples that these became."""
    unseen: int = 0
    """Tokens of prompts and earlier turns that were taken off to make them fit."""
    unheeded_flags: int = 0
    """Turns of others than the assistant that their rows say to train."""
    untrained_turns: int = 0
    """Turns of the assistant that the chat template shows otherwise than they were said."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    unused_files: list[str] = field(default_factory=list)
    """What is for testing, and is not read."""

    def losses(self, context: int) -> list[str]:
        """What was not used as it came, a line each."""
        lines = [
            f"{count:,} of {self.rows:,} rows left out: {reason}"
            for reason, count in self.dropped.items()
        ]
        if self.cut:
            lines.append(
                f"{self.cut:,} of {self.rows:,} rows are longer than the context of {context:,} "
                f"tokens (the longest has {self.longest:,}): cut into {self.pieces:,} examples, "
                f"which train every answer to its end but do not see {self.unseen:,} tokens of "
                "prompts and earlier turns"
            )
        if self.unheeded_flags:
            lines.append(
                f"{self.unheeded_flags:,} turns of others than the assistant are flagged to be "
                "trained and are not (--train-on all trains everything)"
            )
        if self.untrained_turns:
            lines.append(
                f"{self.untrained_turns:,} turns of the assistant are not trained, because the "
                "chat template shows them otherwise later on"
            )
        return lines + [f"{file} is a test split and is not read" for file in self.unused_files]

    def to_mapping(self) -> dict[str, Any]:
        """As plain values, for a manifest or a report."""
        return asdict(self)


def encode_rows(
    rows: Iterable[Row],
    tokenizer: Tokenizer,
    config: ExamplesConfig,
    report: ExamplesReport | None = None,
) -> Iterator[tuple[Row, list[Example]]]:
    """Each row with its examples: one, several for a long one, none where it is left out.

    What happens to rows is counted in ``report``. Raises DataError, naming the row, for a
    conversation that the template refuses, and a row of which no token is trained.
    """
    encoder = _Encoder(tokenizer, config, report or ExamplesReport())
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield from zip(chunk, encoder.encode(chunk), strict=True)


def document_start(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What stands before a document: what the tokenizer puts there, or the end of another."""
    return tokenizer.start or (tokenizer.end_of_text,)


def cut_document(
    ids: Sequence[int] | npt.NDArray[np.integer], *, given: int, context: int
) -> Iterator[tuple[Ids, Flags]]:
    """A document's tokens in pieces that fill ``context`` places and train every token once.

    The first ``given`` tokens are not trained. Each piece begins with the last token of the one
    before, which it predicts from.
    """
    tokens = np.asarray(ids, dtype=np.uint32)
    for start in range(0, max(1, len(tokens) - 1), context):
        piece = tokens[start : start + context + 1]
        yield piece, np.arange(len(piece)) >= (given if start == 0 else 1)


@dataclass
class _Encoder:
    tokenizer: Tokenizer
    config: ExamplesConfig
    report: ExamplesReport

    @cached_property
    def chats(self) -> bool:
        """Whether prompts are turns of a conversation."""
        return self.config.template != "none" and self.tokenizer.chat_template is not None

    @cached_property
    def known_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of text that each token stands for; below 0 where no one has asked yet."""
        return np.full(self.tokenizer.vocab_size, -1)

    def encode(self, rows: Sequence[Row]) -> Iterator[list[Example]]:
        plain = [
            row.text if isinstance(row, TextRow) else row.as_text()
            for row in rows
            if isinstance(row, TextRow) or (isinstance(row, PromptRow) and not self.chats)
        ]
        encoded = iter(self.tokenizer.encode_arrays(plain))
        for row in rows:
            form = form_of(row)
            self.report.rows += 1
            self.report.forms[form] = self.report.forms.get(form, 0) + 1
            if isinstance(row, TextRow):
                yield self._text(row, next(encoded))
            elif isinstance(row, PromptRow) and not self.chats:
                yield self._plain(row, next(encoded))
            else:
                yield self._chat(row.as_chat() if isinstance(row, PromptRow) else row)

    def _text(self, row: TextRow, ids: Ids) -> list[Example]:
        if not row.text.strip():
            self._drop(EMPTY)
            return []
        before = document_start(self.tokenizer)
        whole = np.concatenate([before, ids, [self.tokenizer.end_of_text]])
        self.report.longest = max(self.report.longest, len(whole))
        return [
            self._example(tokens, trained, row.source)
            for tokens, trained in cut_document(
                whole, given=len(before), context=self.config.context
            )
        ]

    def _plain(self, row: PromptRow, prompt: Ids) -> list[Example]:
        if len(prompt):
            completion = self.tokenizer.encode_continuation(row.completion)
            before = np.concatenate([self.tokenizer.start, prompt])
        else:
            completion = self.tokenizer.encode_arrays([row.completion])[0]
            before = np.array(document_start(self.tokenizer))
        ids = np.concatenate([before, completion, [self.tokenizer.end_of_text]])
        trained = np.arange(len(ids)) >= len(before)
        return self._fitted(*self._trimmed(ids, trained, row.source), row.source)

    def _chat(self, row: ChatRow) -> list[Example]:
        if not self.chats:
            why = (
                "which --template none leaves out"
                if self.tokenizer.chat_template
                else "which this model's tokenizer does not have"
            )
            raise DataError(f"{row.source}: a conversation needs a chat template, {why}")
        ids, trained, untrained = self._conversation(row)
        self.report.untrained_turns += untrained
        self.report.unheeded_flags += row.unheeded_flags
        return self._fitted(ids, trained, row.source, row)

    def _conversation(self, row: ChatRow) -> tuple[Ids, Flags, int]:
        """Tokens up to the last trained one, and how many turns are shown otherwise later on."""
        from linnet.tokenizer import encode_chat

        try:
            chat = encode_chat(self.tokenizer, row.messages, tools=row.tools)
        except (DataError, ModelError) as error:
            raise _at(row, error) from None
        trained = np.array(chat.trained, dtype=bool)
        turns = row.assistant_turns
        shown = set(chat.turns)
        wanted = {turn for turn, is_trained in zip(turns, row.trained_turns, strict=True)
                  if is_trained}  # fmt: skip
        if wanted != set(turns):
            trained = _only(trained, [turn in wanted for turn in chat.turns], row)
        ids = np.array(chat.ids, dtype=np.uint32)
        return *self._trimmed(ids, trained, row.source), sum(turn not in shown for turn in turns)

    def _trimmed(
        self, ids: npt.NDArray[np.integer], trained: Flags, source: str
    ) -> tuple[Ids, Flags]:
        """Without what follows the last trained token."""
        if not trained[1:].any():
            raise DataError(
                f"{source}: no token of it is trained; the chat template leaves out, or shows "
                "otherwise than it was said, what the assistant says"
            )
        if self.config.train_on == "all":
            trained = np.ones(len(ids), bool)
        last = int(np.flatnonzero(trained)[-1]) + 1
        return ids[:last].astype(np.uint32), trained[:last]

    def _fitted(
        self, ids: Ids, trained: Flags, source: str, row: ChatRow | None = None
    ) -> list[Example]:
        """The example within the context; several where it is longer."""
        self.report.longest = max(self.report.longest, len(ids))
        if len(ids) <= self._most:
            return [self._example(ids, trained, source)]
        if self.config.too_long == "drop":
            self._drop(LONG)
            return []
        self.report.cut += 1
        if self.config.train_on == "all":
            pieces = cut_document(ids, given=1, context=self.config.context)
        elif row is None:
            pieces = self._cut(ids, trained)
        else:
            pieces = self._by_turns(row, ids, trained)
        made = [self._example(tokens, flags, source) for tokens, flags in pieces]
        self.report.pieces += len(made)
        return made

    @property
    def _most(self) -> int:
        return self.config.context + 1  # the last token is only a target

    def _by_turns(self, row: ChatRow, ids: Ids, trained: Flags) -> Iterator[tuple[Ids, Flags]]:
        """Parts of a conversation that fit and train each turn once; the last ones first.

        Each begins with a turn of the user, after the system's message, as early as there is
        place. What is still too long by itself is cut.
        """
        while True:
            starts = [start for start in row.starts if row.trains(start)]
            first, last = 0, len(starts)  # the earliest of them that fits is between these
            found = None
            while first < last:
                middle = (first + last) // 2
                part = self._conversation(row.since(starts[middle]))[:2]
                if len(part[0]) <= self._most:
                    last, found = middle, part
                else:
                    first = middle + 1
            if found is None and starts:
                last = len(starts) - 1
                found = self._conversation(row.since(starts[-1]))[:2]
            own, flags = found or (ids, trained)
            self.report.unseen += max(0, len(ids) - len(own))
            yield from self._cut(own, flags)
            if not starts or not row.trains(0, starts[last]):
                return
            row = row.before(starts[last])
            ids, trained, _ = self._conversation(row)
            if len(ids) <= self._most:
                yield ids, trained
                return

    def _cut(self, ids: Ids, trained: Flags) -> Iterator[tuple[Ids, Flags]]:
        """Pieces that train every token once, the end too, after what leads to it.

        A prompt loses its middle: its beginning and its end, where templates have their
        markers, stay. An answer that does not fit goes on in the next piece, after the same
        prompt.
        """
        if len(ids) <= self._most:
            yield ids, trained
            return
        start = max(1, int(trained.argmax()))
        answer = len(ids) - start
        least = min(start, max(1, self._most // _PROMPT_SHARE))
        length = max(least, min(start, self._most - answer))
        head, tail = (length + 1) // 2, length // 2
        prompt = np.concatenate([ids[:head], ids[start - tail : start]])
        self.report.unseen += start - length
        at, overlap = start, 0
        while at < len(ids):
            end = min(len(ids), at + self._most - length - overlap)
            flags = trained[at - overlap : end].copy()
            flags[:overlap] = False
            if flags.any():
                yield (
                    np.concatenate([prompt, ids[at - overlap : end]]),
                    np.concatenate([np.zeros(length, bool), flags]),
                )
            # The first token of the next piece is predicted from the last one of this.
            at, overlap = end, min(1, self._most - length - 1)

    def _example(self, ids: Ids, trained: Flags, source: str) -> Example:
        trained[0] = False  # nothing comes before it that it could be predicted from
        return Example(ids, trained, source, self._size(ids[trained]))

    def _size(self, ids: Ids) -> int:
        """Bytes of text that the tokens stand for."""
        for token in np.unique(ids[self.known_bytes[ids] < 0]).tolist():
            self.known_bytes[token] = len(self.tokenizer.token_bytes(token))
        return int(self.known_bytes[ids].sum())

    def _drop(self, reason: str) -> None:
        self.report.dropped[reason] = self.report.dropped.get(reason, 0) + 1


def _only(trained: Flags, wanted: Sequence[bool], row: ChatRow) -> Flags:
    """Of the runs of trained tokens, those that are wanted."""
    edges = np.diff(trained.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if len(starts) != len(wanted):
        raise DataError(
            f"{row.source}: the chat template joins turns of the assistant, so that single ones "
            "cannot be left out of training"
        )
    kept = np.zeros(len(trained), bool)
    for start, end, is_wanted in zip(starts, ends, wanted, strict=True):
        kept[start:end] = is_wanted
    return kept


def _at(row: ChatRow, error: LinnetError) -> LinnetError:
    return type(error)(f"{row.source}: {error}")

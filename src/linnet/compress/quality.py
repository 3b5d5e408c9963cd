"""What a model makes of right answers: what each costs, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from linnet.align.encoding import Completion, UnitsReport, encode_units
from linnet.align.preferences import Judged, with_passages
from linnet.align.reference import log_probs
from linnet.errors import DataError
from linnet.evaluate.held_out import TEXT_SUFFIXES
from linnet.examples import prompts
from linnet.examples.record import examples_file, is_examples
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.row_schema import ChatRow, PromptRow
from linnet.finetune.rows import open_source
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.finetune.row_schema import Row
    from linnet.model import Transformer
    from linnet.tokenizer import Tokenizer

Floats: TypeAlias = npt.NDArray[np.float64]

TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class Questions:
    """Questions with their right answers as tokens, and each answer behind another question."""

    right: Sequence[Completion]
    other: Sequence[Completion]

    @property
    def tokens(self) -> Floats:
        """Tokens of each right answer."""
        return np.array([float(each.trained.sum()) for each in self.right])

    def texts(self) -> list[npt.NDArray[np.uint32]]:
        """Whole prompts with their answers, as tokens."""
        return [each.tokens for each in self.right]


def read_questions(
    source: str | Path,
    tokenizer: Tokenizer,
    *,
    context: int,
    most: int,
    seed: int,
    learned: str | Path = "",
    progress: Progress = SILENT,
) -> Questions:
    """Questions of ``linnet examples`` that were kept for testing, each with its passage before it,
    or of a file of rows (``prompt`` and ``completion``, or ``messages``).

    Of more than ``most`` a sample is taken. ``learned``: a text that candidates are trained on;
    where it is a file of rows, these rows are no questions. Raises DataError where there are too
    few to say anything.
    """
    found = _of_examples(source) if is_examples(source) else _of_rows(source, progress)
    # The same question again tells nothing new, and would make the interval too narrow.
    different = {_asked(row): row for row in reversed(found)}
    if len(different) < len(found):
        progress.warn(
            f"{source}: {len(found) - len(different):,} of {len(found):,} rows left out: another "
            "one has the same question and answer"
        )
    known = _rows_learned(learned) & different.keys()
    if known:
        progress.warn(
            f"{source}: {len(known):,} of {len(different):,} questions left out: they are in "
            f"{learned} as well, from which a candidate learns what it would be judged by"
        )
    rows = [row for asked, row in different.items() if asked not in known][::-1]
    if len(rows) > most:
        chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
        rows = [rows[place] for place in sorted(chosen.tolist())]
    config = ExamplesConfig(context=context)
    report = UnitsReport()
    units = encode_units(
        [Judged(row.source, row, True) for row in rows], tokenizer, config, too_long="cut",
        report=report,
    )  # fmt: skip
    for line in report.losses(context):
        progress.warn(f"{source}: {line}")
    if len(units) < LEAST_QUESTIONS:
        raise DataError(
            f"{source}: expected at least {LEAST_QUESTIONS} questions with answers to judge by"
            f"{f' that are not in {learned}' if known else ''}. Got {len(units)}"
        )
    right = [unit.completions[0] for unit in units]
    return Questions(right, _behind_others(right, source))


LEAST_QUESTIONS = 8


def _asked(row: Row) -> str:
    """What a row says, wherever it stands."""
    return repr(replace(row, source=""))


def _rows_learned(text: str | Path) -> set[str]:
    """What the rows of a file say; nothing of what has no rows."""
    path = Path(text)
    if not text or not path.is_file() or path.suffix.lower() in TEXT_SUFFIXES:
        return set()
    return {_asked(row) for row in open_source(path).rows("train", {})}


def _behind_others(right: Sequence[Completion], source: str | Path) -> list[Completion]:
    """Each answer behind the next question that is another. Raises DataError where all are one."""
    prompts = [one.tokens[: one.start].tobytes() for one in right]
    found: list[Completion] = []
    place = 0
    for number, one in enumerate(right):
        place = max(place, number + 1)
        while prompts[place % len(right)] == prompts[number]:
            place += 1
            if place == number + len(right):
                raise DataError(
                    f"{source}: expected questions that differ. Got one, again and again"
                )
        found.append(_behind(right[place % len(right)], one))
    return found


def _behind(question: Completion, answer: Completion) -> Completion:
    tokens = np.concatenate([question.tokens[: question.start], answer.tokens[answer.start :]])
    return Completion(tokens, np.arange(len(tokens)) >= question.start)


def _of_examples(source: str | Path) -> list[ChatRow | PromptRow]:
    file = examples_file(source)
    found = with_passages(file, split="test") or with_passages(file, split="validation")
    return [
        PromptRow(
            f"{file}:{example.id}", prompts.prompt_text(example, passage),
            prompts.answer_text(example), prompts.BETWEEN,
            history=tuple((turn.question, turn.answer) for turn in example.turns),
        )
        for example, passage in found
    ]  # fmt: skip


def _of_rows(source: str | Path, progress: Progress) -> list[ChatRow | PromptRow]:
    opened = open_source(source)
    rows = [row for split in ("validation", "train") for row in opened.rows(split, {})]  # type: ignore[arg-type]
    kept = [row for row in rows if isinstance(row, ChatRow | PromptRow)]
    if kept and len(kept) < len(rows):
        progress.warn(
            f"{source}: {len(rows) - len(kept):,} of {len(rows):,} rows left out: a text without "
            "a prompt has no right answer"
        )
    if not kept:
        raise DataError(f"{source}: expected rows with prompts and completions. Got none")
    return kept


def nats(
    model: Transformer, completions: Sequence[Completion], *, progress: Progress = SILENT
) -> Floats:
    """What each answer costs a model, in nats, all its tokens together."""
    found = log_probs(model.eval(), completions, tokens=TOKENS_AT_ONCE, progress=progress)
    return -found.to(torch.float64).numpy()

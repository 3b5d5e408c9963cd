"""What a teacher writes, as rows to tune a student on that has another vocabulary.

Sequence-level distillation ("Sequence-Level Knowledge Distillation", Kim and Rush,
arXiv:1606.07947): a text means the same to every tokenizer. Texts that were cut, are empty, have
bytes that are no characters, or repeat themselves or each other are left out and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.align.prompts import EncodedPrompt, Prompt
from linnet.align.rewards import Sample
from linnet.align.rollouts import Policy, seed_of
from linnet.errors import DataError, StoppedError
from linnet.evaluate.repetition import seq_rep
from linnet.finetune.row_schema import ChatRow, PromptRow
from linnet.output import write_json, write_text
from linnet.progress import SILENT, Progress
from linnet.tokenizer import encode_chat
from linnet.train.state import STATE

if TYPE_CHECKING:
    from linnet.finetune.encoding import Example
    from linnet.finetune.row_schema import Row
    from linnet.generate.engine import Completion
    from linnet.model import Checkpoint
    from linnet.tokenizer import Tokenizer
    from linnet.train.distributed import Interrupt

ROWS = "rows.jsonl"
AT_ONCE = 32
"""Texts that are written together."""
_NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"
_REPEATED_GRAMS, _MOST_REPEATED = 4, 0.5
EMPTY, CUT, LOOPS, AGAIN = "empty", "cut at --max-tokens", "repeating itself", "written before"
BROKEN = "with bytes that are no characters"


@dataclass(frozen=True)
class TextPrompt:
    """What is given to the teacher, and the row that its text completes."""

    tokens: tuple[int, ...]
    row: dict[str, Any]

    def encoded(self) -> EncodedPrompt:
        """As the engine of alignment takes it."""
        return EncodedPrompt(Prompt("", (), Sample("", "")), self.tokens)

    def completed(self, text: str) -> dict[str, Any]:
        """The row with the teacher's text."""
        if "messages" in self.row:
            answer = {"role": "assistant", "content": text}
            return {**self.row, "messages": [*self.row["messages"], answer]}
        return {**self.row, "completion": text}


def prompts_of_rows(rows: Iterator[Row], tokenizer: Tokenizer, *, chat: bool) -> list[TextPrompt]:
    """The prompts of rows, each as the teacher reads it. Raises DataError for a row that has
    none."""
    found = []
    for row in rows:
        if isinstance(row, PromptRow) and not (chat or row.history or row.system):
            text = row.prompt + row.between
            ids = np.concatenate([tokenizer.start, tokenizer.encode_arrays([text])[0]])
            found.append(TextPrompt(tuple(ids.astype(int).tolist()), {"prompt": text}))
            continue
        if not isinstance(row, PromptRow | ChatRow):
            raise DataError(f"{row.source}: expected a row with a prompt. Got a text")
        whole = row.as_chat() if isinstance(row, PromptRow) else row
        messages = list(whole.messages[:-1])
        if not chat:
            raise DataError(
                f"{row.source}: a conversation needs a chat template, which the teacher's "
                "tokenizer does not have, or --template none leaves out"
            )
        given = encode_chat(tokenizer, messages, tools=whole.tools, add_generation_prompt=True).ids
        tools = {} if whole.tools is None else {"tools": list(whole.tools)}
        found.append(TextPrompt(tuple(given), {"messages": messages, **tools}))
    return found


def prompts_of_texts(
    examples: Sequence[Example], tokenizer: Tokenizer, *, seed: int
) -> list[TextPrompt]:
    """Beginnings of pieces of text, a quarter to a half of each; no character is cut."""
    found = []
    for number, example in enumerate(examples):
        begin = max(1, int(example.trained.argmax()))
        draw = np.random.default_rng([seed, number])
        most = max(begin, len(example.tokens) // 2)
        end = int(draw.integers(min(most, max(begin, most // 2)), most, endpoint=True))
        ids = example.tokens[:end].astype(int).tolist()
        text = tokenizer.decode(ids)
        while text.endswith(_NO_CHARACTER) and len(ids) > begin:
            ids.pop()
            text = tokenizer.decode(ids)
        # A piece may begin within a character.
        found.append(TextPrompt(tuple(ids), {"prompt": text.lstrip(_NO_CHARACTER)}))
    return found


def write_texts(
    teacher: Checkpoint,
    prompts: Sequence[TextPrompt],
    directory: Path,
    *,
    samples: int,
    max_tokens: int,
    temperature: float,
    seed: int,
    interrupt: Interrupt,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write ``rows.jsonl`` into ``directory``; what was written before is kept. The figures.

    The same seed gives the same texts. Raises StoppedError when ``interrupt`` says so, DataError
    where no text can be used.
    """
    context = teacher.config.context - max_tokens
    fitting = [each for each in prompts if 0 < len(each.tokens) <= context]
    tasks = [(prompt, sample) for prompt in fitting for sample in range(samples)]
    policy = Policy(teacher, max_tokens)
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    if len(fitting) < len(prompts):
        unfit = (len(prompts) - len(fitting)) * samples
        counts[f"to a prompt longer than {context:,} tokens"] = unfit
    seen: set[str] = set()
    parts = directory / STATE
    parts.mkdir(exist_ok=True)
    with progress.task("texts by the teacher", total=len(tasks), unit="texts") as task:
        for start in range(0, len(tasks), AT_ONCE):
            some = tasks[start : start + AT_ONCE]
            file = parts / f"texts-{start // AT_ONCE:06d}.json"
            if not file.is_file():
                if interrupt.requested:
                    raise StoppedError(
                        f"stopped and saved {start:,} of {len(tasks):,} texts; run the same "
                        "command again to carry on"
                    )
                seeds = [seed_of(seed, start + place) for place in range(len(some))]
                given = [prompt.encoded() for prompt, _ in some]
                written = policy.write(given, seeds, temperature=temperature)
                write_json(file, [_judged(each) for each in written])
            for (prompt, _), (text, fault) in zip(some, _read(file), strict=True):
                key = json.dumps([prompt.row, text])
                fault = fault or (AGAIN if key in seen else "")
                seen.add(key)
                if fault:
                    counts[fault] += 1
                else:
                    rows.append(prompt.completed(text))
            task.update(done=start + len(some))
    left_out = dict(sorted(counts.items()))
    said = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    if not rows:
        raise DataError(
            f"expected texts to learn from. Got {len(prompts) * samples:,}, and none can be used "
            f"({said}); give prompts that the teacher answers to the end, or more --max-tokens"
        )
    if left_out:
        everything = len(prompts) * samples
        progress.warn(f"{sum(counts.values()):,} of {everything:,} texts left out: {said}")
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_text(directory / ROWS, "".join(f"{line}\n" for line in lines))
    return {"texts": len(rows), "of_texts": len(prompts) * samples, "left_out": left_out}


def _judged(written: Completion) -> tuple[str, str]:
    """A text, and what is wrong with it."""
    if not written.text.strip():
        return written.text, EMPTY
    if written.finish_reason != "stop":
        return written.text, CUT
    if _NO_CHARACTER in written.text:
        return written.text, BROKEN
    repeated = seq_rep(written.tokens, _REPEATED_GRAMS)
    return written.text, LOOPS if (repeated or 0.0) > _MOST_REPEATED else ""


def _read(file: Path) -> list[tuple[str, str]]:
    return [(str(text), str(fault)) for text, fault in json.loads(file.read_text("utf-8"))]

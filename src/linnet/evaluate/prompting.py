"""How a question is put to a model: as plain text or as a conversation, after solved examples.

Whatever an item asks begins with the same system message and the same solved examples, so that the
engine computes them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.generate.engine import Continuation, Request

if TYPE_CHECKING:
    from linnet.generate.engine import Engine
    from linnet.generate.sampling import Sampling


@dataclass(frozen=True)
class Dialogue:
    """What comes before an answer."""

    question: str
    shots: tuple[tuple[str, str], ...] = ()
    """Solved examples: earlier questions with their answers."""
    system: str = ""
    chat: bool = False
    """Whether by the model's chat template; otherwise one text."""
    delimiter: str = " "
    """Between question and answer, in plain text."""
    separator: str = "\n\n"
    """After each answer, in plain text."""

    @property
    def text(self) -> str:
        """All of it as plain text."""
        before = [self.system] if self.system else []
        before += [f"{question}{self.delimiter}{answer}" for question, answer in self.shots]
        return "".join(f"{each}{self.separator}" for each in before) + self.question

    @property
    def messages(self) -> list[dict[str, str]]:
        """All of it as a conversation."""
        found = [{"role": "system", "content": self.system}] if self.system else []
        for question, answer in self.shots:
            found.append({"role": "user", "content": question})
            found.append({"role": "assistant", "content": answer})
        return [*found, {"role": "user", "content": self.question}]

    def request(self, engine: Engine, sampling: Sampling, *, logprobs: bool = False) -> Request:
        """An answer, to be written."""
        if self.chat:
            return Request(engine.chat_prompt(self.messages), sampling, logprobs=logprobs)
        return Request(self.text, sampling, logprobs=logprobs)

    def continuation(self, engine: Engine, answer: str) -> Continuation:
        """An answer whose likelihood is asked for."""
        return self.continuations(engine, [answer])[0]

    def continuations(self, engine: Engine, answers: Sequence[str]) -> list[Continuation]:
        """Several answers to the same question."""
        if self.chat:
            prompt = engine.chat_prompt(self.messages)
            return [Continuation(prompt, engine.tokenize(answer)) for answer in answers]
        return [text_continuation(engine, self.text, self.delimiter + each) for each in answers]


def text_continuation(engine: Engine, prompt: str, text: str) -> Continuation:
    """``text`` after ``prompt``, cut into tokens together, as they stand in a document.

    White space at the prompt's end goes to the text, where a tokenizer puts it too: this is how
    lm-evaluation-harness divides them.
    """
    tokenizer = engine.tokenizer
    bare = prompt.rstrip()
    text = prompt[len(bare) :] + text
    if not bare:
        return Continuation((tokenizer.beginning,), engine.tokenize(text))
    before, whole = engine.tokenize(bare), engine.tokenize(bare + text)
    start = (*tokenizer.start, *whole[: len(before)]) or (tokenizer.beginning,)
    return Continuation(start, whole[len(before) :])


def is_cut(engine: Engine, continuation: Continuation) -> bool:
    """Whether the beginning of its prompt does not fit into the context."""
    return len(continuation.prompt) + len(continuation.tokens) - 1 > engine.context

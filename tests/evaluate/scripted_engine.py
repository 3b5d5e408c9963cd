"""An engine that writes what a function says, and finds likely what another one says."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from linnet.evaluate.config import TasksConfig
from linnet.evaluate.task import Run
from linnet.generate.engine import Chunk, Continuation, Likelihood, Request, Start
from linnet.progress import Progress


class Scripted:
    """Tokens are bytes; a conversation is its messages in angle brackets."""

    context = 4000

    def __init__(
        self,
        write: Callable[[str], str] = lambda prompt: "",
        nats: Callable[[str, str], float] = lambda prompt, text: float(len(text)),
        *,
        chat: bool = False,
        logprob: float = -0.5,
    ) -> None:
        self.write, self.nats, self.logprob = write, nats, logprob
        self.prompts: list[str] = []
        self.tokenizer = SimpleNamespace(
            start=(), beginning=0, end_of_text=0, chat_template="a template" if chat else None,
            encode=self.tokenize,
        )  # fmt: skip

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return list(text.encode())

    def detokenize(self, tokens: Iterable[int]) -> str:
        return bytes(token for token in tokens if token).decode()

    def chat_prompt(self, messages: Sequence[dict[str, str]]) -> tuple[int, ...]:
        text = "".join(f"<{each['role']}>{each['content']}" for each in messages)
        return tuple(f"{text}<assistant>".encode())

    def stream(self, request: Request) -> Iterator[Chunk]:
        prompt = request.prompt
        text = prompt if isinstance(prompt, str) else self.detokenize(prompt)
        self.prompts.append(text)
        written = self.write(text)
        tokens = tuple(written.encode())[: request.sampling.max_tokens]
        reason = "length" if len(tokens) == request.sampling.max_tokens else "stop"
        logprobs = (self.logprob,) * len(tokens)
        yield Chunk(
            self.detokenize(tokens), tokens, reason, logprobs, start=Start(len(text), 0, 0.0)
        )

    def likelihoods(self, continuations: Iterable[Continuation]) -> Iterator[Likelihood]:
        for each in continuations:
            prompt, text = self.detokenize(each.prompt), self.detokenize(each.tokens)
            self.prompts.append(prompt)
            yield Likelihood(self.nats(prompt, text), max(1, len(each.tokens)), greedy=False)


class Told(Progress):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def run_of(
    engine: Scripted, *, data: Path | None = None, place: tuple[str, Path] | None = None,
    **settings: Any,
) -> Run:  # fmt: skip
    """A run of that engine, with figures of few resamples."""
    config = TasksConfig(**{"resamples": 50, **settings})
    return Run(engine, data, None, config, Told(), dict([place] if place else []))  # type: ignore[arg-type]


def asked_in(prompt: str) -> str:
    """The last question in a prompt."""
    return re.findall(r"(?:Question: |Q: |<user>)(.*?)(?:\n|<assistant>|$)", prompt)[-1]

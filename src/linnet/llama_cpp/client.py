"""Asks llama.cpp itself what a GGUF file computes (through the ``xllamacpp`` package).

It runs in a process of its own, as native code may crash, and answers on a socket in
a private directory: no network port is opened. Keys and values are kept in
float32 and nothing is shared between questions, so that answers can be compared
with the exact weights.

    with LlamaCpp(file) as llama:
        llama.continuation(llama.tokens("Once upon"), length=8)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import MissingExtraError
from linnet.llama_cpp.process import LlamaCppProcess, LlamaCppSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType


_PROBE_CONTEXT = 64


def opens(file: Path, *, embedding: bool = False) -> bool:
    """Open a file once; False where llama.cpp is not installed, so that nothing is known.

    Raises ModelError, with llama.cpp's reason, when it does not accept the file.
    """
    try:
        # With its own template, as whoever gets the file will open it.
        LlamaCpp(file, context=_PROBE_CONTEXT, embedding=embedding, own_template=True).close()
    except MissingExtraError:
        return False
    return True


@dataclass(frozen=True)
class Continuation:
    """What llama.cpp wrote, greedily, and how likely it found the best tokens at each step."""

    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]
    """For each place, the one it stopped at included: tokens with their log-probability in
    nats. Empty where llama.cpp tells none: at a token that ends within a character."""
    stopped: bool
    """Whether it ended at a token that ends a text."""


class LlamaCpp:
    """One GGUF file, run by llama.cpp. Use it in a ``with`` statement."""

    def __init__(
        self,
        file: Path,
        *,
        context: int = 512,
        threads: int = 1,
        embedding: bool = False,
        own_template: bool = False,
    ) -> None:
        """``embedding``: for encoders, which write nothing. ``own_template``: for ``rendered``;
        llama.cpp runs the file's template once when it loads it.

        Raises MissingExtraError without ``xllamacpp``, and ModelError when llama.cpp
        does not accept the file.
        """
        self._process = LlamaCppProcess(
            LlamaCppSettings(
                str(file.resolve()),
                context=context,
                threads=threads,
                embedding=embedding,
                own_template=own_template,
            )
        )

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove what it left."""
        self._process.close()

    def tokens(self, text: str, *, special: bool = False, around: bool = True) -> list[int]:
        """The tokens of a text. ``special``: names of special tokens in it are those tokens.

        ``around``: with what the tokenizer puts before and after every text.
        """
        asked = {"content": text, "add_special": around, "parse_special": special}
        found: list[int] = self._process.ask("/tokenize", asked)["tokens"]
        return found

    def continuation(
        self, prompt: Sequence[int], *, length: int, candidates: int = 8
    ) -> Continuation:
        """The best ``length`` tokens after ``prompt``, each the most likely one."""
        tokens: list[int] = []
        logprobs: list[dict[int, float]] = []
        while len(tokens) < length:
            asked = {
                "prompt": [*prompt, *tokens],
                "n_predict": 1,  # of several it leaves out those that end within a character
                "temperature": 0,
                "samplers": ["temperature"],
                "n_probs": candidates,
                "return_tokens": True,
                "cache_prompt": True,
            }
            answer = self._process.ask("/completion", asked)
            places = answer.get("completion_probabilities") or [{"top_logprobs": []}]
            best = {entry["id"]: entry["logprob"] for entry in places[0]["top_logprobs"]}
            logprobs.append(best)
            if answer.get("stop_type") == "eos":
                return Continuation(tuple(tokens), tuple(logprobs), stopped=True)
            tokens += answer["tokens"]
        return Continuation(tuple(tokens), tuple(logprobs), stopped=False)

    def rendered(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """A conversation as llama.cpp writes it out by the template in the file.

        Only for a file opened with ``own_template``.
        """
        answer = self._process.ask("/apply-template", {"messages": list(messages)})
        return str(answer["prompt"])

    def embedding(self, text: str) -> list[float]:
        """An encoder's vector for a text, pooled as the file says and not scaled."""
        answer = self._process.ask("/embedding", {"content": text, "embd_normalize": -1})
        found: list[float] = answer[0]["embedding"][0]
        return found

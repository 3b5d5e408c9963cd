"""Texts that follow a constraint, on the torch engine: which tokens may come next.

llguidance (MIT) follows the grammar that llama.cpp is given too (``constraints``), over the bytes
that each token stands for, so that any cut of an allowed text into tokens is allowed. Constraints
may come from strangers: what one may cost is limited, when it is read and at every token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from time import thread_time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from linnet.errors import ConfigError, MissingExtraError
from linnet.generate.constraints.compiler import written

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint
    from linnet.tokenizer import Tokenizer

LIMITS = {
    "initial_lexer_fuel": 200_000,
    "step_lexer_fuel": 200_000,
    "max_items_in_row": 5_000,  # there is one for each choice, at the first token
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 200_000,
    "verbose_errors": False,
}
"""What a rule may cost: some tens of milliseconds to read, and at each token.

Reading takes longer than the library's manual says: seconds with the fuel it gives by default.
"""

STEP_SECONDS = 1.0
"""Processor time of one token after which a rule is given up: others wait meanwhile."""


class Constrainer:
    """Reads rules for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int]) -> None:
        """``stop_ids``: the tokens that end a text. Raises MissingExtraError without llguidance."""
        self._library = _library()
        self._vocabulary = self._library.LLTokenizer(
            self._library.TokenizerWrapper(_Vocabulary(tokenizer, stop_ids)),
            eos_token=sorted(stop_ids),
        )
        self._limits = self._library.LLParserLimits(**LIMITS)

    def follow(self, constraint: Constraint) -> Follower:
        """Begin a text by a rule. Raises ConfigError saying what is wrong with the rule.

        Most of a rule is read only where its first token is asked for, which is done here:
        in the thread of the one who asks for it, and not where all texts are written.
        """
        grammar = self._library.LLMatcher.grammar_from_lark(written(constraint, "lark"))
        matcher = self._library.LLMatcher(
            self._vocabulary, grammar, log_level=0, limits=self._limits
        )
        if matcher.is_error():
            raise _refused(constraint.kind, matcher.get_error())
        return Follower(matcher, constraint.kind)


class Follower:
    """One text on its way through a rule."""

    def __init__(self, matcher: Any, kind: str) -> None:
        """Raises ConfigError where nothing can begin a text by this rule, or at too high a cost."""
        self._matcher = matcher
        self._kind = kind
        self._first: npt.NDArray[np.uint8] | None = self._allowed()
        single = self._first.nonzero()[0]
        if len(single) == 1:  # what has to come may be endless, which is told only behind it
            trial = matcher.deep_copy()
            if not trial.consume_token(int(single[0])):
                raise _refused(kind, trial.get_error())

    def copy(self) -> Follower:
        """Another text that has come as far."""
        other = copy.copy(self)
        other._matcher = self._matcher.deep_copy()
        return other

    @property
    def complete(self) -> bool:
        """Whether the text follows the whole rule, and nothing can be added."""
        return bool(self._matcher.is_stopped())

    def mask(self, logits: Tensor) -> None:
        """Set the logits ``(V,)`` of tokens that may not come next to minus infinity.

        Raises ConfigError where the rule has become too costly, or no token can follow it.
        """
        allowed, self._first = self._timed() if self._first is None else self._first, None
        count = min(len(allowed), len(logits))
        logits[:count].masked_fill_(torch.from_numpy(allowed[:count] == 0), -torch.inf)
        logits[count:] = -torch.inf

    def _timed(self) -> npt.NDArray[np.uint8]:
        begun = thread_time()
        allowed = self._allowed()
        if thread_time() - begun > STEP_SECONDS:
            raise _refused(self._kind, "it takes too long to find out what may come next")
        return allowed

    def advance(self, token: int) -> None:
        """This token was chosen. Raises ConfigError where the rule has become too costly."""
        if not self._matcher.consume_token(token):
            raise _refused(self._kind, self._matcher.get_error())

    def _allowed(self) -> npt.NDArray[np.uint8]:
        """For each token, whether it may come next ``(V,)``: not 0."""
        allowed = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8)
        if self._matcher.is_error():
            raise _refused(self._kind, self._matcher.get_error())
        single = allowed.nonzero()[0]
        if len(single) == 1 and not self._matcher.validate_tokens(single.tolist()):
            # A text that has to come, which the vocabulary cannot spell up to just there.
            possible = (self._matcher.validate_tokens([token]) for token in range(len(allowed)))
            allowed = np.fromiter(possible, dtype=np.uint8)
        if not allowed.any():
            reason = (
                "no token of this model's vocabulary can go on as it asks; "
                "loosen it, or use a model that writes every byte"
            )
            raise _refused(self._kind, reason)
        return allowed


class _Vocabulary:
    """A tokenizer as llguidance asks for it."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(stop_ids)
        self.bos_token_id = None
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        special = {token for token, own in enumerate(self.tokens) if not own} | set(stop_ids)
        for token in special:  # each needs a name of its own, which no text can spell
            self.tokens[token] = b"\xff" + f"<{token}>".encode()
        self.special_token_ids = sorted(special)
        self._by_bytes = {
            own: token for token, own in enumerate(self.tokens) if token not in special
        }
        self._longest = max(map(len, self._by_bytes), default=0)

    def __call__(self, text: bytes | str) -> list[int]:
        """How the model would spell a text that has to come; nothing where it cannot."""
        wanted = text if isinstance(text, bytes) else text.encode()
        try:
            usual = self._tokenizer.encode_continuation(wanted.decode()).tolist()
        except UnicodeDecodeError:  # the text ends within a character
            usual = []
        if usual and b"".join(self.tokens[token] for token in usual) == wanted:
            return list(usual)
        return self._longest_first(wanted)

    def _longest_first(self, wanted: bytes) -> list[int]:
        """A spelling of exactly these bytes, by the longest token at each place."""
        found: list[int] = []
        start = 0
        while start < len(wanted):
            sizes = range(min(self._longest, len(wanted) - start), 0, -1)
            token = next(
                (
                    self._by_bytes[wanted[start : start + size]]
                    for size in sizes
                    if wanted[start : start + size] in self._by_bytes
                ),
                None,
            )
            if token is None:
                return []
            found.append(token)
            start += len(self.tokens[token])
        return found


def _refused(kind: str, reason: str) -> ConfigError:
    if "NoExtensionBias" in reason:
        reason = "there is no text that it allows"
    return ConfigError(f"the {kind} cannot be followed: {_line(reason)}")


def _line(text: str) -> str:
    return " ".join(text.replace("<non-verbose/>", "").split())[:300]


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise MissingExtraError("llguidance", "constraining what a model writes") from None
    return llguidance

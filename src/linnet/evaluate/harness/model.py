"""A model of Linnet's as the harness asks models: tokens, likelihoods, texts.

Prompts become tokens as the harness's own ``hf`` model makes them, so that every likelihood can be
compared with that model's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError, ModelError
from linnet.generate.engine import Completion, Continuation, Request
from linnet.generate.sampling import Sampling
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM

    from linnet.generate.engine import Engine

USUAL_LENGTH = 256  # tokens that a task may write where it does not say, as in the harness
REQUESTS_AT_ONCE = 256
OPEN_END = "\ue000open\ue001"  # in no text: characters of private use

SAMPLING_NAMES = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repetition_penalty": "repetition_penalty",
}
"""What tasks may set of generation, and what it is called here."""


def language_model(engine: Engine, *, seed: int = 0, progress: Progress = SILENT) -> TemplateLM:
    """The engine as the harness's model."""
    from lm_eval.api.model import TemplateLM

    class EngineModel(_Answers, TemplateLM):  # type: ignore[misc]
        """Answers the harness through the engine."""

    return EngineModel(engine, seed, progress)


class _Answers:
    """What the harness asks of a model, answered through the engine. It goes before the harness's
    own class of models, which is there only where that is installed."""

    def __init__(self, engine: Engine, seed: int, progress: Progress) -> None:
        super().__init__()
        self.engine, self.seed, self.progress = engine, seed, progress
        self.own = engine.tokenizer

    @property
    def eot_token_id(self) -> int:
        return self.own.end_of_text

    @property
    def prefix_token_id(self) -> int:
        return self.own.beginning

    @property
    def tokenizer_name(self) -> str:
        return "linnet"

    @property
    def max_length(self) -> int:
        return self.engine.context

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        # As transformers reads a text: names of special tokens stand for these.
        tokens = self.engine.tokenize(string, special=True)
        begun = (
            tokens[:1] == [self.own.beginning]
            if add_special_tokens is None
            else not add_special_tokens
        )
        return tokens if begun else [*self.own.start, *tokens]

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = super().loglikelihood(  # type: ignore[misc]
            requests, disable_tqdm=True
        )
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked = [Continuation(tuple(before), own) for _, before, own in requests]
        return self._likelihoods(asked, "likelihoods")

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        asked: list[Continuation] = []
        counts = []
        for (text,) in (each.args for each in requests):
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.own.beginning,
                max_seq_len=self.engine.context,
                context_len=1,
            )
            own = [make_disjoint_window(window) for window in windows]
            asked += [Continuation(tuple(before), tokens) for before, tokens in own]
            counts.append(len(own))
        found = iter(self._likelihoods(asked, "texts"))
        return [sum(next(found)[0] for _ in range(count)) for count in counts]

    def _likelihoods(self, asked: Sequence[Continuation], unit: str) -> list[tuple[float, bool]]:
        found = []
        with self.progress.task("harness: scoring", total=len(asked), unit=unit) as shown:
            for each in self.engine.likelihoods(asked):
                found.append((-each.nats, each.greedy))
                shown.advance(1)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        asked = [self._request(*each.args) for each in requests]
        texts = []
        with self.progress.task("harness: writing", total=len(asked), unit="texts") as shown:
            for start in range(0, len(asked), REQUESTS_AT_ONCE):
                done: list[Completion] = self.engine.generate(
                    asked[start : start + REQUESTS_AT_ONCE]
                )
                texts += [each.text for each in done]
                shown.advance(len(done))
        return texts

    def _request(self, context: str, settings: dict[str, Any]) -> Request:
        from lm_eval.models.utils import normalize_gen_kwargs

        wanted = dict(normalize_gen_kwargs(settings, USUAL_LENGTH))
        length, until = wanted.pop("max_gen_toks"), wanted.pop("until", [])
        sampled = wanted.pop("do_sample", False)
        sampling = self._sampling(wanted, sampled=sampled)
        room = self.engine.context - length
        if room < 1:
            raise ConfigError(
                f"the task writes {length} tokens, which leaves no room for a question in the "
                f"model's context of {self.engine.context}; give the task a smaller max_gen_toks"
            )
        stops = tuple(text for text in until if text)
        return Request(
            tuple(self.tok_encode(context)[-room:]),
            replace(sampling, max_tokens=length, stop=stops),
        )

    def _sampling(self, wanted: Mapping[str, Any], *, sampled: bool) -> Sampling:
        unknown = sorted(set(wanted) - set(SAMPLING_NAMES))
        if unknown:
            raise ConfigError(
                f"the task sets {', '.join(unknown)} for generation, which Linnet does not "
                f"have; there are: {', '.join(SAMPLING_NAMES)}"
            )
        named = {SAMPLING_NAMES[name]: value for name, value in wanted.items()}
        if not sampled:
            named["temperature"] = 0.0
        return Sampling(**{"min_p": 0.0, "seed": self.seed, **named})

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        template = self.own.chat_template
        if template is None:
            raise ModelError("the model has no chat template; leave out --style chat")
        if add_generation_prompt:
            return template.render(chat_history, add_generation_prompt=True)
        *before, last = chat_history  # which the model is to go on with
        text = template.render([*before, {**last, "content": last["content"] + OPEN_END}])
        return text[: text.rindex(OPEN_END)]

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return str(self.own.config.get("chat_template", "")) if chat_template else ""

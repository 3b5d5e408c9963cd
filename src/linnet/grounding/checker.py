"""The encoder's part: how likely a passage supports a claim that no rule decides.

The model is a sequence classification checkpoint with the labels :data:`LABELS`, which reads
``[CLS] claim [SEP] passage [SEP]`` as transformers gives it a pair of texts. Of a passage it is
given what stands around the sentence nearest to the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import ModelError
from linnet.grounding.passage import Passage, prepared
from linnet.grounding.rules import UNDECIDED, Place, Status, Verdict, check
from linnet.grounding.sentences import Claim

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.runtime import DeviceName
    from linnet.tokenizer import Tokenizer

LABELS = ("unsupported", "supported")
SURROUNDINGS = 150
"""Characters of the passage before the nearest sentence, and after it, that are read."""

THRESHOLD = 0.5
LIKENESS = 0.35
"""Score by words from which on the encoder may say that a claim is supported."""

MAX_TOKENS = 128
DOUBT = 0.5
"""The share of a score by words that is left where the encoder is sure of the opposite."""


class Checker:
    """Rules first, then the encoder for what they leave open."""

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer, *, max_tokens: int = MAX_TOKENS
    ) -> None:
        if model.config.head != "sequence" or model.config.labels != LABELS:
            raise ModelError(
                f"a checker needs a sequence classification with the labels {', '.join(LABELS)}; "
                "linnet grounding train makes one. "
                f"Got {', '.join(model.config.labels) or f'a model with head {model.config.head}'}"
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.max_tokens = min(max_tokens, model.config.context)

    @classmethod
    def open(cls, place: Path | str, *, device: DeviceName = "cpu") -> Checker:
        """The checker that ``train_checker`` wrote there."""
        from linnet.model import load_model
        from linnet.runtime import detect
        from linnet.tokenizer import load as load_tokenizer

        path = Path(place)
        return cls(load_model(path, device=detect(device).device), load_tokenizer(path))

    def check(
        self,
        claims: Sequence[Claim | str],
        passages: str | Passage | Sequence[str | Passage],
        *,
        language: str | None = None,
    ) -> list[Verdict]:
        """The verdicts on claims about the same passages, those left open in one batch."""
        if isinstance(passages, str | Passage):
            passages = [passages]
        ready = [prepared(passage, language) for passage in passages]
        verdicts = [check(claim, ready, language=language) for claim in claims]
        places = [place for place, verdict in enumerate(verdicts) if _is_open(verdict)]
        asked = [(_text(claims[place]), context(ready, verdicts[place].evidence))
                 for place in places]  # fmt: skip
        for place, probability in zip(places, self.probabilities(asked), strict=True):
            verdicts[place] = decided(verdicts[place], probability)
        return verdicts

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """How likely each passage supports its claim, ``(claim, passage)``."""
        from linnet.train.text_pairs import encode_pairs, pair_scores

        kinds = self.model.config.token_types
        encoded = encode_pairs(self.tokenizer, pairs, max_tokens=self.max_tokens, token_types=kinds)
        return pair_scores(self.model, encoded).softmax(-1)[:, 1].tolist()


def decided(verdict: Verdict, probability: float) -> Verdict:
    """An open verdict with what the encoder says."""
    # Likeness in words orders what is near and what is far; the encoder, what is near.
    doubt = DOUBT + (1 - DOUBT) * probability
    score = round(min(UNDECIDED, verdict.score * doubt), 4)
    likely = probability >= THRESHOLD
    found = replace(verdict, score=score, probability=round(probability, 4))
    # What lacks something, or has few words in common, is not supported by likelihood alone.
    if likely and (verdict.missing or verdict.score < LIKENESS):
        return found
    status: Status = "supported" if likely else "unsupported"
    return replace(found, status=status, rule="encoder")


def _is_open(verdict: Verdict) -> bool:
    return verdict.status == "undecided" and verdict.rule != "question"


def _text(claim: Claim | str) -> str:
    return claim.text if isinstance(claim, Claim) else claim


def context(passages: Sequence[Passage], place: Place | None) -> str:
    """What the encoder reads of the passages: whole sentences around the nearest one."""
    if not passages:
        return ""
    if place is None:
        return passages[0].text[: 2 * SURROUNDINGS]
    passage = passages[place.passage]
    start, end = place.start - SURROUNDINGS, place.end + SURROUNDINGS
    own = [
        sentence.claim
        for sentence in passage.sentences
        if sentence.claim.start >= start and sentence.claim.end <= end
    ]
    if not own:
        return passage.text[place.start : place.end]
    return passage.text[min(own[0].start, place.start) : max(own[-1].end, place.end)]

"""Guard rails: what documents may not do to a model, and what may not go out.

**Documents are data.** A sentence that speaks to a model ("ignore all previous instructions", a
call of a tool, the signs of a chat template, text that nobody sees) is not shown to it: it is
found by patterns (``instructions``).
What no pattern finds still reaches nothing: a model that writes from passages has no tools, one
index and no say in policy; what it states must be in a quotation of what it was shown (``writer``),
and addresses that a reader's program would open by itself are made inert (:func:`inert`).

**Private data** is masked for whoever may not see it (``privacy``).
**Unsafe** requests are refused by patterns, and by a classifier where the owner names one.

All that is changed or withheld is named in the answer's record.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from linnet.answers.instructions import UNSEEN
from linnet.errors import ModelError

if TYPE_CHECKING:
    from linnet.runtime import DeviceName

_IMAGE = re.compile(r"!(?=\[[^\]\n]{0,200}\]\s*[(\[])")
_ELEMENT = re.compile(
    r"<(?=/?(?:img|image|script|iframe|frame|link|object|embed|applet|video|audio|source|track|svg|"
    r"style|meta|form|base|input|portal)\b)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(?P<name>javascript|vbscript|data):(?=\S)", re.IGNORECASE)


def inert(text: str) -> str:
    """A text of which a program that shows Markdown or HTML opens nothing by itself: images become
    links, and elements that load something plain text."""
    text = _ELEMENT.sub("‹", _IMAGE.sub("", text))
    return _SCHEME.sub(lambda match: f"{match['name']} :", text)


UNSAFE: dict[str, tuple[str, ...]] = {
    "weapons": (
        r"\bhow (?:can|do|could|would|to|might)\b.{0,20}\b(?:make|build|construct|assemble|produce|"
        r"synthesi[sz]e|cook|obtain|buy)\b.{0,40}\b(?:bombs?|explosives?|grenades?|ied|"
        r"nerve (?:agent|"
        r"gas)|sarin|ricin|mustard gas|molotov|bio(?:logical )?weapons?|chemical weapons?|nuclear "
        r"weapons?|landmines?|silencer|untraceable (?:gun|firearm))\b",
        r"\bwie (?:kann|baue?|bastle?|stelle?)\b.{0,40}\b(?:bomben?|sprengstoff\w*|sprengsatz|"
        r"nervengas|handgranaten?)\b",
    ),
    "violence": (
        r"\bhow (?:can|do|could|would|to)\b.{0,20}\b(?:kill|murder|poison|torture|"
        r"kidnap)\b.{0,20}\b"
        r"(?:some ?one|somebody|a (?:person|man|woman|child|human)|people|my|him|her|them|the)\b"
        r".{0,40}(?:without|undetect|get(?:ting)? away|\?|$)",
    ),
    "self-harm": (
        r"\bhow (?:can|do|could|should|to)\b.{0,20}\b(?:i|me|myself|one)?\b.{0,10}\b(?:kill myself|"
        r"end my (?:own )?life|commit suicide|hang myself|cut myself|hurt myself)\b",
        r"\b(?:best|easiest|painless|quickest|surest|most effective)\b.{0,20}\b(?:way|method|"
        r"means)s?\b"
        r".{0,20}\b(?:kill myself|suicide|end my life|die)\b",
        r"\bwie (?:kann|bringe?)\b.{0,20}\b(?:ich )?mich (?:selbst )?(?:um(?:bringen)?|töten)\b",
    ),
    "sexual content with minors": (
        r"\b(?:sex\w*|porn\w*|nude|naked|erotic\w*)\b.{0,30}\b(?:child(?:ren)?|minors?|"
        r"under ?age\w*|"
        r"kids?|toddlers?|pre-?teens?|(?:[1-9]|1[0-7]) ?-?year ?-?olds?)\b.{0,30}\b(?:stor(?:y|"
        r"ies)|"
        r"pictures?|images?|videos?|photos?|content|material|scene|fantas\w+)\b",
        r"\b(?:child|kiddie|under ?age) ?porn\w*\b",
    ),
    "crime": (
        r"\bhow (?:can|do|could|would|to)\b.{0,20}\b(?:launder money|make (?:crystal )?meth\w*|"
        r"cook meth"
        r"\w*|synthesi[sz]e (?:meth\w*|fentanyl|heroin|lsd)|write (?:a )?(?:virus|malware|"
        r"ransomware|"
        r"keylogger)|steal (?:a |an )?(?:car|identity|credit card)|forge (?:a )?(?:passport|"
        r"banknotes?))"
        r"\b",
    ),
}  # fmt: skip
"""What is asked for that no answer helps with, by patterns; narrow, since documents of medicine,
law and history speak of the same things."""

REFUSED = "I can't help with that."


class Classifier(Protocol):
    """Tells how likely texts are unsafe."""

    def unsafe(self, texts: Sequence[str]) -> Sequence[float]:
        """Of each text, from 0 to 1."""


class UnsafeClassifier:
    """A sequence classification of which one label means that all is well."""

    SAFE = frozenset(("safe", "neutral", "not_toxic", "non-toxic", "nontoxic", "ok", "benign",
                      "normal", "clean"))  # fmt: skip
    MAX_TOKENS = 256

    def __init__(self, place: Path | str, *, device: DeviceName = "cpu") -> None:
        """Raises ModelError where no label of the model is known to mean that all is well."""
        from linnet.model import load_model
        from linnet.runtime import detect
        from linnet.tokenizer import load as load_tokenizer

        path = Path(place)
        self.model = load_model(path, device=detect(device).device).eval()
        self.tokenizer = load_tokenizer(path)
        labels = [label.casefold() for label in self.model.config.labels]
        safe = [number for number, label in enumerate(labels) if label in self.SAFE]
        if self.model.config.head != "sequence" or len(safe) != 1:
            raise ModelError(
                f"{place}: expected a sequence classification with one label of "
                f"{', '.join(sorted(self.SAFE))}. Got {', '.join(labels) or 'no labels'}"
            )
        self._safe = safe[0]

    def unsafe(self, texts: Sequence[str]) -> list[float]:
        """See :class:`Classifier`."""
        import torch

        start, finish = list(self.tokenizer.start), list(self.tokenizer.finish)
        most = min(self.MAX_TOKENS, self.model.config.context) - len(start) - len(finish)
        found = []
        with torch.inference_mode():
            for text in texts:
                tokens = [*start, *self.tokenizer.encode(text)[:most], *finish]
                scores = self.model(torch.tensor([tokens]))
                found.append(1.0 - float(scores.softmax(-1)[0, self._safe]))
        return found


@dataclass(frozen=True)
class Guards:
    """What is refused, masked and made inert, and by what."""

    classifier: Classifier | None = None
    threshold: float = 0.8
    """From which on the classifier's verdict counts."""

    def refuses(self, question: str) -> str | None:
        """What of a question no answer helps with; None: nothing."""
        plain = unicodedata.normalize("NFKC", UNSEEN.sub("", question))
        for kind, pattern in _unsafe_patterns():
            if pattern.search(plain):
                return kind
        if self.classifier is not None and self.classifier.unsafe([plain])[0] >= self.threshold:
            return "unsafe by the classifier"
        return None

    def withholds(self, text: str) -> str | None:
        """Why an answer may not go out, by the classifier; None: it may."""
        if text and self.classifier is not None:
            return (
                "unsafe by the classifier"
                if self.classifier.unsafe([text])[0] >= self.threshold
                else None
            )
        return None


def guards_of(classifier: Path | str | None) -> Guards:
    """The guards with the classifier in a directory, where one is named."""
    return Guards(UnsafeClassifier(classifier) if classifier is not None else None)


@cache
def _unsafe_patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (kind, re.compile("|".join(patterns), re.IGNORECASE)) for kind, patterns in UNSAFE.items()
    ]

"""Guard rails: what documents may not do to a model, and what may not go out.

**Documents are data.** A sentence that speaks to a model ("ignore all previous instructions", a
call of a tool, the signs of a chat template, text that nobody sees) is not shown to it: it is
found by patterns (``instructions``).
What no pattern finds still reaches nothing: a model that writes from passages has no tools, one
index and no say in policy; what it states must be in a quotation of what it was shown (``writer``),
and addresses that a reader's program would open by itself are made inert (:func:`inert`).

**Private data** is masked for whoever may not see it, by the detectors of the data stage.
**Unsafe** requests are refused by patterns, and by a classifier where the owner names one.

All that is changed or withheld is named in the answer's record.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from linnet.answers.evidence import Draft, Evidence
from linnet.answers.instructions import UNSEEN
from linnet.data.config import DataConfig
from linnet.data.privacy import Scrubbed, Scrubber
from linnet.data.privacy.span import Span
from linnet.errors import ModelError
from linnet.retrieval import Found

if TYPE_CHECKING:
    from linnet.runtime import DeviceName

_IMAGE = re.compile(r"!(?=\[[^\]\n]{0,200}\]\s*[(\[])")
_ELEMENT = re.compile(
    r"<(?=/?(?:img|image|script|iframe|frame|link|object|embed|applet|video|audio|source|track|svg|"
    r"style|meta|form|base|input|portal)\b)",
    re.IGNORECASE,
)
_LONGEST_NAME = 100  # of a column, in characters
_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"(?=[|:+ \t]*-)[|:+\- \t]++\s*")
"""Below a table's header in Markdown."""
_SCHEME = re.compile(r"\b(?P<name>javascript|vbscript|data):(?=\S)", re.IGNORECASE)


def inert(text: str) -> str:
    """A text of which a program that shows Markdown or HTML opens nothing by itself: images become
    links, and elements that load something plain text."""
    text = _ELEMENT.sub("‹", _IMAGE.sub("", text))
    return _SCHEME.sub(lambda match: f"{match['name']} :", text)


@cache
def _scrubber() -> Scrubber:
    return Scrubber.of(DataConfig(privacy="mask"))


def mask_private(text: str) -> Scrubbed:
    """A text with personal data and secrets in it masked."""
    found = _in_tables(text)
    scrubbed = _scrubber().scrub(_replaced(text, found), "prose")
    counts = Counter(scrubbed.counts) + Counter(span.kind for span in found)
    return dataclasses.replace(scrubbed, counts=dict(sorted(counts.items())))


def private_spans(text: str) -> list[tuple[int, int, str]]:
    """Where personal data and secrets begin and end in a text, and of which kind each is."""
    spans = [*_in_tables(text), *_scrubber().find(text, "prose")]
    found: list[tuple[int, int, str]] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if found and span.start < found[-1][1]:
            start, end, kind = found[-1]
            found[-1] = (start, max(end, span.end), kind)
        else:
            found.append((span.start, span.end, span.kind))
    return found


def _in_tables(text: str) -> list[Span]:
    """The private values in the cells of a text's tables. What a cell holds may be private only by
    what its column is called, so each is read behind that: "phone: 5551234"."""
    read: list[str] = []
    places: list[tuple[int, int, int]] = []  # of a cell: begin and end as read, begin in the text
    size = at = 0
    columns: list[str] | None = None
    for line in text.splitlines(keepends=True):
        cells = _cells(line)
        if len(cells) < 2 and not (cells and columns and len(columns) == 1):
            columns = None
        elif columns is None:
            columns = [cell[:_LONGEST_NAME] for _, cell in cells]
        elif not _RULE.fullmatch(line):
            for column, (begin, cell) in zip(columns, cells, strict=False):
                name, rest = f"{column}: ", f"{cell}; "
                places.append((size + len(name), size + len(name) + len(cell), at + begin))
                read += [name, rest]
                size += len(name) + len(rest)
            read.append("\n")
            size += 1
        at += len(line)
    found: list[Span] = []
    ends = [end for _, end, _ in places]
    for span in _scrubber().find("".join(read), "prose") if read else ():
        for begin, end, here in places[bisect.bisect_right(ends, span.start) :]:
            low, high = max(begin, span.start), min(end, span.end)
            if begin >= span.end:
                break
            if low < high:
                found.append(Span(here + low - begin, here + high - begin, span.kind))
    return found


def _cells(line: str) -> list[tuple[int, str]]:
    """The cells of a table's line, each with its place; none where it has no bars."""
    begin, end = len(line) - len(line.lstrip()), len(line.rstrip())
    borders = [match.start() for match in _BAR.finditer(line, begin, end)]
    if not borders:
        return []
    if borders[0] == begin:
        begin = borders.pop(0) + 1
    if borders and borders[-1] == end - 1:
        end = borders.pop()
    found = []
    for low, high in itertools.pairwise((begin - 1, *borders, end)):
        cell = line[low + 1 : high]
        found.append((low + 1 + len(cell) - len(cell.lstrip()), cell.strip()))
    return found


def _replaced(text: str, spans: Sequence[Span]) -> str:
    pieces, at = [], 0
    for span in spans:
        pieces += [text[at : span.start], f"<{span.kind}>"]
        at = span.end
    return "".join((*pieces, text[at:]))


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


_SHORTEST_VALUE = 6
"""Characters of a private value that is also masked where it stands by itself."""
_SHORTEST_PART = 3
"""And of what a quotation leaves of one."""


class Screen:
    """What of one answer is masked, or made inert, on its way out."""

    def __init__(self, *, masks_private: bool) -> None:
        self._masks = masks_private
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, str] = {}
        self._values: dict[str, str] = {}
        """Private values of the passages with their kinds: a row or a sentence of its own may not
        have what tells that they are."""
        self._private: dict[str, list[tuple[int, int, str]]] = {}
        """Where they are in each passage."""
        self._inert = False

    @property
    def interventions(self) -> tuple[str, ...]:
        """What was masked or made inert, in words."""
        found = []
        if self._counts:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self._counts.items()))
            found.append(f"private data was masked: {kinds}")
        if self._inert:
            found.append("what opens by itself (an image, an element) was made inert")
        return tuple(found)

    def found(self, passages: Sequence[Found]) -> tuple[Found, ...]:
        """Passages as they may be seen."""
        if self._masks:
            for text in [each.passage.text for each in passages]:
                self._private[text] = private_spans(text)
                for start, end, kind in self._private[text]:
                    if end - start >= _SHORTEST_VALUE:
                        self._values[text[start:end]] = kind
        return tuple(
            dataclasses.replace(found, passage=dataclasses.replace(
                found.passage, text=self._text(found.passage.text),
                title=self._text(found.passage.title),
                headings=tuple(map(self._text, found.passage.headings)),
            ))
            for found in passages
        )  # fmt: skip

    def evidence(self, evidence: Evidence) -> Evidence:
        """What was found as it may be seen."""
        return dataclasses.replace(evidence, passages=self.found(evidence.passages))

    def draft(self, draft: Draft) -> Draft:
        """An answer as it may be seen: claims are masked one by one, so that the beginning of an
        answer does not depend on what comes later."""
        if self._masks:
            for cited in draft.citations:
                self._learn_parts(cited.text)
            for claim in draft.claims:
                self._learn_parts(claim.text)
        text, done = "", 0
        claims = []
        for claim in draft.claims:
            text += self._shown(draft.text[done : claim.start])
            own = self._shown(draft.text[claim.start : claim.end])
            claims.append(dataclasses.replace(
                claim, text=own, start=len(text), end=len(text) + len(own)
            ))  # fmt: skip
            text, done = text + own, claim.end
        text += self._shown(draft.text[done:])
        citations = tuple(
            dataclasses.replace(cited, text=self._text(cited.text), title=self._text(cited.title))
            for cited in draft.citations
        )
        return dataclasses.replace(draft, text=text, claims=tuple(claims), citations=citations)

    def _learn_parts(self, quoted: str) -> None:
        """Of a value that a quotation of a passage cuts, what is left is private too."""
        for text, spans in self._private.items():
            begin = text.find(quoted)
            end = begin + len(quoted)
            for low, high, kind in spans if begin >= 0 else ():
                part = text[max(low, begin) : min(high, end)].strip()
                if (low < begin or high > end) and len(part) >= _SHORTEST_PART:
                    self._values[part] = kind

    def _shown(self, text: str) -> str:
        """Text of an answer, which programs show as Markdown."""
        text = self._text(text)
        harmless = inert(text)
        self._inert = self._inert or harmless != text
        return harmless

    @property
    def _known(self) -> re.Pattern[str]:
        values = sorted(self._values, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, values))})(?!\w)")

    def _text(self, text: str) -> str:
        if not self._masks:
            return text
        if text not in self._texts:
            known = [
                Span(match.start(), match.end(), self._values[match[0]])
                for match in (self._known.finditer(text) if self._values else ())
            ]
            masked = mask_private(_replaced(text, known))
            self._texts[text] = masked.text
            self._counts.update(masked.counts)
            self._counts.update(span.kind for span in known)
        return self._texts[text]


@cache
def _unsafe_patterns() -> list[tuple[str, re.Pattern[str]]]:
    return [
        (kind, re.compile("|".join(patterns), re.IGNORECASE)) for kind, patterns in UNSAFE.items()
    ]

"""Private data of documents, masked for whoever may not see it.

The detectors are those of the data stage. What they see here is more than what goes out: a passage
is read with what stands before and after it in its document, and under the header of its table, so
that a value is known though a passage, a quotation or a row has only half of it, or not what tells
that it is one. Names of files are masked, too; a name that was is told from others by a tag, with
which the document can still be opened (:func:`unmasked_name`).
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from linnet.answers.answer import Step
from linnet.answers.evidence import Draft, Evidence
from linnet.answers.guards import inert
from linnet.data.config import DataConfig
from linnet.data.privacy import NAME, Scrubbed, Scrubber, called_in
from linnet.data.privacy.span import Span
from linnet.retrieval import Found, Index, Passage, Place, Searchable

AROUND = 1_000
"""Characters before and after a passage that are read with it."""
Around = Callable[[Place], tuple[str, str]]
"""What stands before and after a passage."""

_LONGEST_NAME = 100  # of a column, in characters
_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"(?=[|:+ \t]*-)[|:+\- \t]++\s*")
"""Below a table's header in Markdown."""


@cache
def _scrubber(names: bool) -> Scrubber:
    return Scrubber.of(DataConfig(privacy="mask", privacy_names=names))


def mask_private(
    text: str, *, names: bool = False, called: frozenset[str] = frozenset()
) -> Scrubbed:
    """A text with personal data and secrets in it masked; ``names``: names of people, too, whom
    it may call as other texts say (``called``)."""
    found = _in_tables(text, names)
    scrubbed = _scrubber(names).scrub(_replaced(text, found), "prose", called)
    counts = Counter(scrubbed.counts) + Counter(span.kind for span in found)
    return dataclasses.replace(scrubbed, counts=dict(sorted(counts.items())))


def private_spans(
    text: str, *, names: bool = False, called: frozenset[str] = frozenset()
) -> list[tuple[int, int, str]]:
    """Where personal data and secrets begin and end in a text, and of which kind each is;
    ``names``, ``called``: as for :func:`mask_private`."""
    spans = [*_in_tables(text, names), *_scrubber(names).find(text, "prose", called)]
    found: list[tuple[int, int, str]] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if found and span.start < found[-1][1]:
            start, end, kind = found[-1]
            found[-1] = (start, max(end, span.end), kind)
        else:
            found.append((span.start, span.end, span.kind))
    return found


def _in_tables(text: str, names: bool) -> list[Span]:
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
    for span in _scrubber(names).find("".join(read), "prose") if read else ():
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


_SHORTEST_VALUE = 6
"""Characters of a private value that is also masked where it stands by itself."""
_SHORTEST_PART = 3
"""And of what a quotation leaves of one."""


class Screen:
    """What of one answer is masked, or made inert, on its way out."""

    def __init__(
        self, *, masks_private: bool, masks_names: bool = False, around: Around | None = None
    ) -> None:
        """``masks_names``: names of people are masked where private data is. ``around`` tells what
        stands before and after a passage, where that is known."""
        self._masks = masks_private
        self._masks_names = masks_names
        self._around = around or (lambda _: ("", ""))
        self._counts: Counter[str] = Counter()
        self._texts: dict[str, str] = {}
        self._values: dict[str, str] = {}
        """Private values of the passages with their kinds: a row or a sentence of its own may not
        have what tells that they are."""
        self._private: dict[str, list[tuple[int, int, str]]] = {}
        """Where they are in each passage; one that it only has a part of begins before it, or ends
        after it."""
        self._called: frozenset[str] = frozenset()
        """By which words people are called whom a passage names in full."""
        self._names: dict[str, str] = {}
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
        if not self._masks:
            return tuple(passages)
        for each in passages:
            self._learn(each.passage)
        return tuple(
            dataclasses.replace(found, passage=self._passage(found.passage)) for found in passages
        )

    def _passage(self, passage: Passage) -> Passage:
        places = tuple(
            dataclasses.replace(each, source=self.name(each.source), where=self._text(each.where))
            for each in passage.places
        )
        return dataclasses.replace(
            passage, text=self._text(passage.text), title=self._text(passage.title),
            headings=tuple(map(self._text, passage.headings)), places=places,
            context=self._text(passage.context),
        )  # fmt: skip

    def evidence(self, evidence: Evidence) -> Evidence:
        """What was found as it may be seen."""
        return dataclasses.replace(evidence, passages=self.found(evidence.passages))

    def step(self, step: Step) -> Step:
        """A step, which may name a document or quote one."""
        if not self._masks:
            return step
        text = step.text
        for name, shown in self._names.items():
            text = text.replace(name, shown)
        return dataclasses.replace(step, text=self._text(text))

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
            dataclasses.replace(
                cited, source=self.name(cited.source), text=self._text(cited.text),
                title=self._text(cited.title), where=self._text(cited.where),
            )
            for cited in draft.citations
        )  # fmt: skip
        return dataclasses.replace(
            draft, text=text, claims=tuple(claims), citations=citations,
            steps=tuple(map(self.step, draft.steps)),
            interventions=tuple(map(self._text, draft.interventions)),
        )  # fmt: skip

    def name(self, source: str) -> str:
        """A document's name as it may be seen."""
        if not self._masks:
            return source
        if source not in self._names:
            self._names[source] = masked_name(source, names=self._masks_names)
            if self._names[source] != source:
                self._counts["name"] += 1
        return self._names[source]

    def _learn(self, passage: Passage) -> None:
        """Find the private values of a passage."""
        text = passage.text
        if text in self._private:
            return
        before, after = self._around(passage.place)
        above = ""
        if passage.context:  # rows stand under the header of their table
            before = before[before.find("\n") + 1 :] if "\n" in before else ""
            above = f"{passage.context}\n"
        first = len(above) + len(before)
        whole = f"{above}{before}{text}{after}"
        if self._masks_names:
            self._called |= called_in(whole)
        self._private[text] = found = [
            (start - first, end - first, kind)
            for start, end, kind in private_spans(whole, names=self._masks_names)
            if end > first and start < first + len(text)
        ]
        for start, end, kind in found:
            if start >= 0 and end <= len(text) and end - start >= _SHORTEST_VALUE:
                self._values[text[start:end]] = kind

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
        if not self._masks or not text:
            return text
        if text not in self._texts:
            clipped = [
                Span(max(start, 0), min(end, len(text)), kind)
                for start, end, kind in self._private.get(text, ())
            ]
            known = [
                Span(match.start(), match.end(), self._values[match[0]])
                for match in (self._known.finditer(text) if self._values else ())
            ]
            known = [
                span for span in known
                if not any(span.start < other.end and other.start < span.end for other in clipped)
            ] + clipped  # fmt: skip
            known.sort(key=lambda span: span.start)
            masked = mask_private(
                _replaced(text, known), names=self._masks_names, called=self._called
            )
            self._texts[text] = masked.text
            self._counts.update(masked.counts)
            self._counts.update(span.kind for span in known)
        return self._texts[text]


def surroundings(index: Searchable) -> Around | None:
    """What stands around the passages of an index; None where that is not known."""
    if not isinstance(index, Index):
        return None
    return lambda place: index.around(place, AROUND)


# Names of documents.

_JOINED = re.compile(r"[-_.+]")


def masked_name(name: str, *, names: bool = False) -> str:
    """A document's name without private values, told from others by a tag where it had any;
    ``names``: names of people are private, too."""
    parts = [_masked_part(part, names) for part in name.split("/")]
    masked = "/".join(parts)
    if masked == name:
        return name
    stem, dot, suffix = _suffix(masked)
    return f"{stem} {_tag(name)}{dot}{suffix}"


def unmasked_name(shown: str, sources: Iterable[str]) -> str:
    """Of documents' names the one that is shown so; what is shown where there is none."""
    own = shown.encode("utf-8", "replace")
    return next(
        (
            source
            for source in sources
            if _tag(source).encode() in own
            and any(masked_name(source, names=names) == shown for names in (False, True))
        ),
        shown,
    )


def _masked_part(part: str, names: bool) -> str:
    """A file's or folder's name. An underscore is a blank in names, but not in an address; around
    names of people so are other signs."""
    stem, dot, suffix = _suffix(part)
    spans = [
        *private_spans(stem, names=names), *private_spans(stem.replace("_", " "), names=names)
    ]  # fmt: skip
    if names:
        apart = private_spans(_JOINED.sub(" ", stem), names=True)
        spans += (span for span in apart if span[2] == NAME)
    merged: list[Span] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if merged and start < merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, end), merged[-1].kind)
        else:
            merged.append(Span(start, end, kind))
    return f"{_replaced(stem, merged)}{dot}{suffix}"


def _suffix(name: str) -> tuple[str, str, str]:
    """A name's stem, a dot and its ending, of which the last two may be empty."""
    stem, dot, suffix = name.rpartition(".")
    if not stem or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,8}", suffix):
        return name, "", ""
    return stem, dot, suffix


@cache
def _key() -> bytes:
    return secrets.token_bytes(16)


def _tag(name: str) -> str:
    """What tells a name from others; it cannot be guessed from, and is another one after a
    restart."""
    whole = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=_key(), digest_size=4)
    return whole.hexdigest()

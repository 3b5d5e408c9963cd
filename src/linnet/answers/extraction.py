"""The sentences that answer, without a model: chosen from what was found, and cited.

Every answer consists of stored text, but for the names of a row's columns, which are put before
its cells, and the line that says how many entries match. The best sentences are taken
(``linnet.answers.ranking``); each is a claim, checked against its citation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from linnet.answers.answer import Citation, Claim, Support
from linnet.answers.evidence import Chosen, Draft, Evidence, Question
from linnet.answers.languages import LANGUAGES, Expected
from linnet.answers.ranking import Reads, Scored, scored, wanted
from linnet.answers.specifics import missing, not_found
from linnet.answers.understanding import expected
from linnet.answers.units import Unit, cited, units
from linnet.grounding import check
from linnet.retrieval import Found, terms

LEAST_COVERAGE = 0.51
"""The share of a question's words that an answer has to have, or what it stands under, where no
gate was fitted. Nearly all questions about the documents reach it, and up to a quarter of
others."""
MOST_SENTENCES = 3
LONGEST_CODE = 6_000

_NEXT = 0.8
"""The share of the best score from which on another sentence answers as well."""

_APART = "\n\n"  # between the answers to parts of a question
_PAIRS = "; "  # between the cells of a row that is said


def extract(evidence: Evidence, reads: Reads | None = None) -> Draft:
    """The answer that the passages give in their own words; ``reads`` helps to choose them."""
    if evidence.each:
        return _together(evidence, reads)
    if evidence.chosen is not None:
        return with_missing(_entries(evidence.question, evidence.chosen), evidence)
    if not evidence.passages:
        return Draft("")
    if evidence.question.asks == "comparison" and len(evidence.searches) > 1:
        return _compared(evidence)
    return with_missing(_fact(evidence.question, evidence.passages, reads), evidence)


@dataclass
class _Answer:
    """An answer as it is put together."""

    text: str = ""
    citations: list[Citation] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def cite(self, citation: Citation) -> int:
        if citation not in self.citations:
            self.citations.append(citation)
        return self.citations.index(citation)

    def add(self, said: str, numbers: Sequence[int], between: str, row: str = "") -> None:
        """Add a statement: stored text, or a part of a ``row`` in words."""
        if not said:
            return
        self.text += between if self.text else ""
        start = len(self.text)
        self.text += said
        support, score = _checked(said, row)
        self.claims.append(
            Claim(said, start, len(self.text), tuple(numbers), support, score)
        )  # fmt: skip

    def draft(self, **measures: float) -> Draft:
        return Draft(
            self.text, tuple(self.citations), tuple(self.claims), measures=measures
        )  # fmt: skip


def _checked(said: str, row: str) -> tuple[Support, float]:
    """What the checker says of a statement that is stored text, or, of a ``row`` in words, a part.

    What is there letter by letter is supported, whatever its language.
    """
    whole = row.split(_PAIRS)
    if not row or all(pair in whole for pair in said.split(_PAIRS)):
        return "supported", 1.0
    verdict = check(said, row)
    return ("unsupported" if verdict.status == "undecided" else verdict.status), verdict.score


def is_enough(draft: Draft) -> bool:
    """Whether an answer has enough of the question's words, where no gate decides: what shares
    hardly one answers nothing, nor does what lacks a name or number of it. Entries of a list match
    by a measure of their own."""
    if not draft.text or draft.measures.get("missing", 0.0):
        return False
    return "entries" in draft.measures or draft.measures.get("coverage", 1.0) >= LEAST_COVERAGE


def with_missing(draft: Draft, evidence: Evidence) -> Draft:
    """The draft with what of the question stands nowhere in what was found."""
    cited = {citation.source for citation in draft.citations}
    listed = evidence.chosen is not None
    absent = missing(evidence.question, evidence.passages, cited=cited, listed=listed)
    if not absent or not draft.text:
        return draft
    return replace(
        draft, measures={**draft.measures, "missing": float(len(absent))},
        steps=(*draft.steps, not_found(absent)),
    )  # fmt: skip


def _fact(question: Question, passages: Sequence[Found], reads: Reads | None) -> Draft:
    ranked = scored(question, passages, reads)
    if not ranked:
        return Draft("")
    answer = _Answer()
    chosen = _chosen(ranked, expected(question))
    _write(answer, chosen, question)
    best = ranked[0]
    second = next((each.score for each in ranked if each.unit not in chosen), 0.0)
    read = {} if best.likely is None else {"likely": round(best.likely, 4)}
    return answer.draft(
        coverage=round(best.coverage, 4), score=round(best.score, 4),
        margin=round(best.score - second, 4), form=round(best.form, 4), **read,
    )  # fmt: skip


def _chosen(ranked: Sequence[Scored], kind: Expected) -> list[Unit]:
    """The unit that answers best with what belongs to it, and others that answer as well."""
    best = ranked[0].unit
    whole = _whole(best, kind)
    if len(whole) > 1 or best.kind in ("row", "code", "line"):
        return whole
    chosen = [best]
    for each in ranked[1:]:
        if len(chosen) == MOST_SENTENCES or each.score < _NEXT * ranked[0].score:
            break
        same = each.unit.passage is best.passage and each.unit.kind == "sentence"
        if same and not each.unit.leads and not each.unit.text.endswith(("?", "？")):
            chosen.append(each.unit)
    chosen.sort(key=lambda unit: unit.start)
    if chosen[-1].leads:
        chosen += _whole(chosen[-1], kind)[1:]
    return chosen


def _whole(unit: Unit, kind: Expected) -> list[Unit]:
    """A unit with the rest of its list, or the list that it leads to, or the code."""
    own = units(unit.passage)
    place = own.index(unit)
    if unit.kind == "item" and (unit.numbered or kind in ("list", "steps", "reason")):
        items = [each for each in own if each.group == unit.group]
        first = own.index(items[0])
        if first and own[first - 1].leads:
            items.insert(0, own[first - 1])
        return items
    if unit.leads and place + 1 < len(own) and own[place + 1].kind in ("item", "code"):
        return [unit, *(each for each in own if each.group == own[place + 1].group)]
    return [unit]


def _write(answer: _Answer, chosen: Sequence[Unit], question: Question) -> None:
    """Units in a row. A list with what leads to it is cited as one stretch, each item a claim."""
    before: Unit | None = None
    stretches = _stretches(chosen)
    for unit in chosen:
        between = "\n"
        if before is None:
            between = "\n\n"
        elif before.kind == unit.kind == "sentence":
            between = " " if unit.passage is before.passage else "\n"
        citation = stretches.get(unit) or unit.citation()
        number = answer.cite(citation)
        if unit.kind == "row":
            answer.add(row_said(unit, question), (number,), between, _row_meant(unit))
        elif unit.kind == "code":
            answer.add(unit.text[:LONGEST_CODE], (number,), between)
        else:
            answer.add(unit.text, (number,), between)
        before = unit


def _stretches(chosen: Sequence[Unit]) -> dict[Unit, Citation]:
    """The items of a list, and what leads to it or to code, with the one citation for all."""
    found: dict[Unit, Citation] = {}
    run: list[Unit] = []
    for unit in (*chosen, None):
        joined = run and unit is not None and unit.passage is run[-1].passage and (
            run[-1].leads or run[-1].kind == unit.kind == "item"
        )  # fmt: skip
        if not joined:
            if len(run) > 1:
                whole = cited(run[0].passage, run[0].start, run[-1].end)
                found.update(dict.fromkeys(run, whole))
            run = []
        if unit is not None:
            run.append(unit)
    return found


def row_said(unit: Unit, question: Question) -> str:
    """A row with the names of its columns: of many columns those that the question names."""
    cells, header = unit.cells, unit.header
    if len(cells) != len(header):
        return unit.text
    pairs = [(name, cell) for name, cell in zip(header, cells, strict=True) if cell]
    code = question.language
    asked = set(wanted(question.alone, LANGUAGES.get(code)))
    named = [pair for pair in pairs if asked & {*terms(pair[0], code), *terms(pair[1], code)}]
    columns = sum(bool(asked & set(terms(name, code))) for name, _ in pairs)
    if columns and len(named) > columns:
        pairs = named  # the column that is asked for, beside the cells that the question names
    return _PAIRS.join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _row_meant(unit: Unit) -> str:
    """A row in words, for the checker: each cell with the name of its column."""
    if len(unit.cells) != len(unit.header):
        return unit.text
    pairs = zip(unit.header, unit.cells, strict=True)
    return _PAIRS.join(f"{name}: {cell}" if name else cell for name, cell in pairs)


def _compared(evidence: Evidence) -> Draft:
    """What answers for each side, the sides one after the other."""
    answer, coverages = _Answer(), []
    question = evidence.question
    left = []
    for side, search in zip(question.sides, evidence.searches, strict=False):
        own = replace(question, alone=search.query, subject=search.query)
        ranked = scored(own, search.found)
        if not ranked or ranked[0].coverage < LEAST_COVERAGE or missing(own, search.found):
            left.append(side)
        if ranked:
            chosen = _chosen(ranked, "definition")
            if not {unit.citation() for unit in chosen} <= set(answer.citations):
                _write(answer, chosen, own)
            coverages.append(ranked[0].coverage)
    if answer.text and left and len(left) < len(question.sides):
        answer.text += f"{_APART}{_nothing_about(left, question)}"
    coverage = sum(coverages) / max(len(coverages), 1)
    return answer.draft(coverage=round(coverage, 4), sides=float(len(coverages)))


def _entries(question: Question, chosen: Chosen) -> Draft:
    """All entries that match, under how many they are; or the sentences of a summary."""
    answer = _Answer()
    between = "\n"
    if question.asks == "summary":
        between = " "
    else:
        language = LANGUAGES.get(question.language) or LANGUAGES["en"]
        one, many = language.entries
        answer.citations = [unit.citation() for unit in chosen.units]
        answer.text = one if chosen.total == 1 else many.format(n=f"{chosen.total:,}")
        # It is true by counting: they are cited, and where not all of them are, a step says so.
        numbers = tuple(range(len(chosen.units)))
        answer.claims.append(
            Claim(answer.text, 0, len(answer.text), numbers, "supported", 1.0)
        )  # fmt: skip
    before = ""
    for number, unit in enumerate(chosen.units):
        if question.asks == "summary":
            source = unit.passage.place.source
            goes_on = not before or (source == before and unit.kind == "sentence")
            apart = between if goes_on else "\n"
            answer.add(unit.text, (answer.cite(unit.citation()),), apart)
            before = source
        elif unit.kind == "row":
            answer.add(row_said(unit, question), (number,), between, _row_meant(unit))
        else:
            answer.add(unit.text, (number,), between)
    return answer.draft(coverage=chosen.coverage, entries=float(chosen.total))


def _together(evidence: Evidence, reads: Reads | None) -> Draft:
    """The answers to the parts of a question, one after the other, and which have none. Where no
    part has one that is good enough, all of them, such as they are."""
    drafts = [(part, extract(part, reads)) for part in evidence.each]
    enough = [draft for _, draft in drafts if is_enough(draft)]
    answer, steps = _Answer(), [step for _, draft in drafts for step in draft.steps]
    answered = enough or [draft for _, draft in drafts if draft.text]
    for draft in answered:
        if draft.text not in answer.text.split(_APART):  # one sentence may answer both
            _append(answer, draft)
    left = [part.question.alone for part, draft in drafts
            if not is_enough(draft) and not _was_not_searched(part)]  # fmt: skip
    if enough and left:
        answer.text += f"{_APART}{_nothing_about(left, evidence.question)}"
    coverage = sum(each.measures.get("coverage", 0.0) for each in answered) / max(len(answered), 1)
    absent = 0.0 if enough else sum(each.measures.get("missing", 0.0) for each in answered)
    # As sure as of the part that it is least sure of.
    least = {
        name: min(draft.measures.get(name, 0.0) for _, draft in drafts)
        for name in ("score", "margin", "form", "likely")
        if all(name in draft.measures for _, draft in drafts)
    }
    found = answer.draft(
        coverage=round(coverage, 4), parts=float(len(drafts)), answered=float(len(answered)),
        **least, **({"missing": absent} if absent else {}),
    )  # fmt: skip
    return replace(found, steps=tuple(steps))


def _was_not_searched(evidence: Evidence) -> bool:
    """Whether nothing is known of a part, since its search was late or failed: a step says so."""
    return not evidence.passages and any(s.outcome in ("late", "failed") for s in evidence.steps)


def _append(answer: _Answer, draft: Draft) -> None:
    """Add a whole answer after what is there."""
    answer.text += _APART if answer.text else ""
    shift = len(answer.text)
    answer.text += draft.text
    numbers = [answer.cite(citation) for citation in draft.citations]
    answer.claims += [
        replace(claim, start=claim.start + shift, end=claim.end + shift,
                citations=tuple(numbers[number] for number in claim.citations))
        for claim in draft.claims
    ]  # fmt: skip


def _nothing_about(what: Sequence[str], question: Question) -> str:
    """Says in the question's language what has no answer."""
    language = LANGUAGES.get(question.language) or LANGUAGES["en"]
    return language.not_found.format(what=" / ".join(what))

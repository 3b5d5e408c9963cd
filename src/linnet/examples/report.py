"""What was made and what was rejected: ``report.json``, and ``report.html`` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linnet import output, page
from linnet.examples.record import KINDS, Example
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.artifact import Draft
    from linnet.examples.balance import Balance
    from linnet.examples.generation import Made
    from linnet.progress import Progress

REPORT, PAGE = "report.json", "report.html"
_DRAWN, _DRAWN_REJECTS = 3, 2  # examples of each kind, and of each check, that the page shows
_NO_LANGUAGE = "und"


@dataclass
class Figures:
    """Counts over a run."""

    documents: int = 0
    silent: int = 0
    """Documents of which no example was kept."""
    passages: int = 0
    prose: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    generators: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    clozes: set[tuple[str, int]] = field(default_factory=set)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    drawn: dict[str, list[Example]] = field(default_factory=dict)
    drawn_rejects: dict[str, list[tuple[Example, str]]] = field(default_factory=dict)


def write_report(draft: Draft, made: Iterable[Made], balance: Balance, progress: Progress) -> None:
    """Write both files, and the figures into the draft's statistics."""
    figures = _count(made, balance)
    found = to_json(figures, balance)
    draft.stats.update({k: v for k, v in found.items() if k not in ("drawn", "drawn_rejects")})
    output.write_json(draft.path / REPORT, found)
    environment = page.environment(__name__.rpartition(".")[0])
    html = environment.get_template("report.html.jinja").render(found=found, version=__version__)
    output.write_text(draft.path / PAGE, html)
    for warning in found["warnings"]:
        progress.warn(warning)


def _count(made: Iterable[Made], balance: Balance) -> Figures:
    figures = Figures()
    for one in made:
        if one.source:
            figures.documents += 1
            figures.passages += one.passages
            figures.prose += one.prose
        kept = [example for example in one.accepted if example.id in balance.kept]
        figures.silent += bool(one.source) and not kept
        for example in kept:
            figures.kinds[example.kind] += 1
            figures.generators[example.generator] += 1
            figures.languages[example.language or _NO_LANGUAGE] += 1
            figures.splits[example.split] += 1
            if example.kind == "cloze" and example.passage is not None:
                figures.clozes.add((one.source, example.passage[0]))
            _draw(figures.drawn.setdefault(example.kind, []), example, _DRAWN)
        for reject in one.rejected:
            figures.rejected[reject.check, reject.reason] += 1
            examples = figures.drawn_rejects.setdefault(reject.check, [])
            if len(examples) < _DRAWN_REJECTS:
                examples.append((reject.example, reject.reason))
    return figures


def _draw(drawn: list[Example], example: Example, count: int) -> None:
    """Keep those with the least ids, which are as good as random."""
    drawn.append(example)
    drawn.sort(key=lambda one: one.id)
    del drawn[count:]


def to_json(figures: Figures, balance: Balance) -> dict[str, Any]:
    """The report as plain values."""
    total = sum(figures.kinds.values())
    counted = total - figures.kinds["cloze"] + len(figures.clozes)
    rejected: dict[str, dict[str, int]] = {}
    for (check, reason), count in sorted(figures.rejected.items(), key=lambda item: -item[1]):
        if count:
            rejected.setdefault(check, {})[reason] = count
    return {
        "examples": total,
        "documents": figures.documents,
        "documents_without": figures.silent,
        "passages": figures.passages,
        "prose_bytes": figures.prose,
        "per_kilobyte": round(counted / (figures.prose / 1000), 3) if figures.prose else None,
        "kinds": {kind: figures.kinds[kind] for kind in KINDS if figures.kinds[kind]},
        "accepted": dict(balance.accepted),
        "generators": dict(figures.generators.most_common()),
        "languages": dict(figures.languages.most_common()),
        "splits": dict(figures.splits.most_common()),
        "rejected": rejected,
        "warnings": _warnings(figures, balance, total),
        "drawn": {
            kind: [example.to_json() for example in figures.drawn[kind]]
            for kind in KINDS
            if kind in figures.drawn
        },
        "drawn_rejects": {
            check: [{"reason": reason, **example.to_json()} for example, reason in examples]
            for check, examples in figures.drawn_rejects.items()
        },
    }


def _warnings(figures: Figures, balance: Balance, total: int) -> list[str]:
    if not total:
        return [
            "no example could be made: the documents have no headings, lists, tables, definitions "
            "or sentences that the generators know; rejected.jsonl says what was tried"
        ]
    found = []
    if balance.exceeded:
        most = max(balance.counts, key=lambda kind: balance.counts[kind])
        share = balance.counts[most] / total
        found.append(
            f"{share:.0%} of the examples are of the kind {most}, because the documents gave too "
            "few of others; more kinds come from documents with headings, lists and definitions"
        )
    return found

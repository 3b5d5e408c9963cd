"""The report on a corpus as a page, and as a section of the report on a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import output, page
from linnet.config import read_json
from linnet.data.report import grouped
from linnet.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = "report.html"
_NAMED = 2  # files shown as examples of a reason
_LITTLE = 0.01  # share of runs of words in common that needs no thought
_ALIKE = 1.25  # times what is usual that is still usual


@dataclass(frozen=True)
class LeftOut:
    """What was left out for one reason: how many files and documents, and the names of some."""

    reason: str
    files: int = 0
    documents: int = 0
    names: list[str] = field(default_factory=list)

    @property
    def count(self) -> str:
        """The numbers, in words."""
        parts = ((self.files, "file"), (self.documents, "document"))
        return ", ".join(f"{n:,} {what}{'' if n == 1 else 's'}" for n, what in parts if n)


@dataclass(frozen=True)
class Split:
    """One split of the corpus."""

    name: str
    documents: int
    bytes: int
    share: float
    """Of all text."""


@dataclass(frozen=True)
class Share:
    """One bar: ``share`` of the longest, from 0 to 1."""

    name: str
    count: int
    share: float
    note: str = ""


@dataclass(frozen=True)
class CorpusFacts:
    """What went in, what was left out and changed, as the page shows it."""

    files: int
    documents: int
    bytes: int
    splits: list[Split]
    funnel: list[Share]
    kinds: list[tuple[str, int, int, int, int]]
    """Kind, files read, files skipped, documents, bytes of text."""
    left_out: list[LeftOut]
    languages: list[Share]
    lengths: list[Share]
    changes: Mapping[str, int]
    private: Mapping[str, int]
    private_note: str
    division: Mapping[str, Any]
    overlap: str
    """What is to be thought of the text that test and training share; empty if unknown."""
    duplicates: list[Mapping[str, Any]]
    warnings: list[str]
    examples: list[tuple[str, str]]
    """Source and beginning of some training documents."""
    changed: list[tuple[str, list[tuple[str, str]]]]
    """Source, and lines of a difference, each with what it is: old, new or empty."""
    dropped: list[tuple[str, str, str]]
    """Source, reason and beginning of some documents that were left out."""


def corpus_facts(corpus: Path) -> CorpusFacts | None:
    """What ``report.json`` of a corpus says; None where there is none."""
    try:
        report = read_json(corpus / "report.json")
    except (OSError, ValueError):
        return None
    return facts_of(report)


def facts_of(report: Mapping[str, Any]) -> CorpusFacts:
    """The facts in a report."""
    documents, files = report["documents"], report["files"]
    sources = files["read"] + files["skipped"]
    return CorpusFacts(
        files=files["read"],
        documents=documents["kept"],
        bytes=sum(split["bytes"] for split in report["splits"].values()),
        splits=_splits(report["splits"]),
        funnel=[
            *_shares([("files found", sources), ("files read", files["read"])]),
            *_shares(
                [("documents found", documents["found"]), ("documents kept", documents["kept"])]
            ),
        ],
        kinds=_kinds(report),
        left_out=_left_out(report),
        languages=_shares(list(documents.get("languages", {}).items())[:12]),
        lengths=_lengths(documents.get("lengths", [])),
        changes=report.get("changes", {}),
        private=report.get("private", {}).get("found", {}),
        private_note=report.get("private", {}).get("note", ""),
        division=report.get("division", {}),
        overlap=overlap_verdict(report.get("division", {})),
        duplicates=report["duplicates"][:8],
        warnings=report["warnings"],
        examples=[(e["source"], e["text"]) for e in report["examples"][:3]],
        changed=[(e["source"], _marked(e["difference"])) for e in report.get("changed", [])],
        dropped=[(e["source"], e["reason"], e["text"]) for e in report.get("left_out", [])],
    )


def write_page(corpus: Path) -> Path:
    """Write ``report.html`` into a corpus that is being made."""
    facts = corpus_facts(corpus)
    template = page.environment("linnet.data").get_template("corpus_page.html.jinja")
    html = template.render(corpus=facts, splits=[], version=__version__)
    output.write_text(corpus / PAGE, html)
    return corpus / PAGE


def _kinds(report: Mapping[str, Any]) -> list[tuple[str, int, int, int, int]]:
    files, documents = report["files"]["by_kind"], report["documents"]["by_kind"]
    rows = []
    for kind in sorted(files.keys() | documents.keys()):
        seen, kept = files.get(kind, {}), documents.get(kind, {})
        rows.append(
            (
                kind,
                seen.get("read", 0),
                seen.get("skipped", 0),
                kept.get("documents", 0),
                kept.get("bytes", 0),
            )
        )
    return sorted(rows, key=lambda row: (-row[4], row[0]))


def _left_out(report: Mapping[str, Any]) -> list[LeftOut]:
    """Each reason once, the most frequent first."""
    skipped, files, documents = report["skipped"], report["files"], report["documents"]
    examples: dict[str, list[str]] = {}
    for file in skipped["files"]:
        examples.setdefault(_reason(file["reason"]), []).append(file["name"])
    for named in (files.get("ignored_examples", {}), documents.get("dropped_examples", {})):
        for reason, names in named.items():
            examples.setdefault(reason, []).extend(names)
    left_files = grouped(Counter(skipped["reasons"]) + Counter(files["ignored"]))
    left_documents = grouped(documents["dropped"])
    found = [
        LeftOut(
            reason,
            left_files.get(reason, 0),
            left_documents.get(reason, 0),
            list(dict.fromkeys(examples.get(_reason(reason), [])))[:_NAMED],
        )
        for reason in left_files | left_documents
    ]
    return sorted(found, key=lambda entry: (-entry.files - entry.documents, entry.reason))


def _reason(reason: str) -> str:
    """What a reason's examples are found by: one for all formats that are not supported."""
    return "not supported" if "not supported" in reason else reason


def _splits(splits: Mapping[str, Mapping[str, int]]) -> list[Split]:
    total = sum(split["bytes"] for split in splits.values()) or 1
    return [
        Split(name, split["documents"], split["bytes"], split["bytes"] / total)
        for name, split in splits.items()
    ]


def overlap_verdict(division: Mapping[str, Any]) -> str:
    """Whether what test and training text share is much, and compared with what."""
    if "usual_runs" not in division or not division["compared_bytes"]:
        return ""
    shared, usual = division["shared_runs"], division["usual_runs"]
    beside = f"training documents share {_percent(usual)} with one another"
    if shared < _LITTLE:
        return f"That is little ({beside}): results on test text are results on new text."
    if shared <= max(usual * _ALIKE, usual + _LITTLE):
        return (
            f"That is usual here: {beside}, as forms, headings and quotations recur. New documents "
            "of this kind will share as much; results on text of another kind will be worse."
        )
    return (
        f"That is much: {beside}. Part of the test text has been seen in training, so results on "
        "it flatter the model. Lower near_duplicates or held_out_share keep more of it apart."
    )


def _percent(share: float) -> str:
    return f"{share:.2%}" if share < _LITTLE else f"{share:.0%}"


def _shares(counts: list[tuple[str, int]]) -> list[Share]:
    most = max((count for _, count in counts), default=0) or 1
    return [Share(name, count, count / most) for name, count in counts]


def _lengths(lengths: list[Mapping[str, Any]]) -> list[Share]:
    """The histogram of document sizes, without empty ends."""
    named: list[tuple[str, int]] = []
    last = 0
    for entry in lengths:
        top = entry["up_to"]
        name = f"up to {output.human_bytes(top)}" if top else f"over {output.human_bytes(last)}"
        named.append((name, entry["documents"]))
        last = top or last
    while named and not named[-1][1]:
        named.pop()
    while named and not named[0][1]:
        named.pop(0)
    return _shares(named)


def _marked(difference: str) -> list[tuple[str, str]]:
    kinds = {"-": "old", "+": "new"}
    return [(line, kinds.get(line[:1], "")) for line in difference.split("\n")]

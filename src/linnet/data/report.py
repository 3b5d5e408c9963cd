"""What went into a corpus and what did not: ``report.json``."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from linnet.data.document import SPLITS, Document

if TYPE_CHECKING:
    from linnet.data.catalog import Catalog
    from linnet.data.files import Scan

_LISTED = 1_000  # entries of a list; all are counted
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 800

PIECES_WARNING = (
    "there are few documents, so pieces of them are held out: "
    "validation and test text comes from documents that are also trained on"
)


@dataclass
class Tally:
    """Counts the documents as they are written."""

    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)
    examples: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, document: Document, split: str) -> None:
        self.documents[split] += 1
        self.bytes[split] += document.bytes
        label = document.source.partition("/")[0]
        for table, key in ((self.by_kind, document.kind), (self.by_source, label)):
            table.setdefault(key, Counter()).update(documents=1, bytes=document.bytes)
        if split == "train":
            self._consider_example(document)

    def _consider_example(self, document: Document) -> None:
        """Keep those with the smallest hashes: random, yet the same every time."""
        if len(self.examples) == _EXAMPLES and document.id >= self.examples[-1][0]:
            return
        text = document.text[:_EXAMPLE_CHARACTERS]
        shown = {"source": document.source, "kind": document.kind, "text": text}
        self.examples = heapq.nsmallest(
            _EXAMPLES, [*self.examples, (document.id, shown)], key=lambda example: example[0]
        )


def build_report(catalog: Catalog, found: Scan, tally: Tally, *, split_by: str) -> dict[str, Any]:
    """The report on a corpus."""
    files: dict[str, Counter[str]] = {}
    skipped = [(s.name, s.reason, s.detail) for s in found.skipped]
    dropped: Counter[str] = Counter()
    for name, kind, reason, detail, lost in catalog.files():
        label = kind or "text"
        files.setdefault(label, Counter())["skipped" if reason else "read"] += 1
        dropped.update(lost)
        if reason:
            skipped.append((name, reason, detail))
    for file in found.skipped:
        suffix = PurePosixPath(file.name).suffix.removeprefix(".").lower() or "other"
        files.setdefault(suffix, Counter())["skipped"] += 1
    duplicates = catalog.count("SELECT count(*) - count(DISTINCT id) FROM documents")
    if duplicates:
        dropped["exact duplicate"] = duplicates
    reasons = Counter(reason for _, reason, _ in skipped)
    return {
        "files": {
            "read": sum(counts["read"] for counts in files.values()),
            "skipped": len(skipped),
            "ignored": dict(sorted(found.ignored.items())),
            "by_kind": {kind: dict(sorted(files[kind].items())) for kind in sorted(files)},
        },
        "documents": {
            "found": catalog.count("SELECT count(*) FROM documents")
            + sum(dropped.values())
            - duplicates,
            "kept": catalog.count("SELECT count(DISTINCT id) FROM documents"),
            "dropped": _most_common(dropped),
            "by_kind": {k: dict(tally.by_kind[k]) for k in sorted(tally.by_kind)},
            "by_source": {k: dict(tally.by_source[k]) for k in sorted(tally.by_source)},
        },
        "splits": {
            split: {"documents": tally.documents[split], "bytes": tally.bytes[split]}
            for split in SPLITS
        },
        "split_by": split_by,
        "warnings": [PIECES_WARNING] if split_by == "piece" else [],
        "skipped": {
            "reasons": _most_common(reasons),
            "files": [
                {"name": name, "reason": reason, **({"detail": detail} if detail else {})}
                for name, reason, detail in sorted(skipped)[:_LISTED]
            ],
        },
        "duplicates": [
            {"name": name, "same_as": first, "documents": count}
            for name, first, count in catalog.duplicates(_LISTED)
        ],
        "examples": [shown for _, shown in tally.examples],
    }


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that goes into the manifest."""
    return {
        "files": {"read": report["files"]["read"], "skipped": report["files"]["skipped"]},
        "documents": {split: report["splits"][split]["documents"] for split in SPLITS},
        "bytes": {split: report["splits"][split]["bytes"] for split in SPLITS},
        "dropped": report["documents"]["dropped"],
        "skipped": report["skipped"]["reasons"],
        "split_by": report["split_by"],
    }


def _most_common(counts: Counter[str]) -> dict[str, int]:
    """Largest first; equal ones by name, so that the order is always the same."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

"""What went into a corpus, what did not, and why: ``report.json``.

The funnel reads from files to tokens; every file and document that is not at
its end is counted under a reason. All numbers come from the catalog, so the
report says what happened and not what was planned.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json
from linnet.data.document import SPLITS, Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.data.catalog import Catalog
    from linnet.data.files import Scan
    from linnet.data.storage import Texts

_LISTED = 1_000  # entries of a list; all are counted
_EXAMPLES = 5
_EXAMPLE_CHARACTERS = 800
_NAMED = 2  # examples of a reason
_DOMINANT = 0.2  # share of all text in one document that is worth a warning
_UNSUPPORTED = re.compile(r"(\S+) is not supported\b")
_LENGTHS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000)  # bytes: histogram borders

PIECES_WARNING = (
    "there are few documents, so pieces of them are held out: "
    "validation and test text comes from documents that are also trained on"
)
NO_GUARANTEE = (
    "personal data and secrets are found by patterns: what was found is counted here; "
    "that nothing else is left cannot be guaranteed"
)


@dataclass
class Tally:
    """Counts the documents as they are written."""

    documents: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)
    lengths: Counter[int] = field(default_factory=Counter)
    examples: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, document: Document, split: str) -> None:
        self.documents[split] += 1
        self.bytes[split] += document.bytes
        label = document.source.partition("/")[0]
        for table, key in ((self.by_kind, document.kind), (self.by_source, label)):
            table.setdefault(key, Counter()).update(documents=1, bytes=document.bytes)
        self.lengths[next((top for top in _LENGTHS if document.bytes <= top), 0)] += 1
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


def build_report(
    catalog: Catalog, texts: Texts, found: Scan, tally: Tally, *, split_by: str
) -> dict[str, Any]:
    """The report on a corpus."""
    skipped = [(s.name, s.reason, s.detail) for s in found.skipped]
    skipped += list(catalog.rows("SELECT name, reason, detail FROM files WHERE reason != ''"))
    return {
        "files": _files(catalog, found, len(skipped)),
        "documents": {
            **_documents(catalog),
            "by_kind": {k: dict(tally.by_kind[k]) for k in sorted(tally.by_kind)},
            "by_source": {k: dict(tally.by_source[k]) for k in sorted(tally.by_source)},
            "languages": _counted(
                catalog,
                "SELECT d.language, count(*) FROM verdicts AS v JOIN documents AS d "
                "USING (file, ordinal) WHERE v.kept AND d.language != '' GROUP BY 1",
            ),
            "lengths": [
                {"up_to": top or None, "documents": tally.lengths[top]} for top in (*_LENGTHS, 0)
            ],
        },
        "changes": _summed(catalog, "changes") | _repeated_lines(catalog),
        "private": {"found": _summed(catalog, "private"), "note": NO_GUARANTEE},
        "splits": {
            split: {"documents": tally.documents[split], "bytes": tally.bytes[split]}
            for split in SPLITS
        },
        "split_by": split_by,
        "division": _division(catalog) if split_by == "document" else {},
        "warnings": [
            *([PIECES_WARNING] if split_by == "piece" else []),
            *dominance(catalog),
        ],
        "skipped": {
            "reasons": _most_common(Counter(reason for _, reason, _ in skipped)),
            "files": [
                {"name": name, "reason": reason, **({"detail": detail} if detail else {})}
                for name, reason, detail in sorted(skipped)[:_LISTED]
            ],
        },
        "duplicates": _duplicates(catalog),
        "examples": [shown for _, shown in tally.examples],
        "changed": _changed(catalog),
        "left_out": _left_out(catalog, texts),
    }


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that goes into the manifest."""
    return {
        "files": {"read": report["files"]["read"], "skipped": report["files"]["skipped"]},
        "documents": {split: report["splits"][split]["documents"] for split in SPLITS},
        "bytes": {split: report["splits"][split]["bytes"] for split in SPLITS},
        "dropped": report["documents"]["dropped"],
        "skipped": report["skipped"]["reasons"],
        "private": report["private"]["found"],
        "split_by": report["split_by"],
    }


def dominance(catalog: Catalog) -> list[str]:
    """A warning where one document is much of the text, naming it."""
    rows = catalog.rows(
        "SELECT f.name, d.part, t.bytes, count(*) OVER (), sum(t.bytes) OVER () "
        "FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
        "JOIN files AS f ON f.number = v.file JOIN texts AS t ON t.id = v.id "
        "WHERE v.kept ORDER BY t.bytes DESC, v.number LIMIT 1"
    )
    for name, part, size, count, total in rows:
        if count > 1 and size >= max(_DOMINANT, 3 / count) * total:
            shown = f"{name}/{part}" if part else name
            return [
                f"one document holds {size / total:.0%} of the text, {shown}: the model will have "
                "much of its wording; --exclude leaves it out"
            ]
    return []


def grouped(reasons: Mapping[str, int]) -> dict[str, int]:
    """Reasons with all formats that are not supported in one, the most frequent first."""
    unsupported: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for reason, count in reasons.items():
        if found := _UNSUPPORTED.match(reason):
            unsupported[found[1]] += count
        else:
            others[reason] += count
    if len(unsupported) < 2:
        return _most_common(Counter(dict(reasons)))
    named = ", ".join(sorted(unsupported))
    others[f"formats that are not supported: {named}"] = sum(unsupported.values())
    return _most_common(others)


def _files(catalog: Catalog, found: Scan, skipped: int) -> dict[str, Any]:
    by_kind: dict[str, Counter[str]] = {}
    rows = catalog.rows("SELECT kind, reason != '', count(*) FROM files GROUP BY 1, 2")
    for kind, failed, count in rows:
        by_kind.setdefault(kind or "text", Counter())["skipped" if failed else "read"] += count
    for file in found.skipped:
        suffix = PurePosixPath(file.name).suffix.removeprefix(".").lower() or "other"
        by_kind.setdefault(suffix, Counter())["skipped"] += 1
    return {
        "read": sum(counts["read"] for counts in by_kind.values()),
        "skipped": skipped,
        "ignored": dict(sorted(found.ignored.items())),
        "ignored_examples": dict(sorted(found.ignored_examples.items())),
        "by_kind": {kind: dict(sorted(by_kind[kind].items())) for kind in sorted(by_kind)},
    }


def _documents(catalog: Catalog) -> dict[str, Any]:
    """How many there were, and how many left at each reason."""
    dropped = Counter(_counted(catalog, "SELECT reason, sum(count) FROM dropped GROUP BY 1"))
    parts = sum(dropped.values())
    dropped.update(
        _counted(catalog, "SELECT reason, count(*) FROM verdicts WHERE NOT kept GROUP BY 1")
    )
    return {
        "found": parts + catalog.count("SELECT count(*) FROM documents"),
        "kept": catalog.count("SELECT count(*) FROM verdicts WHERE kept"),
        "dropped": _most_common(dropped),
        "dropped_examples": _dropped_examples(catalog),
    }


def _dropped_examples(catalog: Catalog) -> dict[str, list[str]]:
    """By reason: the names of some documents that were dropped for it."""
    examples: dict[str, list[str]] = {}
    for query in (
        "SELECT r.reason, f.name, r.part FROM (SELECT reason, file, part, "
        "row_number() OVER (PARTITION BY reason ORDER BY file) AS place FROM dropped) AS r "
        "JOIN files AS f ON f.number = r.file WHERE r.place <= ? AND r.reason != 'forgotten'",
        "SELECT r.reason, f.name, d.part FROM (SELECT reason, file, ordinal, "
        "row_number() OVER (PARTITION BY reason ORDER BY number) AS place FROM verdicts "
        "WHERE NOT kept) AS r JOIN documents AS d USING (file, ordinal) "
        "JOIN files AS f ON f.number = r.file WHERE r.place <= ?",
    ):
        for reason, name, part in catalog.rows(query, _NAMED):
            examples.setdefault(reason, []).append(f"{name}/{part}" if part else name)
    return {reason: names[:_NAMED] for reason, names in sorted(examples.items())}


def _division(catalog: Catalog) -> dict[str, Any]:
    """The proof that no cluster is in two splits, and what was withheld for it."""
    return {
        "clusters": catalog.count("SELECT count(DISTINCT cluster) FROM verdicts WHERE kept"),
        "clusters_of_several": catalog.count(
            "SELECT count(*) FROM (SELECT 1 FROM verdicts GROUP BY cluster HAVING count(*) > 1)"
        ),
        "clusters_in_two_splits": catalog.count(
            "SELECT count(*) FROM (SELECT 1 FROM verdicts WHERE kept "
            "GROUP BY cluster HAVING count(DISTINCT side) > 1)"
        ),
        "texts_in_two_splits": catalog.count(
            "SELECT count(*) FROM (SELECT 1 FROM verdicts WHERE kept "
            "GROUP BY id HAVING count(DISTINCT side) > 1)"
        ),
    }


def _duplicates(catalog: Catalog) -> list[dict[str, Any]]:
    """Files with documents that repeat others: their name, the first one's, how many, how alike."""
    rows = catalog.rows(
        "SELECT f.name, g.name, count(*), min(v.similarity) FROM verdicts AS v "
        "JOIN verdicts AS k ON k.number = v.keeper "
        "JOIN files AS f ON f.number = v.file JOIN files AS g ON g.number = k.file "
        "GROUP BY v.file, k.file ORDER BY v.file, k.file LIMIT ?",
        _LISTED,
    )
    names = ("name", "same_as", "documents", "similarity")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _changed(catalog: Catalog) -> list[dict[str, Any]]:
    """Some documents with what cleaning changed in them."""
    rows = catalog.rows(
        "SELECT f.name, d.part, d.changes, d.private, d.difference FROM documents AS d "
        "JOIN files AS f ON f.number = d.file WHERE d.difference != '' ORDER BY d.id LIMIT ?",
        _EXAMPLES,
    )
    return [
        {
            "source": f"{name}/{part}" if part else name,
            "changes": parse_json(changes),
            "private": parse_json(private),
            "difference": difference,
        }
        for name, part, changes, private, difference in rows
    ]


def _left_out(catalog: Catalog, texts: Texts) -> list[dict[str, str]]:
    """Some of the documents that were dropped, of as many reasons as there are."""
    rows = catalog.rows(
        "SELECT f.name, d.part, v.reason, t.spool, t.offset, t.bytes, min(v.id) "
        "FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
        "JOIN files AS f ON f.number = v.file JOIN texts AS t ON t.id = v.id "
        "WHERE NOT v.kept GROUP BY v.reason ORDER BY count(*) DESC, v.reason LIMIT ?",
        _EXAMPLES,
    )
    return [
        {
            "source": f"{name}/{part}" if part else name,
            "reason": reason,
            "text": texts.read((spool, offset, size))[:_EXAMPLE_CHARACTERS],
        }
        for name, part, reason, spool, offset, size, _ in rows
    ]


def _repeated_lines(catalog: Catalog) -> dict[str, int]:
    lines = catalog.count("SELECT coalesce(sum(lines), 0) FROM verdicts")
    return {"repeated lines": lines} if lines else {}


def _summed(catalog: Catalog, column: str) -> dict[str, int]:
    """The counts in a column of JSON objects, added up."""
    total: Counter[str] = Counter()
    for value in catalog.column(column):
        if value != "{}":
            total.update(parse_json(value))
    return _most_common(total)


def _counted(catalog: Catalog, query: str) -> dict[str, int]:
    return _most_common(Counter(dict(catalog.rows(query))))


def _most_common(counts: Counter[str]) -> dict[str, int]:
    """Largest first; equal ones by name, so that the order is always the same."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

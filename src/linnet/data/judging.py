"""Judging: which documents are kept, in which split, and why; from their tags, without their files.

The steps, in this order; a document leaves at the first that takes it:

1. language and quality (``quality``), by the family of text;
2. lines that many documents of a source begin or end with are taken out (``repeats``);
3. equal texts: the first stays;
4. near duplicates (``duplicates``): the first stays;
5. splits by cluster: near duplicates, mail threads, groups and excerpts of other
   documents are never separated (``split``);
6. training documents go that share most of their text with what is held out, or
   any with an evaluation set (``contamination``);
7. weights: how often training reads what is left.

Arrays hold a few numbers per document; a text is read where it must be compared.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from linnet.config import parse_json
from linnet.data import duplicates, quality, reading, repeats, shingles, split
from linnet.data.catalog import Verdict
from linnet.data.contamination import HeldOut, RunIndex, RunSets
from linnet.data.document import SPLITS
from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from linnet.data.catalog import Catalog, Entry, Place
    from linnet.data.config import DataConfig
    from linnet.data.contamination import NGrams
    from linnet.data.executor import Executor
    from linnet.data.storage import Texts
    from linnet.progress import Progress

    Sides = Callable[[str, str], int]

DUPLICATE, NEAR_DUPLICATE = "exact duplicate", "near duplicate"
WITHHELD = "joined a cluster that is held out"
LEAKING = "most of its text is held out"
CONTAMINATED = "shares text with an evaluation set"
WEIGHTED_OUT = "left out by its weight"
_SPOKEN = ("prose", "web", "mail")  # what is written in a language
_TRAIN = SPLITS.index("train")
_ROUNDS = 3  # times that a division is made again for excerpts that are held out
_NEW = -1  # a document that no earlier run has divided
_BATCH = 200  # documents in one request to a worker
_BAND_BYTES = 8 * shingles.BANDS


class Judge:
    """Decides over the documents in a catalog; its methods are the steps.

    ``before`` gives the side (an index into SPLITS, or -1) that a document with
    this id or else this group was on in the corpus that this one replaces.
    """

    def __init__(
        self,
        catalog: Catalog,
        texts: Texts,
        config: DataConfig,
        executor: Executor,
        folder: Path,
        *,
        before: Sides,
        evaluation: NGrams | None,
        progress: Progress,
    ) -> None:
        self.catalog, self.texts, self.config = catalog, texts, config
        self.executor, self.progress = executor, progress
        self.before, self.evaluation = before, evaluation
        count = self.count = catalog.count("SELECT count(*) FROM documents")
        self.reasons = [""]
        self.reason = np.zeros(count, np.int32)  # index into reasons; 0: kept
        self.keeper = np.full(count, -1, np.int32)  # what a duplicate repeats
        self.similarity = np.zeros(count, np.float32)
        self.cluster = np.arange(count, dtype=np.int32)
        self.side = np.full(count, _NEW, np.int8)
        self.copies = np.ones(count, np.int32)
        self.comparable = np.ones(count, np.bool_)  # formulas differ by a letter, not by words
        self.lines = np.zeros(count, np.int32)  # repeated lines taken out
        self.positions: dict[int, str] = {}  # of those that lost lines
        self.ids = np.zeros((count, 2), np.uint64)
        self.runs = RunSets(self._text)
        self.bands = _on_disk(folder / "bands", (max(count, 1), shingles.BANDS))

    def close(self) -> None:
        """Let go of the file of bands: Windows removes and renames nothing that is mapped."""
        self.bands = np.empty((0, shingles.BANDS), np.uint64)

    def run(self, *, by_cluster: Callable[[int], bool]) -> None:
        """Take every step and write the verdicts into the catalog.

        ``by_cluster`` is told how many groups there are and says whether whole
        documents are divided; else only what is kept is decided.
        """
        self._load()
        self._judge_alone()
        self._take_out_lines()
        self._drop_equal()
        pairs = self._drop_similar()
        groups = self._column_hashes("grp")
        if by_cluster(len(np.unique(groups[self.kept]))):
            self._divide(pairs, groups)
            self._drop_leaking()
        else:
            self.side[:] = _TRAIN
        self._drop_contaminated()
        self._weigh()
        self.catalog.set_verdicts(self._verdicts())

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.reason, 0)

    def identity(self, number: int) -> str:
        """The id of a document's final text."""
        return bytes(self.ids[number]).hex()

    # -- the steps ---------------------------------------------------------------------

    def _load(self) -> None:
        columns = zip(self.catalog.column("id"), self.catalog.column("bands"), strict=True)
        for number, (identity, bands) in enumerate(columns):
            self.ids[number] = np.frombuffer(bytes.fromhex(identity), np.uint64)
            self.bands[number] = np.frombuffer(bands, np.uint64)

    def _judge_alone(self) -> None:
        rules = quality.rules(self.config.quality)
        for entry in self.catalog.entries():
            self.comparable[entry.number] = entry.family != "symbols"
            if reason := self._fault(entry, rules):
                self._drop(entry.number, reason)

    def _fault(self, entry: Entry, rules: quality.Rules) -> str:
        wanted = self.config.languages
        if wanted and entry.family in _SPOKEN and entry.language not in (*wanted, "und"):
            return f"language: {entry.language}"
        return quality.verdict(parse_json(entry.quality), entry.family, rules)

    def _take_out_lines(self) -> None:
        if self.config.repeated_lines >= 1:
            return
        repeated = self._repeated_lines()
        requests = list(self._strippings(repeated)) if any(repeated.values()) else []
        total = sum(len(item["documents"]) for _, item in requests)
        with self.progress.task("taking out repeated lines", total=total) as task:
            answers = self.executor.map(
                reading.STRIP, requests, settings={}, spools=self.texts.folder
            )
            for answer in answers:
                for found in answer.messages:
                    self._replace(found)
                if answer.reason:
                    raise DataError(f"repeated lines cannot be taken out: {answer.reason}")
                if answer.done:
                    task.advance(len(requests[answer.number][1]["documents"]))

    def _repeated_lines(self) -> dict[tuple[str, str], frozenset[int]]:
        """By label and kind: the lines that stand in many documents."""
        samples: dict[tuple[str, str], repeats.Sample] = {}
        for entry, edges in zip(self.catalog.entries(), self.catalog.column("edges"), strict=True):
            if edges and self.reason[entry.number] == 0:
                sample = samples.setdefault((entry.label, entry.kind), repeats.Sample())
                sample.add(entry.id, edges)
        share = self.config.repeated_lines
        return {
            key: repeats.repeated(map(repeats.unpack, sample.edges()), share)
            for key, sample in samples.items()
        }

    def _strippings(
        self, repeated: dict[tuple[str, str], frozenset[int]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Requests to strip the documents in which such lines stand."""
        waiting: dict[tuple[str, str], list[tuple[int, str, int, int]]] = {}
        number = 0
        for entry, edges in zip(self.catalog.entries(), self.catalog.column("edges"), strict=True):
            key = entry.label, entry.kind
            lines = repeated.get(key, frozenset())
            if self.reason[entry.number] or lines.isdisjoint(repeats.unpack(edges)):
                continue
            place = self.catalog.place(entry.id)
            assert place is not None
            waiting.setdefault(key, []).append((entry.number, *place))
            if len(waiting[key]) == _BATCH:
                yield number, self._stripping(waiting.pop(key), lines)
                number += 1
        for key, documents in waiting.items():
            yield number, self._stripping(documents, repeated[key])
            number += 1

    def _stripping(
        self, documents: list[tuple[int, str, int, int]], lines: frozenset[int]
    ) -> dict[str, Any]:
        spools = str(self.texts.folder)
        return {"documents": documents, "lines": sorted(lines), "spools": spools}

    def _replace(self, found: dict[str, Any]) -> None:
        """A document's text gives way to the one without repeated lines."""
        number = found["number"]
        self.catalog.add_texts([(found["id"], *found["place"])])
        self.ids[number] = np.frombuffer(bytes.fromhex(found["id"]), np.uint64)
        self.bands[number] = np.frombuffer(bytes.fromhex(found["bands"]), np.uint64)
        self.lines[number] = found["lines"]
        self.positions[number] = json.dumps(found["positions"])
        if found["place"][2] < self.config.min_characters:
            self._drop(number, "nothing but repeated lines")

    def _drop_equal(self) -> None:
        """Of documents with one text the first stays."""
        numbers = np.flatnonzero(self.kept)
        _, first, inverse = np.unique(
            self.ids[numbers], axis=0, return_index=True, return_inverse=True
        )
        keepers = numbers[first[inverse.reshape(-1)]]
        for number, keeper in zip(numbers.tolist(), keepers.tolist(), strict=True):
            if number != keeper:
                self._drop_as(number, keeper, 1.0, DUPLICATE)

    def _drop_similar(self) -> list[tuple[int, int]]:
        """Of near duplicates the first stays; gives the pairs."""
        if self.config.near_duplicates >= 1:
            return []
        numbers = np.flatnonzero(self.kept & self.comparable)

        def shingles_of(index: int) -> npt.NDArray[np.uint64]:
            return shingles.shingles(self._text(int(numbers[index])))

        limit = self.config.near_duplicates
        found = list(duplicates.find_pairs(self.bands[numbers], shingles_of, limit, self.progress))
        kept, keeper = duplicates.choose(found, len(numbers))
        similarity = {(a, b): value for a, b, value in found}
        for index in np.flatnonzero(~kept):
            first = int(keeper[index])
            value = similarity.get((first, int(index)), 0.0)
            self._drop_as(int(numbers[index]), int(numbers[first]), value, NEAR_DUPLICATE)
        return [(int(numbers[a]), int(numbers[b])) for a, b, _ in found]

    def _divide(self, pairs: Iterable[tuple[int, int]], groups: npt.NDArray[np.uint64]) -> None:
        """Join what belongs together, then give each cluster its split."""
        clusters = duplicates.Clusters(self.count)
        for first, second in pairs:
            clusters.join(first, second)
        for number in np.flatnonzero(self.keeper >= 0):
            clusters.join(int(self.keeper[number]), int(number))
        for hashes in (groups, self._column_hashes("thread")):
            order = np.argsort(hashes, kind="stable")
            same = (hashes[order][1:] == hashes[order][:-1]) & (hashes[order][1:] != 0)
            for place in np.flatnonzero(same):
                clusters.join(int(order[place]), int(order[place + 1]))
        ranks = np.zeros(self.count)
        before = np.full(self.count, _NEW, np.int8)
        sizes = np.zeros(self.count, np.int64)
        for entry in self.catalog.entries():
            ranks[entry.number] = split.rank(entry.group, self.config.split_key)
            before[entry.number] = self.before(self.identity(entry.number), entry.group)
            sizes[entry.number] = entry.bytes
        for _ in range(_ROUNDS + 1):
            # What was dropped still tells where its cluster was, but gets no place of its own.
            self.cluster = clusters.roots()
            self.side = split.divide(
                self.cluster, ranks, before, self.kept, self.config, sizes=sizes
            )
            parts = self._parts_of_training(before == _NEW)
            if not parts:
                break
            for part, whole in parts:
                clusters.join(part, whole)
        for number in np.flatnonzero(self.side == split.WITHHELD):
            if self.reason[number] == 0:
                self._drop(int(number), WITHHELD)
        self.side[self.side == split.WITHHELD] = _TRAIN  # that is where they were seen

    def _parts_of_training(self, new: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
        """New held-out documents that stand mostly in one training document, each with it.

        An excerpt is not similar to what it is from, but whoever has learned the whole
        has seen it.
        """
        usable = self.kept & self.comparable
        held_out = np.flatnonzero(
            usable & new & ((self.side > _TRAIN) & (self.side < split.WITHHELD))
        )
        if not len(held_out) or self.config.held_out_share >= 1:
            return []
        index = RunIndex(self.runs[int(number)] for number in held_out)
        best = np.zeros(len(held_out))
        whole = np.zeros(len(held_out), np.int64)
        numbers = np.flatnonzero(usable & (self.side == _TRAIN))
        with self.progress.task("looking for excerpts", total=len(numbers)) as task:
            for number in numbers:
                shares = index.shares(self.runs[int(number)])
                better = shares > best
                best[better], whole[better] = shares[better], number
                task.advance()
        return [
            (int(held_out[place]), int(whole[place]))
            for place in np.flatnonzero(best >= self.config.held_out_share)
        ]

    def _drop_leaking(self) -> None:
        """Training documents go that consist mostly of text that is held out."""
        if self.config.held_out_share >= 1:
            return
        held_out = HeldOut(
            self.runs[int(number)]
            for number in np.flatnonzero(self.kept & self.comparable & (self.side != _TRAIN))
        )
        if not len(held_out.known):
            return
        numbers = np.flatnonzero(self.kept & self.comparable & (self.side == _TRAIN))
        with self.progress.task("comparing with held-out text", total=len(numbers)) as task:
            for number in numbers:
                if held_out.share(self.runs[int(number)]) >= self.config.held_out_share:
                    self._drop(int(number), LEAKING)
                task.advance()

    def _drop_contaminated(self) -> None:
        if self.evaluation is None:
            return
        numbers = np.flatnonzero(self.kept & (self.side == _TRAIN))
        with self.progress.task("comparing with evaluation sets", total=len(numbers)) as task:
            for number in numbers:
                if self.evaluation.overlap(self._text(int(number))):
                    self._drop(int(number), CONTAMINATED)
                task.advance()

    def _weigh(self) -> None:
        mixture = self.config.mixture
        if not mixture:
            return
        for entry in self.catalog.entries():
            weight = math.prod(
                mixture.get(name, 1.0) for name in {entry.label, entry.kind, entry.family}
            )
            if self.reason[entry.number] or self.side[entry.number] != _TRAIN or weight == 1:
                continue
            whole = int(weight)
            chance = split.rank(self.identity(entry.number), f"{self.config.split_key} weights")
            self.copies[entry.number] = whole + (chance < weight - whole)
            if not self.copies[entry.number]:
                self._drop(entry.number, WEIGHTED_OUT)

    # -- help --------------------------------------------------------------------------

    def _drop(self, number: int, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.reason[number] = self.reasons.index(reason)

    def _drop_as(self, number: int, keeper: int, similarity: float, reason: str) -> None:
        self._drop(number, reason)
        self.keeper[number] = keeper
        self.similarity[number] = similarity

    def _text(self, number: int) -> str:
        place: Place | None = self.catalog.place(self.identity(number))
        assert place is not None
        return self.texts.read(place)

    def _column_hashes(self, name: str) -> npt.NDArray[np.uint64]:
        """64-bit hashes of a column, 0 where it is empty."""
        hashes = np.zeros(self.count, np.uint64)
        for number, value in enumerate(self.catalog.column(name)):
            if value:
                digest = hashlib.blake2b(value.encode("utf-8"), digest_size=8).digest()
                hashes[number] = int.from_bytes(digest, "little") or 1
        return hashes

    def _verdicts(self) -> Iterator[Verdict]:
        for entry in self.catalog.entries():
            number = entry.number
            keeper, side = int(self.keeper[number]), int(self.side[number])
            yield Verdict(
                number=number,
                file=entry.file,
                ordinal=entry.ordinal,
                id=self.identity(number),
                kept=bool(self.reason[number] == 0),
                side=SPLITS[side] if side >= 0 else "",
                cluster=int(self.cluster[number]),
                copies=int(self.copies[number]),
                reason=self.reasons[self.reason[number]],
                keeper=keeper,
                similarity=round(float(self.similarity[number]), 3),
                lines=int(self.lines[number]),
                positions=self.positions.get(number, ""),
            )


def _on_disk(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.uint64]:
    """An array in a file. Raises OSError where the disk has no room: without the room
    writing to the array would end the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * 8)
        else:
            file.truncate(math.prod(shape) * 8)
    return np.memmap(path, np.uint64, "r+", shape=shape)

"""From a corpus to examples: passages, generators, checks, balance, and the files of all that.

Two passes over the corpus, a document in memory at a time. The first builds the index of passages.
The second makes examples of each document and checks them; what came of a document is a line in a
spool, so that a run that was killed carries on with the next document. At the end the balance is
drawn and ``examples.jsonl`` and ``rejected.jsonl`` are written from the spool.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import from_mapping, parse_json
from linnet.data import kept_texts
from linnet.errors import ConfigError, DataError
from linnet.examples.balance import Balance, Row, balanced
from linnet.examples.checks import CHECKS, Case, Check, Seen, accept
from linnet.examples.config import ExamplesConfig
from linnet.examples.generator import Context, Generator
from linnet.examples.generators import GENERATORS
from linnet.examples.record import EXAMPLES_FILE, Example
from linnet.examples.report import write_report
from linnet.examples.source import Shared, Source, read_source
from linnet.examples.writer import Writer, model_input, open_writer
from linnet.progress import SILENT, Progress
from linnet.retrieval import BM25

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft

REJECTED_FILE = "rejected.jsonl"
FORMAT = 1
_WORKING, _SPOOL = "work", "documents.jsonl"
_WRITTEN = "written.jsonl"  # by a model
_PREPARED = 16  # documents
_PASSAGES_PER_LENGTH = 2  # about how many there are where one of full length would fit
_BALANCE = "balance"  # what rejected.jsonl names as the check of an example that is one too many


@dataclass(frozen=True)
class Rejected:
    """An example that was not accepted, by which check and why."""

    example: Example
    check: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "reason": self.reason, **self.example.to_json()}


@dataclass
class Made:
    """What came of one document, or of none for what is made without one."""

    source: str
    accepted: list[Example] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    passages: int = 0
    prose: int = 0
    """Bytes of text in sentences."""
    language: str = ""
    per_passage: Counter[tuple[str, tuple[int, int] | None]] = field(default_factory=Counter)


def make_examples(
    corpus: Path | str,
    out: Path | str,
    config: ExamplesConfig | None = None,
    *,
    generators: Iterable[Generator] = GENERATORS,
    checks: Iterable[Check] = CHECKS,
    progress: Progress = SILENT,
) -> Artifact:
    """Make examples of a corpus, or of a project's, in the directory ``out``.

    Gives the artifact that is there where nothing has changed. A run that was stopped carries on.
    Raises ConfigError for settings that name what there is not, DataError for a corpus that has no
    text, BusyError when another process writes to ``out``.
    """
    config = config or ExamplesConfig()
    used = chosen(config, tuple(generators))
    made_from = artifact.read(corpus, kind="corpus")
    inputs: dict[str, Artifact | str] = {"corpus": made_from}
    if (written_by := model_input(config)) is not None:
        inputs["model"] = written_by

    def write(draft: Draft) -> None:
        output.make_inner_directory(draft.path / _WORKING)
        with open_writer(config, draft.path / _WORKING / _WRITTEN, progress=progress) as writer:
            _Run(made_from.path, draft, config, used, tuple(checks), writer, progress).run()

    return artifact.make(
        out,
        write,
        kind="examples",
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=("report.html",),
        working=_WORKING,
    )


def chosen(config: ExamplesConfig, generators: tuple[Generator, ...]) -> tuple[Generator, ...]:
    """The generators that the settings ask for. Raises ConfigError for a name that is none's."""
    names = [generator.name for generator in generators]
    for name in config.generators:
        if name not in names:
            raise ConfigError(f"generators are {', '.join(names)}. Got {name!r}")
    for generator in generators:
        if generator.needs_model and generator.name in config.generators and not config.model:
            raise ConfigError(f"generator '{generator.name}' needs a model: name one with --model")
    wanted = set(config.kinds)
    return tuple(
        generator
        for generator in generators
        if (generator.name in config.generators or not config.generators)
        and (config.model or not generator.needs_model)
        and (not wanted or wanted & set(generator.kinds) or generator.generate is not None)
    )


class _Run:
    """One run over a corpus."""

    def __init__(
        self,
        corpus: Path,
        draft: Draft,
        config: ExamplesConfig,
        generators: tuple[Generator, ...],
        checks: tuple[Check, ...],
        writer: Writer | None,
        progress: Progress,
    ) -> None:
        self.writer = writer
        self.corpus, self.draft, self.config = corpus, draft, config
        self.generators, self.checks, self.progress = generators, checks, progress
        self.seen = Seen()
        self.rows: list[Row] = []
        self.shared = Shared()
        self.spool = draft.path / _WORKING / _SPOOL
        self.size = sum(artifact.read(corpus, kind="corpus").stats["bytes"].values())
        passages = self.size / config.passage_characters * _PASSAGES_PER_LENGTH
        self.every = max(1, math.ceil(passages / config.most_passages))
        """One document of so many is read."""

    def run(self) -> None:
        context = Context(self.config, BM25(), self.writer)
        self._index(context)
        with closing(self._open_spool()) as spool:
            done = self._take_up(spool)
            self._documents(context, spool, done)
        if self.every > 1:
            self.progress.warn(
                f"only one document of {self.every} was read, as the corpus has more than "
                f"{self.config.most_passages:,} passages (most_passages)"
            )
        balance = balanced(self.rows, self.config)
        write_report(self.draft, self._written(balance), balance, self.progress)

    def _index(self, context: Context) -> None:
        """Index the passages."""
        for source in self._sources("indexing passages"):
            self.shared.note(source)
            for passage in source.passages:
                context.index.add("\n".join([*passage.headings, passage.text]), source.language)
        if not len(context.index):
            raise DataError(f"{self.corpus}: expected a corpus with text, but it has no passage")

    def _sources(self, what: str) -> Iterator[Source]:
        """The documents that are read, with their passages."""
        first = 0
        with self.progress.task(what, total=self.size, unit="bytes") as task:
            for kept in kept_texts(self.corpus):
                if int(kept.id[:8], 16) % self.every == 0:
                    source = read_source(
                        kept,
                        first=first,
                        characters=self.config.passage_characters,
                        shared=self.shared,
                    )
                    first += len(source.passages)
                    yield source
                task.advance(len(kept.text.encode()))

    def _documents(self, context: Context, spool: IO[bytes], done: int) -> None:
        languages: Counter[str] = Counter()
        number = 0
        for number, source in enumerate(self._prepared(context, done), 1):
            languages[source.language] += len(source.passages)
            if number > done:
                self._spool(spool, self._of_document(source, context))
        if number + 1 > done:
            common = [name for name, _ in languages.most_common()]
            self._spool(spool, self._of_no_document(common, context))

    def _prepared(self, context: Context, done: int) -> Iterator[Source]:
        """The documents; where a generator prepares several at once, so many are in memory."""
        preparing = [generator for generator in self.generators if generator.prepare is not None]
        sources = self._sources("making examples")
        if not preparing:
            yield from sources
            return
        number = 0
        while group := list(islice(sources, _PREPARED)):
            for generator in preparing:
                assert generator.prepare is not None
                fitting = [
                    source
                    for place, source in enumerate(group, number + 1)
                    if place > done and generator.reads(source)
                ]
                generator.prepare(fitting, context)
            number += len(group)
            yield from group

    def _of_document(self, source: Source, context: Context) -> Made:
        prose = sum(
            len(source.text[block.start : block.end].encode())
            for block in source.blocks
            if block.kind not in ("code", "table")
        )
        made = Made(
            source.name, passages=len(source.passages), prose=prose, language=source.language
        )
        fitting = [generator for generator in self.generators if generator.reads(source)]
        for generator in fitting:
            if generator.generate is not None:
                self._judge(generator, generator.generate(source, context), source, context, made)
        for generator in fitting:
            if generator.derive is not None:
                own = generator.derive(source, tuple(made.accepted), context)
                self._judge(generator, own, source, context, made)
        if self.config.kinds:  # others were made only for these to be derived from
            made.accepted = [e for e in made.accepted if e.kind in self.config.kinds]
        return made

    def _of_no_document(self, languages: list[str], context: Context) -> Made:
        made = Made("")
        for generator in self.generators:
            if generator.supply is not None:
                self._judge(generator, generator.supply(context, languages), None, context, made)
        return made

    def _judge(
        self,
        generator: Generator,
        examples: Iterable[Example],
        source: Source | None,
        context: Context,
        made: Made,
    ) -> None:
        """Check what a generator gives; into ``made`` with it."""
        for one in examples:
            one = replace(one, generator=generator.name)
            case = Case(one, source, context, self.seen)
            fault = next(
                ((check.name, why) for check in self.checks if (why := check.fault(case))), None
            )
            if fault is None and made.per_passage[one.kind, one.passage] >= self.config.per_passage:
                fault = ("passage", "its passage has enough of this kind")
            if fault is not None:
                made.rejected.append(Rejected(one, *fault))
            else:
                accept(one, self.seen)
                made.accepted.append(one)
                made.per_passage[one.kind, one.passage] += one.passage is not None

    # -- the spool -----------------------------------------------------------------------

    def _open_spool(self) -> IO[bytes]:
        output.open_to_append(self.spool).close()
        output.refuse_links(self.spool)
        return self.spool.open("r+b")

    def _spool(self, spool: IO[bytes], made: Made) -> None:
        line = {
            "source": made.source,
            "passages": made.passages,
            "prose": made.prose,
            "language": made.language,
            "accepted": [e.to_json() for e in made.accepted],
            "rejected": [r.to_json() for r in made.rejected],
        }
        self.rows += [Row(e.id, e.kind, e.source) for e in made.accepted]
        spool.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        spool.flush()

    def _take_up(self, spool: IO[bytes]) -> int:
        """Go on after the last whole line of a spool; gives how many there are."""
        done, end = 0, 0
        for line in spool:
            if not line.endswith(b"\n"):
                break
            try:
                made = _read_line(line)
            except (ValueError, ConfigError, KeyError):
                break
            for one in made.accepted:
                accept(one, self.seen)
            self.rows += [Row(e.id, e.kind, e.source) for e in made.accepted]
            done, end = done + 1, end + len(line)
        spool.seek(end)
        spool.truncate()
        return done

    def _written(self, balance: Balance) -> Iterator[Made]:
        """Write what is kept and what is not, document by document."""
        with (
            output.create_file(self.draft.path / EXAMPLES_FILE) as examples,
            output.create_file(self.draft.path / REJECTED_FILE) as rejected,
            self.spool.open("rb") as spool,
        ):
            for made in map(_read_line, spool):
                for one in made.accepted:
                    if one.id in balance.kept:
                        examples.write(_line(one.to_json()))
                    else:
                        made.rejected.append(
                            Rejected(one, _BALANCE, "there are enough of its kind")
                        )
                for reject in made.rejected:
                    rejected.write(_line(reject.to_json()))
                yield made


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _read_line(line: bytes) -> Made:
    values = parse_json(line.decode("utf-8", "surrogatepass"))
    made = Made(
        values["source"],
        passages=values["passages"],
        prose=values["prose"],
        language=values["language"],
    )
    made.accepted = [from_mapping(Example, row, where=_SPOOL) for row in values["accepted"]]
    for row in values["rejected"]:
        check, reason = row.pop("check"), row.pop("reason")
        made.rejected.append(Rejected(from_mapping(Example, row, where=_SPOOL), check, reason))
    return made

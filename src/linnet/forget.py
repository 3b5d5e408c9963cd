"""Forgetting a document: out of every file that Linnet wrote, except what was learned from it.

The corpus is made again without it, and with it what holds its tokens or may
quote it: shards, evaluation, report, samples noted in training. Directories
left by interrupted runs go. What cannot be undone is said: the tokenizers and
models that were trained on it are listed, and only training them again removes
it from them. The owner's own files are never touched.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output, stages
from linnet.answers.feedback import NAME as FEEDBACK_FILE
from linnet.artifact import within
from linnet.config import from_mapping, parse_json
from linnet.data import DataConfig, prepare
from linnet.data.catalog import NAME, open_to_read, read_meta
from linnet.data.files import scan
from linnet.data.forgetting import Forgotten, Match, Quotations, Remaining, find, resembling
from linnet.data.preparation import made_with, reading_hash
from linnet.errors import ArtifactError, DataError
from linnet.examples import ExamplesConfig, make_examples
from linnet.examples.decisions import SUFFIX as DECISIONS
from linnet.examples.decisions import keep_only
from linnet.examples.record import is_examples, read_examples
from linnet.monitor.log import Log, is_log
from linnet.progress import SILENT, Progress
from linnet.project import LOCK_NAME, Project
from linnet.report import REPORT, write_report
from linnet.retrieval.index import KIND as INDEX
from linnet.retrieval.indexing import IndexConfig, index_corpus
from linnet.stages import CONFIG_FILE
from linnet.stages.corpus import configure as corpus_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.artifact import Artifact

_TRACE = 60  # characters by which a text is looked for afterwards
_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class Forgetting:
    """What forgetting did, and what it could not do."""

    documents: list[str]
    promoted: list[str]
    """Documents that took the place of one that they repeated."""
    saw: list[Path]
    """Tokenizers and models that learned from it, or from an older corpus that may have held it."""
    remaining: list[Remaining]
    """Documents that stay and have much of one that was forgotten."""
    traces: list[Path]
    """Files in which a passage of it still stands, and shards that cannot be encoded again."""


def find_documents(place: Path | str, what: str, *, regex: bool = False) -> list[Match]:
    """What ``forget`` would forget. Raises DataError when there is nothing.

    Empty where ``forget`` was interrupted and has only to be finished.
    """
    corpus = _corpus_of(Path(place))
    try:
        return find(corpus, what, regex=regex)
    except DataError:
        if Forgotten.beside(corpus).unfinished:
            return []
        raise


def forget(
    place: Path | str,
    what: str,
    *,
    regex: bool = False,
    privacy_key: str = "",
    progress: Progress = SILENT,
) -> Forgetting:
    """Forget documents in ``place``, a project, a corpus or an index.

    ``what``: a path or the end of one, a document's id, or with ``regex`` what
    its text or name contains. ``privacy_key`` is needed for a corpus that was
    made with one. Run again after an interruption, it goes on.
    Raises DataError when nothing matches, BusyError beside a build.
    """
    place = Path(place)
    corpus = _corpus_of(place)
    matches = find_documents(place, what, regex=regex)
    config, sources = _recipe(place, corpus, privacy_key)
    before = _kept(corpus)
    trained_on = not matches or any(match.split == "train" for match in matches)
    saw = _saw(place, corpus, trained_on=trained_on)
    left: list[Path] = []
    index = None if (place / CONFIG_FILE).is_file() else _index_over(place, corpus)
    # At first: what is noted is out of the next corpus, whoever makes it, and then nobody knows
    # any more what it said.
    _drop_what_was_said(place if index is None else index.path.parent, matches)
    _remember(corpus, matches, _paths(sources, corpus, place, config))
    try:
        if (place / CONFIG_FILE).is_file():
            with output.lock(place / LOCK_NAME):
                _clean_project(place, progress)
        elif index is not None:
            prepare(
                sources, corpus, config, exclude=[index.path.parent], training=False,
                may_be_empty=_is_all_forgotten(corpus), progress=progress,
            )  # fmt: skip
            _clean_index(index, matches, progress)
        else:
            prepare(sources, corpus, config, progress=progress)
            left = _encode_again(corpus, progress)
    except DataError as error:
        raise DataError(
            f"{error}; what is to be forgotten still stands in "
            f"{corpus if index is None else index.path.parent}: put this right and run the same "
            "command again, or delete that directory and what was made from it"
        ) from None
    for name in ("partial", "superseded"):
        output.erase(corpus.parent / f".{corpus.name}.{name}")
    _remember(corpus, [], {}, unfinished=False)
    return Forgetting(
        documents=[match.name for match in matches],
        promoted=sorted(_kept(corpus) - before),
        saw=saw,
        remaining=resembling(corpus, matches, progress),
        traces=sorted({*left, *_traces(_places(place, corpus), matches)}),
    )


def _corpus_of(place: Path) -> Path:
    return place / "corpus" if (place / CONFIG_FILE).is_file() else within(place, "corpus")


def _remember(
    corpus: Path, matches: list[Match], paths: dict[str, str], *, unfinished: bool = True
) -> None:
    """Note what must not come back, before the corpus is made without it.

    Of a file that is meant whole its bytes are noted too, whatever named it; its name
    and path unless it is only a copy, in whose place something else may come to stand.
    """
    noted = Forgotten.beside(corpus)
    noted.unfinished = unfinished
    contents = _files_meant_whole(corpus, matches)
    named = {match.file for match in matches if not match.copy} & contents.keys()
    noted.add(
        names=named,
        paths=(paths[name] for name in named if name in paths),
        contents=filter(None, contents.values()),
        texts=(match.id for match in matches if match.id),
    )
    if any(match.file not in contents for match in matches):
        noted.readings.add(reading_hash(read_meta(corpus / NAME).get("extraction", {})))
    noted.save()


def _files_meant_whole(corpus: Path, matches: list[Match]) -> dict[str, str]:
    """Files of which all is to be forgotten, with the hash of their bytes if they have any."""
    counts = Counter(match.file for match in matches)
    whole = {match.file for match in matches if match.by_place and not match.part}
    connection = open_to_read(corpus / NAME)
    try:
        rows = connection.execute(
            "SELECT f.name, f.content, f.size, count(d.file) FROM files AS f "
            "LEFT JOIN documents AS d ON f.number = d.file GROUP BY f.number"
        )
        return {
            name: content if size else ""
            for name, content, size, count in rows
            if name in whole or (count and counts[name] == count)
        }
    finally:
        connection.close()


def _paths(sources: list[str], corpus: Path, place: Path, config: DataConfig) -> dict[str, str]:
    """Where the files of the sources lie, by name; empty where a source is missing."""
    cache = corpus.with_name(f"{corpus.name}.sources")
    with contextlib.suppress(DataError):
        found = scan(
            sources,
            exclude=[corpus, place],
            include=config.include,
            ignore=config.exclude,
            gitignore=config.gitignore,
            cache=cache,
        )
        return {file.name: file.path for file in found.files}
    return {}


def _recipe(place: Path, corpus: Path, privacy_key: str) -> tuple[DataConfig, list[str]]:
    """The settings and sources that the corpus was made with."""
    if (place / CONFIG_FILE).is_file():
        workspace = Project.open(place).workspace()
        return corpus_settings(workspace), list(workspace.config.sources)
    return made_with(corpus, privacy_key=privacy_key)


def _kept(corpus: Path) -> set[str]:
    """The names of the documents that are in a split."""
    connection = open_to_read(corpus / NAME)
    try:
        rows = connection.execute(
            "SELECT f.name || CASE d.part WHEN '' THEN '' ELSE '/' || d.part END "
            "FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
            "JOIN files AS f ON f.number = v.file WHERE v.kept"
        )
        return {name for (name,) in rows}
    finally:
        connection.close()


def _is_all_forgotten(corpus: Path) -> bool:
    """Whether every document of a corpus is among those that must not come back."""
    noted = Forgotten.beside(corpus)
    connection = open_to_read(corpus / NAME)
    try:
        rows = connection.execute("SELECT DISTINCT id FROM documents WHERE id != ''")
        return all(noted.has_text(id) for (id,) in rows)
    finally:
        connection.close()


def _saw(place: Path, corpus: Path, *, trained_on: bool) -> list[Path]:
    """Tokenizers and models that were made from this corpus, or from an earlier one there."""
    content = artifact.read(corpus, kind="corpus").content
    trained = {
        "adapter",
        "encoder",
        "reranker",
        *(stage.name for stage in stages.STAGES if stage.on_forget == "trained"),
    }
    found = []
    for made, ancestors in _beside(place, corpus):
        if made.manifest.kind not in trained:
            continue
        inputs = [entry for parent in ancestors for entry in parent.manifest.inputs.values()]
        contents = {parent.content for parent in ancestors} | {entry.content for entry in inputs}
        if content in contents and (trained_on or _is_stale(ancestors)):
            found.append(made.path)
    return found


def _beside(place: Path, corpus: Path) -> Iterator[tuple[Artifact, list[Artifact]]]:
    """What lies in a project or beside a corpus, each with all it was made from."""
    root = place if place != corpus else corpus.parent
    for manifest in sorted(root.glob("*/manifest.json")):
        with contextlib.suppress(ArtifactError):
            yield artifact.read(manifest.parent), artifact.lineage(manifest.parent)


def _is_stale(ancestors: list[Artifact]) -> bool:
    """Whether one was made from something that has been replaced since."""
    contents = {entry.path: entry.content for entry in ancestors}
    return any(
        contents.get((parent.path / entry.path).resolve()) != entry.content
        for parent in ancestors
        for entry in parent.manifest.inputs.values()
        if entry.path is not None
    )


def _encode_again(corpus: Path, progress: Progress) -> list[Path]:
    """Make again the shards beside a corpus; gives those whose tokenizer is not there any more."""
    from linnet.shards import EncodeConfig, encode

    left = []
    for made, ancestors in _beside(corpus, corpus):
        inputs = made.manifest.inputs
        if made.manifest.kind != "shards" or corpus.resolve() not in {a.path for a in ancestors}:
            continue
        tokenizer = inputs["tokenizer"].path
        if tokenizer is None or not artifact.is_artifact(made.path / tokenizer):
            left.append(made.path)
            continue
        config = from_mapping(EncodeConfig, made.manifest.config, where=str(made.path))
        encode(corpus, made.path / tokenizer, made.path, config, progress=progress)
    return left


def _index_over(place: Path, corpus: Path) -> Artifact | None:
    """The index that was made of a corpus and lies beside it."""
    for made, ancestors in _beside(place, corpus):
        if made.manifest.kind == INDEX and corpus.resolve() in {one.path for one in ancestors}:
            return made
    return None


def _clean_index(index: Artifact, matches: list[Match], progress: Progress) -> None:
    """Bring an index up to its corpus; make again, or remove, what else beside it may quote a
    document that is gone. (Its segments are written anew: see ``linnet.retrieval.updating``.)"""
    root = index.path.parent
    config = from_mapping(IndexConfig, index.manifest.config, where=str(index.path))
    index_corpus(root / "corpus", index.path, config, progress=progress)
    made = root / "examples"
    if is_examples(made):
        kept = from_mapping(ExamplesConfig, artifact.read(made).manifest.config, where=str(made))
        if kept.model:
            output.erase(made)
        else:
            try:  # in its place, so that a kill leaves something to which decisions belong
                make_examples(root / "corpus", made, kept, progress=progress)
            except DataError:  # nothing has text any more
                output.erase(made)
    _drop_decisions(made.with_name(f"{made.name}{DECISIONS}"))
    for name in ("gate", "summaries"):
        output.erase(root / name)
    for left in (*root.glob(".*.partial"), *root.glob(".*.superseded")):
        output.erase(left)


def _drop_feedback(file: Path, matches: list[Match]) -> None:
    """Take out what people said of answers that rest on a forgotten document, or quote it."""
    if not file.is_file():
        return
    names = [json.dumps(match.name, ensure_ascii=False)[1:-1] for match in matches]
    quotations = Quotations(match.text for match in matches)
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        entry = _entry(line)
        said = json.dumps(entry, ensure_ascii=False)
        texts = (str(entry.get(name, "")) for name in ("question", "answer", "prompt", "text"))
        if not any(name in said for name in names) and not any(map(quotations.quotes, texts)):
            kept.append(f"{line}\n")
    output.write_text(file, "".join(kept))


def _clean_project(place: Path, progress: Progress) -> None:
    """Make again, or remove, what may quote a document that is gone."""
    workspace = Project.open(place).workspace()
    workspace.progress = progress
    for stage in stages.STAGES:
        directory = workspace.directory(stage.name)
        inputs = set(stage.inputs.values())
        whole = artifact.is_artifact(directory) and inputs <= workspace.artifacts.keys()
        if stage.on_forget == "rebuild" and whole:
            workspace.artifacts[stage.name] = stage.make(workspace)
        elif stage.on_forget in ("rebuild", "remove"):
            output.erase(directory)
        else:
            with contextlib.suppress(ArtifactError):  # what is damaged is made again by a build
                if (made := workspace.read(stage.name)) is not None:
                    workspace.artifacts[stage.name] = made
    for left in (*place.glob(".*.partial"), *place.glob(".*.superseded")):
        output.erase(left)
    for decisions in place.glob(f"*{DECISIONS}"):
        _drop_decisions(decisions)
    for metrics in place.glob("*/metrics.jsonl"):
        _drop_samples(metrics)
    if (place / REPORT).is_file():
        write_report(place)


def _drop_what_was_said(root: Path, matches: list[Match]) -> None:
    """Take out of feedback and of logs of calls what was asked and answered of a document."""
    _drop_feedback(root / FEEDBACK_FILE, matches)
    for file in root.iterdir():
        if file.is_file() and is_log(file):
            with contextlib.closing(Log(file, is_reading=True)) as log:
                log.forget_contents([m.name for m in matches], [m.text for m in matches])


def _drop_decisions(file: Path) -> None:
    """Take out what people decided about examples that are not made any more."""
    if not file.is_file():
        return
    made = file.with_name(file.name.removesuffix(DECISIONS))
    found = read_examples(made, decided=False) if is_examples(made) else ()
    keep_only(file, {example.id for example in found})


def _drop_samples(metrics: Path) -> None:
    """Take the texts that the model wrote while it was trained out of its log."""
    if not metrics.is_file():
        return
    lines = metrics.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "sample" not in _entry(line)]
    output.write_text(metrics, "".join(f"{line}\n" for line in kept))


def _entry(line: str) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _places(place: Path, corpus: Path) -> list[Path]:
    """Where traces are looked for: what Linnet wrote, fetched pages included."""
    if place != corpus:
        return [place]
    if index := _index_over(place, corpus):
        return [index.path.parent]
    derived = [
        made.path
        for made, ancestors in _beside(place, corpus)
        if corpus.resolve() in {entry.path for entry in ancestors}
    ]
    return [*derived, corpus.with_name(f"{corpus.name}.sources")]


def _traces(places: list[Path], matches: list[Match]) -> Iterator[Path]:
    """Files below these in which a passage from a forgotten text stands as plain text."""
    passages = [passage for match in matches for passage in _passages(match.text)]
    if not passages:
        return
    for path in (path for place in places for path in _plain_files(place)):
        if not path.stat().st_size:
            continue
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            if any(content.find(passage) >= 0 for passage in passages):
                yield path


def _passages(text: str) -> Iterator[bytes]:
    """Three passages of a text, from its beginning, middle and end."""
    if len(text) >= _TRACE:
        for start in {0, (len(text) - _TRACE) // 2, len(text) - _TRACE}:
            yield text[start : start + _TRACE].encode("utf-8")


def _plain_files(place: Path) -> Iterator[Path]:
    for path in place.rglob("*"):
        if path.is_file() and path.suffix not in (*_WEIGHTS, ".parquet", ".index"):
            yield path

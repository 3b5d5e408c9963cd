"""Examples for other programs: JSON lines to train on, SQuAD 2.0, and BEIR.

* ``messages``: ``{"messages": [{"role", "content"}, ...]}``, as trl, axolotl and OpenAI read it;
* ``prompt-completion``: ``{"prompt", "completion"}``, both text;
* ``squad``: SQuAD 2.0 (https://rajpurkar.github.io/SQuAD-explorer/): contexts with questions whose
  answers are spans of them, or that have none;
* ``beir``: a retrieval benchmark (https://github.com/beir-cellar/beir/wiki): ``corpus.jsonl`` with
  all passages, ``queries.jsonl``, and for each split ``qrels/SPLIT.tsv``.

What people decided is applied. What a format cannot say is left out, and counted by reason.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from linnet import artifact
from linnet.data import kept_texts
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError
from linnet.examples.decisions import decisions_file
from linnet.examples.prompts import Book, answer_text, messages, prompt_text
from linnet.examples.record import Example, Split, examples_file, read_examples
from linnet.examples.texts import Context, contexts, corpus_of, quotes_of
from linnet.output import check_output_directory, make_directory, make_inner_directory, replacing

Format = Literal["messages", "prompt-completion", "squad", "beir"]
FORMATS: tuple[Format, ...] = get_args(Format)
SPLITS: tuple[Split, ...] = get_args(Split)
_ABROAD: Mapping[Split, str] = {"train": "train", "validation": "dev", "test": "test"}
"""What SQuAD and BEIR call the splits."""
_IN_TURNS = "it goes on with a conversation"
_NO_SPAN = "its answer is no stretch of the text"
_NO_TEXT = "its document is not in the corpus as it was"
_NO_ANSWER = "no passage answers it"


@dataclass
class Exported:
    """What was written, and what was not."""

    files: dict[str, int] = field(default_factory=dict)
    """Examples by file."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Examples by reason."""


@dataclass(frozen=True)
class _Source:
    """The examples to export, and where their texts are."""

    place: Path
    examples: list[Example]
    corpus: Path | None
    book: Book

    def contexts(self, purpose: str) -> Mapping[str, Context]:
        return contexts(self.texts(purpose), self.examples)

    def texts(self, purpose: str) -> Path:
        if self.corpus is None:
            raise ArtifactError(
                f"{purpose} needs the corpus that {self.place} was made from, and it is not where "
                "it was; name it with --corpus"
            )
        return self.corpus


def export_examples(
    place: Path | str,
    out: Path | str,
    *,
    format: Format,
    split: Split | Literal["all"] | None = None,
    book: Book = "closed",
    corpus: Path | None = None,
) -> Exported:
    """Write examples in another format: one split to a file, or all to a directory of files.

    ``out``: a file where it has a suffix, otherwise a directory; BEIR is always one. ``split``: of
    a file ``train``, of a directory ``all``, if not given. ``book``: open, training rows have the
    passage before the question. Raises DataError where there is nothing to write, ArtifactError
    where the corpus is needed and is not there.
    """
    out = Path(out)
    if book == "open" and format not in ("messages", "prompt-completion"):
        raise ConfigError(f"--book open is for messages and prompt-completion. Got {format}")
    _refuse_sources(out, examples_file(place))
    is_file = bool(out.suffix) and not out.is_dir() and format != "beir"
    chosen = split or ("train" if is_file else "all")
    found = list(read_examples(place, split=None if chosen == "all" else chosen))
    if not found:
        raise DataError(f"{place}: expected examples to export. There are none in split {chosen}")
    source = _Source(examples_file(place), found, corpus or corpus_of(place), book)
    exported = Exported()
    if format == "beir":
        _write_beir(source, out, exported)
    elif is_file:
        make_directory(out.absolute().parent)
        _write_rows(out, _ROWS[format](source, found, exported), exported)
    else:
        _prepare_directory(out, f"train{_SUFFIX[format]}")
        for each in SPLITS:
            own = [example for example in found if example.split == each]
            if own:
                name = _ABROAD[each] if format == "squad" else each
                rows = _ROWS[format](source, own, exported)
                _write_rows(out / f"{name}{_SUFFIX[format]}", rows, exported)
    if not sum(exported.files.values()):
        reasons = ", ".join(f"{count:,}: {why}" for why, count in exported.left_out.items())
        raise DataError(f"{place}: none of its examples can be said in this format ({reasons})")
    return exported


def _refuse_sources(out: Path, file: Path) -> None:
    """Refuse to write over the examples, what people decided about them, or another artifact."""
    target = out.resolve()
    ours = {file.resolve(), decisions_file(file).resolve()}
    if target in ours or any(map(artifact.is_artifact, target.parents)):
        raise OutputError(f"{out} would be written over or into what Linnet made; choose another")


def _write_rows(path: Path, rows: Iterable[tuple[str, int]], exported: Exported) -> None:
    """Write lines, each with the number of examples in it."""
    count = 0
    with replacing(path) as neighbour, neighbour.open("w", encoding="utf-8", newline="\n") as file:
        for line, size in rows:
            file.write(line + "\n")
            count += size
    exported.files[path.name] = exported.files.get(path.name, 0) + count


def _prepare_directory(out: Path, mark: str) -> None:
    """``mark``: a file that shows that the directory is an earlier export."""
    check_output_directory(out, allowed=(mark,))
    make_directory(out)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- rows to train on ---------------------------------------------------------------------------


def _message_rows(
    source: _Source, examples: Sequence[Example], exported: Exported
) -> Iterator[tuple[str, int]]:
    for example, passage in _with_passages(source, examples, exported):
        row = {"id": example.id, "kind": example.kind, "messages": messages(example, passage)}
        yield _json(row), 1


def _prompt_rows(
    source: _Source, examples: Sequence[Example], exported: Exported
) -> Iterator[tuple[str, int]]:
    for example, passage in _with_passages(source, examples, exported):
        earlier = [text for turn in example.turns for text in (turn.question, turn.answer)]
        # A line break ends the prompt, since programs set the completion right behind it.
        prompt = "\n\n".join([*earlier, prompt_text(example, passage)]) + "\n"
        row = {"id": example.id, "kind": example.kind, "prompt": prompt}
        yield _json({**row, "completion": answer_text(example)}), 1


def _with_passages(
    source: _Source, examples: Sequence[Example], exported: Exported
) -> Iterator[tuple[Example, str | None]]:
    found = source.contexts("open book") if source.book == "open" else {}
    for example in examples:
        if source.book == "open" and example.id not in found:
            exported.left_out[_NO_TEXT] += 1
            continue
        yield example, found[example.id].text if source.book == "open" else None


# -- SQuAD 2.0 ----------------------------------------------------------------------------------


def _squad(
    source: _Source, examples: Sequence[Example], exported: Exported
) -> Iterator[tuple[str, int]]:
    found = source.contexts("SQuAD")
    documents: dict[str, dict[Context, list[dict[str, Any]]]] = defaultdict(dict)
    count = 0
    for example in examples:
        context = found.get(example.id)
        span = _span(example)
        if example.turns:
            exported.left_out[_IN_TURNS] += 1
        elif context is None:
            exported.left_out[_NO_TEXT] += 1
        elif example.answerable and span is None:
            exported.left_out[_NO_SPAN] += 1
        else:
            answers = []
            if span is not None and example.answerable:
                start = span[0] - context.start
                answers = [{"text": span[1], "answer_start": start}]
                assert context.text[start : start + len(span[1])] == span[1]
            question = {
                "id": example.id,
                "question": example.question,
                "answers": answers,
                "is_impossible": not example.answerable,
            }
            documents[context.source].setdefault(context, []).append(question)
            count += 1
    data = [
        {
            "title": title,
            "paragraphs": [
                {"qas": questions, "context": context.text}
                for context, questions in paragraphs.items()
            ],
        }
        for title, paragraphs in documents.items()
    ]
    yield _json({"version": "v2.0", "data": data}), count


def _span(example: Example) -> tuple[int, str] | None:
    """Where in its source the answer stands, and what: the answer itself if the quote holds it."""
    if example.quote is None or example.start is None or example.quotes:
        return None
    place = example.quote.find(example.answer) if example.answer else -1
    if place >= 0:
        return example.start + place, example.answer
    if example.kind in ("question", "cloze"):
        return example.start, example.quote
    return None


# -- BEIR ---------------------------------------------------------------------------------------


def _write_beir(source: _Source, out: Path, exported: Exported) -> None:
    corpus = source.texts("BEIR")
    _prepare_directory(out, "corpus.jsonl")
    make_inner_directory(out / "qrels")
    asked = [example for example in source.examples if _is_query(example, exported)]
    relevant = _write_passages(corpus, out / "corpus.jsonl", asked, source.place)
    rows: dict[Split, list[str]] = defaultdict(list)
    queries = []
    for example in asked:
        if example.id not in relevant:
            exported.left_out[_NO_TEXT] += 1
            continue
        queries.append((_json({"_id": example.id, "text": example.question, "metadata": {}}), 1))
        rows[example.split] += [f"{example.id}\t{number}\t1" for number in relevant[example.id]]
    _write_rows(out / "queries.jsonl", queries, exported)
    for split in SPLITS:
        path = out / "qrels" / f"{_ABROAD[split]}.tsv"
        path.unlink(missing_ok=True)
        if rows[split]:
            with replacing(path) as neighbour:
                lines = ["query-id\tcorpus-id\tscore", *rows[split], ""]
                neighbour.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def _is_query(example: Example, exported: Exported) -> bool:
    """Whether a question can be asked of the whole corpus, and passages answer it."""
    if example.turns:
        exported.left_out[_IN_TURNS] += 1
    elif not example.answerable or not quotes_of(example):
        exported.left_out[_NO_ANSWER] += 1
    else:
        return True
    return False


def _write_passages(
    corpus: Path, path: Path, asked: Sequence[Example], place: Path
) -> dict[str, list[str]]:
    """Write all passages; gives for each question those that its quotes stand in, by number."""
    from linnet.examples.source import read_source
    from linnet.examples.texts import holds

    waiting: dict[str, list[Example]] = defaultdict(list)
    for example in asked:
        waiting[str(example.source)].append(example)
    relevant: dict[str, list[str]] = {}
    first = 0
    with replacing(path) as neighbour, neighbour.open("w", encoding="utf-8", newline="\n") as file:
        for kept in kept_texts(corpus):
            source = read_source(kept, first=first, characters=_passage_characters(place))
            first += len(source.passages)
            for passage in source.passages:
                title = " › ".join(passage.headings) or source.title
                where = {"source": source.name, "start": passage.start, "end": passage.end}
                row = {"_id": str(passage.number), "title": title, "text": passage.text}
                file.write(_json({**row, "metadata": where}) + "\n")
            for example in waiting.pop(kept.source, ()):
                if holds(kept.text, example):
                    relevant[example.id] = [
                        str(passage.number)
                        for passage in source.passages
                        if any(
                            q.start < passage.end and passage.start < q.end
                            for q in quotes_of(example)
                        )
                    ]
    return {identity: numbers for identity, numbers in relevant.items() if numbers}


def _passage_characters(place: Path) -> int:
    """How long the passages were of which the examples were made."""
    from linnet.examples.config import ExamplesConfig

    usual = ExamplesConfig.passage_characters
    if not artifact.is_artifact(place.parent):
        return usual
    found = artifact.read(place.parent).manifest.config.get("passage_characters", usual)
    return found if isinstance(found, int) and found > 0 else usual


_Rows: TypeAlias = Callable[[_Source, Sequence[Example], Exported], Iterator[tuple[str, int]]]
_ROWS: Mapping[str, _Rows] = {
    "messages": _message_rows,
    "prompt-completion": _prompt_rows,
    "squad": _squad,
}
_SUFFIX = {"messages": ".jsonl", "prompt-completion": ".jsonl", "squad": ".json"}

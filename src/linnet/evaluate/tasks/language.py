"""How surprised a model is by text of any source, and by each kind and source of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from linnet import artifact
from linnet.errors import ConfigError, DataError
from linnet.evaluate.held_out import even_sample, split_text_file, text_files
from linnet.evaluate.task import Answer, Example, Item, Prompt, Task, figures_of
from linnet.generate.engine import Continuation, Likelihood

GROUPS = 50
"""Sources that have a figure of their own: those with the most text."""


class Document(NamedTuple):
    """A text, and where it is from."""

    text: str
    kind: str
    source: str


class Language(Task):
    """Bits per byte of the documents of a corpus, a folder or a file."""

    name = "language"
    about = "scoring text"
    unit = "bytes"
    metrics = ("bits_per_byte", "perplexity", "nats_per_token")

    def require(self) -> None:
        """There must be text: of its own, of the run, or of the model's corpus."""
        super().require()
        if self._text() is None:
            raise ConfigError(
                f"--task {self.name} needs text: write --task {self.name}=CORPUS_OR_FOLDER"
            )

    def examples(self) -> Iterator[Example]:
        """An even sample of the documents."""
        place = self._text()
        assert place is not None
        limit = self.run.config.max_bytes
        sample = even_sample(
            self._documents(place), size=lambda each: len(each.text.encode()), limit=limit
        )
        if not sample.items:
            raise DataError(f"{place}: expected text to score, but there is none")
        self.facts |= {"of_documents": sample.of_items, "of_bytes": sample.of_size}
        tokenizer = self.run.engine.tokenizer
        for number, document in enumerate(sample.items):
            text = document.text.encode()[:limit].decode(errors="ignore")
            tokens = [*tokenizer.encode(text), tokenizer.end_of_text]
            yield Example(str(number), (document, tokens), len(text.encode()))

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """The document after an end of text, as in training."""
        return [Continuation((self.run.engine.tokenizer.end_of_text,), example.data[1])]

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Its cost and its sizes."""
        (found,) = answers
        assert isinstance(found, Likelihood)
        return {"nats": found.nats, "tokens": found.tokens, "bytes": example.size}

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """Where it is from, and how it begins."""
        document, _ = example.data
        return {
            "kind": document.kind,
            "source": document.source,
            "prompt": document.text[:200],
        }

    def together(self, items: list[Item]) -> list[Item]:
        """Figures of each kind and each source beside those of all."""
        for group in ("kind", "source"):
            members: dict[str, list[Item]] = defaultdict(list)
            for item in items:
                members[item.detail[group]].append(item)
            largest = sorted(
                members, key=lambda name: -sum(i.scores["bytes"] for i in members[name])
            )
            self.facts[f"by_{group}"] = {
                name: {
                    metric: figure.to_json()
                    for metric, figure in figures_of(
                        ("bits_per_byte",), members[name], self.run.config
                    )[0].items()
                }
                for name in largest[:GROUPS]
            }
            if len(largest) > GROUPS:
                self.facts[f"{group}s_without_a_figure"] = len(largest) - GROUPS
        return items

    def _text(self) -> Path | None:
        """The place named, else text of the run, else the corpus that its shards are of."""
        if self.place is not None:
            return artifact.within(self.place, "corpus")
        data = self.run.data
        if data is not None and artifact.is_artifact(data):
            found = (each for each in artifact.lineage(data) if each.manifest.kind == "corpus")
            corpus = next(found, None)
            return None if corpus is None else corpus.path
        return data

    def _documents(self, place: Path) -> Iterator[Document]:
        if artifact.is_artifact(place):
            from linnet.data import read_documents

            columns = ("text", "kind", "source")
            for document in read_documents(place, self.run.config.split, columns=columns):
                # Documents of one folder are one source; a single folder is told apart by files.
                yield Document(document.text, document.kind, _folder(document.source))
            return
        for file in text_files(place):
            name = file.name if place.is_file() else file.relative_to(place).as_posix()
            kind = file.suffix.lower().removeprefix(".") or "text"
            for text, _ in split_text_file(file, keep_bytes=self.run.config.max_bytes):
                yield Document(text, kind, name)


def _folder(source: str) -> str:
    """The file of a source without what stands behind ``#``; the folder where there is one."""
    path = PurePosixPath(source.partition("#")[0])
    return path.parts[0] if len(path.parts) > 1 else str(path)

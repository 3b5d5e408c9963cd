"""Vectors of an index: made behind it, kept, and replaced by those of another encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from made_index import index

from linnet import artifact
from linnet.errors import DamagedError, ModelError
from linnet.retrieval import Index, dense, embedding, updating
from linnet.retrieval.terms import terms

SAME = {"feline": "cat", "automobile": "car", "physician": "doctor"}
TEXTS = {f"d/{n}.txt": f"Number {n} is about {word}." for n, word in enumerate(
    ["a cat", "a car", "a doctor", "a stone", "a river", "winter"]
)}  # fmt: skip


class Scripted:
    """An encoder that knows which words mean the same."""

    def __init__(self, name: str = "scripted", width: int = 64) -> None:
        self.name = self.source = name
        self.width = width
        self.fingerprint = hashlib.sha256(f"{name}{width}".encode()).hexdigest()
        self.embedded: list[str] = []
        self.dies_after: int | None = None

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.embedded += texts
        if self.dies_after is not None and len(self.embedded) > self.dies_after:
            raise KeyboardInterrupt
        return self.embed_queries(texts)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for term in terms(text, "en"):
                digest = hashlib.sha256(SAME.get(term, term).encode()).digest()
                row[int.from_bytes(digest[:4], "big") % self.width] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


Chosen = Callable[[Scripted | None], None]


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Makes an encoder the one that is at hand, by its own name or none."""

    def chosen(encoder: Scripted | None) -> None:
        def choose_encoder(name: str | None = None, **_: object) -> Scripted | None:
            if name == "lexical" or (name is None and encoder is None):
                return None
            if encoder is None or name not in (None, encoder.name):
                raise ModelError(f"encoder '{name}' is not there")
            return encoder

        for module in (dense, embedding):
            monkeypatch.setattr(module, "choose_encoder", choose_encoder)

    monkeypatch.setattr(embedding, "AT_ONCE", 2)
    return chosen


def best(place: Path, query: str) -> tuple[str, dict[str, float]]:
    with Index.open(place) as opened:
        found = opened.search(query)
        return (found[0].passage.place.source, dict(found[0].scores)) if found else ("", {})


def cosines(place: Path, query: str) -> dict[str, float]:
    with Index.open(place) as opened:
        found = opened.search(query)
    return {one.passage.place.source: one.scores["dense"] for one in found}


def test_what_means_the_same_is_found_once_there_are_vectors(
    tmp_path: Path, choose: Chosen
) -> None:
    encoder = Scripted()
    choose(encoder)
    place = tmp_path / "index"
    index(TEXTS, place)
    assert best(place, "feline") == ("", {})
    made = embedding.embed_index(tmp_path)
    assert made.stats["encoder"] == "scripted"
    source, scores = best(place, "feline")
    assert source == "d/0.txt"
    query, passage = encoder.embed_queries(["feline", "0\nNumber 0 is about a cat."])
    assert scores == {"lexical": 0.0, "dense": pytest.approx(float(query @ passage))}
    assert set(best(place, "number 3 stone")[1]) == {"lexical", "dense"}
    assert len(encoder.embedded) == 6
    embedding.embed_index(tmp_path)
    assert len(encoder.embedded) == 6  # nothing is to do
    generation = made.manifest.generation
    assert artifact.read(place).manifest.generation == generation


def test_only_what_is_new_is_embedded_and_joining_keeps_vectors(
    tmp_path: Path, choose: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "_MOST_SMALL", 2)
    monkeypatch.setattr(updating, "_LEAST_JOINED", 9)
    encoder = Scripted()
    choose(encoder)
    place, texts = tmp_path / "index", dict(TEXTS)
    index(texts, place)
    embedding.embed_index(tmp_path)
    for step in range(4):
        texts[f"d/new{step}.txt"] = f"An automobile has {step + 3} wheels."
        texts.pop(f"d/{step + 2}.txt")
        index(texts, place)
        # It is found by words at once, by meaning after it was embedded.
        assert cosines(place, "wheels")[f"d/new{step}.txt"] == 0
        embedding.embed_index(tmp_path)
        assert cosines(place, "wheels of a car")[f"d/new{step}.txt"] > 0.3
    assert len(encoder.embedded) == 10
    assert best(place, "feline")[0] == "d/0.txt"


def test_a_kill_loses_no_more_than_the_last_few(tmp_path: Path, choose: Chosen) -> None:
    encoder = Scripted()
    choose(encoder)
    index(TEXTS, tmp_path / "index")
    encoder.dies_after = 4
    with pytest.raises(KeyboardInterrupt):
        embedding.embed_index(tmp_path)
    assert best(tmp_path / "index", "feline") == ("", {})  # not in use yet
    encoder.dies_after = None
    embedding.embed_index(tmp_path)
    assert len(encoder.embedded) == 8  # two of six were done again
    assert best(tmp_path / "index", "feline")[0] == "d/0.txt"


def test_another_encoder_is_built_beside_and_then_taken_into_use(
    tmp_path: Path, choose: Chosen
) -> None:
    first, second = Scripted("first"), Scripted("second", width=32)
    choose(first)
    index(TEXTS, tmp_path / "index")
    embedding.embed_index(tmp_path)
    second.dies_after = 4
    choose(second)
    with pytest.raises(KeyboardInterrupt):
        embedding.embed_index(tmp_path, "second")
    choose(first)
    assert best(tmp_path / "index", "feline")[0] == "d/0.txt"  # by the first one still
    index({**TEXTS, "d/new.txt": "A physician."}, tmp_path / "index")  # meanwhile
    second.dies_after = None
    choose(second)
    assert embedding.embed_index(tmp_path, "second").stats["encoder"] == "second"
    assert best(tmp_path / "index", "doctors and felines")[1]["dense"] > 0
    names = artifact.read(tmp_path / "index").names
    assert sum("vectors-" in name for name in names) == 2  # those of the second alone
    index(TEXTS, tmp_path / "index")
    assert embedding.embed_index(tmp_path).stats["encoder"] == "second"  # as it was asked for


def test_without_its_encoder_words_are_searched_and_that_is_said(
    tmp_path: Path, choose: Chosen
) -> None:
    choose(Scripted())
    index(TEXTS, tmp_path / "index")
    embedding.embed_index(tmp_path)
    changed = Scripted()
    changed.fingerprint = "0" * 64
    narrower = Scripted()
    narrower.width = 8
    for other, why in (
        (None, "is not there"), (changed, "not the one that the index was made with"),
        (narrower, "expected vectors of 64 numbers. Got 8"),
    ):  # fmt: skip
        choose(other)
        with Index.open(tmp_path) as opened:
            assert opened.problem == ""
            assert opened.search("stone")[0].passage.place.source == "d/3.txt"
            assert why in opened.problem
            assert opened.search("feline") == []
    with pytest.raises(ModelError, match="is not there"):
        embedding.embed_index(tmp_path, "nowhere")
    choose(None)
    assert embedding.embed_index(tmp_path, "lexical").stats["encoder"] is None
    assert not any("vectors" in name for name in artifact.read(tmp_path / "index").names)
    with Index.open(tmp_path) as opened:
        assert opened.search("feline") == []
        assert opened.problem == ""


def test_vectors_of_another_length_are_damage(tmp_path: Path, choose: Chosen) -> None:
    encoder = Scripted()
    choose(encoder)
    index(TEXTS, tmp_path / "index")
    encoder.width = 16
    embedding.embed_index(tmp_path)
    with embedding.later_transaction(tmp_path / "index") as draft:
        state = draft.copy("index.json")
        state.write_text(state.read_text().replace('"width": 16', '"width": 17'))
    with pytest.raises(DamagedError, match=r"vectors of 17 numbers\. Got 16"):
        Index.open(tmp_path)

"""Reading shards: any document, any range, and damage found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from linnet import artifact
from linnet.errors import ArtifactError, DamagedError
from linnet.shards import Shards
from linnet.shards.reader import token_dtype
from linnet.shards.writer import SplitWriter, write_description

VOCAB = 500
END = 3


def write(
    out: Path,
    documents: list[np.ndarray],
    *,
    vocab_size: int = VOCAB,
    shard_tokens: int = 300,
) -> Shards:
    with artifact.create(out, kind="shards", format=1, config={}, inputs={}) as draft:
        with SplitWriter(
            draft.path, "train", vocab_size=vocab_size, shard_tokens=shard_tokens
        ) as writer:
            for number, document in enumerate(documents):
                writer.append(document, number)
        write_description(
            draft.path,
            vocab_size=vocab_size,
            end_of_text=END,
            splits={"train": writer.entries, "validation": []},
        )
    return Shards.open(out)


@pytest.fixture
def documents() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    lengths = [*draw.integers(1, 50, size=100), 1000, 1, 700]  # some longer than a shard
    return [draw.integers(0, VOCAB, size=length).astype(np.uint32) for length in lengths]


def test_documents_and_ranges_match_the_plain_arrays(
    documents: list[np.ndarray], tmp_path: Path
) -> None:
    split = write(tmp_path / "shards", documents).split("train")
    assert len(list(tmp_path.glob("shards/*.bin"))) > 5
    flat = np.concatenate(documents)
    assert (split.tokens, split.documents) == (len(flat), len(split)) == (len(flat), 103)
    assert split.bytes == sum(range(103))
    assert np.array_equal(split.document_ends, np.cumsum([len(d) for d in documents]))
    for index, (found, expected) in enumerate(zip(split, documents, strict=True)):
        assert np.array_equal(found, expected)
        assert split.document_bytes(index) == index
    draw = np.random.default_rng(1)
    for start, stop in np.sort(draw.integers(0, len(flat) + 1, size=(300, 2))):
        assert np.array_equal(split.read(int(start), int(stop)), flat[start:stop])
    assert np.array_equal(split.read(0, len(flat)), flat)


def test_documents_are_views_that_cannot_be_written(
    documents: list[np.ndarray], tmp_path: Path
) -> None:
    document = write(tmp_path / "shards", documents).split("train").document(0)
    assert not document.flags.owndata
    assert not document.flags.writeable


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, "uint16"), (65537, "uint32")])
def test_number_format_holds_the_largest_id(vocab_size: int, dtype: str, tmp_path: Path) -> None:
    assert token_dtype(vocab_size) == dtype
    documents = [np.array([vocab_size - 1, 0], dtype=np.uint32)]
    shards = write(tmp_path / "shards", documents, vocab_size=vocab_size)
    assert shards.dtype == dtype
    assert shards.split("train").document(0).tolist() == [vocab_size - 1, 0]


def test_an_empty_split_and_positions_outside(documents: list[np.ndarray], tmp_path: Path) -> None:
    shards = write(tmp_path / "shards", documents)
    empty = shards.split("validation")
    assert (empty.tokens, empty.documents, empty.bytes) == (0, 0, 0)
    assert len(empty.document_ends) == len(empty.read(0, 0)) == 0
    with pytest.raises(IndexError):
        empty.document(0)
    with pytest.raises(IndexError):
        shards.split("train").read(0, 10**6)
    with pytest.raises(ArtifactError, match="train, validation"):
        shards.split("other")


def test_damage_is_found_and_named(documents: list[np.ndarray], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(out, documents)
    file = out / "train-00001.bin"
    whole = file.read_bytes()

    file.write_bytes(whole[:-2])
    with pytest.raises(DamagedError, match=r"train-00001\.bin"):
        Shards.open(out)
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DamagedError, match=r"train-00001\.bin.*again"):
        Shards.open(out)
    Shards.open(out, verify=False).split("train")
    file.unlink()
    with pytest.raises(DamagedError, match=r"train-00001\.bin is missing"):
        Shards.open(out, verify=False)


def test_an_id_outside_the_vocabulary_is_found(tmp_path: Path) -> None:
    documents = [np.array([1, 2, VOCAB, 3], dtype=np.uint32)]
    with pytest.raises(DamagedError, match=f"holds token {VOCAB}"):
        write(tmp_path / "shards", documents)


def test_an_index_that_does_not_fit_is_found(documents: list[np.ndarray], tmp_path: Path) -> None:
    out = tmp_path / "shards"
    write(out, documents)
    index = out / "train-00000.index"
    pairs = np.fromfile(index, dtype="<u8").reshape(-1, 2)
    pairs[0, 0] = pairs[-1, 0] + 7
    pairs.tofile(index)
    with pytest.raises(DamagedError, match=r"train-00000\.index does not fit"):
        Shards.open(out, verify=False).split("train")


@pytest.mark.parametrize("content", ["{", "[]", '{"vocab_size": 3}'])
def test_a_damaged_description_is_found(content: str, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    with artifact.create(out, kind="shards", format=1, config={}, inputs={}) as draft:
        (draft.path / "shards.json").write_text(content)
    with pytest.raises(DamagedError, match=r"shards\.json cannot be read"):
        Shards.open(out)


def test_description_lists_what_was_written(documents: list[np.ndarray], tmp_path: Path) -> None:
    write(tmp_path / "shards", documents)
    described = json.loads((tmp_path / "shards" / "shards.json").read_text())
    parts = described["splits"]["train"]
    assert sum(part["tokens"] for part in parts) == sum(map(len, documents))
    assert [part["name"] for part in parts][:2] == ["train-00000", "train-00001"]

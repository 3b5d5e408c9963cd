"""What is said of a document is what happened to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from linnet import data
from linnet.cli.data import app
from linnet.data import DataConfig
from linnet.errors import DataError

pytestmark = pytest.mark.usefixtures("reading_here")


def _long(subject: str) -> str:
    return " ".join(
        f"Of the {subject}, part {n}, and of {subject} people much was told by a {subject} walker."
        for n in range(12)
    )


@pytest.fixture
def corpus(folder: Path, tmp_path: Path) -> Path:
    text = _long("river")
    (folder / "river.txt").write_text(text)
    (folder / "river-again.txt").write_text(text + "One line more was added by another hand.")
    (folder / "mail.txt").write_text(f"Write to anna@example.com for more.\n\n{_long('hill')}")
    return data.prepare([folder], tmp_path / "corpus", DataConfig(split_by="document")).path


def test_a_kept_document(corpus: Path) -> None:
    (file,) = data.explain(corpus, "mail.txt")
    (story,) = file.documents
    splits = {d.source: split for split in data.SPLITS for d in data.read_documents(corpus, split)}
    assert story.kept
    assert story.split == splits["docs/mail.txt"]
    assert story.language == "en"
    assert sum(story.private.values()) == 1
    assert data.explain(corpus, story.id[:10])[0].documents[0] == story


def test_a_near_duplicate_names_what_it_repeats(corpus: Path) -> None:
    (first,) = data.explain(corpus, "river-again.txt")
    (second,) = data.explain(corpus, "docs/river.txt")
    kept, dropped = first.documents[0], second.documents[0]
    assert kept.kept
    assert not dropped.kept
    assert dropped.reason == "near duplicate"
    assert dropped.same_as == "docs/river-again.txt"
    assert 0.8 <= dropped.similarity < 1
    assert dropped.cluster == ("docs/river-again.txt",)
    shown = CliRunner().invoke(app, ["explain", str(corpus), "docs/river.txt"]).output
    assert "never separated from 1 other: docs/river-again.txt\n" in shown


def test_files_that_gave_nothing(corpus: Path) -> None:
    (blob,) = data.explain(corpus, "blob.txt")
    assert blob.reason == "binary file"
    assert blob.documents == []
    (tiny,) = data.explain(corpus, "tiny.txt")
    assert tiny.dropped == {"shorter than min_characters": 1}


def test_what_is_not_there_names_the_nearest(corpus: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean 'docs/copy\.txt'"):
        data.explain(corpus, "copi.txt")

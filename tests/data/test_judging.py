"""What is decided over documents together: at the level of a whole corpus, as its owner sees it."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from linnet import data
from linnet.data import DataConfig, reading
from linnet.data.executor import ProcessPool
from linnet.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("reading_here")

WORDS = [
    "the",
    "old",
    "fox",
    "saw",
    "a",
    "river",
    "stone",
    "house",
    "under",
    "tree",
    "and",
    "found",
    "its",
    "way",
    "home",
    "over",
    "many",
    "hills",
]


def prose(seed: object, words: int = 120) -> str:
    """A text that shares no run of words with another seed's."""
    draw = random.Random(str(seed))
    return " ".join(f"{draw.choice(WORDS)}{draw.randrange(10_000)}" for _ in range(words)) + "."


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def splits(corpus: Path) -> dict[str, str]:
    return {
        d.source.partition("/")[2]: split
        for split in data.SPLITS
        for d in data.read_documents(corpus, split, columns=("source",))
    }


def story(corpus: Path, name: str):
    return data.explain(corpus, name)[0].documents[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "docs", {f"{n:02d}.txt": prose(n) for n in range(60)})


class Counting(ProcessPool):
    """Counts the files it is asked to read."""

    def __init__(self) -> None:
        super().__init__(2, timeout=60, memory_mb=2000)
        self.files = 0

    def map(self, task, items, **options):
        def counted():
            for item in items:
                self.files += task == reading.READ
                yield item

        return super().map(task, counted(), **options)


def test_a_decision_changes_without_reading_a_file_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    data.prepare([folder], out)
    counting = Counting()
    strict = DataConfig(quality=("prose.max_word_length=3",))
    with pytest.raises(DataError, match="words of more than 3 characters"):
        data.prepare([folder], out, strict, executor=counting)
    lenient = data.prepare([folder], out, DataConfig(weights=("docs=2",)), executor=counting)
    assert counting.files == 0
    train = list(data.read_documents(lenient.path, "train"))
    assert {d.copies for d in train} == {2}
    assert {d.copies for d in data.read_documents(lenient.path, "test")} == {1}


def test_weights_choose_a_share(folder: Path, tmp_path: Path) -> None:
    write(folder, {f"more/{n}.md": prose(f"md {n}") for n in range(200)})
    config = DataConfig(weights=("markdown=0.25", "text=1.5"), test_fraction=0)
    corpus = data.prepare([folder], tmp_path / "corpus", config)
    copies = Counter()
    for d in data.read_documents(corpus.path, "train"):
        copies[d.kind, d.copies] += 1
    assert 25 <= copies["markdown", 1] <= 75
    assert copies["text", 1] + copies["text", 2] >= 50
    assert 15 <= copies["text", 2] <= 45
    assert corpus.stats["dropped"]["left out by its weight"] == pytest.approx(145, abs=40)


def test_only_languages_asked_for(folder: Path, tmp_path: Path) -> None:
    german = (
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
        "und Gewissen begabt und sollen einander im Geiste der Brüderlichkeit begegnen."
    )
    english = (
        "All human beings are born free and equal in dignity and rights. They are endowed with "
        "reason and conscience and should act towards one another in a spirit of brotherhood."
    )
    write(folder, {"de.txt": german, "en.txt": english})
    config = DataConfig(languages=("en",), split_by="document")
    corpus = data.prepare([folder / "de.txt", folder / "en.txt"], tmp_path / "corpus", config)
    assert corpus.stats["dropped"] == {"language: de": 1}


def test_evaluation_sets_are_not_trained_on(folder: Path, tmp_path: Path) -> None:
    config = DataConfig(test_fraction=0, validation_fraction=0)
    assert splits(data.prepare([folder], tmp_path / "one", config).path)["07.txt"] == "train"
    question = " ".join(prose(7).split()[20:40])
    (tmp_path / "exam.jsonl").write_text(json.dumps({"question": question, "answer": "yes"}))
    sets = DataConfig(
        test_fraction=0, validation_fraction=0, evaluation_sets=(str(tmp_path / "exam.jsonl"),)
    )
    corpus = data.prepare([folder], tmp_path / "two", sets).path
    assert splits(corpus).keys() == {f"{n:02d}.txt" for n in range(60)} - {"07.txt"}
    assert story(corpus, "07.txt").reason == "shares text with an evaluation set"


def test_lines_that_a_whole_source_repeats_go(folder: Path, tmp_path: Path) -> None:
    notice = "CONFIDENTIAL - property of Example Ltd, do not copy"
    for n, path in enumerate(sorted(folder.iterdir())):
        path.write_text(f"{notice}\n\n{path.read_text()}\n\nprinted on page {n} of 60\n")
    corpus = data.prepare([folder], tmp_path / "corpus").path
    texts = {d.source: d.text for s in data.SPLITS for d in data.read_documents(corpus, s)}
    assert texts["docs/07.txt"] == prose(7)
    assert story(corpus, "07.txt").repeated_lines == 2
    kept = data.prepare([folder], tmp_path / "kept", DataConfig(repeated_lines=1)).path
    assert notice in next(data.read_documents(kept, "train")).text


def test_near_duplicates_and_conversations_share_a_split(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    mails = {}
    for thread in range(25):
        for n in range(3):
            reply = (
                f"In-Reply-To: <{thread}.0@x.org>\nReferences: <{thread}.0@x.org>\n" if n else ""
            )
            mails[f"{n}/mail-{thread}.eml"] = (
                f"From: a{n}@x.org\nTo: b@x.org\nSubject: about {thread}\n"
                f"Message-ID: <{thread}.{n}@x.org>\n{reply}\n{prose((thread, n))}\n"
            )
    write(folder, mails)
    config = DataConfig(test_fraction=0.3, validation_fraction=0.2)
    corpus = data.prepare([folder], tmp_path / "corpus", config).path
    where = splits(corpus)
    assert len(where) == 75
    for thread in range(25):
        assert len({where[f"{n}/mail-{thread}.eml"] for n in range(3)}) == 1
    assert len(set(where.values())) == 3
    report = json.loads((corpus / "report.json").read_text())
    assert report["division"]["clusters_in_two_splits"] == 0
    assert report["division"]["shared_runs"] == 0


def test_an_excerpt_is_not_parted_from_what_it_is_from(tmp_path: Path) -> None:
    """Not similar (Jaccard 0.1), but who has learned the whole has seen the part."""
    wholes = [[prose((n, part), 40) for part in range(10)] for n in range(40)]
    texts = {f"whole-{n}.txt": "\n\n".join(parts) for n, parts in enumerate(wholes)}
    texts |= {f"part-{n}.txt": parts[n % 10] for n, parts in enumerate(wholes)}
    folder = write(tmp_path / "docs", texts)
    corpus = data.prepare([folder], tmp_path / "corpus").path
    where = splits(corpus)
    gone = texts.keys() - where.keys()  # most of it is held out
    assert all(where[name.replace("part", "whole")] != "train" for name in gone)
    assert {*where.values()} == set(data.SPLITS)
    held_out = [n for n in range(40) if where.get(f"part-{n}.txt", "train") != "train"]
    assert all(where[f"whole-{n}.txt"] == where[f"part-{n}.txt"] for n in held_out)
    report = json.loads((corpus / "report.json").read_text())
    assert report["division"]["shared_runs"] == 0
    config = DataConfig(held_out_share=1.0)
    parted = data.prepare([folder], tmp_path / "parted", config).path
    assert json.loads((parted / "report.json").read_text())["division"]["shared_runs"] > 0.1


def test_when_training_meets_test_the_test_wins(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    config = DataConfig(test_fraction=0.3)
    where = splits(data.prepare([folder], out, config).path)
    tested = next(name for name, split in where.items() if split == "test")
    trained = next(name for name, split in where.items() if split == "train")
    one, other = (folder / name for name in (tested, trained))
    (folder / "00-first.txt").write_text(one.read_text() + " " + " ".join(prose("x").split()[:5]))
    now = splits(data.prepare([folder], out, config).path)
    # The newcomer is like a tested document, which it repeats: it stands in for it, in the test.
    assert tested not in now
    assert now["00-first.txt"] == "test"
    assert now[trained] == "train"
    assert all(now[name] == where[name] for name in now.keys() & where.keys())
    other.write_text(one.read_text() + " and so on")  # a trained document becomes like a tested one
    joined = data.prepare([folder], out, config)
    assert splits(joined.path).get(trained) != "train"


def test_bad_settings_are_told_before_anything_is_read(folder: Path, tmp_path: Path) -> None:
    for bad in (
        {"weights": ("docs",)},
        {"near_duplicates": 0.0},
        {"privacy": "pseudonym"},
        {"languages": ("English",)},
    ):
        with pytest.raises(ConfigError):
            DataConfig(**bad)
    counting = Counting()
    for config in (
        DataConfig(quality=("web.min_word=3",)),
        DataConfig(privacy_patterns=("CASE=(",)),
        DataConfig(evaluation_sets=("nowhere.jsonl",)),
    ):
        with pytest.raises((ConfigError, DataError)):
            data.prepare([folder], tmp_path / "corpus", config, executor=counting)
    assert counting.files == 0

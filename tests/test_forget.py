"""Forgetting leaves no trace but in weights, and says where those are."""

from __future__ import annotations

import hashlib
import json
import zipfile
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import pytest

from linnet import artifact, data, output
from linnet.answers.assistant import NO_DOCUMENTS
from linnet.answers.opening import open_assistant
from linnet.errors import ConfigError, DataError, OutputError
from linnet.examples import make_examples
from linnet.examples.record import read_examples
from linnet.forget import find_documents, forget
from linnet.monitor.entry import Entry
from linnet.monitor.log import Log
from linnet.progress import Progress
from linnet.project import Project
from linnet.retrieval import Index, make_index
from linnet.retrieval.indexing import for_search
from tiny_project import TinyProject

pytestmark = pytest.mark.usefixtures("reading_here", "undrawn")

SECRET = "Zanzibar quartz xylophone umbrella"
LETTER = "\n".join(
    f"Page {n} of a letter about the {SECRET} that nobody else should read, and {n * n} words more."
    for n in range(8)
)


def holding(place: Path, passage: str) -> set[str]:
    """Files below a place in which a passage stands: as bytes, or inside Parquet."""
    found = set()
    for path in place.rglob("*"):
        if not path.is_file():
            continue
        if path.suffix == ".parquet":
            content = json.dumps(pyarrow.parquet.read_table(path).to_pylist()).encode()
        else:
            content = path.read_bytes()
        if passage.encode() in content:
            found.add(str(path.relative_to(place)))
    return found


def in_shards(project: Path, text: str) -> bool:
    """Whether the tokens of a text stand in the shards."""
    from linnet.shards import Shards

    shards = Shards.open(project / "shards")
    from linnet.tokenizer import load

    wanted = load(project / "tokenizer").encode(text)
    for name in ("train", "validation", "test"):
        split = shards.split(name)
        for number in range(split.documents):
            if split.document(number)[: len(wanted)].tolist() == wanted:
                return True
    return False


@pytest.fixture
def letter(tiny: TinyProject) -> Path:
    path = tiny.documents / "letter-to-quentin.txt"
    path.write_text(LETTER)
    tiny.build()
    return path


def test_no_trace_is_left(tiny: TinyProject, letter: Path) -> None:
    assert holding(tiny.path, SECRET)
    assert in_shards(tiny.path, LETTER.strip())
    (tiny.path / ".model.partial").mkdir()
    (tiny.path / ".model.partial" / "metrics.jsonl").write_text(SECRET)
    # What a model wrote while it was trained, in whichever model it is; and one made of the corpus.
    with (tiny.path / "model.previous" / "metrics.jsonl").open("a") as metrics:
        metrics.write(json.dumps({"step": 4, "sample": SECRET}) + "\n")
    # And what a person made of an answer out of it.
    decision = {"id": "0123456789abcdef", "verdict": "mended", "answer": SECRET}
    (tiny.path / "examples.decisions.jsonl").write_text(json.dumps(decision) + "\n")
    corpus = {"data.1": artifact.read(tiny.path / "corpus")}
    with artifact.create(
        tiny.path / "adapter", kind="adapter", format=1, config={}, inputs=corpus
    ) as draft:
        (draft.path / "adapter_model.safetensors").write_bytes(b"weights")
    split = find_documents(tiny.path, "letter-to-quentin.txt")[0].split

    done = forget(tiny.path, "letter-to-quentin.txt")
    assert [Path(name).name for name in done.documents] == ["letter-to-quentin.txt"]
    assert not done.traces
    assert not holding(tiny.path, SECRET)
    assert not holding(tiny.path, "quentin")
    assert not in_shards(tiny.path, LETTER.strip())
    saw = {path.name for path in done.saw}  # the model before, which a build keeps, among them
    learned = {"tokenizer", "model", "model.previous", "adapter"}
    assert saw == (learned if split == "train" else set())
    assert letter.read_text() == LETTER  # the owner's own file
    states = {stage.name: stage.state for stage in Project.open(tiny.path).status()}
    assert states["corpus"] == states["shards"] == "current"
    assert states["model"] == "stale"


def test_it_does_not_come_back(tiny: TinyProject, letter: Path) -> None:
    forget(tiny.path, "letter-to-quentin.txt")
    letter.write_text(LETTER + "An afterthought.")
    (tiny.documents / "new.txt").write_text("Another document altogether, with its own words.")
    tiny.build()
    sources = {d.source for s in data.SPLITS for d in data.read_documents(tiny.path / "corpus", s)}
    assert "documents/new.txt" in {f"documents/{Path(s).name}" for s in sources}
    assert not holding(tiny.path, SECRET)


def _sources(corpus: Path) -> set[str]:
    return {d.source for s in data.SPLITS for d in data.read_documents(corpus, s)}


def test_equal_texts_go_too_and_similar_ones_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "copy.txt").write_text(LETTER + "\n")
    (folder / "draft.txt").write_text("\n".join(LETTER.splitlines()[:6]) + "\nAnd so it ended.")
    rows = (json.dumps({"text": text}) for text in (LETTER, "Something else that stays in here."))
    (folder / "rows.jsonl").write_text("\n".join(rows))
    corpus = data.prepare([folder], tmp_path / "corpus").path
    found = find_documents(corpus, "quartz.txt")
    assert [(match.name, match.copy) for match in found] == [
        ("docs/quartz.txt", False),
        ("docs/copy.txt", True),
        ("docs/rows.jsonl/#1", True),
    ]
    done = forget(corpus, "quartz.txt")
    (left,) = done.remaining
    assert (left.name, left.of) == ("docs/draft.txt", "docs/quartz.txt")
    assert 0.6 < left.share < 0.9
    sources = _sources(corpus)
    assert sources >= {"docs/draft.txt", "docs/rows.jsonl/#2"}
    assert not sources & {"docs/quartz.txt", "docs/copy.txt", "docs/rows.jsonl/#1"}
    report = json.loads((corpus / "report.json").read_text())
    assert report["files"]["ignored"] == {"forgotten": 2}
    assert report["documents"]["dropped"]["forgotten"] == 1
    assert not forget(corpus, "draft.txt").remaining
    assert not holding(corpus, SECRET)
    (folder / "copy.txt").write_text("Another text that may well stand under the name of a copy.")
    data.prepare([folder], corpus)
    assert "docs/copy.txt" in _sources(corpus)
    assert not holding(corpus, SECRET)


def test_it_stays_away_whatever_path_it_comes_back_by(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    letter = folder / "quartz.txt"
    corpus = data.prepare([folder], tmp_path / "out" / "corpus").path
    forget(corpus, "quartz.txt")
    (folder / "old").mkdir()
    (folder / "old" / "quartz.txt").write_text(LETTER)
    (folder / "renamed.md").write_text(LETTER)
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.write(letter, "inner.txt")
    letter.write_text(LETTER + "An afterthought.")
    data.prepare([tmp_path], corpus, data.DataConfig(exclude=("out/",)))  # by the folder above
    assert not holding(corpus, SECRET)
    assert len(_sources(corpus)) == 50


def test_the_list_cannot_be_guessed_from_and_an_older_one_is_read(tmp_path: Path) -> None:
    corpus = data.prepare([_folder(tmp_path)], tmp_path / "corpus").path
    (match,) = find_documents(corpus, "quartz.txt")
    forget(corpus, "quartz.txt")
    path = tmp_path / "corpus.forgotten.json"
    noted = path.read_text()
    letter = (tmp_path / "docs" / "quartz.txt").read_bytes()
    for name in ("sha256", "blake2b", "md5"):
        assert hashlib.new(name, letter).hexdigest() not in noted
    assert match.id not in noted
    assert "quartz" not in noted
    older = {name: json.loads(noted)[name] for name in ("salt", "names", "texts", "unfinished")}
    path.write_text(json.dumps(older))
    data.prepare([tmp_path / "docs"], corpus)
    assert not holding(corpus, SECRET)


@pytest.mark.slow
def test_parts_that_other_settings_may_bring_back_are_warned_of(tmp_path: Path) -> None:
    class Heard(Progress):
        def warn(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    folder = _folder(tmp_path)
    rows = (json.dumps({"text": text}) for text in (LETTER + "!", "Something that stays in here."))
    (folder / "rows.jsonl").write_text("\n".join(rows))
    corpus = data.prepare([folder], tmp_path / "corpus").path
    forget(corpus, "rows.jsonl/#1")
    data.prepare([folder], corpus, data.DataConfig(test_fraction=0.1), progress=Heard())
    assert not any("look whether they are back" in line for line in lines)
    data.prepare([folder], corpus, data.DataConfig(privacy="keep"), progress=Heard())
    assert any("look whether they are back" in line for line in lines)


def test_an_expression_finds_texts_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(50):
        (folder / f"n{number}.txt").write_text(f"Document {number} says {number * 7919} things.")
    (folder / "x.txt").write_text(LETTER)
    (folder / "quartz.txt").write_text("Something else is written in this one, but its name tells.")
    corpus = data.prepare([folder], tmp_path / "corpus").path
    found = find_documents(corpus, r"(?i)quartz", regex=True)
    assert {match.file for match in found} == {"docs/quartz.txt", "docs/x.txt"}
    forget(corpus, r"(?i)quartz", regex=True)
    assert not holding(corpus, SECRET)
    data.prepare([folder], corpus)
    assert not holding(corpus, SECRET)


def test_an_interrupted_one_is_finished(
    tiny: TinyProject, letter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("linnet.stages.shards.encode", die)
    with pytest.raises(KeyboardInterrupt):
        forget(tiny.path, "letter-to-quentin.txt")
    monkeypatch.undo()
    assert in_shards(tiny.path, LETTER.strip())

    assert not find_documents(tiny.path, "letter-to-quentin.txt")
    assert not forget(tiny.path, "letter-to-quentin.txt").documents
    assert not in_shards(tiny.path, LETTER.strip())
    assert not holding(tiny.path, SECRET)
    with pytest.raises(DataError, match="nothing in"):
        forget(tiny.path, "letter-to-quentin.txt")


def test_an_index_holds_nothing_of_it_any_more(tmp_path: Path) -> None:
    documents, place = tmp_path / "docs", tmp_path / "index"
    documents.mkdir()
    (documents / "letter.txt").write_text(LETTER)
    (documents / "other.txt").write_text("Wages are paid on the last day of the month.\n" * 3)
    make_index(documents, place)
    (place / "summaries").mkdir()
    (place / "summaries" / "1.json").write_text(SECRET)
    said = {"question": "What is it about?", "answer": LETTER[200:300]}
    shown = {"question": "And what else?", "prompt": f"Passages: {LETTER[60:160]}"}
    lines = [said, shown, {"question": "Wages?"}]
    (place / "feedback.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with closing(Log(place / "monitor.sqlite", keeps_contents=True, keep_days=0)) as log:
        log.add(Entry(at=1, id="1", question="What is it about?", answer=LETTER[50:150]))
        log.add(Entry(at=2, id="2", cost=5, question="And?", sources=("docs/letter.txt",)))
        log.add(Entry(at=3, id="3", question="Wages?", sources=("docs/other.txt",)))
    with Index.open(place) as reader:
        assert [found.passage.place.source for found in reader.search("quartz")]
        done = forget(place, "letter.txt")
        # Its files are there as long as somebody reads them, and that is said.
        assert all("generation-1" in str(path) for path in done.traces)
        assert done.traces
        assert reader.reload()
        assert reader.search("quartz xylophone") == []
    assert holding(place, "quartz") == holding(place, "letter.txt") == set()
    assert not holding(place, "And what else?")
    assert holding(place, "Wages?") == {"feedback.jsonl", "monitor.sqlite"}
    with closing(Log(place / "monitor.sqlite", is_reading=True)) as log:
        found = [(entry.cost, entry.question, entry.sources) for entry in log.read()]
    assert found == [(0, None, ()), (5, None, ()), (0, "Wages?", ("docs/other.txt",))]
    make_index(documents, place)  # it does not come back
    assert holding(place, "quartz") == set()
    forget(place, "other.txt")  # the last one: the index is empty then
    assert holding(place, "Wages are paid") == set()
    for _ in range(2):
        with Index.open(place) as emptied:
            assert len(emptied) == 0
            with pytest.raises(DataError, match="there is no document in it"):
                emptied.require()
        answer = open_assistant(place).ask("When are wages paid?")
        assert (answer.refused, answer.answer) == (True, NO_DOCUMENTS)
        make_index(documents, place)
    (documents / "new.txt").write_text("The pond has carps.\n")
    make_index(documents, place)
    with Index.open(place) as reader:
        assert len(reader.search("carps")) == 1


def test_what_cannot_be_removed_is_named_and_gone_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, place = tmp_path / "docs", tmp_path / "index"
    documents.mkdir()
    (documents / "letter.txt").write_text(LETTER)
    (documents / "other.txt").write_text("Wages are paid on the last day of the month.\n" * 3)
    make_index(documents, place)
    (place / "summaries").mkdir()
    (place / "summaries" / "1.json").write_text(SECRET)
    with monkeypatch.context() as patch:
        patch.setattr(output, "remove", lambda path: None)
        with pytest.raises(OutputError, match=r"summaries: cannot be removed"):
            forget(place, "letter.txt")
    forget(place, "letter.txt")
    assert holding(place, SECRET) == set()


def test_wherever_it_is_interrupted_nothing_stays_and_nothing_else_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    documents, place = tmp_path / "docs", tmp_path / "index"
    documents.mkdir()
    (documents / "letter.txt").write_text(LETTER)
    (documents / "other.md").write_text(
        "# Rules\n\n## Pay\n\n"
        "Wages are paid on the last day of the month. The bank needs two days for them.\n"
    )
    make_index(documents, place)
    make_examples(place / "corpus", place / "examples")
    found = {example.id: str(example) for example in read_examples(place / "examples")}
    kept = next(id for id, text in found.items() if "Wages" in text)
    decision = json.dumps({"id": kept, "verdict": "accepted"})
    (place / "examples.decisions.jsonl").write_text(f"{decision}\n")
    (place / "feedback.jsonl").write_text(json.dumps({"answer": LETTER[200:300]}) + "\n")
    for name in ("_drop_feedback", "make_examples"):
        with monkeypatch.context() as patch:
            patch.setattr(f"linnet.forget.{name}", die)
            with pytest.raises(KeyboardInterrupt):
                forget(place, "letter.txt")
        data.prepare([documents], place / "corpus", for_search(data.DataConfig()), training=False)
    forget(place, "letter.txt")
    assert not holding(place, SECRET)
    assert not holding(place, LETTER[200:300])
    assert kept in (place / "examples.decisions.jsonl").read_text()
    forget(place, "other.md")  # the last one
    assert not (place / "examples").exists()


def test_shards_beside_a_corpus_are_encoded_again(tiny: TinyProject, letter: Path) -> None:
    done = forget(tiny.path / "corpus", "letter-to-quentin.txt")
    assert not done.traces
    assert not in_shards(tiny.path, LETTER.strip())


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(50):
        (folder / f"n{number}.txt").write_text(f"Document {number} says {number * 7919} things.")
    (folder / "quartz.txt").write_text(LETTER)
    return folder


@pytest.mark.slow
def test_it_does_not_matter_where_it_is_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "questions.txt").write_text("Which of the documents says none of these things?")
    monkeypatch.chdir(tmp_path)
    config = data.DataConfig(evaluation_sets=("questions.txt",))
    data.prepare(["docs"], Path("corpus"), config)
    monkeypatch.chdir(tmp_path / "elsewhere")
    forget(Path("../corpus"), "quartz.txt")
    assert not holding(tmp_path / "corpus", SECRET)
    assert artifact.read("../corpus").stats["files"]["read"] == 50


def test_a_name_that_is_found_leaves_no_trace_either(tmp_path: Path) -> None:
    corpus = data.prepare([_folder(tmp_path)], tmp_path / "corpus").path
    forget(corpus, "(?i)QUARTZ xylophone|quartz", regex=True)
    assert not holding(tmp_path / "corpus", "quartz")


def test_another_key_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    config = data.DataConfig(privacy="pseudonym", privacy_key="the right key of ours")
    corpus = data.prepare([folder], tmp_path / "corpus", config).path
    for key, words in (("", "give it"), ("a wrong one", "another privacy key")):
        with pytest.raises(ConfigError, match=words):
            forget(corpus, "quartz.txt", privacy_key=key)
    forget(corpus, "quartz.txt", privacy_key="the right key of ours")
    assert not holding(tmp_path / "corpus", SECRET)
    assert not holding(tmp_path / "corpus", "the right key of ours")


def test_where_nothing_would_be_left_it_says_what_to_do(tmp_path: Path) -> None:
    corpus = data.prepare([_folder(tmp_path)], tmp_path / "corpus").path
    with pytest.raises(
        DataError, match=r"no file is left .* still stands in .* delete that directory"
    ):
        forget(corpus, "docs")


def test_nothing_matches(tiny: TinyProject) -> None:
    tiny.build()
    with pytest.raises(DataError, match=r"nothing in .* matches .*; see linnet data list \S+"):
        forget(tiny.path, "no-such-letter.txt")

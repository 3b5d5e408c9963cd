"""The re-ranker: trained on a tiny scale, read by transformers, calibrated, and bounded in time."""

import itertools
import json
import math
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_index import index
from typer.testing import CliRunner

from linnet import artifact
from linnet.answers import Turn
from linnet.answers.cases import Case, Span
from linnet.answers.reranking import sentences_of, targets_of
from linnet.cli.reranker import app
from linnet.errors import DamagedError, DataError, ModelError
from linnet.retrieval import Found, Index, Passage, PassagesInMemory, Place
from linnet.retrieval.reranker import (
    DEPTHS,
    SETTINGS,
    Calibration,
    Reranked,
    Reranker,
    around_best,
    context,
    has_reranker,
    sigmoid,
)
from linnet.retrieval.reranker_training import (
    RIDGE,
    Candidates,
    RerankerConfig,
    Target,
    divided,
    mine,
    platt,
    sampled,
    scratch_encoder,
    train_reranker,
)

KINDS = {"where": "situated near", "when": "built during", "who": "owned by"}
SUBJECTS = [f"{a}{b}" for a in ("bel", "kor", "mat", "ros", "tul", "vin", "zar", "nor")
            for b in ("da", "fin", "go", "lan", "mir", "pol", "sen", "tos")]  # fmt: skip
CONFIG = RerankerConfig(layers=1, most_questions=120, candidates=6, negatives=2, easy=0, epochs=9,
                        batch=8, lr=2e-3, max_tokens=32, words=True, device="cpu", dtype="fp32",
                        threads=1)  # fmt: skip


def _passage(subject: str, kind: str) -> Passage:
    text = f"{subject} was {KINDS[kind]} something."
    return Passage(text, (Place(f"{subject}-{kind}.txt", 0, len(text)),), title=subject)


@pytest.fixture(scope="module")
def passages() -> PassagesInMemory:
    """Of each subject three passages, which no word of a question tells apart."""
    made = [_passage(subject, kind) for subject in SUBJECTS for kind in KINDS]
    random.Random(0).shuffle(made)
    return PassagesInMemory(made)


@pytest.fixture(scope="module")
def lists(passages: PassagesInMemory) -> list[Candidates]:
    targets = [Target(f"{kind} {subject}", f"{subject}-{kind}.txt", group=subject)
               for subject in SUBJECTS for kind in KINDS]  # fmt: skip
    return mine(targets, passages.search, count=CONFIG.candidates)


@pytest.fixture(scope="module")
def encoder(passages: PassagesInMemory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoder")
    scratch_encoder(
        [*(each.text for each in passages.passages()), " ".join(KINDS)] * 3, out, CONFIG
    )
    return out


ROWS = [{"question": f"{kind} {subject}", "source": f"{subject}-{kind}.txt", "document": subject}
        for subject in SUBJECTS for kind in KINDS]  # fmt: skip
SETTINGS_TYPED = ["--layers", "1", "--most-questions", "120", "--candidates", "6", "--easy", "0",
                  "--negatives", "2", "--epochs", "9", "--lr", "2e-3", "--max-tokens", "32",
                  "--words", "--device", "cpu", "--dtype", "fp32", "--threads", "1"]  # fmt: skip


def train(place: Path, encoder: Path) -> artifact.Artifact:
    """As a user does, with the questions that lie beside the index."""
    arguments = ["train", str(place), "--questions", str(place / "questions.jsonl"),
                 "--encoder", str(encoder)]  # fmt: skip
    done = CliRunner().invoke(app, [*arguments, *SETTINGS_TYPED])
    assert done.exit_code == 0, done.output
    return artifact.read(place / "reranker", kind="reranker")


@pytest.fixture(scope="module")
def place(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the passages, with its re-ranker."""
    out = tmp_path_factory.mktemp("place")
    texts = {f"{subject}-{kind}.txt": f"# {subject}\n\n{_passage(subject, kind).text}"
             for subject in SUBJECTS for kind in KINDS}  # fmt: skip
    index(texts, out / "index")
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (out / "questions.jsonl").write_text(rows, encoding="utf-8")
    train(out, encoder)
    return out


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    return place / "reranker"


def test_it_orders_what_the_search_cannot_and_says_how_well(trained: Path) -> None:
    stats = artifact.read(trained, kind="reranker").stats
    assert stats["kept"]
    assert stats["before"]["recall@1"]["value"] < 0.7
    assert stats["after"]["recall@1"]["value"] > stats["before"]["recall@1"]["high"]
    assert stats["difference"]["mrr"][0] > 0
    assert stats["before"]["questions"] == stats["after"]["questions"] > 10
    assert stats["ece"]["alone"] < 0.15
    assert stats["ece"]["with_rank"] < 0.15


def test_sentences_of_which_it_is_known_which_answers_are_read_too() -> None:
    said = "The festival began in 1952."
    text = f"Oberau lies in a valley. {said} Many visitors come to the festival."
    other = "Elsewhere a festival began in 1952. The festival of Oberau is loud."
    found = (Found(Passage(text, (Place("a.txt", 100, 100 + len(text)),), "Oberau"), 2.0),
             Found(Passage(other, (Place("b.txt", 0, len(other)),), "Oberau"), 1.0))  # fmt: skip
    question = "When did the festival of Oberau begin?"
    start = 100 + text.index(said)
    case = Case("1", question, "answerable", ((Span("a.txt", 100, 100 + len(text)),),),
                (("1952",),), said=(Span("a.txt", start, start + len(said)),))  # fmt: skip
    lists = [Candidates(question, found, (True, False), "a.txt")]
    (made,) = sentences_of(lists, [case], 2)
    texts = [each.passage.text for each in made.found]
    # What says 1952 elsewhere may answer; of the others those with the most words of the question.
    assert texts == [said, "The festival of Oberau is loud.", "Many visitors come to the festival."]
    assert made.right == (True, False, False)
    assert {each.passage.title for each in made.found} == {"Oberau"}
    assert made.group == "a.txt"
    assert list(sentences_of(lists, [case], 0)) == []
    assert list(sentences_of(lists, [replace(case, said=())], 2)) == []


def test_questions_are_divided_by_group(lists: list[Candidates]) -> None:
    parts = divided(lists, CONFIG)
    groups = [{each.group for each in part} for part in parts]
    assert all(groups)
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert len(parts[0]) <= CONFIG.most_questions
    with pytest.raises(DataError, match="at least 40 questions about several documents"):
        divided(lists[:30], CONFIG)


@torch.inference_mode()
def test_transformers_reads_it_with_the_same_scores(trained: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(trained).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained)
    reranker = Reranker.open(trained, dtype="fp32")
    passages = [_passage("belda", "where"), _passage("koda", "who"), _passage("zarsen", "when")]
    found = reranker.logits("where belda", passages)
    for passage, score in zip(passages, found, strict=True):
        pair = tokenizer("where belda", context(passage) + passage.text, return_tensors="pt")
        assert score == pytest.approx(float(theirs(**pair).logits[0, 0]), abs=1e-4)
    assert reranker.score("where belda", passages) == pytest.approx(
        sigmoid(reranker.calibration.slope * np.array(found) + reranker.calibration.offset)
    )


def test_a_search_is_re_ranked(trained: Path, passages: PassagesInMemory) -> None:
    searched = Reranked(passages, Reranker.open(trained), depth=6, budget=60.0)  # busy machines
    assert len(searched) == len(passages)
    assert list(searched.passages()) == passages.passages()
    asked = [(f"{kind} {subject}", f"{subject}-{kind}.txt") for kind in KINDS
             for subject in SUBJECTS[::6]]  # fmt: skip
    first = [searched.search(question, 2)[0].passage.place.source for question, _ in asked]
    right = [source == wanted for source, (_, wanted) in zip(first, asked, strict=True)]
    assert sum(right) > 0.8 * len(right)
    found = searched.search("when rosmir", 3)
    assert len(found) == 3
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[0].scores["rerank"] == found[0].score
    assert found[0].scores["lexical"] > 0
    assert searched.search("nothing has these", 4) == []


def test_what_is_not_read_in_time_stays_behind_in_its_order(
    trained: Path, passages: PassagesInMemory
) -> None:
    reranker = Reranker.open(trained)
    found = passages.search("when rosmir", 20)
    late = reranker.logits("when rosmir", [each.passage for each in found], deadline=0.0)
    assert late == []
    none = reranker.rerank("when rosmir", found, depth=5, budget=-1e9)
    assert [each.passage for each in none] == [each.passage for each in found]
    some = reranker.rerank("when rosmir", found, depth=2, budget=1e9)
    assert [each.passage for each in some[2:]] == [each.passage for each in found[2:]]
    for each in (none, some):
        scores = [one.score for one in each]
        assert scores == sorted(scores, reverse=True)
    assert "rerank" in some[1].scores
    assert "rerank" not in some[2].scores


def test_depth_follows_from_the_time_that_a_pair_takes(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = Reranker.open(trained)
    clock = itertools.accumulate([0.0, *[0.64, 0.0, 0.16, 0.0, 0.32, 0.0, 0.32]])  # eight pairs
    with monkeypatch.context() as patch:
        patch.setattr(time, "thread_time", lambda: next(clock))
        assert reranker.depth(0.31) == 15  # the fastest counts
    assert reranker.depth(0.001) == DEPTHS[0]
    assert reranker.depth(1e6) == DEPTHS[-1]


def test_depth_does_not_follow_from_how_busy_a_machine_is(
    trained: Path, passages: PassagesInMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = Reranker.open(trained)
    depth = reranker.depth(0.3)
    found = passages.search("when rosmir", 20)
    clock = itertools.count(0.0, 3600.0)  # an hour between any two looks
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: next(clock))
        again = Reranker.open(trained)
        assert again.depth(0.3) == depth
        again.late = math.inf
        read = again.rerank("when rosmir", found, depth=10)
    assert sum("rerank" in each.scores for each in read) == min(10, len(found))


def test_candidates_that_may_answer_are_no_negatives() -> None:
    answer = "forty people of the old town"
    texts = {
        "gold": f"There were {answer}. Nothing else is known.",
        "equal": f"Elsewhere: there were {answer}, they say.",
        "same": "Of the old town people, forty remained.",
        "other": "People remained in town.",
    }
    found = [
        Found(Passage(text, (Place("one" if name in ("gold", "same") else name, n * 100,
                                   n * 100 + len(text)),)), 1.0)
        for n, (name, text) in enumerate(texts.items())
    ]  # fmt: skip
    targets = [Target("Who remained?", "one", 0, 40, answer), Target("Where?", "other"),
               Target("who  Remained", "three")]  # fmt: skip
    mined = mine(targets, lambda *_: found)
    assert [own.question for own in mined] == ["Who remained?", "Where?"]
    assert [each.passage.text for each in mined[0].found] == [
        texts["gold"], texts["equal"], texts["other"],
    ]  # fmt: skip
    assert mined[0].right == (True, True, False)
    assert mined[1].right == (False, False, False, True)


def test_of_a_long_passage_it_reads_whole_sentences_around_the_best() -> None:
    sentences = [f"Sentence number {n} says nothing much." for n in range(40)]
    sentences[23] = "The harbour of Oslo was enlarged in 1903."
    text = " ".join(sentences)
    for limit in (60, 200, 500):
        part = around_best(text, {"harbour", "oslo"}, limit)
        assert sentences[23] in part
        assert part in text
        assert len(part) <= limit
    assert len(around_best(text, {"oslo"}, 500)) > 400
    assert around_best(text, {"oslo"}, len(text)) == text
    assert around_best("x" * 500, {"oslo"}, 100) == "x" * 100
    assert around_best("", {"oslo"}, 1) == ""
    hostile = "!" * 200_000 + "x " + "? " * 100_000  # is read in one pass
    assert len(around_best(hostile, {"oslo"}, 100)) <= 100


def test_long_pairs_keep_the_question_and_the_best_sentence(trained: Path) -> None:
    reranker = Reranker.open(trained)
    filler = "belda was something near something. " * 20
    long = Passage(f"{filler}zarsen was built during something. {filler}", (), title="tulgo")
    (encoded,) = reranker.encode("when zarsen", [long])
    assert len(encoded.tokens) <= CONFIG.max_tokens
    backend = reranker.tokenizer
    read = backend.decode(encoded.tokens)
    assert "when zarsen" in read.split("tulgo")[0]
    assert "zarsen was built during" in read.split("tulgo")[1]
    (encoded,) = reranker.encode("when zarsen " * 500, [long])
    assert len(encoded.tokens) <= CONFIG.max_tokens
    assert "zarsen was" in backend.decode(encoded.tokens).split("tulgo")[1]
    assert len(reranker.score("", ["", "\ud800 lone", "ok"])) == 3
    assert reranker.score("when zarsen", []) == []


def test_platt_scaling_is_where_the_likelihood_is_highest() -> None:
    draw = np.random.default_rng(1)
    scores = draw.normal(size=3000) * 3
    ranks = np.log(draw.integers(1, 20, 3000))
    right = (draw.random(3000) < sigmoid(0.7 * scores - 0.9 * ranks - 0.5)).astype(float)
    slope, rank, offset = platt(right, scores, ranks)
    assert (slope, rank, offset) == pytest.approx((0.7, -0.9, -0.5), abs=0.2)
    positive = right.sum()
    wanted = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (3000 - positive + 2))
    off = sigmoid(slope * scores + rank * ranks + offset) - wanted
    gradient = [off @ scores + RIDGE * slope, off @ ranks + RIDGE * rank, off.sum()]
    assert np.abs(gradient).max() < 1e-2
    assert platt(np.ones(5), np.arange(5.0))[0] > 0


def test_one_that_is_no_better_is_not_kept(
    lists: list[Candidates], encoder: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    senseless = [replace(own, right=tuple(draw.sample(own.right, len(own.right)))) for own in lists]
    config = replace(CONFIG, epochs=1)
    made = train_reranker(senseless, encoder, tmp_path / "reranker", config)
    assert not made.stats["kept"]
    assert not has_reranker(tmp_path)
    with pytest.raises(ModelError, match="did not order passages better"):
        Reranker.open(tmp_path)
    again = train_reranker(senseless, encoder, tmp_path / "reranker", config)
    assert again.manifest.created == made.manifest.created


def test_other_models_and_damaged_settings_are_refused(
    trained: Path, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="one score"):
        Reranker.open(encoder)
    with pytest.raises(ModelError, match="has no re-ranker"):
        Reranker.open(tmp_path)
    for file in trained.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "manifest.json").unlink()
    (tmp_path / SETTINGS).unlink()
    assert Reranker.open(tmp_path).calibration == Calibration()
    for text in ("{", '{"max_tokens": 1, "calibration": {}}', '{"max_tokens": 64}', "[]"):
        (tmp_path / SETTINGS).write_text(text)
        with pytest.raises(DamagedError, match="train the re-ranker again"):
            Reranker.open(tmp_path)


def test_an_index_has_its_own(place: Path, encoder: Path, tmp_path: Path) -> None:
    own = tmp_path / "place"
    shutil.copytree(place / "index", own / "index")
    with Index.open(own) as opened:
        assert opened.reranker is None
        shutil.copytree(place / "reranker", own / "reranker")
        assert opened.reranker is None
        opened.reload()
        assert opened.reranker is not None
        right = [opened.search(row["question"], 1)[0].passage.place.source == row["source"]
                 for row in ROWS[::5]]  # fmt: skip
        assert sum(right) > 0.8 * len(right)
        assert all("rerank" in each.scores for each in opened.search("when rosmir", 3))
        for plain in (opened.search("when rosmir", 3, rerank=False),
                      opened.search('"rosmir was owned"', 3)):  # fmt: skip
            assert plain
            assert not any("rerank" in each.scores for each in plain)
    before = artifact.read(own / "reranker").manifest.created
    rows = "".join(json.dumps(row) + "\n" for row in ROWS[9:])
    (own / "questions.jsonl").write_text(rows, encoding="utf-8")
    assert train(own, encoder).manifest.created == before
    assert "the re-ranker is used" in CliRunner().invoke(app, ["report", str(own)]).output
    said = json.loads(CliRunner().invoke(app, ["report", str(own), "--json"]).output)
    assert said["kept"]
    assert said["questions"] == len(ROWS)


def test_one_that_is_replaced_while_it_is_opened_is_taken_up_later(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "index", tmp_path / "index")
    shutil.copytree(place / "reranker", tmp_path / "reranker")
    opens = Reranker.open

    def replaced(at: Path) -> Reranker:
        own = opens(at)
        shutil.rmtree(tmp_path / "reranker")
        return own

    with Index.open(tmp_path) as opened:
        monkeypatch.setattr(Reranker, "open", replaced)
        assert opened.reranker is not None
        opened.reload()
        assert opened.reranker is None


def test_held_out_and_unanswered_questions_are_not_learned_from() -> None:
    gold = ((Span("a.txt", 3, 9), Span("b.txt")),)
    case = Case("1", "Which?", "answerable", gold, (("fern",),), document="a.txt", split="train")
    others = [replace(case, split="test"), replace(case, split="validation"),
              case.withheld(), replace(case, turns=(Turn("So?", "Yes."),))]  # fmt: skip
    assert list(targets_of([*others, case])) == [
        Target("Which?", "a.txt", 3, 9, "fern", "a.txt"),
        Target("Which?", "b.txt", 0, None, "fern", "a.txt"),
    ]
    config = replace(CONFIG, most_questions=40)
    many = [Target(f"Which {n // 2}?", f"{n}.txt") for n in range(400)]
    kept = sampled(many, config)
    assert len({each.question for each in kept}) == 57
    assert len(kept) == 114
    assert sampled(many[:80], config) == many[:80]

"""What people decide about examples: kept, applied, undone, and never lost."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import few_examples
import pytest
from typer.testing import CliRunner

from linnet.cli.examples import app
from linnet.errors import DataError, OutputError
from linnet.examples import Example, read_examples
from linnet.examples.decisions import Decision, Decisions, decisions_file, keep_only
from linnet.examples.generator import identified
from linnet.examples.record import EXAMPLES_FILE
from linnet.examples.review import Filter, Review, wilson
from linnet.examples.texts import find_quote

ALL = Filter()
QUESTIONS = Filter(kind="question")


def first_question(examples: list[Example]) -> Example:
    return next(example for example in examples if example.kind == "question")


# -- the file -----------------------------------------------------------------------------------


def test_decisions_lie_beside_what_is_made_again(tmp_path: Path, place: Path) -> None:
    assert decisions_file(place) == tmp_path / "examples.decisions.jsonl"
    assert decisions_file(place / EXAMPLES_FILE) == tmp_path / "examples.decisions.jsonl"
    assert Review(tmp_path).decisions.file == decisions_file(place)  # of a project
    assert decisions_file(tmp_path / "mine.jsonl") == tmp_path / "mine.decisions.jsonl"


def test_the_last_decision_counts_and_open_takes_it_back(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    decisions, other = Decisions(file), Decisions(file)
    for verdict in ("accepted", "rejected"):
        decisions.add(Decision("a", verdict))  # type: ignore[arg-type]
    other.add(Decision("b", "accepted"))
    decisions.refresh()
    assert {k: d.verdict for k, d in decisions.latest.items()} == {"a": "rejected", "b": "accepted"}
    other.add(Decision("a", "open"))
    decisions.refresh()
    assert list(decisions.latest) == list(Decisions(file).latest) == ["b"]
    assert len(file.read_text().splitlines()) == 4  # nothing that was written is changed


def test_what_a_killed_process_left_of_a_line_is_no_decision(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    Decisions(file).add(Decision("a", "accepted"))
    with file.open("ab") as opened:
        opened.write(b'{"id": "b", "verdict": "rejec')
    decisions = Decisions(file)
    assert list(decisions.latest) == ["a"]
    decisions.add(Decision("c", "rejected"))
    assert list(Decisions(file).latest) == list(decisions.latest) == ["a", "c"]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b'"x"', b'{"id": "a"}', b'{"id": "a", "verdict": "perhaps"}', b"\xff\xfe",
     b'{"id": 3, "verdict": "accepted"}', b'{"id": "a", "verdict": "accepted", "why": 1}'],
)  # fmt: skip
def test_a_damaged_decision_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "d.jsonl"
    Decisions(file).add(Decision("a", "accepted"))
    with file.open("ab") as opened:
        opened.write(line + b"\n")
    with pytest.raises(DataError, match=r"d\.jsonl, line 2: expected a decision"):
        Decisions(file)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("")
    (tmp_path / "d.jsonl").symlink_to(target)
    with pytest.raises(OutputError):
        Decisions(tmp_path / "d.jsonl").add(Decision("a", "accepted"))
    assert target.read_text() == ""


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"

    def decide(name: str) -> None:
        mine = Decisions(file)
        for number in range(25):
            mine.add(Decision(f"{name}{number}", "accepted", reviewer=name))

    threads = [threading.Thread(target=decide, args=(name,)) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Decisions(file).latest) == 50


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_loses_no_decision_that_was_answered_for(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    program = (
        "import sys; from pathlib import Path\n"
        "from linnet.examples.decisions import Decision, Decisions\n"
        "decisions = Decisions(Path(sys.argv[1]))\n"
        "for n in range(100000):\n"
        "    decisions.add(Decision(str(n), 'accepted')); print(n, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(20):
            answered = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
    found = Decisions(file)
    assert {str(n) for n in range(answered + 1)} <= found.latest.keys()
    found.add(Decision("after", "rejected"))  # the lock went with the process
    assert "after" in Decisions(file).latest


def test_what_is_forgotten_goes_down_to_the_bytes(tmp_path: Path) -> None:
    decisions = Decisions(tmp_path / "d.jsonl")
    decisions.add(Decision("a", "mended", answer="Anna has it"))
    decisions.add(Decision("b", "accepted"))
    assert keep_only(tmp_path / "d.jsonl", ["b"]) == 1
    assert b"Anna" not in (tmp_path / "d.jsonl").read_bytes()
    decisions.refresh()  # sees that it is another file
    assert list(decisions.latest) == ["b"]


# -- what they do to examples -------------------------------------------------------------------


def test_readers_get_examples_as_decided(place: Path, tree_examples: list[Example]) -> None:
    review = Review(place)
    me = review.sitting("me", "Anna")
    questions = [example for example in tree_examples if example.kind == "question"]
    review.decide(me, questions[0].id, "rejected")
    review.decide(
        me, questions[1].id, "mended", question="How tall is it?", answer="Quite tall",
        quote=questions[1].quote.split()[0] + "\n  " + questions[1].quote.split()[1],  # type: ignore
    )  # fmt: skip
    review.decide(me, questions[2].id, "accepted", note="good")
    found = {example.id: example for example in read_examples(place)}
    assert questions[0].id not in found
    mended = found[questions[1].id]
    assert (mended.question, mended.answer, mended.quote) == (
        "How tall is it?", "Quite tall", "grows to",
    )  # fmt: skip
    text = review.texts.of(mended)
    assert text is not None
    assert text[mended.start : mended.end] == "grows to"
    assert found[questions[2].id] == questions[2]
    assert len(list(read_examples(place, decided=False))) == len(tree_examples)
    lines = [json.loads(line) for line in review.decisions.file.read_text().splitlines()]
    assert [line["reviewer"] for line in lines] == ["Anna"] * 3
    assert lines[2]["note"] == "good"


def test_decisions_survive_making_the_examples_again(
    place: Path, trees: Path, tree_examples: list[Example]
) -> None:
    review = Review(place)
    me = review.sitting("me")
    gone, kept = tree_examples[0], tree_examples[1]
    review.decide(me, gone.id, "rejected")
    review.decide(me, kept.id, "rejected")
    few_examples.write(place, tree_examples[1:], trees)
    again = Review(place)
    assert again.strayed == 1
    assert again.precision(ALL).rejected == 1
    assert kept.id not in {example.id for example in read_examples(place)}
    few_examples.write(place, tree_examples, trees)  # and it comes back
    assert Review(place).precision(ALL).rejected == 2


def test_a_quote_is_mended_to_what_the_text_has(place: Path, tree_examples: list[Example]) -> None:
    review = Review(place)
    me = review.sitting("me")
    question = first_question(tree_examples)
    refusal = next(example for example in tree_examples if example.quote is None)
    for id_, changes, message in (
        (question.id, {"quote": "grows to the sky"}, "word for word"),
        (
            question.id,
            {"question": question.question, "answer": f" {question.answer} "},
            "Got none",
        ),
        (question.id, {"answer": " "}, "the answer is empty"),
        (refusal.id, {"quote": "grows"}, "has no quote to mend"),
        ("nobody", {"answer": "x"}, "no example"),
    ):
        with pytest.raises(DataError, match=message):
            review.decide(me, id_, "mended", **changes)  # type: ignore[arg-type]
    assert not review.decisions.file.exists()
    # Two blanks in the text, one in what was typed, far behind the first quote.
    long = "often outlives 3 of its neighbours."
    review.decide(me, question.id, "mended", quote=f"and {long}")
    mended = next(e for e in read_examples(place) if e.id == question.id)
    text = review.texts.of(question)
    assert text is not None
    assert mended.quote == f"and {long}" == text[mended.start : mended.end]
    assert mended.passage is not None
    assert mended.end is not None
    assert mended.passage[1] >= mended.end


def test_the_nearest_of_several_quotes_is_found() -> None:
    text = "a  b. a b. a\nb"
    assert [find_quote(text, "a b", near=near) for near in (0, 7, 14)] == [
        find_quote(text, "a  b", near=0), find_quote(text, "a b", near=6),
        find_quote(text, "a\nb", near=11),
    ]  # fmt: skip
    found = find_quote(text, "a b", near=14)
    assert found is not None
    assert (found.text, found.start) == ("a\nb", 11)
    assert find_quote(text, " ", near=0) is None


def test_without_the_corpus_quotes_are_still_shown(place: Path, tmp_path: Path) -> None:
    (tmp_path / "examples.jsonl").write_bytes((place / EXAMPLES_FILE).read_bytes())
    review = Review(tmp_path / "examples.jsonl")
    question = first_question(list(review.examples.values()))
    assert [(s.text, s.mark) for s in review.surroundings(question)] == [(question.quote, "quote")]
    review.decide(review.sitting("me"), question.id, "mended", quote="grows to")
    mended = next(e for e in read_examples(tmp_path / "examples.jsonl") if e.id == question.id)
    assert (mended.quote, mended.start) == ("grows to", question.start)


def test_the_text_around_a_quote(place: Path) -> None:
    review = Review(place)
    question = first_question(list(review.examples.values()))
    segments = review.surroundings(question)
    assert [s.text for s in segments if s.mark == "quote"] == [question.quote]
    whole, text = "".join(s.text for s in segments), review.texts.of(question)
    assert text is not None
    assert whole.strip("… ") in text
    assert len(whole) > 300
    refusal = next(example for example in review.examples.values() if example.quote is None)
    assert [s.mark for s in review.surroundings(refusal) if s.mark] == ["passage"]


# -- the order, and the figures -----------------------------------------------------------------


def test_the_order_is_random_by_seed_and_stays_when_others_come(
    place: Path, trees: Path, tree_examples: list[Example]
) -> None:
    def order(seed: int) -> list[str]:
        return walk(Review(place, seed=seed))

    def walk(review: Review) -> list[str]:
        me, found = review.sitting("me"), []
        while (example := review.following(me, ALL)) and example.id not in found:
            found.append(example.id)
            review.skip(me, example.id)
        return found

    first, other = order(1), order(2)
    assert first == order(1) != other
    assert sorted(first) == sorted(other) == sorted(e.id for e in tree_examples)
    few_examples.write(place, tree_examples[2:], trees)
    left = {example.id for example in tree_examples[2:]}
    assert order(1) == [id_ for id_ in first if id_ in left]


def test_two_reviewers_get_different_examples(place: Path) -> None:
    now = 0.0
    review = Review(place, clock=lambda: now)
    mine, yours = review.sitting("mine"), review.sitting("yours")
    first, second = review.following(mine, ALL), review.following(yours, ALL)
    assert first is not None
    assert second is not None
    assert first.id != second.id
    assert review.following(mine, ALL) == first  # a reload shows the same
    now = 3600.0  # one who has left holds nothing back
    assert review.following(review.sitting("new"), ALL) == first


def test_another_process_is_seen(place: Path) -> None:
    here, there = Review(place), Review(place)
    example = here.following(here.sitting("a"), ALL)
    assert example is not None
    there.decide(there.sitting("b"), example.id, "accepted")
    following = here.following(here.sitting("a"), ALL)
    assert following is not None
    assert following.id != example.id
    assert here.precision(ALL).decided == 1


def test_undo_restores_what_was_decided_before(place: Path) -> None:
    review = Review(place)
    mine, yours = review.sitting("mine"), review.sitting("yours")
    id_ = next(iter(review.examples))
    review.decide(yours, id_, "rejected")
    review.decide(mine, id_, "accepted")
    assert review.undo(mine) == review.examples[id_]
    assert review.decisions.latest[id_].verdict == "rejected"
    assert review.undo(mine) is None
    review.undo(yours)
    assert id_ not in review.decisions.latest
    assert review.precision(ALL).decided == 0


def test_filters(place: Path) -> None:
    review = Review(place)
    choices = review.choices()
    assert choices["kind"] == ["question", "unanswerable"]
    assert choices["generator"] == ["heights", "withheld"]
    me, total = review.sitting("me"), len(review.examples)
    assert review.precision(QUESTIONS).total == total // 2
    for _ in range(total // 2):
        example = review.following(me, QUESTIONS)
        assert example is not None
        assert example.kind == "question"
        review.decide(me, example.id, "accepted")
    assert review.following(me, QUESTIONS) is None
    assert review.following(me, ALL) is not None
    assert sum(review.precision(Filter(split=split)).total for split in choices["split"]) == total


@pytest.mark.parametrize(("successes", "trials"), [(8, 10), (1, 3), (95, 100), (59, 60)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    """Its ends are the shares from which the one seen is exactly z standard errors away."""
    share = successes / trials
    for end in wilson(successes, trials):
        error = math.sqrt(end * (1 - end) / trials)
        assert abs(share - end) / error == pytest.approx(1.959964, abs=1e-5)


def test_the_interval_at_its_ends() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)  # as statsmodels has it
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(20, 20)
    assert high == 1.0
    assert low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)


def test_a_mended_example_was_not_right(place: Path) -> None:
    review = Review(place)
    me = review.sitting("me")
    ids = list(review.examples)
    review.decide(me, ids[0], "accepted")
    review.decide(me, ids[1], "mended", answer="something else")
    precision = review.precision(ALL)
    assert (precision.accepted, precision.mended, precision.share) == (1, 1, 0.5)


# -- wrong input, and the terminal --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: "{", "line 1: expected an example"),
        (lambda row: [row], "line 1: expected an example. Got "),
        (lambda row: {**row, "kind": "riddle"}, "line 1.*kind must be one of"),
        (lambda row: {**row, "end": row["end"] + 1}, "cannot stand from"),
        (lambda row: {**row, "start": None}, "all there, or all null"),
        (lambda row: {**row, "passage": [1, 2, 3]}, "passage must have 2 entries"),
        (lambda row: {k: v for k, v in row.items() if k != "answer"}, "'answer' is missing"),
    ],
)
def test_a_damaged_line_is_named(
    tmp_path: Path, tree_examples: list[Example], change: Any, message: str
) -> None:
    changed = change(first_question(tree_examples).to_json())
    file = tmp_path / "some.jsonl"
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(DataError, match=message):
        Review(file)


def test_what_is_no_examples(tmp_path: Path, tree_examples: list[Example]) -> None:
    with pytest.raises(DataError, match="run linnet examples"):
        Review(tmp_path)
    file = tmp_path / "some.jsonl"
    file.write_bytes(b"\n")
    with pytest.raises(DataError, match="The file has none"):
        Review(file)
    row = json.dumps(tree_examples[0].to_json()) + "\n"
    file.write_text(row * 2)
    with pytest.raises(DataError, match="twice"):
        Review(file)
    file.write_bytes(row.encode() + b"\xff\n")
    with pytest.raises(DataError, match="line 2"):
        Review(file)


def test_in_the_terminal(place: Path, tree_examples: list[Example]) -> None:
    def review(keys: str, *options: str) -> str:
        command = ["review", str(place), "--terminal", *options]
        result = CliRunner().invoke(app, command, input=keys)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output

    output = review(
        "a\nx\nr\nm\nWhat now?\n\n\nu\ns\nq\n", "--kind", "question", "--reviewer", "Al"
    )
    assert "precision 50.0% (9.5% to 90.5% at 95 %)" in output
    assert "⟦grows to" in output
    verdicts = [json.loads(line) for line in decisions_file(place).read_text().splitlines()]
    assert [line["verdict"] for line in verdicts] == ["accepted", "rejected", "mended", "open"]
    assert verdicts[2]["question"] == "What now?"
    assert "answer" not in verdicts[2]
    assert {line["reviewer"] for line in verdicts} == {"Al"}
    assert "2 of 8 decided" in review("q\n", "--kind", "question")
    assert "2 of 16 decided" in review("")  # the end of what is piped in
    assert Review(place).precision(ALL).decided == 2


def test_a_choice_that_nothing_is_of(place: Path) -> None:
    result = CliRunner().invoke(app, ["review", str(place), "--terminal", "--kind", "riddle"])
    assert "kind: question, unanswerable" in str(result.exception)


def test_an_escape_in_a_document_does_not_reach_the_terminal(
    place: Path, trees: Path, tree_examples: list[Example]
) -> None:
    evil = replace(tree_examples[0], question="Is \x1b]0;this\x07 \u202ea title?")
    few_examples.write(place, [evil], trees)
    result = CliRunner().invoke(app, ["review", str(place), "--terminal"], input="q\n")
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_an_id_outlives_a_change_before_the_quote(tree_examples: list[Example]) -> None:
    question = first_question(tree_examples)
    assert question.start is not None
    assert question.end is not None
    moved = replace(question, start=question.start + 7, end=question.end + 7, passage=(9, 99))
    assert identified(moved).id == identified(question).id
    for changes in ({"question": "Why?"}, {"answer": "No."}, {"source": "other.md"}):
        assert identified(replace(question, **changes)).id != identified(question).id

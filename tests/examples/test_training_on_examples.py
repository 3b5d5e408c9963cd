"""Fine-tuning takes examples as they are: which are trained, on what, and with which prompt."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import few_examples
import pytest
from test_export import with_splits

from linnet.align.encoding import UNOPPOSED, UnitsReport
from linnet.align.preferences import judged_examples, pairs_of_examples
from linnet.align.prompts import read_prompts
from linnet.align.rewards import REWARDS
from linnet.artifact import Artifact
from linnet.errors import ArtifactError, DataError
from linnet.examples import Example
from linnet.examples.prompts import REFUSALS, answer_text
from linnet.examples.record import is_examples
from linnet.examples.review import Review
from linnet.finetune.base import data_inputs
from linnet.finetune.row_schema import PromptRow
from linnet.finetune.rows import open_source
from linnet.progress import SILENT


@pytest.fixture
def divided(place: Path, trees: Path, tree_examples: list[Example]) -> list[Example]:
    examples = with_splits(tree_examples)
    few_examples.write(place, examples, trees)
    return examples


def rows(place: Path, split: str = "train", book: str = "closed") -> list[PromptRow]:
    found = list(open_source(place).rows(split, {}, book=book))  # type: ignore[arg-type]
    assert all(isinstance(row, PromptRow) for row in found)
    return found  # type: ignore[return-value]


def test_splits_are_kept_and_no_test_question_is_trained(
    place: Path, divided: list[Example]
) -> None:
    asked = {split: {row.prompt for row in rows(place, split)} for split in ("train", "validation")}
    for split in ("train", "validation"):
        assert asked[split] == {e.question for e in divided if e.split == split}
    (unused,) = open_source(place).unused
    assert "for testing" in str(unused)
    file = place / "examples.jsonl"
    assert [row.prompt for row in rows(file)] == [row.prompt for row in rows(place)]
    project = place.parent
    assert [row.prompt for row in rows(project)] == [row.prompt for row in rows(place)]


def test_refusals_are_trained_in_their_language(place: Path, divided: list[Example]) -> None:
    answers = {row.prompt: row.completion for row in rows(place)}
    assert answers[divided[1].question] == REFUSALS["de"]
    assert answers[divided[3].question] == "I don't know."
    assert answers[divided[0].question] == divided[0].answer


def test_open_book_has_the_passage_before_the_question(place: Path, divided: list[Example]) -> None:
    for example, row in zip(divided, rows(place, book="open"), strict=False):
        passage, _, question = row.prompt.rpartition("\n\n")
        assert question == example.question
        if example.answerable:
            assert example.quote in passage  # type: ignore[operator]
        else:
            assert passage


def test_decisions_count_and_change_what_a_run_is_made_from(
    place: Path, trees: Path, divided: list[Example]
) -> None:
    def inputs(book: str = "closed") -> dict[str, Artifact | str]:
        return data_inputs([place], "", book=book, progress=SILENT)  # type: ignore[arg-type]

    before = inputs()
    assert before == inputs()
    review = Review(place)
    review.decide(review.sitting("me"), divided[0].id, "mended", answer="Mended.")
    review.decide(review.sitting("me"), divided[2].id, "rejected")
    assert inputs() != before
    answers = {row.prompt: row.completion for row in rows(place)}
    assert answers[divided[0].question] == "Mended."
    assert divided[2].question not in answers
    corpus = inputs("open")["data.1.corpus"]
    assert isinstance(corpus, Artifact)
    assert corpus.path == trees
    assert "data.1.corpus" not in inputs()


def test_what_is_no_examples_is_read_as_before(place: Path, divided: list[Example]) -> None:
    file = place.parent / "rows.jsonl"
    row = divided[0].to_json()
    for value, expected in (
        (row, True),
        ({name: row[name] for name in row if name != "quote"}, False),
        ([row], False),
    ):
        file.write_text(json.dumps(value) + "\n", encoding="utf-8")
        assert is_examples(file) is expected
    assert not is_examples(place.parent / "nowhere")


def test_wrong_input(place: Path, trees: Path, divided: list[Example]) -> None:
    alone = place.parent / "alone.jsonl"
    alone.write_bytes((place / "examples.jsonl").read_bytes())
    assert rows(alone)
    with pytest.raises(ArtifactError, match="open book needs the corpus"):
        rows(alone, book="open")
    with alone.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(DataError, match=r"alone\.jsonl, line 17"):
        rows(alone)
    other = [example for example in divided if example.source != divided[0].source]
    few_examples.write(place, other, trees)
    text = (place / "examples.jsonl").read_text("utf-8").replace("grows to", "grew to ")
    (place / "examples.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="make the examples again"):
        rows(place, book="open")


def test_examples_are_preferences_each_with_its_passage(
    place: Path, divided: list[Example]
) -> None:
    known = {example.id: example for example in divided}
    answers = {example.answer for example in divided if example.answerable}
    refusals = set(REFUSALS.values())
    report = UnitsReport()
    pairs = list(pairs_of_examples(place, left_out=partial(report.leave_out, UNOPPOSED)))
    trained = [example for example in divided if example.split == "train"]
    assert len(pairs) + report.rows == len(trained)  # nothing is lost uncounted
    assert {pair.source.rpartition(":")[2] for pair in pairs} <= {
        example.id for example in divided if example.split == "train"
    }
    wrong = set()
    for pair in pairs:
        example = known[pair.source.rpartition(":")[2]]
        assert isinstance(pair.chosen, PromptRow)
        assert isinstance(pair.rejected, PromptRow)
        assert pair.chosen.prompt == pair.rejected.prompt
        assert pair.chosen.prompt.endswith(f"\n\n{example.question}")
        assert pair.chosen.completion == answer_text(example)
        assert pair.rejected.completion != pair.chosen.completion
        wrong.add(pair.rejected.completion)
        if not example.answerable:
            assert pair.rejected.completion in answers
    assert wrong & refusals  # a refusal of what is answered is wrong, too
    assert wrong & answers
    assert [pair.rejected for pair in pairs_of_examples(place)] == [p.rejected for p in pairs]
    judged = list(judged_examples(place))
    assert [each.desirable for each in judged] == [True, False] * len(pairs)


def test_a_corrected_answer_is_preferred_to_the_one_before(
    place: Path, divided: list[Example]
) -> None:
    review = Review(place)
    mended = next(each for each in divided if each.answerable and each.split == "train")
    review.decide(review.sitting("me"), mended.id, "mended", answer="It is 9 metres high.")
    (pair,) = (each for each in pairs_of_examples(place) if each.source.endswith(mended.id))
    assert isinstance(pair.chosen, PromptRow)
    assert isinstance(pair.rejected, PromptRow)
    assert pair.chosen.completion == "It is 9 metres high."
    assert pair.rejected.completion == mended.answer


def test_examples_are_prompts_whose_answers_rewards_know(
    place: Path, divided: list[Example]
) -> None:
    known = {example.id: example for example in divided}
    prompts = list(read_prompts(place))
    assert prompts
    for prompt in prompts:
        example = known[prompt.source.rpartition(":")[2]]
        sample = prompt.known
        assert (sample.asked, sample.answerable) == (example.question, example.answerable)
        assert sample.expected == (answer_text(example),)
        assert prompt.messages[-1]["content"] == f"{sample.passage.strip()}\n\n{example.question}"  # type: ignore[union-attr]
        right = replace(sample, text=answer_text(example))
        assert [REWARDS[name](right) for name in ("refuses", "exact")] == [1.0, 1.0]
